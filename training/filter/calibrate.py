"""From logits to probabilities and thresholds, on groups that were not trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from safety.policy import NEVER
from training.filter.learning import targets
from training.filter.sources import HEADS, Example

FALSE_POSITIVES = 0.08
"""Share of our harmless look-alikes that the harmful categories may flag together: their common threshold follows."""
_RARELY = {"public-figure": 0.01}
"""Categories that mostly are only noted have a threshold each, at this share of our look-alikes."""
_REFUSED = 0.5
"""The least threshold of what is refused under every policy."""
_PRIOR = 0.02  # pull of slope towards 1 and shift towards 0


def platt(logits: NDArray[np.float32], examples: Sequence[Example]) -> tuple[list[float], list[float]]:
    """Slope and shift of every head (Platt 1999), by weighted cross-entropy; heads without both answers stay."""
    labels, counts = targets(examples)
    slopes, shifts = [], []
    for column in range(len(HEADS)):
        use = counts[:, column] > 0
        z, y, w = logits[use, column], labels[use, column], counts[use, column]
        if not 5 <= (y > 0.5).sum() < len(y):
            slopes.append(1.0)
            shifts.append(0.0)
            continue

        def loss(at: NDArray[np.float64], z=z, y=y, w=w) -> float:  # type: ignore[no-untyped-def]
            value = at[0] * z + at[1]
            each = np.logaddexp(0, value) - y * value
            return float((w * each).sum() / w.sum() + _PRIOR * ((at[0] - 1) ** 2 + at[1] ** 2) / len(z) * 100)

        slope, shift = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
        slopes.append(float(slope))
        shifts.append(float(shift))
    return slopes, shifts


def thresholds(harmless: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One per category, from the scores of look-alikes. The harmful ones share theirs: a quantile of its own for each
    would rest on a handful of our sentences."""
    harmful = [name for name in harmless[0] if name not in _RARELY and name not in NEVER]
    most = [max(scores[name] for name in harmful) for scores in harmless]
    common = float(np.quantile(most, 1 - FALSE_POSITIVES))
    found = dict.fromkeys(harmful, common) | {str(name): max(common, _REFUSED) for name in NEVER}
    for name, share in _RARELY.items():
        found[name] = float(np.quantile([scores[name] for scores in harmless], 1 - share))
    return {name: min(0.95, max(0.1, cut)) for name, cut in found.items()}


def screen(rows: Sequence[Sequence[int]], examples: Sequence[Example], pieces: int) -> NDArray[np.float32]:
    """(pieces, 1): log odds of "harmful" for a text that has the piece, shrunk where it is rare."""
    seen = (Counter[int](), Counter[int]())
    totals = [0, 0]
    for row, example in zip(rows, examples, strict=True):
        if "any" not in example.unknown:
            harmful = int(example.labels.get("any", 0.0) > 0.5)
            seen[harmful].update(set(row))
            totals[harmful] += 1
    found = np.zeros((pieces, 1), np.float32)
    for piece in range(pieces):
        bad, good = seen[1][piece], seen[0][piece]
        odds = np.log((bad + 0.5) / (totals[1] + 1)) - np.log((good + 0.5) / (totals[0] + 1))
        found[piece, 0] = odds * (bad + good) / (bad + good + 5)
    return found.clip(0, None)
