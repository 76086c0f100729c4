"""The search by meaning over a real history, with towers that see nothing but colour."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.errors import InvalidParameter, SignetError, Unavailable
from backend.meaning import MeaningDesk, NoMeanings
from backend.nearest import WIDTH
from backend.trust import Covered
from backend.types import HistoryQuery, Pixels, Record
from db.reviews import SqlReviews
from db.vectors import SqlVectors
from tests.support.studio import OWNER, Studio

EVERYTHING = HistoryQuery()


class Grey:
    """A picture's direction is its brightness; the words "bright" and "dark" lie at the ends."""

    def __init__(self, version: str = "v1") -> None:
        self.version = version
        self.looks = 0

    def of_text(self, text: str) -> np.ndarray:
        return self._at(1.0 if "bright" in text else 0.0)

    def of_picture(self, pixels: Pixels) -> np.ndarray:
        self.looks += 1
        return self._at(float(pixels.mean()) / 12)

    def _at(self, share: float) -> np.ndarray:
        vector = np.zeros(WIDTH, dtype=np.float32)
        vector[0], vector[1] = np.cos(share), np.sin(share)
        return vector


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """Eight pictures, each a little brighter than the one before."""
    made = Studio(tmp_path)
    made.ready()
    for prompt in ("a cat", "a dog"):
        made.run(made.submit(prompt, count=4))
    yield made
    made.close()


def desk_of(studio: Studio, towers: Any = None) -> MeaningDesk:
    towers = towers or Grey()
    return MeaningDesk(SqlVectors(studio.database), lambda: towers, studio.storage)


def brightness(records: tuple[Record, ...]) -> list[int]:
    return [record.index for record in records]


def cover(studio: Studio, record: Record) -> Record:
    return SqlReviews(studio.database).decide(record.id, "withheld", "owner", "")


def test_what_is_nearest_to_the_words_comes_first(studio: Studio) -> None:
    desk = desk_of(studio)
    assert desk.nearest(EVERYTHING, meaning="bright").waiting == 8
    desk.catch_up()
    bright = desk.nearest(EVERYTHING, meaning="bright")
    assert brightness(bright.records) == [3, 3, 2, 2, 1, 1, 0, 0] and bright.waiting == 0 and bright.next is None
    assert list(bright.scores) == sorted(bright.scores, reverse=True) and bright.scores[0] <= 1
    assert brightness(desk.nearest(EVERYTHING, meaning="dark").records) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_pages_follow_each_other(studio: Studio) -> None:
    desk = desk_of(studio)
    desk.catch_up()
    whole = desk.nearest(EVERYTHING, meaning="dark").records
    seen: list[Record] = []
    query = HistoryQuery(limit=3)
    while True:
        page = desk.nearest(query, meaning="dark")
        seen += page.records
        if page.next is None:
            break
        query = HistoryQuery(limit=3, before=page.next)
    assert tuple(seen) == whole


def test_words_of_the_prompt_and_filters_narrow_it(studio: Studio) -> None:
    desk = desk_of(studio)
    desk.catch_up()
    found = desk.nearest(HistoryQuery(text="dog"), meaning="bright").records
    assert brightness(found) == [3, 2, 1, 0]
    assert {record.passport.request.prompt for record in found} == {"a dog"}


def test_more_like_this_leaves_out_this(studio: Studio) -> None:
    desk = desk_of(studio)
    (cat,) = [one for one in studio.history.page(HistoryQuery(text="cat")).records if one.index == 2]
    assert desk.nearest(EVERYTHING, like=cat).waiting == 7, "it was looked at to be asked with"
    desk.catch_up()
    found = desk.nearest(EVERYTHING, like=cat).records
    assert found[0].index == 2 and cat not in found and len(found) == 7


def test_a_covered_picture_is_neither_found_nor_asked_with(studio: Studio) -> None:
    desk = desk_of(studio)
    desk.catch_up()
    first = desk.nearest(EVERYTHING, meaning="bright").records[0]
    covered = cover(studio, first)
    assert first.id not in {record.id for record in desk.nearest(EVERYTHING, meaning="bright").records}
    with pytest.raises(Covered):
        desk.nearest(EVERYTHING, like=covered)
    with pytest.raises(SignetError):
        desk.nearest(EVERYTHING, like=first)


def test_a_deleted_picture_is_not_found_any_more(studio: Studio) -> None:
    desk = desk_of(studio)
    desk.catch_up()
    first, *rest = desk.nearest(EVERYTHING, meaning="bright").records
    studio.service.delete(first.id, OWNER)
    assert desk.nearest(EVERYTHING, meaning="bright").records == tuple(rest)


def test_new_towers_look_at_everything_again(studio: Studio) -> None:
    desk_of(studio).catch_up()
    newer = Grey("v2")
    desk = desk_of(studio, newer)
    assert desk.nearest(EVERYTHING, meaning="dark").waiting == 8
    desk.catch_up()
    desk.catch_up()
    assert newer.looks == 8 and len(desk.nearest(EVERYTHING, meaning="dark").records) == 8


def test_a_picture_that_cannot_be_read_is_tried_once_and_a_missing_one_again(studio: Studio) -> None:
    towers = Grey()
    desk = desk_of(studio, towers)
    one, other, *_ = studio.history.page(EVERYTHING).records
    studio.storage.path(one.path).write_bytes(b"no picture")
    if one.thumbnail_path:
        studio.storage.path(one.thumbnail_path).write_bytes(b"no picture")
    for path in filter(None, (other.path, other.thumbnail_path)):
        studio.storage.path(path).unlink()
    desk.catch_up()
    found = desk.nearest(EVERYTHING, meaning="dark")
    assert len(found.records) == 6 and found.waiting == 1
    with pytest.raises(SignetError):
        desk.nearest(EVERYTHING, like=one)


def test_it_looks_only_while_nothing_else_is_to_do(studio: Studio) -> None:
    towers, free, looked = Grey(), threading.Event(), threading.Event()
    desk = desk_of(studio, towers)
    asked = threading.Event()

    def idle() -> bool:
        asked.set()
        return free.is_set()

    desk.start(idle, pause=0.01)
    assert asked.wait(10) and towers.looks == 0
    free.set()
    for _ in range(1000):
        if desk.nearest(EVERYTHING, meaning="dark").waiting == 0 or looked.wait(0.02):
            break
    assert towers.looks == 8
    studio.run(studio.submit("a new one"))
    desk.wake()
    for _ in range(1000):
        if towers.looks == 9 or looked.wait(0.02):
            break
    desk.close()
    assert towers.looks == 9


def test_the_question_is_words_or_a_picture(studio: Studio) -> None:
    desk = desk_of(studio)
    (record, *_) = studio.history.page(EVERYTHING).records
    for asked in ({}, {"meaning": " "}, {"meaning": "a", "like": record}):
        with pytest.raises(InvalidParameter):
            desk.nearest(EVERYTHING, **asked)
    with pytest.raises(InvalidParameter) as caught:
        desk.nearest(HistoryQuery(before="czE6NQ"), meaning="a")
    assert caught.value.problem.field == "before"


def test_a_studio_without_towers_says_so() -> None:
    with pytest.raises(Unavailable):
        NoMeanings().nearest(EVERYTHING, meaning="a cat")
