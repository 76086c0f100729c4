"""Nearest vectors by brute force: a table of int8 rows, and pages through an order by cosine.

Products of int8 rows are whole numbers that float32 holds exactly (256 * 127 * 127 < 2 ** 24), so the order is the same
on every machine and however the rows are parted, and a page goes on where the one before ended.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidParameter

Floats = NDArray[np.float32]
WIDTH = 256
UNITS = 10**9
"""A cosine of 1. Whole numbers are compared and written into cursors without a doubt."""
_ROWS = 1024
"""Rows that are turned to float32 at a time: they stay in the processor's cache, and are too few for BLAS to wake
threads, whose waiting costs a hundred times the work on a busy machine."""
_MARK = "m1:"


def quantised(vector: Floats) -> NDArray[np.int8]:
    """A direction as int8 (256,): its largest number becomes 127. Only the direction counts."""
    largest = float(np.abs(vector).max(initial=0.0)) or 1.0
    return np.asarray(np.rint(vector * (127 / largest)), dtype=np.int8)


@dataclass(frozen=True, slots=True)
class Table:
    """`keys` (N,) rising, `rows` (N, 256) int8, `lengths` (N,) of the rows, infinite for rows of zeros."""

    keys: NDArray[np.int64]
    rows: NDArray[np.int8]
    lengths: Floats

    @classmethod
    def empty(cls) -> Table:
        return cls.of(())

    @classmethod
    def of(cls, vectors: Iterable[tuple[int, bytes]]) -> Table:
        """From (key, vector), keys rising. Vectors of another length count as zeros."""
        found = [(key, vector if len(vector) == WIDTH else bytes(WIDTH)) for key, vector in vectors]
        keys = np.array([key for key, _ in found], dtype=np.int64)
        rows = np.frombuffer(b"".join(vector for _, vector in found), dtype=np.int8).reshape(-1, WIDTH)
        squares = np.einsum("nd,nd->n", rows, rows, dtype=np.int64)
        return cls(keys, rows, np.where(squares == 0, np.inf, np.sqrt(squares)).astype(np.float32))

    def joined(self, other: Table) -> Table:
        keys = np.concatenate([self.keys, other.keys])
        order = np.argsort(keys, kind="stable")
        lengths = np.concatenate([self.lengths, other.lengths])
        return Table(keys[order], np.concatenate([self.rows, other.rows])[order], lengths[order])

    def ranked(
        self, asked: NDArray[np.int8], keys: Sequence[int], most: int, below: tuple[int, int] | None = None
    ) -> list[tuple[int, int]]:
        """(cosine in billionths, key) of the rows with `keys`: at most `most` that come after `below`, nearest first,
        newest first among equals."""
        wanted = np.array(keys, dtype=np.int64)
        places = np.minimum(np.searchsorted(self.keys, wanted), max(len(self.keys) - 1, 0))
        places = places[self.keys[places] == wanted] if len(self.keys) else places[:0]
        found, units = self.keys[places], self._cosines(asked, places)
        after = units > 0  # the rest has nothing in common with what was asked
        if below is not None:
            after &= (units < below[0]) | ((units == below[0]) & (found < below[1]))
        found, units = found[after], units[after]
        if 0 < most < len(units):
            near = units >= np.partition(units, len(units) - most)[len(units) - most]
            found, units = found[near], units[near]
        order = np.lexsort((-found, -units))[:most]
        return [(int(units[place]), int(found[place])) for place in order]

    def _cosines(self, asked: NDArray[np.int8], places: NDArray[np.intp]) -> NDArray[np.int64]:
        """(N,) in billionths."""
        question = asked.astype(np.float32)
        dots = np.empty(len(places), dtype=np.float32)
        for start in range(0, len(places), _ROWS):
            part = slice(start, start + _ROWS)
            dots[part] = self.rows[places[part]].astype(np.float32) @ question
        length = max(float(np.linalg.norm(question)), 1e-9)
        return np.rint(dots.astype(np.float64) / self.lengths[places] * (UNITS / length)).astype(np.int64)


def cursor_of(units: int, key: int) -> str:
    """The place after which the next page starts. Opaque to everybody else."""
    return base64.urlsafe_b64encode(f"{_MARK}{units}:{key}".encode()).decode().rstrip("=")


def place_of(cursor: str) -> tuple[int, int]:
    """What `cursor_of` wrote. Raises InvalidParameter("before") for anything else."""
    try:
        text = base64.urlsafe_b64decode((cursor + "=" * (-len(cursor) % 4)).encode("ascii")).decode("ascii")
        units, key = (int(part) for part in text.removeprefix(_MARK).split(":"))
    except (ValueError, binascii.Error):
        units, key = 0, -1
    if key < 0 or abs(units) > 2 * UNITS or key >= 2**63 or cursor_of(units, key) != cursor:
        raise InvalidParameter("before", "This is not a cursor of this search.", "Start again from the first page.")
    return units, key
