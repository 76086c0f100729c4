"""Intervals as inline SVG: a line from 0 to 1, the interval, the estimate, and a tick for each reference."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from safety.bias.figures import Interval

_WIDTH, _HEIGHT, _PAD = 220, 18, 6


def interval_line(
    estimate: float | None,
    interval: Interval,
    ticks: Sequence[tuple[str, float]] = (),
    *,
    low: float = 0.0,
    high: float = 1.0,
) -> str:
    """An SVG element with its figures as text for those who do not see it. `ticks` are (name, value)."""

    def at(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return round(_PAD + share * (_WIDTH - 2 * _PAD), 1)

    middle = _HEIGHT / 2
    said = f"{interval[0]:.3f} to {interval[1]:.3f}"
    said = said if estimate is None else f"{estimate:.3f}, interval {said}"
    said += "".join(f"; {name} {value:.3f}" for name, value in ticks)
    parts = [
        f'<line class="axis" x1="{at(low)}" x2="{at(high)}" y1="{middle}" y2="{middle}"/>',
        *(
            f'<line class="tick" x1="{at(value)}" x2="{at(value)}" y1="2" y2="{_HEIGHT - 2}">'
            f"<title>{escape(name)} {value:.3f}</title></line>"
            for name, value in ticks
        ),
        f'<line class="span" x1="{at(interval[0])}" x2="{at(interval[1])}" y1="{middle}" y2="{middle}"/>',
    ]
    if estimate is not None:
        parts.append(f'<circle class="dot" cx="{at(estimate)}" cy="{middle}" r="3.5"/>')
    label = escape(said, quote=True)
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'<svg role="img" aria-label="{label}" {size}><title>{escape(said)}</title>{"".join(parts)}</svg>'
