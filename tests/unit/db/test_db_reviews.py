from __future__ import annotations

from dataclasses import replace

import pytest

from backend.errors import InvalidParameter, NotFound
from backend.types import DetectorResult, HistoryQuery, Inspection, Record, SpokenReason, Verdict
from db.engine import Database
from db.history import SqlHistory
from db.jobs import SqlJobs
from db.reviews import SqlReviews
from tests.crash.pictures import make_job, make_record


@pytest.fixture
def history(database: Database) -> SqlHistory:
    return SqlHistory(database)


@pytest.fixture
def reviews(database: Database) -> SqlReviews:
    return SqlReviews(database)


def covered(number: int, handling: str = "blur", *detectors: tuple[str, float]) -> Record:
    record = make_record(number)
    found = tuple(DetectorResult(name=name, state="flagged", score=score) for name, score in detectors)
    inspection = Inspection(state="flagged" if found else "clean", detectors=found)
    passport = record.passport.model_copy(update={"handling": handling, "inspection": inspection})
    return record.model_copy(update={"passport": passport})


def test_covered_pictures_wait_newest_first_until_they_are_decided(history: SqlHistory, reviews: SqlReviews) -> None:
    for number, handling in enumerate(("show", "blur", "withhold", "blur")):
        history.commit(covered(number, handling), last=False)
    first = reviews.waiting(limit=2)
    assert [record.id for record in first.records] == ["rec-000003", "rec-000002"]
    rest = reviews.waiting(first.next, limit=2)
    assert [record.id for record in rest.records] == ["rec-000001"] and rest.next is None
    reviews.decide("rec-000002", "released", "owner", "")
    assert [record.id for record in reviews.waiting().records] == ["rec-000003", "rec-000001"]
    with pytest.raises(InvalidParameter):
        reviews.waiting(limit=0)
    with pytest.raises(InvalidParameter):
        reviews.waiting(before="nonsense")


def test_a_flagged_picture_of_an_earlier_version_waits_too(history: SqlHistory, reviews: SqlReviews) -> None:
    history.commit(covered(1, "show", ("OpenNSFW", 0.9)), last=False)
    assert [record.handling for record in reviews.waiting().records] == ["blur"]


def test_a_decision_rules_wherever_the_picture_is_read_and_a_later_one_replaces_it(
    history: SqlHistory, reviews: SqlReviews
) -> None:
    history.commit(covered(1, "withhold"), last=False)
    for decision, handling in (("released", "show"), ("withheld", "withhold"), ("false-alarm", "show")):
        decided = reviews.decide("rec-000001", decision, "owner", f"a note\0 on {decision}")  # type: ignore[arg-type]
        assert decided.handling == handling and decided == history.get("rec-000001")
        assert decided == history.page(HistoryQuery(handling=handling)).records[0]  # type: ignore[arg-type]
        assert decided == history.of_job(decided.job_id)[0] == history.by_sha256(decided.passport.sha256)
        assert decided == history.rate(decided.id, 0)
        assert decided.review is not None and (decided.review.who, decided.review.decision) == ("owner", decision)
    with pytest.raises(NotFound):
        reviews.decide("rec-none", "released", "owner", "")


def test_the_history_can_be_asked_for_how_pictures_may_be_shown(history: SqlHistory) -> None:
    for number, handling in enumerate(("show", "blur", "withhold", "blur")):
        history.commit(covered(number, handling), last=False)
    asked = {
        handling: len(history.page(HistoryQuery(handling=handling, text="cat")).records)  # type: ignore[arg-type]
        for handling in ("show", "blur", "withhold")
    }
    assert asked == {"show": 1, "blur": 2, "withhold": 1}


def test_false_alarms_are_counted_for_each_detector(history: SqlHistory, reviews: SqlReviews) -> None:
    history.commit(covered(1, "blur", ("OpenNSFW", 0.9)), last=False)
    history.commit(covered(2, "blur", ("OpenNSFW", 0.85), ("NudeNet", 0.7)), last=False)
    history.commit(covered(3, "blur", ("NudeNet", 0.95)), last=False)
    assert reviews.false_alarms() == {}
    reviews.decide("rec-000001", "false-alarm", "owner", "")
    reviews.decide("rec-000002", "false-alarm", "owner", "")
    reviews.decide("rec-000003", "withheld", "owner", "")
    assert reviews.false_alarms() == {"NudeNet": (1, 2), "OpenNSFW": (2, 2)}
    assert ("NudeNet", 0.95, "withheld") in list(reviews.alarms())


def test_a_deleted_picture_takes_its_decision_along(history: SqlHistory, reviews: SqlReviews) -> None:
    history.commit(covered(1), last=False)
    reviews.decide("rec-000001", "withheld", "owner", "words")
    assert history.delete("rec-000001").review is not None
    history.commit(covered(1), last=False)
    again = history.get("rec-000001")
    assert again is not None and again.review is None and again.handling == "blur"


def test_a_verdict_comes_back_whole_so_that_a_resumed_job_keeps_its_policy(database: Database) -> None:
    jobs = SqlJobs(database)
    reason = SpokenReason("violence", "red", "words", 0.75, "negative")
    verdict = Verdict("withhold", "shared-3", (reason,), "withhold", 0.4, "none", 0.75, "7:" + "ab" * 32)
    jobs.add(replace(make_job("job-1"), verdict=verdict))
    kept = jobs.get("job-1")
    assert kept is not None and kept.verdict == verdict
