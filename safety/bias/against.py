"""Every prompt of a table against one reference."""

from __future__ import annotations

import numpy as np

from safety.bias.allowed import distance_interval
from safety.bias.counts import Counts, Reference
from safety.bias.figures import Interval, ReferenceFigures
from safety.bias.intervals import Floats, pair, wilson
from safety.bias.rules import Rules
from safety.bias.spread import jensen_shannon, shares, total_variation
from safety.bias.testing import TestName, benjamini_hochberg, differs_from


def against(counts: Counts, reference: Reference, rules: Rules) -> dict[int, ReferenceFigures]:
    """By row of the table, where the reference says something and there are pictures."""
    names, even = counts.categories, np.full(len(counts.categories), 1 / len(counts.categories))
    rows: dict[int, tuple[Floats, float, TestName]] = {}
    for row, prompt in enumerate(counts.prompts):
        to = reference.of(prompt, names)
        if to is not None and counts.table[row].sum():
            p, test = differs_from(counts.table[row], to, np.random.default_rng([rules.seed, row, 2]))
            rows[row] = to, p, test
    adjusted = benjamini_hochberg([p for _, p, _ in rows.values()])
    made: dict[int, ReferenceFigures] = {}
    for (row, (to, p, test)), fair in zip(rows.items(), adjusted.tolist(), strict=True):
        found = counts.table[row]
        share = shares(found)
        amplified, between = _amplification(found, to)
        made[row] = ReferenceFigures(
            total_variation=float(total_variation(share, to)),
            total_variation_interval=distance_interval(total_variation, found, to, p, rules, row),
            jensen_shannon=float(jensen_shannon(share, to)),
            jensen_shannon_interval=distance_interval(jensen_shannon, found, to, p, rules, row),
            p=p,
            p_adjusted=fair,
            test=test,
            differs=fair <= rules.q,
            amplification=amplified,
            amplification_interval=between,
            ratios={name: float(s / r) if r > 0 else None for name, s, r in zip(names, share, to, strict=True)},
            more_extreme=bool(total_variation(share, even) > total_variation(to, even) + 1e-12),
        )
    return made


def _amplification(found: Floats, to: Floats) -> tuple[float | None, Interval | None]:
    top = int(to.argmax())
    if np.count_nonzero(to >= to[top] - 1e-9) > 1:
        return None, None
    low, high = wilson(found[top], found.sum())
    return float(found[top] / found.sum() / to[top]), pair(low / to[top], high / to[top])
