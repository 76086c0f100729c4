"""The trust table: what the filter, the marks, the credentials and the audits really do, measured in one run.

Every module here has `section(options)`, which gives one `Section` or several; `python3 launch.py audit table` prints
them one after the other and fails if one of their gates does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safety.bias import intervals


@dataclass(frozen=True, slots=True)
class Options:
    """`prompts` is the folder with the text data (see training/filter), None where there is none; `quick` asks for the
    smallest sample that still means something, for tests."""

    prompts: Path | None = None
    quick: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Section:
    """One table. `held` is None where nothing was promised or nothing could be measured; `limits` say what the figures
    do not show; `data` holds the same as plain JSON values."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    limits: tuple[str, ...]
    held: bool | None
    data: object = None

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", _row(self.columns), _row(["---"] * len(self.columns))]
        lines += [_row(row) for row in self.rows] or ["", "Nothing was measured."]
        return "\n".join([*lines, "", *self.limits, ""])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def wilson(hits: int, tries: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share. (0, 1) without a try."""
    low, high = intervals.wilson(hits, tries)
    return float(low), float(high)


def share(hits: int, tries: int) -> str:
    """ "97.5 % [95.1-98.8], n = 200"."""
    low, high = wilson(hits, tries)
    return f"{100 * hits / tries:.1f} % [{100 * low:.1f}-{100 * high:.1f}], n = {tries}" if tries else "not measured"
