"""What a preprocessor is: a filter with a name, up to two sliders, and a word on what it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InvalidParameter
from backend.preprocessors.sizing import working_copy
from backend.types import Pixels

MIN_RESOLUTION, MAX_RESOLUTION = 64, 2048


@dataclass(frozen=True, slots=True)
class Slider:
    """A number a user may turn. `step` is a hint for the page; any number in between is taken."""

    label: str
    lowest: float
    highest: float
    default: float
    step: float = 1.0

    def checked(self, value: float | None, field: str) -> float:
        """`value`, or the default for None and for A1111's -1. Raises InvalidParameter outside the range."""
        if value is None or value == -1:
            return self.default
        if not self.lowest <= value <= self.highest:  # NaN fails too
            detail = f'"{self.label}" takes numbers from {self.lowest:g} to {self.highest:g}, not {value:g}.'
            raise InvalidParameter(field, detail)
        return float(value)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a filter is told: both sliders (0 where there is none) and the folder of weights, if there is one."""

    low: float = 0.0
    high: float = 0.0
    weights: Path | None = None


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """A picture to a hint for a ControlNet.

    `needs` names the file of weights it looks for ("" for none), `own_size` says that it takes pictures as they are.
    `aliases` are its names in A1111's ControlNet extension 1.1.
    """

    name: str
    label: str
    about: str
    filter: Callable[[Pixels, Setting], Pixels]
    low: Slider | None = None
    high: Slider | None = None
    needs: str = ""
    aliases: tuple[str, ...] = ()
    own_size: bool = False

    def run(
        self,
        pixels: Pixels,
        *,
        resolution: int,
        low: float | None = None,
        high: float | None = None,
        weights: Path | None = None,
    ) -> Pixels:
        """The hint at working size: uint8 (H, W, 3), its shorter side `resolution` pixels (unless `own_size`).

        `weights` is the folder of weight files. Raises InvalidParameter for numbers out of range, Unavailable if the
        file in `needs` is not there.
        """
        if not MIN_RESOLUTION <= resolution <= MAX_RESOLUTION:
            detail = f"The working size of a preprocessor is {MIN_RESOLUTION} to {MAX_RESOLUTION} pixels."
            raise InvalidParameter("resolution", detail)
        first = self.low.checked(low, "low") if self.low else 0.0
        second = self.high.checked(high, "high") if self.high else 0.0
        picture = pixels if self.own_size else working_copy(pixels, resolution)
        return self.filter(picture, Setting(first, second, weights))
