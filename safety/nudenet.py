"""A second opinion that looks for uncovered body parts: NudeNet, if the owner installed it.

The package is AGPL-3.0, so it is neither a dependency nor switched on by itself.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from backend.errors import Unavailable
from backend.types import Pixels
from safety.inspect import Finding

THRESHOLD = 0.5
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
    """A Detector. Raises Unavailable if the package is not installed."""

    name = "nudenet"

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        try:
            package = importlib.import_module("nudenet")
        except ImportError as error:
            hint = "Install it with: pip install nudenet==3.4.2 (AGPL-3.0), or switch it off."
            raise Unavailable("The picture scanner NudeNet is switched on but not installed.", hint) from error
        weights = Path(str(package.__file__)).with_name("320n.onnx")
        self.model_sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        self._detector: Any = package.NudeDetector()

    def look(self, pixels: Pixels) -> Finding:
        """The surest uncovered part, 0 if there is none; `detail` names all parts that were seen."""
        found = self._detector.detect(np.ascontiguousarray(pixels[:, :, ::-1]))
        seen = {str(each["class"]): float(each["score"]) for each in found if each["class"] in _FLAGGED}
        return Finding(max(seen.values(), default=0.0), ", ".join(sorted(seen)))
