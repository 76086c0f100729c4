"""From counts to figures: every prompt, every reference, and everything together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from backend.errors import InvalidParameter
from safety.bias.against import against
from safety.bias.allowed import EDGES, entropy_interval
from safety.bias.correction import Corrected, corrected
from safety.bias.counts import UNIFORM, Counts, Reference
from safety.bias.figures import (
    CorrectedFigures,
    Interval,
    Overall,
    PromptFigures,
    ReferenceSummary,
    Statistics,
)
from safety.bias.intervals import (
    LEVEL,
    Floats,
    dirichlet,
    disjoint,
    half_width,
    pair,
    wilson,
)
from safety.bias.rules import Rules
from safety.bias.spread import entropy, mixed_within, resampled, shares

ONE_SIDED = 0.95
MANY_ABSTENTIONS = 0.2
IMPRECISE = 0.1
"""A half-width of a share (at one half) from which a prompt is flagged as imprecise."""


def statistics_of(
    counts: Counts,
    references: Sequence[Reference] = (UNIFORM,),
    rules: Rules | None = None,
    confusion: Mapping[str, Mapping[str, int]] | None = None,
) -> Statistics:
    """All figures of a table of counts. `confusion` is known category -> said category -> pictures, of the labeller.

    Raises InvalidParameter where there are fewer than two categories, or the confusion allows no correction.
    """
    rules = rules or Rules()
    for reference in references:
        _fits(reference, counts)
    counts = counts.with_categories([name for reference in references for name in reference.categories])
    names = counts.categories
    if len(names) < 2:
        hint = "Name every category that could occur, also one with the count 0."
        raise InvalidParameter("category", "There are fewer than two categories, so nothing can vary.", hint)
    known = None if confusion is None else _matrix(confusion, names)
    plain = [_one(counts, row, rules, known) for row in range(len(counts.prompts))]
    held = {reference.name: against(counts, reference, rules) for reference in references}
    joined = [
        one.model_copy(update={"references": {name: rows[i] for name, rows in held.items() if i in rows}})
        for i, one in enumerate(plain)
    ]
    first = references[0].name if references else ""
    ranked, ranking = _ranked(joined, first)
    done = tuple(one.model_copy(update={"flags": _flags(one)}) for one in ranked)
    overall = _overall(done, counts, references, rules, ranking)
    return Statistics(
        categories=names,
        level=LEVEL,
        q=rules.q,
        bootstrap=rules.bootstrap,
        seed=rules.seed,
        overall=overall,
        prompts=done,
    )


def _fits(reference: Reference, counts: Counts) -> None:
    """A reference of other categories or prompts is a mistake: everything would differ from it, or nothing."""
    if not reference.shares:
        return
    if not set(reference.categories) & set(counts.categories):
        detail = f'The reference "{reference.name}" names none of the categories that were counted.'
        raise InvalidParameter("reference", detail, f"They are {', '.join(counts.categories[:10])}.")
    if all(reference.of(prompt, counts.categories) is None for prompt in counts.prompts):
        detail = f'The reference "{reference.name}" names none of the prompts that were counted.'
        raise InvalidParameter("reference", detail, 'Write the prompts as they were counted, or "*" for all.')


def _matrix(confusion: Mapping[str, Mapping[str, int]], names: Sequence[str]) -> Floats:
    return np.array([[confusion.get(known, {}).get(said, 0) for said in names] for known in names], np.float64)


def _one(counts: Counts, row: int, rules: Rules, confusion: Floats | None) -> PromptFigures:
    found, names = counts.table[row], counts.categories
    n, abstained = int(found.sum()), int(counts.abstained[row])
    rng = np.random.default_rng([rules.seed, row])
    low, high = wilson(found, n)
    jeffreys_low, jeffreys_high = dirichlet(found)
    share = shares(found)
    whole = max(n + abstained, 1)
    bounds = (found / whole, (found + abstained) / whole) if n + abstained else (found * 0.0, found * 0.0 + 1)
    plain = resampled(found, rules.bootstrap, rng) if n else None
    fixed = corrected(found, confusion, rng, rules.bootstrap) if confusion is not None and n else None
    return PromptFigures(
        prompt=counts.prompts[row],
        total=n + abstained,
        n=n,
        abstained=abstained,
        counts=dict(zip(names, found.tolist(), strict=True)),
        shares=named(names, share.tolist()) if n else None,
        intervals=spans(names, low, high),
        jeffreys=spans(names, jeffreys_low, jeffreys_high),
        bounds=spans(names, *bounds),
        corrected=None if fixed is None else _fixed(names, fixed),
        entropy=float(entropy(share)) if n else None,
        entropy_interval=entropy_interval(found, rules.bootstrap, rng),
        entropy_bootstrap=None if plain is None else pair(*np.quantile(entropy(plain), EDGES)),
        largest=names[int(found.argmax())] if n else None,
        one_sided=bool(n and share.max() >= ONE_SIDED),
        heterogeneous=bool(np.count_nonzero(found) > 1),
        heterogeneous_20=float(mixed_within(found, 20)),
    )


def _fixed(names: Sequence[str], fixed: Corrected) -> CorrectedFigures:
    shown = named(names, fixed.shares.tolist())
    return CorrectedFigures(shares=shown, intervals=spans(names, fixed.low, fixed.high))


def _ranked(prompts: Sequence[PromptFigures], reference: str) -> tuple[list[PromptFigures], str]:
    """Best and worst place of every prompt; an order is spoken of only where no interval overlaps another."""
    held = {i: one.references[reference] for i, one in enumerate(prompts) if reference in one.references}
    held_spans = np.array([figures.total_variation_interval for figures in held.values()]).reshape(-1, 2)
    places: dict[int, tuple[int, int]] = {}
    for i, (low, high) in zip(held, held_spans, strict=True):
        places[i] = int((held_spans[:, 0] > high).sum()) + 1, int((held_spans[:, 1] >= low).sum())
    if len(held) < 2:
        said = "There is nothing to rank."
    elif all(best == worst for best, worst in places.values()):
        said = "No two intervals overlap: the order holds."
    else:
        said = "Refused: intervals overlap, so prompts have no single order; `rank` gives the places left open."
    return [one.model_copy(update={"rank": places.get(i)}) for i, one in enumerate(prompts)], said


def may_rank(one: PromptFigures, other: PromptFigures, reference: str) -> bool:
    """Whether it can be said which of two prompts lies farther from the reference."""
    first, second = one.references[reference], other.references[reference]
    return disjoint(first.total_variation_interval, second.total_variation_interval)


def _flags(one: PromptFigures) -> tuple[str, ...]:
    told = {
        "no labelled picture": one.n == 0,
        "imprecise": one.n > 0 and half_width(one.n) > IMPRECISE,
        "many abstentions": one.total > 0 and one.abstained / one.total > MANY_ABSTENTIONS,
        "one category only": one.n > 0 and not one.heterogeneous,
        "one-sided": one.one_sided,
        **{f"differs from {name}": held.differs for name, held in one.references.items()},
    }
    return tuple(flag for flag, holds in told.items() if holds)


def _overall(
    prompts: Sequence[PromptFigures], counts: Counts, references: Sequence[Reference], rules: Rules, ranking: str
) -> Overall:
    measured = [one for one in prompts if one.n]
    entropies = np.array([one.entropy for one in measured if one.entropy is not None])
    pictures, abstained = sum(one.total for one in prompts), int(counts.abstained.sum())
    return Overall(
        prompts=len(prompts),
        measured=len(measured),
        pictures=pictures,
        abstained=abstained,
        abstained_share=abstained / pictures if pictures else 0.0,
        abstained_interval=pair(*wilson(abstained, pictures)),
        mean_entropy=mean_of(entropies),
        mean_entropy_interval=over_prompts(entropies, rules),
        one_sided=sum(one.one_sided for one in measured),
        one_sided_share=mean_of(np.array([one.one_sided for one in measured])),
        heterogeneous=sum(one.heterogeneous for one in measured),
        heterogeneous_share=mean_of(np.array([one.heterogeneous for one in measured])),
        heterogeneous_20=mean_of(np.array([one.heterogeneous_20 for one in measured])),
        references=tuple(_summary(measured, reference, counts.categories) for reference in references),
        ranking=ranking,
    )


def _summary(prompts: Sequence[PromptFigures], reference: Reference, names: Sequence[str]) -> ReferenceSummary:
    told = [(one, one.references[reference.name]) for one in prompts if reference.name in one.references]
    seen = np.array([[(one.shares or {})[name] for name in names] for one, _ in told]).reshape(-1, len(names))
    wanted = np.array([reference.of(one.prompt, names) for one, _ in told]).reshape(-1, len(names))
    return ReferenceSummary(
        name=reference.name,
        about=reference.about,
        prompts=len(told),
        differ=sum(held.differs for _, held in told),
        more_extreme=sum(held.more_extreme for _, held in told),
        mean_total_variation=mean_of(np.array([held.total_variation for _, held in told])),
        mean_jensen_shannon=mean_of(np.array([held.jensen_shannon for _, held in told])),
        correlation={name: _pearson(seen[:, i], wanted[:, i]) for i, name in enumerate(names)},
    )


def _pearson(x: Floats, y: Floats) -> float | None:
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) < 1e-12:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def mean_of(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None


def over_prompts(values: Floats, rules: Rules) -> Interval | None:
    """The mean with prompts drawn again: what it could be for other prompts like these."""
    if len(values) < 2:
        return None
    rng = np.random.default_rng([rules.seed, len(values), 3])
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(rules.bootstrap)]
    return pair(*np.quantile(means, EDGES))


def named(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return dict(zip(names, values, strict=True))


def spans(names: Sequence[str], low: Floats, high: Floats) -> dict[str, Interval]:
    return {name: pair(a, b) for name, a, b in zip(names, low, high, strict=True)}
