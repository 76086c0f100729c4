"""The first door: pixels are looked at before anything else happens to them.

This module alone makes a CheckedImage, and only when every scanner gave a proper answer. A scanner that is missing,
crashes or answers nonsense closes the road: the picture is withheld, and the message says so. "Not scanned" and
"scanner failed" are therefore never called clean, here or later.

Every detector gives a score of its own, which flags from the detector's threshold on. It may also give a score that it
would not stand for alone (`Finding.doubtful`): that one flags from the same threshold on, but only where another
detector has come at least half way to its own.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

import numpy as np

from backend.errors import Problem, SignetError
from backend.types import (
    Action,
    Box,
    CheckedImage,
    DetectorResult,
    Handling,
    Inspection,
    Pixels,
    RawImage,
    Verdict,
)
from backend.types.jobs import stricter

log = logging.getLogger(__name__)

SECONDED = 0.5
"""The part of its own threshold that another detector must reach before a doubtful score counts."""
BLACK = "the picture came out black; no check has made it so"

_HANDLING: Mapping[Action, Handling] = MappingProxyType(
    {"allow": "show", "note": "show", "blur": "blur", "withhold": "withhold", "refuse": "withhold"}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a scanner saw: `score` 0..1, a few words for the record, where it was, and a `doubtful` score that counts
    only if another detector leans the same way."""

    score: float
    detail: str = ""
    boxes: tuple[Box, ...] = ()
    doubtful: float = 0.0


class Detector(Protocol):
    """A scanner. It only gives scores; what they mean is decided here, once."""

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

    The result holds a read-only copy of the pixels, so that what was looked at is what gets sealed, and says how the
    picture may be shown: the strictest of what admission decided and, if it is flagged, what the policy wants then.
    """
    if not detectors:
        raise NotInspected("No picture scanner is loaded; the picture is withheld.", Inspection(state="not-scanned"))
    if not _is_picture(raw.pixels):
        made = f"{getattr(raw.pixels, 'dtype', type(raw.pixels).__name__)} {getattr(raw.pixels, 'shape', '')}".strip()
        detail = f"The engine made no picture but {made}; it is withheld."
        raise NotInspected(detail, Inspection(state="not-scanned"))
    pixels = np.array(raw.pixels, order="C", copy=True, subok=False)
    pixels.setflags(write=False)
    inspection = examine(pixels, detectors, raw.verdict.flag_from)
    if failed := [each for each in inspection.detectors if each.state == "scanner-failed"]:
        names = ", ".join(result.name for result in failed)
        detail = f"The picture scanner failed ({names}: {failed[0].detail}); the picture is withheld."
        raise NotInspected(detail, inspection)
    return CheckedImage(replace(raw, pixels=pixels), inspection, _handling(raw.verdict, inspection))


def examine(pixels: Pixels, detectors: Sequence[Detector], flag_from: float | None = None) -> Inspection:
    """What the detectors say of a picture. Never raises for what a detector does; without one it is "not-scanned".

    A score of `flag_from` flags even below a detector's own threshold; above it, it changes nothing.
    """
    looks = tuple(_Look(detector, _threshold(detector, flag_from), _ask(detector, pixels)) for detector in detectors)
    remark = "" if pixels.any() else BLACK
    results = tuple(each.result(looks, remark) for each in looks)
    states = {result.state for result in results} or {"not-scanned"}
    worst = next(state for state in ("scanner-failed", "not-scanned", "flagged", "clean") if state in states)
    return Inspection(state=worst, detectors=results)


def harmless(pixels: Pixels, detectors: Sequence[Detector], flag_from: float | None = None) -> bool:
    """Whether a preview may be seen as it is. Stricter than `examine`: doubtful scores count without a second opinion.

    Never raises: a scanner that is missing or fails has not said that the preview is harmless.
    """
    looks = [(_threshold(detector, flag_from), _ask(detector, pixels)) for detector in detectors]
    return bool(looks) and all(
        isinstance(seen, Finding) and max(seen.score, seen.doubtful) < threshold for threshold, seen in looks
    )


def scores(pixels: Pixels, detectors: Sequence[Detector]) -> Mapping[str, float | str]:
    """The score with which each detector counts, by its name, or in words how it failed. For calibration."""
    looks = tuple(_Look(detector, detector.threshold, _ask(detector, pixels)) for detector in detectors)
    return {each.detector.name: each.seen if isinstance(each.seen, str) else each.counted(looks) for each in looks}


@dataclass(frozen=True, slots=True)
class _Look:
    """A detector, the threshold in force, and what it saw, or in words how it failed."""

    detector: Detector
    threshold: float
    seen: Finding | str

    @property
    def leans(self) -> bool:
        return isinstance(self.seen, Finding) and self.seen.score >= SECONDED * self.threshold

    def seconds(self, looks: Iterable[_Look]) -> list[str]:
        """Who else leans the same way."""
        return [each.detector.name for each in looks if each is not self and each.leans]

    def counted(self, looks: Iterable[_Look]) -> float:
        assert isinstance(self.seen, Finding)  # of a scanner that failed there is no score
        return max(self.seen.score, self.seen.doubtful) if self.seconds(looks) else self.seen.score

    def result(self, looks: Sequence[_Look], remark: str) -> DetectorResult:
        name = self.detector.name
        if isinstance(self.seen, str):
            return DetectorResult(name=name, state="scanner-failed", detail=self.seen)
        counted = self.counted(looks)
        flagged = counted >= self.threshold
        seconded = flagged and self.seen.score < self.threshold
        by = f"seconded by {', '.join(self.seconds(looks))}" if seconded else ""
        return DetectorResult(
            name=name,
            state="flagged" if flagged else "clean",
            score=counted if flagged else self.seen.score,
            threshold=self.threshold,
            model_sha256=self.detector.model_sha256,
            detail="; ".join(part for part in (self.seen.detail, by, remark) if part),
            boxes=self.seen.boxes,
        )


def _is_picture(pixels: object) -> bool:
    if not isinstance(pixels, np.ndarray):
        return False
    return pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size > 0


def _threshold(detector: Detector, flag_from: float | None) -> float:
    """The detector's own, or the policy's if that is lower; what cannot be compared flags everything."""
    if flag_from is None:
        return detector.threshold
    return 0.0 if math.isnan(flag_from) else min(detector.threshold, flag_from)


def _ask(detector: Detector, pixels: Pixels) -> Finding | str:
    try:
        finding = detector.look(pixels)
        # Written so that "not a number" fails: it is neither above nor below any threshold.
        for score in (finding.score, finding.doubtful):
            if not 0.0 <= score <= 1.0:
                raise ValueError(f"the score is {score}")
        if not 0.0 < detector.threshold <= 1.0:
            raise ValueError(f"the threshold is {detector.threshold}")
    except Exception as error:  # whatever went wrong, it must end in "scanner-failed"
        log.exception("scanner %s failed", detector.name)
        return f"{type(error).__name__}: {str(error)[:120]}"
    return finding


def _handling(verdict: Verdict, inspection: Inspection) -> Handling:
    """A flagged picture is never simply shown, whatever a verdict says."""
    if inspection.state != "flagged":
        return _HANDLING[verdict.action]
    return _HANDLING[stricter(stricter(verdict.action, verdict.flagged), "blur")]
