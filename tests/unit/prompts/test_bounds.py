"""Every reader answers any text, a hundred thousand characters of the worst included, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from backend.prompts import attention, chunks, comments, composition, networks, schedule
from backend.prompts.expand import expand, variations

READERS: dict[str, Callable[[str], object]] = {
    "attention": attention.parse,
    "schedule": lambda text: schedule.segments(text, 50),
    "composition": composition.parts,
    "networks": networks.extract,
    "comments": comments.remove,
    "chunks": lambda text: chunks.chunk(
        (attention.Piece(text, 1.0),), lambda piece: [*map(ord, piece)], comma=ord(",")
    ),
    "expand": lambda text: expand(text, text, seed=1, count=2),
    "variations": lambda text: variations(text, 3),
}

PATTERNS = (
    "(", "[", "()", "[]", "(a", "[a:", "[a|", "[:", "(:1", ":", "\\", " ", "(])[", "a:1]", "BREAK ", " AND ", "<lora:",
    "<a:b:", "#", "\n#", "{", "{a|", "__", "${", "%{", "$$", ",", "\x00", "\ud800", "🐈", "a b, ",
)  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_a_hundred_thousand_characters_are_read_in_bounded_time(reader: str) -> None:
    for pattern in PATTERNS:
        for text in (" " * 50_000 + pattern * (50_000 // len(pattern)), pattern * 30):
            start = time.process_time()
            READERS[reader](text)
            assert time.process_time() - start < 10, repr(pattern)
