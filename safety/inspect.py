"""The first door: pixels are looked at before anything else happens to them.

This module alone makes a CheckedImage, and only when every scanner gave a proper answer. A scanner that is missing,
crashes or answers nonsense closes the road: the picture is withheld, and the message says so. "Not scanned" and
"scanner failed" are therefore never called clean, here or later.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from backend.errors import Problem, SignetError
from backend.types import CheckedImage, DetectorResult, Inspection, Pixels, RawImage

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a scanner saw: `score` 0..1, and a few words for the record."""

    score: float
    detail: str = ""


class Detector(Protocol):
    """A scanner. It only gives a score; what the score means is decided here, once."""

    @property
    def name(self) -> str: ...

    @property
    def threshold(self) -> float:
        """The score from which a picture is flagged."""
        ...

    @property
    def model_sha256(self) -> str: ...

    def look(self, pixels: Pixels) -> Finding:
        """`pixels` are uint8 RGB (H, W, 3). May raise anything; called from several threads."""
        ...


class NotInspected(SignetError):
    """The picture is withheld because it could not be inspected. `inspection` says by whom."""

    inspection = Inspection(state="not-scanned")

    def __init__(self, detail: str, inspection: Inspection) -> None:
        hint = "Run the request again; if it happens every time, see `python3 launch.py doctor`."
        super().__init__(Problem("not-inspected", "The picture could not be inspected", detail, 503, hint=hint))
        self.inspection = inspection


def inspect(raw: RawImage, detectors: Sequence[Detector]) -> CheckedImage:
    """Show the picture to every detector. Raises NotInspected unless all of them answered.

    The result holds a read-only copy of the pixels, so that what was looked at is what gets sealed.
    """
    if not detectors:
        raise NotInspected("No picture scanner is loaded; the picture is withheld.", Inspection(state="not-scanned"))
    if raw.pixels.dtype != np.uint8 or raw.pixels.ndim != 3 or raw.pixels.shape[2] != 3 or raw.pixels.size == 0:
        detail = f"The engine made no picture but {raw.pixels.dtype} {raw.pixels.shape}; it is withheld."
        raise NotInspected(detail, Inspection(state="not-scanned"))
    pixels = raw.pixels.copy()
    pixels.setflags(write=False)
    results = tuple(_ask(detector, pixels) for detector in detectors)
    if failed := [result for result in results if result.state == "scanner-failed"]:
        names = ", ".join(result.name for result in failed)
        detail = f"The picture scanner failed ({names}: {failed[0].detail}); the picture is withheld."
        raise NotInspected(detail, Inspection(state="scanner-failed", detectors=results))
    flagged = any(result.state == "flagged" for result in results)
    inspection = Inspection(state="flagged" if flagged else "clean", detectors=results)
    return CheckedImage(replace(raw, pixels=pixels), inspection)


def _ask(detector: Detector, pixels: Pixels) -> DetectorResult:
    try:
        finding = detector.look(pixels)
        # Written so that "not a number" fails: it is neither above nor below any threshold.
        if not 0.0 <= finding.score <= 1.0:
            raise ValueError(f"the score is {finding.score}")
    except Exception as error:  # whatever went wrong, it must end in "scanner-failed"
        log.exception("scanner %s failed", detector.name)
        return DetectorResult(
            name=detector.name, state="scanner-failed", detail=f"{type(error).__name__}: {str(error)[:120]}"
        )
    return DetectorResult(
        name=detector.name,
        state="flagged" if finding.score >= detector.threshold else "clean",
        score=finding.score,
        threshold=detector.threshold,
        model_sha256=detector.model_sha256,
        detail=finding.detail,
    )
