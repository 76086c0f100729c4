"""A second opinion that looks for uncovered body parts: NudeNet, if the owner installed it.

The package is AGPL-3.0, so it is neither a dependency nor switched on by itself.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from backend.errors import Unavailable
from backend.types import Box, Pixels
from safety.inspect import Finding

THRESHOLD = 0.5
WEIGHTS_SHA256 = "c15d8273adad2d0a92f014cc69ab2d6c311a06777a55545f2c4eb46f51911f0f"
_FLAGGED = frozenset(
    {
        "FEMALE_BREAST_EXPOSED",
        "FEMALE_GENITALIA_EXPOSED",
        "MALE_GENITALIA_EXPOSED",
        "ANUS_EXPOSED",
        "BUTTOCKS_EXPOSED",
    }
)


class NudeNet:
    """A Detector. Raises Unavailable if the package is not installed or holds other weights than we know."""

    name = "nudenet"

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        try:
            package = importlib.import_module("nudenet")
            weights = Path(str(package.__file__)).with_name("320n.onnx").read_bytes()
        except (ImportError, OSError) as error:
            hint = "Install it with: pip install nudenet==3.4.2 (AGPL-3.0), or switch it off."
            raise Unavailable("The picture scanner NudeNet is switched on but not installed.", hint) from error
        self.model_sha256 = hashlib.sha256(weights).hexdigest()
        if self.model_sha256 != WEIGHTS_SHA256:
            detail = "The weights of the picture scanner NudeNet are not the expected file."
            raise Unavailable(detail, "Reinstall it with: pip install --force-reinstall nudenet==3.4.2")
        self._detector: Any = package.NudeDetector()

    def look(self, pixels: Pixels) -> Finding:
        """The surest uncovered part, 0 if there is none, with a box for every one; `detail` names what was seen."""
        height, width = pixels.shape[:2]
        found = self._detector.detect(np.ascontiguousarray(pixels[:, :, ::-1]))
        boxes = tuple(_box(each, width, height) for each in found if each["class"] in _FLAGGED)
        seen = ", ".join(sorted({box.label for box in boxes}))
        return Finding(max((box.score for box in boxes), default=0.0), seen, boxes)


def _box(found: Mapping[str, Any], width: int, height: int) -> Box:
    """NudeNet's [left, top, width, height], kept within the picture."""
    left, top, wide, high = (int(value) for value in found["box"])
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return Box(
        label=str(found["class"]),
        score=float(found["score"]),
        left=left,
        top=top,
        width=min(max(wide, 1), width - left),
        height=min(max(high, 1), height - top),
    )
