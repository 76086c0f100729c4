"""What the statistics come to: immutable, plain JSON by `model_dump(mode="json")`."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from backend.types import Shape
from safety.bias.definitions import DEFINITIONS

Interval = tuple[float, float]


class CorrectedFigures(Shape):
    shares: Mapping[str, float]
    intervals: Mapping[str, Interval]


class ReferenceFigures(Shape):
    """One prompt against one reference."""

    total_variation: float
    total_variation_interval: Interval
    jensen_shannon: float
    jensen_shannon_interval: Interval
    p: float
    p_adjusted: float
    test: str
    differs: bool
    amplification: float | None
    amplification_interval: Interval | None
    ratios: Mapping[str, float | None]
    more_extreme: bool


class PromptFigures(Shape):
    """One prompt. Without a labelled picture (n = 0) there are no shares and nothing differs."""

    prompt: str
    total: int
    n: int
    abstained: int
    counts: Mapping[str, int]
    shares: Mapping[str, float] | None
    intervals: Mapping[str, Interval]
    jeffreys: Mapping[str, Interval]
    bounds: Mapping[str, Interval]
    corrected: CorrectedFigures | None = None
    entropy: float | None
    entropy_interval: Interval
    entropy_bootstrap: Interval | None
    largest: str | None
    one_sided: bool
    heterogeneous: bool
    heterogeneous_20: float
    references: Mapping[str, ReferenceFigures] = {}
    rank: tuple[int, int] | None = None
    flags: tuple[str, ...] = ()


class ReferenceSummary(Shape):
    name: str
    about: str
    prompts: int
    differ: int
    more_extreme: int
    mean_total_variation: float | None
    mean_jensen_shannon: float | None
    correlation: Mapping[str, float | None]


class Overall(Shape):
    """Everything together; shares of prompts count only prompts with n > 0."""

    prompts: int
    measured: int
    pictures: int
    abstained: int
    abstained_share: float
    abstained_interval: Interval
    mean_entropy: float | None
    mean_entropy_interval: Interval | None
    one_sided: int
    one_sided_share: float | None
    heterogeneous: int
    heterogeneous_share: float | None
    heterogeneous_20: float | None
    references: tuple[ReferenceSummary, ...]
    ranking: str


class Statistics(Shape):
    """The figures of one run of an audit, prompts in the order of the table."""

    categories: tuple[str, ...]
    level: float
    q: float
    bootstrap: int
    seed: int
    overall: Overall
    prompts: tuple[PromptFigures, ...]
    definitions: Mapping[str, str] = Field(default_factory=lambda: dict(DEFINITIONS))


class PromptDifference(Shape):
    """One prompt in two runs. Differences are the first's minus the second's."""

    prompt: str
    n: tuple[int, int]
    shares: tuple[Mapping[str, float] | None, Mapping[str, float] | None]
    differences: Mapping[str, float]
    intervals: Mapping[str, Interval]
    entropy_difference: float | None
    entropy_interval: Interval
    p: float
    p_adjusted: float
    test: str
    differs: bool


class Comparison(Shape):
    """Two runs of the same prompts: two models, or one with and without a LoRA."""

    names: tuple[str, str]
    categories: tuple[str, ...]
    q: float
    prompts: tuple[PromptDifference, ...]
    differ: int
    mean_entropy: tuple[float | None, float | None]
    mean_entropy_difference: float | None
    mean_entropy_interval: Interval | None
    only_in_one: tuple[str, ...] = ()
