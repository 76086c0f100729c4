"""What the owner decided about pictures that were flagged or withheld."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from sqlalchemy import select

from backend.errors import InvalidParameter, NotFound
from backend.types import Decision, HistoryPage, Passport, Record, Review
from db import pages, reading, search
from db.engine import Database
from db.reading import read
from db.tables import records, reviews

_COVERED = ("blur", "withhold")


class SqlReviews:
    """backend.ports.Reviews over the database. Writes nothing to the audit log: that is done before, by who asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self, before: str | None = None, limit: int = 50) -> HistoryPage:
        """Pictures that are blurred or withheld and not decided, newest first.

        Raises InvalidParameter for a bad cursor or limit.
        """
        if not 1 <= limit <= pages.MAX_PAGE:
            raise InvalidParameter("limit", f"A page holds 1 to {pages.MAX_PAGE} pictures.")
        question = reading.question().where(records.c.handling.in_(_COVERED), reviews.c.seq.is_(None))
        if before is not None:
            question = question.where(records.c.seq < pages.seq_of(before))
        with self._database.reading() as connection:
            rows = connection.execute(question.order_by(records.c.seq.desc()).limit(limit + 1)).all()
        following = pages.cursor_of(rows[limit - 1].seq) if len(rows) > limit else None
        return HistoryPage(records=tuple(read(row) for row in rows[:limit]), next=following)

    def decide(self, record_id: str, decision: Decision, who: str, note: str) -> Record:
        """Keep the decision and let it rule how the picture may be shown, at once. Raises NotFound."""
        review = Review(decision=decision, who=who, when=datetime.now(UTC), note=search.cleaned(note))
        of_picture = reading.question().where(records.c.id == record_id)
        with self._database.writing() as connection:
            row = connection.execute(of_picture).one_or_none()
            if row is None:
                raise NotFound("picture", record_id)
            decided = read(row).model_copy(update={"review": review})
            connection.execute(reviews.delete().where(reviews.c.record_id == record_id))
            connection.execute(
                reviews.insert().values(
                    record_id=record_id, decision=decision, who=who, decided=review.when, note=review.note
                )
            )
            connection.execute(records.update().where(records.c.id == record_id).values(handling=decided.handling))
        return decided

    def alarms(self) -> Iterable[tuple[str, float | None, Decision]]:
        """What became of the flags that were reviewed: (detector, its score, the decision), oldest decision first."""
        question = (
            select(records.c.passport, reviews.c.decision)
            .join(reviews, reviews.c.record_id == records.c.id)
            .order_by(reviews.c.seq)
        )
        with self._database.reading() as connection:
            rows = connection.execute(question).all()
        for row in rows:
            for detector in Passport.model_validate(row.passport).inspection.detectors:
                if detector.state == "flagged":
                    yield detector.name, detector.score, row.decision

    def false_alarms(self) -> Mapping[str, tuple[int, int]]:
        """For each detector: false alarms among its flags that were reviewed, and the number of those."""
        flags: Counter[str] = Counter()
        wrong: Counter[str] = Counter()
        for detector, _, decision in self.alarms():
            flags[detector] += 1
            wrong[detector] += decision == "false-alarm"
        return {detector: (wrong[detector], flags[detector]) for detector in sorted(flags)}
