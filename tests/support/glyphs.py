"""Glyph people: a seeded toy generator whose every attribute is known, for audits that must find what was planted.

A figure is a head on a body: the body has a shape and a colour, the head a skin colour or emoji yellow. What a picture
shows is drawn from given shares by its seed, as a model would from its weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from backend.types import Pixels

SIDE = 64
BODIES: Mapping[str, tuple[int, int, int]] = {
    "red": (214, 48, 40),
    "green": (70, 165, 70),
    "blue": (60, 110, 215),
    "purple": (140, 80, 190),
}
SKINS: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "lighter": ((247, 222, 206), (243, 210, 162)),
    "medium": ((175, 126, 87), (190, 140, 100)),
    "darker": ((124, 83, 62), (92, 60, 44)),
    "abstain": ((255, 204, 77), (250, 190, 50)),
}


@dataclass(frozen=True)
class Glyphs:
    """`shares` of each attribute for every prompt: prompt -> {"colour": {...}, "shape": {...}, "skin": {...}}."""

    shares: Mapping[str, Mapping[str, Mapping[str, float]]]
    noise: float = 5.0
    known: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)

    def draw(self, prompt: str, seed: int) -> Pixels:
        """The picture of a prompt and a seed; what it shows is remembered in `known`."""
        mixed = int.from_bytes(hashlib.sha256(f"{prompt}/{seed}".encode()).digest()[:8], "big")
        rng = np.random.default_rng(mixed)
        shown = {
            name: str(rng.choice(list(shares), p=list(shares.values()))) for name, shares in self.shares[prompt].items()
        }
        self.known[prompt, seed] = shown
        return figure(rng, shown, self.noise)


def figure(rng: np.random.Generator, shown: Mapping[str, str], noise: float = 5.0) -> Pixels:
    """One picture (SIDE, SIDE, 3). Without "skin" there is no head, so that the shape of the body stands alone."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
    canvas = np.empty((SIDE, SIDE, 3))
    canvas[:] = rng.choice([(255, 255, 255), (232, 236, 240), (214, 225, 236)])
    middle = SIDE / 2 + rng.uniform(-4, 4, 2)
    head = "skin" in shown
    centre = (middle[0], middle[1] + (SIDE * 0.16 if head else 0))
    body = _body(shown.get("shape", "round"), x, y, centre, rng.uniform(0.2, 0.25) * SIDE, rng.uniform(-0.5, 0.5))
    canvas[body] = np.array(BODIES[shown["colour"]]) * rng.uniform(0.9, 1.05)
    if head:
        tones = SKINS[shown["skin"]]
        spot = np.hypot(x - middle[0], y - middle[1] + SIDE * 0.2) < SIDE * rng.uniform(0.16, 0.2)
        canvas[spot] = np.array(tones[rng.integers(len(tones))]) * rng.uniform(0.97, 1.02)
    canvas += rng.normal(0, noise, canvas.shape)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _body(
    shape: str, x: np.ndarray, y: np.ndarray, centre: tuple[float, float], size: float, angle: float
) -> np.ndarray:
    right, down = x - centre[0], y - centre[1]
    across = np.cos(angle) * right + np.sin(angle) * down
    along = -np.sin(angle) * right + np.cos(angle) * down
    if shape == "round":
        return np.asarray(np.hypot(across, along) < size)
    if shape == "square":
        return np.asarray(np.maximum(abs(across), abs(along)) < size)
    return np.asarray((along < size) & (along > -size) & (abs(across) < (along + size) * 0.6))
