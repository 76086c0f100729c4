"""Scanners for tests, opened as `safety.desk.open_desk` opens its own: the one seam by which pictures get flagged.

They lie in a module, so that `partial(open_desk, ..., scanners=everything)` finds its way into a spawned process.
"""

from __future__ import annotations

from collections.abc import Sequence

from backend.types import Pixels
from safety.desk import DeskConfig
from safety.inspect import Detector, Finding


class Scanner:
    """Gives every picture one score, or fails."""

    model_sha256 = "ab" * 32

    def __init__(self, name: str, score: float | None, threshold: float = 0.8) -> None:
        self.name, self.threshold = name, threshold
        self._score = score

    def look(self, pixels: Pixels) -> Finding:
        if self._score is None:
            raise RuntimeError("this scanner always fails")
        return Finding(self._score)


def nothing(config: DeskConfig) -> Sequence[Detector]:
    """Every picture is clean."""
    return (Scanner("never", 0.0),)


def everything(config: DeskConfig) -> Sequence[Detector]:
    """Every picture is flagged, and so is every preview."""
    return Scanner("never", 0.0), Scanner("always", 1.0)


def failing(config: DeskConfig) -> Sequence[Detector]:
    """One scanner of two always fails."""
    return Scanner("never", 0.0), Scanner("failing", None)


def none(config: DeskConfig) -> Sequence[Detector]:
    return ()
