"""Search by meaning with the towers that ship: what is asked for in words is found among what the starter drew."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import pytest

from backend.settings import ROOT
from backend.types import HistoryQuery, Record
from tests.support.whole import SECONDS, Whole, open_whole

VISION = ROOT / "models" / "starter-vision"
MOST_BYTES = 3 << 20
pytestmark = pytest.mark.skipif(not VISION.is_dir(), reason="the vision tower does not ship yet")

THINGS = ("red apple", "sunflower", "penguin", "evergreen tree", "red heart", "smiling face", "umbrella", "house")
SEEDS = (7, 8)
HISTORY = HistoryQuery()


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with open_whole(tmp_path_factory.mktemp("data"), steps=12, sampler="Euler a", cfg=4.0) as opened:
        yield opened


@pytest.fixture(scope="module")
def drawn(studio: Whole) -> Mapping[str, str]:
    """What each picture was asked to show, by record."""
    shows = {studio.make(prompt=f"a {thing}", seed=seed).record.id: thing for thing in THINGS for seed in SEEDS}
    until = time.monotonic() + SECONDS
    while studio.services.service.meaning.nearest(HISTORY, meaning="anything").waiting:
        assert time.monotonic() < until, "the studio looks at its pictures while it is idle"
        time.sleep(0.2)
    return shows


def ranked(studio: Whole, drawn: Mapping[str, str], *, meaning: str = "", like: Record | None = None) -> list[str]:
    found = studio.services.service.meaning.nearest(HISTORY, meaning=meaning, like=like)
    return [drawn[record.id] for record in found.records]


def test_the_towers_are_small_and_belong_to_the_starter(studio: Whole, drawn: Mapping[str, str]) -> None:
    assert sum(file.stat().st_size for file in VISION.iterdir()) < MOST_BYTES
    assert studio.services.service.meaning.there


def test_what_is_asked_for_in_words_comes_first(studio: Whole, drawn: Mapping[str, str]) -> None:
    firsts = {thing: ranked(studio, drawn, meaning=thing)[0] for thing in THINGS}
    right = [thing for thing, first in firsts.items() if thing == first]
    assert len(right) >= LEAST, firsts


def test_a_picture_is_most_like_the_other_one_of_its_thing(studio: Whole, drawn: Mapping[str, str]) -> None:
    records = [studio.services.service.record(ident) for ident in drawn]
    right = [drawn[record.id] == ranked(studio, drawn, like=record)[0] for record in records]
    assert sum(right) >= LEAST * len(SEEDS), right


LEAST = 6
"""Of eight things; by chance it would be one."""
