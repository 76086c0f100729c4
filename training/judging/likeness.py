"""How alike two pictures look, pixel by pixel: is a generated picture a copy of one picture of the real art?

A descriptor is the picture at 16 x 16, in the directions in which the real art differs most. It knows nothing of
what a picture shows, so a new drawing of the same thing lies farther away than a copy does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 16
DIRECTIONS = 40
FALSE_ALARMS = 0.01
MOVED, RESIZED = 0.06, 0.05  # of a disturbed copy: share of half the picture's width, of its size


@dataclass(frozen=True, slots=True)
class Looks:
    """The map from pictures to descriptors."""

    basis: Tensor  # (D, P)
    centre: Tensor  # (P,)

    def of(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to descriptors (B, D + 1).

        The last number is how much the directions leave unsaid, so that what is unlike all real art does not seem near.
        """
        thumbs = _thumbs(pictures) - self.centre
        said = thumbs @ self.basis.T
        rest = (thumbs - said @ self.basis).norm(dim=1, keepdim=True)
        return torch.cat([said, rest], dim=1)


def _thumbs(pictures: Tensor) -> Tensor:
    return functional.interpolate(pictures, (SIDE, SIDE), mode="area").flatten(1)


def fit(pictures: Tensor, directions: int = DIRECTIONS) -> Looks:
    """Principal directions of (B, 3, H, W), as many as there are pictures to find them in."""
    thumbs = _thumbs(pictures).double()
    centre = thumbs.mean(0)
    _, _, rows = torch.linalg.svd(thumbs - centre, full_matrices=False)
    return Looks(rows[:directions].float(), centre.float())


def looks_of(memory: Mapping[str, Tensor]) -> Looks:
    """The map a judge carries."""
    return Looks(memory["looks_basis"], memory["looks_centre"])


def nearest(these: Tensor, known: Tensor, *, other: bool = False) -> tuple[Tensor, Tensor]:
    """Distance of each descriptor (N, D) to the nearest of `known` (M, D), and its row.

    `other` leaves out the picture itself: row n of `known` for row n of `these`.
    """
    distances = torch.cdist(these, known)
    if other:
        distances.fill_diagonal_(torch.inf)
    found = distances.min(dim=1)
    return found.values, found.indices


def variants(pictures: Tensor) -> Iterator[Tensor]:
    """(B, 3, H, W) as it is, and moved and resized a little in every combination."""
    for across, down, size in product((0.0, -MOVED, MOVED), (0.0, -MOVED, MOVED), (1.0, 1 - RESIZED, 1 + RESIZED)):
        yield moved(pictures, torch.tensor([[size, 0.0, across], [0.0, size, down]]).expand(len(pictures), 2, 3))


def aligned(looks: Looks, pictures: Tensor, known: Tensor, *, other: bool = False) -> tuple[Tensor, Tensor]:
    """`nearest` for pictures (B, 3, H, W), each in that of its variants that comes nearest to anything known."""
    small = functional.interpolate(pictures, (2 * SIDE, 2 * SIDE), mode="area")
    found = [nearest(looks.of(variant), known, other=other) for variant in variants(small)]
    distances = torch.stack([values for values, _ in found])
    best, which = distances.min(dim=0)
    rows = torch.stack([places for _, places in found]).gather(0, which[None])[0]
    return best, rows


def threshold(looks: Looks, real: Tensor) -> dict[str, float]:
    """Below which distance a picture counts as a copy: only 1 % of the real art has another real picture so near.

    Those few are the art's own near-duplicates (the same bicycle in two styles). `recognised` is the share of disturbed
    copies of real pictures (`disturbed`) that the limit still tells.
    """
    known = looks.of(real)
    distances, _ = aligned(looks, real, known, other=True)
    limit = float(torch.quantile(distances, FALSE_ALARMS))
    again, rows = aligned(looks, disturbed(real), known)
    told = (again < limit) & (rows == torch.arange(len(real)))
    return {
        "limit": round(limit, 4),
        "median": round(float(distances.median()), 4),
        "recognised": round(float(told.float().mean()), 4),
        "pictures": len(real),
    }


def moved(pictures: Tensor, rows: Tensor) -> Tensor:
    """(B, 3, H, W) sampled through affine maps (B, 2, 3), edges continued."""
    grid = functional.affine_grid(rows, list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def disturbed(pictures: Tensor) -> Tensor:
    """Copies of (B, 3, H, W), moved and resized a little and somewhat blurred: a copy all the same."""
    count = len(pictures)
    rows = torch.zeros(count, 2, 3)
    rows[:, 0, 0] = rows[:, 1, 1] = 1 + RESIZED * (2 * torch.rand(count) - 1)
    rows[:, :, 2] = MOVED * (2 * torch.rand(count, 2) - 1)
    return functional.avg_pool2d(moved(pictures, rows), 3, stride=1, padding=1, count_include_pad=False)
