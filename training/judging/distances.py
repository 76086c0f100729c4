"""How far the drawn pictures are from the real art as a whole, and how many are copies of one real picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.judging import likeness
from training.judging.network import Judge

Rows = NDArray[np.float64]
DRAWS = 10


def frechet(one: Rows, two: Rows) -> float:
    """Fréchet distance between normal distributions fitted to rows of features (N, F), squared, as in FID.

    Heusel et al. 2017, equation 6: |m - n|^2 + tr(C + D - 2 (C D)^(1/2)).
    """
    gap = one.mean(axis=0) - two.mean(axis=0)
    first, second = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    root = _root(first)
    cross = np.linalg.eigvalsh(root @ second @ root).clip(min=0)
    return float(gap @ gap + np.trace(first) + np.trace(second) - 2 * np.sqrt(cross).sum())


def _root(matrix: Rows) -> Rows:
    values, vectors = np.linalg.eigh(matrix)
    half: Rows = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return half


@dataclass(frozen=True, slots=True)
class Distance:
    """Between drawn and real pictures, and between two halves of the real ones, from equally many pictures."""

    drawn: float
    halves: float
    pictures: int  # on each side

    @property
    def ratio(self) -> float:
        """The first over the second."""
        return self.drawn / self.halves if self.halves else float("nan")


def distance(features: NDArray[np.float32], real: NDArray[np.float32], *, seed: int = 0) -> Distance:
    """Means over ten random draws; both figures from as many pictures a side, for few pictures look farther apart.

    So figures of reports with different numbers of pictures must not be compared; the ratio suffers less.
    """
    rng = np.random.default_rng(seed)
    side = min(len(features), len(real) // 2)
    drawn: list[float] = []
    halves: list[float] = []
    for _ in range(DRAWS):
        order = rng.permutation(len(real))
        half, other = real[order[:side]].astype(np.float64), real[order[side : 2 * side]].astype(np.float64)
        some = features[rng.permutation(len(features))[:side]].astype(np.float64)
        drawn.append(frechet(some, half))
        halves.append(frechet(other, half))
    return Distance(float(np.mean(drawn)), float(np.mean(halves)), side)


@dataclass(frozen=True, slots=True)
class Copies:
    """How near each drawn picture comes to one real picture of the list."""

    distances: Tensor  # (N,)
    concepts: Tensor  # (N,) of the nearest real picture
    styles: Tensor  # (N,)
    limit: float

    @property
    def flags(self) -> NDArray[np.bool_]:
        """Which count as copies."""
        near: NDArray[np.bool_] = (self.distances < self.limit).numpy()
        return near


def copies(judge: Judge, seen: Tensor) -> Copies:
    """Pictures (N, 3, H, W) in [-1, 1], each tried a little moved and resized, against the judge's memory."""
    looks, known = likeness.looks_of(judge.memory), judge.memory["looks"]
    best, rows = likeness.aligned(looks, seen, known)
    concepts, styles = judge.memory["real_concepts"][rows].long(), judge.memory["real_styles"][rows].long()
    return Copies(best, concepts, styles, float(judge.facts["look_alike"]["limit"]))
