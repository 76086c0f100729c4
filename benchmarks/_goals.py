"""One line for each goal: what was measured, what would be good enough, and whether it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks._pairs import Ratio


@dataclass(frozen=True, slots=True)
class Verdict:
    """`goal` is the goal's name (C1 ...), `holds` is None for what is only stated or was not measured at all."""

    goal: str
    what: str
    wanted: str
    figure: str
    holds: bool | None = None
    note: str = ""

    @property
    def word(self) -> str:
        if self.holds is None:
            return "stated" if self.figure else "not measured"
        return "holds" if self.holds else "does not hold"

    @property
    def missed(self) -> bool:
        return self.holds is False

    def line(self) -> str:
        note = f"  ({self.note})" if self.note else ""
        return f"{self.goal:<4} {self.what:<62} {self.wanted:<12} {self.figure:<34} {self.word}{note}"

    def as_json(self) -> Mapping[str, Any]:
        return asdict(self)


def at_most(goal: str, what: str, ratio: Ratio, limit: float, note: str = "") -> Verdict:
    """Our time over theirs is to be `limit` or less."""
    return Verdict(goal, what, f"<= {limit:g}", _figure(ratio), ratio.ratio <= limit, note or _times(ratio))


def at_least(goal: str, what: str, ratio: Ratio, limit: float, note: str = "") -> Verdict:
    """They are to take `limit` times as long as we do, or longer."""
    turned = ratio.turned
    return Verdict(goal, what, f">= {limit:g} x", _figure(turned, " x"), turned.ratio >= limit, note or _times(ratio))


def stated(goal: str, what: str, ratio: Ratio, note: str = "") -> Verdict:
    """Our time over theirs, without a goal."""
    return Verdict(goal, what, "-", _figure(ratio), None, note or _times(ratio))


def not_measured(goal: str, what: str, why: str) -> Verdict:
    return Verdict(goal, what, "-", "", None, why)


def _figure(ratio: Ratio, unit: str = "") -> str:
    return f"{_short(ratio.ratio)}{unit} [{_short(ratio.least)} .. {_short(ratio.most)}]"


def _short(value: float) -> str:
    return f"{value:.3f}" if 0.01 <= value < 10 else f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _times(ratio: Ratio) -> str:
    return f"{_seconds(ratio.ours)} against {_seconds(ratio.theirs)}"


def _seconds(value: float) -> str:
    factor, unit = next(one for one in _UNITS if value * one[0] >= 1 or one is _UNITS[-1])
    return f"{value * factor:.3g} {unit}"


_UNITS = ((1.0, "s"), (1e3, "ms"), (1e6, "us"))
