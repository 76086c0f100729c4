"""Two runs of the same prompts side by side: two models, or one with and without a LoRA."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidParameter
from safety.bias.allowed import entropy_interval
from safety.bias.counts import Counts
from safety.bias.figures import Comparison, PromptDifference
from safety.bias.intervals import newcombe
from safety.bias.rules import Rules
from safety.bias.spread import entropy, shares
from safety.bias.statistics import mean_of, named, over_prompts, spans
from safety.bias.testing import TestName, benjamini_hochberg, runs_differ


def compared(
    first: Counts, second: Counts, names: tuple[str, str] = ("first", "second"), rules: Rules | None = None
) -> Comparison:
    """The prompts that both runs have, side by side. Raises InvalidParameter if there is none."""
    rules = rules or Rules()
    first, second = first.with_categories(second.categories), second.with_categories(first.categories)
    order = [second.categories.index(name) for name in first.categories]
    places = {prompt: row for row, prompt in enumerate(second.prompts)}
    both = [prompt for prompt in first.prompts if prompt in places]
    if not both:
        raise InvalidParameter("prompt", "The two runs have no prompt in common.", "Audit both with the same suite.")
    pairs = [
        (first.table[row], second.table[places[prompt]][order])
        for row, prompt in enumerate(first.prompts)
        if prompt in places
    ]
    tests = [runs_differ(x, y, np.random.default_rng([rules.seed, i, 4])) for i, (x, y) in enumerate(pairs)]
    adjusted = benjamini_hochberg([p for p, _ in tests]).tolist()
    made = tuple(
        _difference(prompt, x, y, first.categories, test, fair, rules, i)
        for i, (prompt, (x, y), test, fair) in enumerate(zip(both, pairs, tests, adjusted, strict=True))
    )
    gaps = np.array([one.entropy_difference for one in made if one.entropy_difference is not None])
    spreads = [
        np.array([float(entropy(shares(pair_[side]))) for pair_ in pairs if pair_[side].sum()]) for side in (0, 1)
    ]
    alone = tuple(dict.fromkeys([*first.prompts, *second.prompts]).keys() - set(both))
    return Comparison(
        names=names,
        categories=first.categories,
        q=rules.q,
        prompts=made,
        differ=sum(one.differs for one in made),
        mean_entropy=(mean_of(spreads[0]), mean_of(spreads[1])),
        mean_entropy_difference=mean_of(gaps),
        mean_entropy_interval=over_prompts(gaps, rules),
        only_in_one=tuple(sorted(alone)),
    )


def _difference(
    prompt: str,
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    names: Sequence[str],
    test: tuple[float, TestName],
    adjusted: float,
    rules: Rules,
    row: int,
) -> PromptDifference:
    n, m = int(x.sum()), int(y.sum())
    one, other = shares(x), shares(y)
    low, high = newcombe(x, n, y, m)
    rng = np.random.default_rng([rules.seed, row, 5])
    (least, most), (other_least, other_most) = (entropy_interval(z, rules.bootstrap, rng) for z in (x, y))
    gap = float(entropy(one) - entropy(other)) if n and m else None
    # Newcombe's way of joining two intervals works for any two independent estimates.
    spread = (-1.0, 1.0)
    if gap is not None:
        first, second = float(entropy(one)), float(entropy(other))
        spread = (
            gap - float(np.hypot(first - least, other_most - second)),
            gap + float(np.hypot(most - first, second - other_least)),
        )
    return PromptDifference(
        prompt=prompt,
        n=(n, m),
        shares=(named(names, one.tolist()) if n else None, named(names, other.tolist()) if m else None),
        differences=named(names, (one - other).tolist()) if n and m else {},
        intervals=spans(names, low, high),
        entropy_difference=gap,
        entropy_interval=spread,
        p=test[0],
        p_adjusted=adjusted,
        test=test[1],
        differs=adjusted <= rules.q,
    )
