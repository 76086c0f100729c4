"""Edges and lines by filters alone: no weights, the same on every machine."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.preprocessors.shapes import Setting
from backend.types import Pixels

_SCALES = (1.0, 2.0, 4.0)
"""Pixels of blur: an edge of a thing is there at all of them, texture only at the finest."""


def as_pixels(values: NDArray[np.generic]) -> Pixels:
    """Numbers (H, W) or (H, W, 3) as a picture."""
    clipped = np.clip(values, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(clipped if clipped.ndim == 3 else np.repeat(clipped[..., None], 3, axis=2))


def blurred(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur; the border is mirrored."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), dtype=np.float32).reshape(values.shape)


def canny(pixels: Pixels, setting: Setting) -> Pixels:
    """Canny 1986: `low` and `high` are the gradients where a line may go on and where one may begin."""
    low, high = sorted((setting.low, setting.high))
    return as_pixels(cv2.Canny(np.ascontiguousarray(pixels), low, high))


def soft_edge(pixels: Pixels, _: Setting) -> Pixels:
    """Gradients of lightness and colour that last over several scales, brightest where all agree."""
    lab = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2LAB).astype(np.float32)
    logs = [np.log1p(_gradient(blurred(lab, sigma)) * sigma) for sigma in _SCALES]
    strength = np.expm1(np.mean(logs, axis=0))
    # A flat picture has no edges: without a floor its noise would be stretched to full brightness.
    return as_pixels(255 * (strength / max(24.0, float(np.percentile(strength, 99.5)))) ** 0.8)


def _gradient(lab: NDArray[np.float32]) -> NDArray[np.float32]:
    across, down = (cv2.Sobel(lab, cv2.CV_32F, *step, ksize=3, scale=0.25) for step in ((1, 0), (0, 1)))
    steepest: NDArray[np.float32] = np.hypot(across, down).reshape(lab.shape).max(axis=2)
    return steepest


def scribble(pixels: Pixels, setting: Setting) -> Pixels:
    """Lines as of a pen by a difference of Gaussians (XDoG, Winnemöller 2012): what is darker than all around it."""
    picture = pixels.astype(np.float32)
    darker = (blurred(picture, 5.0) - blurred(picture, 0.5)).min(axis=2)
    return as_pixels(np.where(2 * darker > setting.low, 255, 0))


def line_art(pixels: Pixels, _: Setting) -> Pixels:
    """White lines in their own strength: how much darker a place is than all around it (A1111's lineart_standard)."""
    picture = pixels.astype(np.float32)
    darker = np.clip((blurred(picture, 6.0) - picture).min(axis=2), 0, 255)
    drawn = darker[darker > 8]
    usual = max(16.0, float(np.median(drawn))) if drawn.size else 16.0
    return as_pixels(darker / usual * 127)


def straight_lines(pixels: Pixels, setting: Setting) -> Pixels:
    """Straight lines at least `low` per cent of the shorter side long (probabilistic Hough transform)."""
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    shorter = min(grey.shape)
    length = max(2.0, shorter * setting.low / 100)
    drawn = np.zeros_like(grey)
    cv2.setRNGSeed(0)  # the transform draws at random; the same picture must give the same lines
    found = cv2.HoughLinesP(
        cv2.Canny(grey, 50, 150), 1, np.pi / 180, round(length / 2) + 1, minLineLength=length, maxLineGap=4
    )
    for ends in [] if found is None else found.reshape(-1, 4).tolist():
        cv2.line(drawn, (ends[0], ends[1]), (ends[2], ends[3]), 255, max(1, shorter // 512))
    return as_pixels(drawn)
