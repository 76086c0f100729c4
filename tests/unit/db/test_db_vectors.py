"""Vectors beside the history: only of pictures that are shown, and gone with them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from backend.types import HistoryQuery
from db.engine import Database
from db.history import SqlHistory
from db.reviews import SqlReviews
from db.tables import vectors
from db.vectors import SqlVectors
from tests.crash.pictures import NOON, make_record
from tests.unit.db.test_db_upgrade import flagged

VERSION = "v1"


@pytest.fixture
def store(database: Database) -> SqlVectors:
    return SqlVectors(database)


@pytest.fixture
def history(database: Database) -> SqlHistory:
    """Three pictures, of which the second is covered."""
    made = SqlHistory(database)
    for record in (make_record(1), flagged(2), make_record(3)):
        made.commit(record, last=False)
    return made


def kept(database: Database) -> int:
    with database.reading() as connection:
        return connection.execute(select(func.count()).select_from(vectors)).scalar_one()


def fill(store: SqlVectors, version: str = VERSION) -> list[str]:
    waiting = store.missing(version)
    for key, record in waiting:
        store.put(key, version, record.id.encode())
    return [record.id for _, record in waiting]


def test_covered_pictures_get_none_and_are_not_counted(
    database: Database, store: SqlVectors, history: SqlHistory
) -> None:
    assert store.count(VERSION) == (2, 0)
    assert fill(store) == ["rec-000003", "rec-000001"]
    assert store.count(VERSION) == (2, 2) and not store.missing(VERSION)
    assert store.key("rec-000002") is None and store.key("rec-000009") is None
    with database.reading() as connection:
        key = connection.execute(select(func.max(vectors.c.seq))).scalar_one() - 1
    store.put(key, VERSION, b"what a covered picture shows")
    assert kept(database) == 2


def test_a_vector_goes_with_its_picture(database: Database, store: SqlVectors, history: SqlHistory) -> None:
    fill(store)
    history.delete("rec-000003")
    assert kept(database) == 1 and [vector for _, vector in store.read(VERSION)] == [b"rec-000001"]


def test_what_is_covered_later_is_not_found_and_then_forgotten(
    database: Database, store: SqlVectors, history: SqlHistory
) -> None:
    fill(store)
    reviews = SqlReviews(database)
    reviews.decide("rec-000003", "withheld", "owner", "")
    keys = store.keys(HistoryQuery(), VERSION)
    assert [record.id for record in store.records(keys).values()] == ["rec-000001"]
    store.drop_covered()
    assert kept(database) == 1
    reviews.decide("rec-000002", "released", "owner", "")
    assert fill(store) == ["rec-000002"]


def test_another_version_is_worked_out_anew_in_place_of_the_old(
    database: Database, store: SqlVectors, history: SqlHistory
) -> None:
    fill(store)
    assert store.count("v2") == (2, 0) and not store.keys(HistoryQuery(), "v2")
    assert len(fill(store, "v2")) == 2
    assert kept(database) == 2 and not list(store.read(VERSION))


def test_words_and_filters_choose_and_the_order_is_by_age(store: SqlVectors, history: SqlHistory) -> None:
    fill(store)
    everything = store.keys(HistoryQuery(), VERSION)
    assert list(everything) == sorted(everything) and len(everything) == 2
    assert store.keys(HistoryQuery(text="cat"), VERSION) == everything
    assert not store.keys(HistoryQuery(text="zebra"), VERSION) and not store.keys(HistoryQuery(text="***"), VERSION)
    assert not store.keys(HistoryQuery(since=NOON + timedelta(days=999)), VERSION)
    assert dict(store.read(VERSION, everything[:1])) == {everything[0]: b"rec-000001"}


def test_missing_pictures_come_in_pages_newest_first(store: SqlVectors, history: SqlHistory) -> None:
    ((key, newest),) = store.missing(VERSION, limit=1)
    assert newest.id == "rec-000003"
    assert [record.id for _, record in store.missing(VERSION, before=key)] == ["rec-000001"]
