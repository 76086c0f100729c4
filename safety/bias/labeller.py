"""A measure with its own errors: how often it abstains and what it confuses, counted on pictures that are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from backend.errors import InvalidParameter
from backend.types import Pixels, Shape
from safety.bias.figures import Interval
from safety.bias.intervals import pair, wilson
from safety.bias.measures import Measure


class Labeller(Shape):
    """`confusion` is known category -> said category -> pictures, abstentions apart in `abstained`. Without a measured
    set `measured` is 0: then nothing is corrected, and the report says that the error is not known."""

    name: str
    about: str
    categories: tuple[str, ...]
    personal: bool = False
    measured: int = 0
    source: str = ""
    confusion: Mapping[str, Mapping[str, int]] = {}
    abstained: Mapping[str, int] = {}

    @property
    def right(self) -> tuple[int, int]:
        """(right, spoken of)."""
        spoken = sum(sum(row.values()) for row in self.confusion.values())
        return sum(self.confusion.get(name, {}).get(name, 0) for name in self.categories), spoken

    @property
    def right_interval(self) -> Interval:
        return pair(*wilson(*self.right))


def unmeasured(measure: Measure) -> Labeller:
    return Labeller(name=measure.name, about=measure.about, categories=measure.categories, personal=measure.personal)


def measured(measure: Measure, labelled: Iterable[tuple[str, Pixels]], source: str) -> Labeller:
    """The labeller with its confusion on (known category, pixels) pairs; `source` says what they are.

    Raises InvalidParameter for a category that the measure does not know, or without a picture.
    """
    confusion: dict[str, dict[str, int]] = {name: dict.fromkeys(measure.categories, 0) for name in measure.categories}
    abstained = dict.fromkeys(measure.categories, 0)
    total = 0
    for known, pixels in labelled:
        if known not in confusion:
            hint = f"Its categories: {', '.join(measure.categories)}."
            raise InvalidParameter("labelled", f'The measure {measure.name} knows no "{known[:40]}".', hint)
        said = measure.look(pixels)
        total += 1
        if said is None:
            abstained[known] += 1
        else:
            confusion[known][said] += 1
    if not total:
        raise InvalidParameter("labelled", "There is no labelled picture.", "One folder for each category.")
    return unmeasured(measure).model_copy(
        update={"measured": total, "source": source, "confusion": confusion, "abstained": abstained}
    )
