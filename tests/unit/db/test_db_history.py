from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from backend.errors import Conflict, InvalidParameter, NotFound
from backend.types import HistoryQuery, Record
from db import pages
from db.engine import Database
from db.history import SqlHistory
from db.jobs import SqlJobs
from tests.crash.pictures import NOON, make_job, make_record, make_request


@pytest.fixture
def history(database: Database) -> SqlHistory:
    return SqlHistory(database)


def fill(history: SqlHistory, *prompts: str) -> list[Record]:
    made = [make_record(number, request=make_request(prompt)) for number, prompt in enumerate(prompts)]
    for record in made:
        history.commit(record, last=False)
    return made


def ids(history: SqlHistory, **query: object) -> list[int]:
    page = history.page(HistoryQuery.model_validate(query))
    return [int(record.id.removeprefix("rec-")) for record in page.records]


def test_a_record_comes_back_as_it_went_in(history: SqlHistory) -> None:
    record = make_record(7, index=3).model_copy(update={"rating": 4, "tags": ("best", "of")})
    history.commit(record, last=False)
    assert history.get(record.id) == record == history.by_sha256(record.passport.sha256)
    assert history.get("rec-none") is None and history.by_sha256("0" * 64) is None


def test_an_intent_lives_until_the_commit_and_the_newest_of_an_id_counts(history: SqlHistory) -> None:
    first, second = make_record(1), make_record(2)
    history.intend(first)
    history.intend(second)
    newer = first.model_copy(update={"infotext": "newer"})
    history.intend(newer)
    assert history.intents() == (second, newer)
    history.commit(newer, last=False)
    assert history.intents() == (second,) and history.get(first.id) == newer
    history.forget(second.id)
    history.forget("rec-unknown")
    assert history.intents() == ()


def test_the_last_commit_ends_the_job_in_the_same_transaction_and_may_be_repeated(
    database: Database, history: SqlHistory
) -> None:
    jobs = SqlJobs(database)
    jobs.add(make_job(state="sealing"))
    record = make_record(1, job_id="job-1")
    for _ in range(2):
        history.commit(record, last=True)
        job = jobs.get("job-1")
        assert job is not None and (job.state, job.images) == ("done", 1)
    history.rate(record.id, 5)
    history.commit(record, last=True)
    kept = history.get(record.id)
    assert kept is not None and kept.rating == 5


def test_a_last_commit_for_a_cancelled_job_changes_nothing(database: Database, history: SqlHistory) -> None:
    SqlJobs(database).add(make_job(state="cancelled"))
    record = make_record(1, job_id="job-1")
    history.intend(record)
    with pytest.raises(Conflict):
        history.commit(record, last=True)
    assert history.get(record.id) is None and history.intents() == (record,)
    with pytest.raises(NotFound):
        history.commit(make_record(2, job_id="job-unknown"), last=True)


def test_pages_go_newest_first_without_gaps_or_repeats_while_rows_come_and_go(history: SqlHistory) -> None:
    fill(history, *["a cat"] * 23)
    seen: list[int] = []
    before: str | None = None
    while True:
        page = history.page(HistoryQuery(limit=5, before=before))
        seen += [int(record.id.removeprefix("rec-")) for record in page.records]
        before = page.next
        if before is None:
            break
        history.commit(make_record(100 + len(seen)), last=False)
        history.delete(page.records[-1].id)
    assert seen == list(range(22, -1, -1))


def test_a_page_that_ends_with_the_last_row_has_no_next(history: SqlHistory) -> None:
    fill(history, "a", "b")
    assert history.page(HistoryQuery(limit=2)).next is None
    assert history.page(HistoryQuery(limit=1)).next is not None


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "1", "é", "!!", "a" * 5000, pages.cursor_of(5) + "=", pages.cursor_of(2**63), "czE6LTE", "czE6MDU", "\0"],
)
def test_a_bad_cursor_is_an_invalid_parameter(history: SqlHistory, cursor: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        history.page(HistoryQuery(before=cursor))
    assert caught.value.problem.field == "before"


@given(st.integers(0, 2**63 - 1))
def test_a_cursor_leads_back_to_its_row(seq: int) -> None:
    assert pages.seq_of(pages.cursor_of(seq)) == seq


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_bad_limit_is_an_invalid_parameter(history: SqlHistory, limit: int) -> None:
    with pytest.raises(InvalidParameter):
        history.page(HistoryQuery(limit=limit))


def test_search_finds_all_words_in_prompt_or_negative_and_the_last_as_a_prefix(history: SqlHistory) -> None:
    fill(history, "a red cat on a sofa", "a red car", "blue cat")
    history.commit(make_record(3, request=make_request("a tree", negative="ugly cat")), last=False)
    assert ids(history, text="cat") == [3, 2, 0]
    assert ids(history, text="red ca") == [1, 0]
    assert ids(history, text="CAT  Red") == [0]
    assert ids(history, text="ca red") == []
    assert ids(history, text="dog") == []
    assert ids(history, text="   ") == [3, 2, 1, 0]
    assert ids(history, text="?!") == []
    assert ids(history, text="cat", limit=1, before=pages.cursor_of(4)) == [2]


def test_search_goes_by_age_not_by_rank(history: SqlHistory) -> None:
    fill(history, "cat", "cat cat cat", "a long sentence that says cat once")
    assert ids(history, text="cat") == [2, 1, 0]


def test_search_follows_deletes(history: SqlHistory) -> None:
    fill(history, "a cat", "a cat")
    history.delete("rec-000001")
    assert ids(history, text="cat") == [0]


OPERATORS = [
    *("cat AND", "NOT cat", "cat OR", "NEAR(cat dog)", "cat-dog", "prompt:cat", '"', '"cat', "cat*", "*", "(", "^cat"),
    *("cat + dog", "{a b}: c", "'", "'; DROP TABLE records; --", "\\", "\\'", "cat & | ! <-> dog:*", "<lora:x:1>"),
    *("\0", "c\0at", "\ud800", "é", "猫", "🐈", "%", "a:b", "-" * 50, "a " * 3000, '"' * 3000, "x" * 9000, "²", "½"),
]


def test_operators_in_the_words_of_a_user_never_raise(history: SqlHistory) -> None:
    fill(history, "cat and dog")
    for words in OPERATORS:
        history.page(HistoryQuery.model_construct(**(HistoryQuery().model_dump() | {"text": words})))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(st.text(max_size=30) | st.text(alphabet="\"*^:()-+{}<>&|!'\\ abANDORNT", max_size=30))
def test_no_text_at_all_raises(lite: Database, words: str) -> None:
    SqlHistory(lite).page(HistoryQuery.model_construct(**(HistoryQuery().model_dump() | {"text": words})))


def test_a_word_with_operators_in_it_is_found_as_it_was_written(history: SqlHistory) -> None:
    fill(history, 'say "hello" to a sci-fi robot', "a fi robot", "l'été")
    assert ids(history, text='"hello"') == [0]
    assert ids(history, text="sci-fi") == [0]
    assert ids(history, text="l'été") == [2]


def test_filters_narrow_and_combine_with_words_and_pages(history: SqlHistory) -> None:
    for number in range(8):
        sampler = ("Euler", "DDIM")[number % 2]
        request = make_request("a cat" if number < 6 else "a dog", sampler=sampler)
        history.commit(make_record(number, request=request, model=("one", "two")[number // 4]), last=False)
        history.rate(f"rec-{number:06d}", number % 6)
    assert ids(history, model="one") == [3, 2, 1, 0]
    assert ids(history, sampler="DDIM", model="two") == [7, 5]
    assert ids(history, rating=4) == [5, 4]
    assert ids(history, rating=0) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert ids(history, text="cat", sampler="Euler", limit=2) == [4, 2]
    assert ids(history, model="three") == []
    assert history.choices() == {"model": ("one", "two"), "sampler": ("DDIM", "Euler")}


def test_dates_include_both_ends_and_midnight_stands_for_its_day(history: SqlHistory) -> None:
    fill(history, *["a cat"] * 4)
    minute = timedelta(minutes=1)
    assert ids(history, since=NOON + minute, until=NOON + 2 * minute) == [2, 1]
    assert ids(history, since=(NOON + 3 * minute).replace(tzinfo=None)) == [3]
    assert ids(history, until=datetime(2026, 11, 20)) == [3, 2, 1, 0]
    assert ids(history, until=datetime(2026, 11, 19)) == []


def test_marks_are_those_of_every_picture(history: SqlHistory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.history._MARKS_AT_A_TIME", 2)
    made = fill(history, *["a cat"] * 5)
    assert list(history.marks()) == [(record.id, int(record.passport.watermark.mark_id, 16)) for record in made]


def test_pictures_of_a_job_come_in_order_of_index(history: SqlHistory) -> None:
    for index in (2, 0, 1):
        history.commit(make_record(index, job_id="job-1", index=index), last=False)
    assert [record.index for record in history.of_job("job-1")] == [0, 1, 2]
    assert history.of_job("job-2") == ()


def test_rating_takes_nought_to_five_stars(history: SqlHistory) -> None:
    fill(history, "a cat")
    assert history.rate("rec-000000", 5).rating == 5
    assert history.rate("rec-000000", 0).rating == 0
    for wrong in (-1, 6):
        with pytest.raises(InvalidParameter):
            history.rate("rec-000000", wrong)
        with pytest.raises(InvalidParameter):
            history.page(HistoryQuery(rating=wrong))
    with pytest.raises(NotFound):
        history.rate("rec-none", 1)


def test_delete_returns_what_was_there(history: SqlHistory) -> None:
    (record,) = fill(history, "a cat")
    assert history.delete(record.id) == record
    assert history.get(record.id) is None
    with pytest.raises(NotFound):
        history.delete(record.id)


def test_common_words_are_read_newest_first_without_sorting(lite: Database) -> None:
    for query in (
        HistoryQuery(),
        HistoryQuery(text="cat"),
        HistoryQuery(text="cat", model="one"),
        HistoryQuery(model="x"),
    ):
        question = pages.page_question(query, sqlite=True).compile(lite.engine, compile_kwargs={"literal_binds": True})
        with lite.reading() as connection:
            plan = [row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {question}"))]
        inner = plan[: plan.index(next(step for step in plan if "found" in step.lower())) + 1]
        assert not any("TEMP B-TREE" in step for step in inner), plan
