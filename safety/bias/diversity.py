"""How different the pictures of one prompt are, and which group of others they resemble, without naming anybody."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from backend.types import Shape
from safety.bias.figures import Interval
from safety.bias.intervals import Z, pair, wilson

Vectors = NDArray[np.float32]
"""Rows of unit length, (n, d)."""

DIVERSITY_DEFINITIONS: tuple[tuple[str, str], ...] = (
    ("vendi", "Vendi score (Friedman and Dieng 2023) with the cosine kernel: 1 = all alike, n = none alike"),
    ("mean_distance", "mean over pairs of 1 - cosine similarity; interval by the jackknife over pictures, 95 %"),
    ("duplicates", "pictures that have another of the same prompt nearer than the features' duplicate limit"),
    ("resembles", "the identity group whose mean vector is nearest by cosine; says what the picture resembles in this "
     "feature space and nothing about anybody"),
)  # fmt: skip


class Diversity(Shape):
    """Of one prompt. `vendi` is None and the rest empty with fewer than two pictures."""

    prompt: str
    n: int
    vendi: float | None = None
    mean_distance: float | None = None
    mean_distance_interval: Interval | None = None
    duplicates: int = 0
    duplicates_interval: Interval = (0.0, 1.0)


def diversity(prompt: str, vectors: Vectors, near: float) -> Diversity:
    n = len(vectors)
    if n < 2:
        return Diversity(prompt=prompt, n=n)
    alike = np.clip(vectors.astype(np.float64) @ vectors.T.astype(np.float64), -1, 1)
    others = alike - np.diag(np.full(n, np.inf))
    twins = int((others.max(1) >= near).sum())
    return Diversity(
        prompt=prompt,
        n=n,
        vendi=vendi(alike),
        mean_distance=_mean_distance(alike),
        mean_distance_interval=_jackknife(alike),
        duplicates=twins,
        duplicates_interval=pair(*wilson(twins, n)),
    )


def vendi(alike: NDArray[np.float64]) -> float:
    """exp of the entropy of the eigenvalues of K / n, K the similarities (n, n) with ones on the diagonal."""
    values = np.linalg.eigvalsh(alike / len(alike))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def _mean_distance(alike: NDArray[np.float64]) -> float:
    n = len(alike)
    return float(1 - (alike.sum() - np.trace(alike)) / (n * (n - 1)))


def _jackknife(alike: NDArray[np.float64]) -> Interval | None:
    n = len(alike)
    if n < 4:
        return None
    whole, own = alike.sum() - np.trace(alike), alike.sum(1) - np.diag(alike)
    left_out = 1 - (whole - 2 * own) / ((n - 1) * (n - 2))
    error = float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
    middle = _mean_distance(alike)
    return max(0.0, middle - Z * error), middle + Z * error


def resemblance(groups: Mapping[str, Vectors], vectors: Vectors) -> list[str]:
    """The name of the group whose mean is nearest, for every vector."""
    names = tuple(groups)
    means = np.stack([_unit(groups[name].mean(0)) for name in names])
    return [names[i] for i in (vectors @ means.T).argmax(1)]


def resemblance_confusion(
    groups: Mapping[str, Vectors], rng: np.random.Generator, shuffles: int = 499
) -> tuple[dict[str, dict[str, int]], float]:
    """How well groups can be told apart at all: every identity picture assigned with itself left out of its mean.

    known group -> nearest group -> pictures, and the p-value of so many right ones if groups were names without
    meaning, by shuffling the names: pictures of few kinds make luck common, which a binomial test would not see.
    """
    names = tuple(groups)
    vectors = np.concatenate([groups[name] for name in names]).astype(np.float64)
    known = np.repeat(np.arange(len(names)), [len(groups[name]) for name in names])
    alike = vectors @ vectors.T
    said = _left_out(alike, known, len(names))
    made = {name: dict.fromkeys(names, 0) for name in names}
    for true, other in zip(known, said, strict=True):
        made[names[true]][names[other]] += 1
    right = int((said == known).sum())
    mixed = (rng.permutation(known) for _ in range(shuffles))
    as_good = sum(int((_left_out(alike, labels, len(names)) == labels).sum()) >= right for labels in mixed)
    return made, (1 + as_good) / (1 + shuffles)


def _left_out(alike: NDArray[np.float64], labels: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """The group with the nearest mean for every picture, from the Gram matrix alone."""
    rows = np.arange(len(labels))
    member = (labels[:, None] == np.arange(groups)).astype(np.float64)
    with_sum, own = alike @ member, np.diag(alike)
    squared = np.broadcast_to((with_sum * member).sum(0), with_sum.shape).copy()
    squared[rows, labels] += own - 2 * with_sum[rows, labels]
    with_sum[rows, labels] -= own
    return np.asarray((with_sum / np.sqrt(np.maximum(squared, 1e-12))).argmax(1))


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)
