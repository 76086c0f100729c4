"""Counts the character runs of the language model, and fits what turns surprise into a score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from safety.prompt_filter.fluency import ORDER, STEP, Table, features, keys, readable, together

_DISCOUNT = 0.4


def table(texts: Iterable[str], size: int = 1 << 20, least: int = 2) -> Table:
    """Costs of all runs of one to five characters; those of four and five only if seen `least` times.

    Where two runs want one place the more frequent has it.
    """
    counts = [Counter[str]() for _ in range(ORDER + 1)]
    for text in texts:
        seen = readable(text)
        for order in range(1, ORDER + 1):
            counts[order].update(seen[start : start + order] for start in range(len(seen) - order + 1))
    counts[0][""] = counts[1].total()
    check, cost = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    ranked: list[tuple[int, str, float]] = []
    for order in range(1, ORDER + 1):
        before = Counter[str]()
        for run, count in counts[order].items():
            before[run[:-1]] += count
        for run, count in counts[order].items():
            if order < 4 or count >= least:
                ranked.append((count, run, -np.log((count - _DISCOUNT) / before[run[:-1]])))
    for _, run, nats in sorted(ranked, key=lambda entry: (entry[0], entry[1])):
        key = int(keys(run, len(run))[0])
        place = key % size
        check[place], cost[place] = key >> 56, np.clip(round(nats / STEP), 1, 255)
    return Table(check, cost)


def weights(found: Table, people: Sequence[str], machines: Sequence[str]) -> NDArray[np.float32]:
    """Of a logistic regression of machine-made strings against prompts of people, on standardised features."""
    pairs = [
        (seen, answer)
        for answer, texts in enumerate((people, machines))
        for text in texts
        if (seen := features(found, text)) is not None
    ]
    values = np.array([seen for seen, _ in pairs], np.float64)
    answers = np.array([answer for _, answer in pairs], np.float64)
    middle, spread = values.mean(0), values.std(0) + 1e-9
    middle[-1], spread[-1] = 0.0, 1.0
    scaled = (values - middle) / spread
    balance = np.where(answers == 1, 0.5 / answers.mean(), 0.5 / (1 - answers.mean()))

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = scaled @ w
        p = 1 / (1 + np.exp(-z))
        value = float((balance * np.logaddexp(0, np.where(answers == 1, -z, z))).mean() + 1e-3 * (w[:-1] ** 2).sum())
        slope = scaled.T @ (balance * (p - answers)) / len(answers)
        slope[:-1] += 2e-3 * w[:-1]
        return value, slope

    best = minimize(loss, np.zeros(values.shape[1]), jac=True, method="L-BFGS-B").x
    result = best / spread
    result[-1] = best[-1] - (best[:-1] * middle[:-1] / spread[:-1]).sum()
    found_weights: NDArray[np.float32] = result.astype(np.float32)
    return found_weights


NO_SHARES = {
    "fluency_scale": np.array([0, 1, 0, 1], np.float32),
    "fluency_quantiles": np.array([[0, 1], [1, 0.5]], np.float32),
}
"""Stands in until the scores of people's prompts are known."""


def shares(people: Sequence[tuple[float, float]], count: int = 400) -> dict[str, NDArray[np.float32]]:
    """From surprise and doubt of people's prompts: their scale, and (2, count) sums, rising, with the share of prompts
    at or above each, closer at the odd end."""
    if not people:
        return NO_SHARES
    pairs = np.array(people, np.float64)
    middle, spread = pairs.mean(0), pairs.std(0) + 1e-6
    scale = np.array([middle[0], spread[0], middle[1], spread[1]], np.float32)
    scores = [together(pair, scale.tolist()) for pair in people]
    tails = np.geomspace(1.0, 0.5 / max(len(scores), 2), count)
    values = np.stack([np.quantile(scores, 1 - tails), tails]).astype(np.float32)
    return {"fluency_scale": scale, "fluency_quantiles": values}
