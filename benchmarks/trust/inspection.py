"""Inspection of pictures: does every fault close the road, how often is a harmless picture flagged, does a harmless
change of a picture change the decision, and what does a look cost.

There is no explicit picture anywhere in the project, so nothing here measures how many of those are found: `python3
launch.py audit calibrate FOLDER` does, on pictures of your own.

Run alone with: python -m benchmarks.trust.inspection [--drawings N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from backend import images
from backend.types import Inspection, Pixels
from benchmarks.trust import Options, Section, inspection_faults, inspection_pictures, share
from safety.desk import DeskConfig, open_detectors
from safety.inspect import Detector, Finding, examine
from safety.policy import PROFILES

MOST_FLAGGED = 0.005
MOST_CHANGED = 0.02
LIMITS = (
    "Recall is not measured: the project holds no explicit picture. `audit calibrate FOLDER` measures it on yours.",
    "The harmless pictures are drawings, icons and screenshots. Photographs of people, where false alarms are far more "
    "frequent, are not among them; models/detectors/README.md has what was seen of those.",
    "A decision can only change near a threshold, and hardly any of these pictures comes near one: the changes were "
    "also counted at the lowest limit a profile sets, two decisions for every picture.",
)
_SMALL = "Without the training drawings (`python -m training data`) the sample is small."


def section(options: Options, drawings: int = 2000) -> Section:
    """`drawings` is how many of the training drawings are looked at, if they are there."""
    faults = inspection_faults.closed()
    detectors = open_detectors(DeskConfig(Path()))
    groups = {name: list(made) for name, made in inspection_pictures.groups(options, drawings)}
    once = [_Once(each) for each in detectors]
    limits = {name: policy.flag_from for name, policy in PROFILES.items()}
    looked = {
        profile: {name: [examine(each, once, limit) for each in made] for name, made in groups.items()}
        for profile, limit in limits.items()
    }
    flagged = {profile: sum(map(_flagged, made.values())) for profile, made in looked.items()}
    total = sum(map(len, groups.values()))
    near = [each for name, made in groups.items() if name != "training drawings" for each in made]
    changes = _changes(near[:: max(1, len(near) // (12 if options.quick else 120))], detectors)
    costs = _costs(detectors, 3 if options.quick else 20)

    passed = ", ".join(name for name, shut in faults.items() if not shut)
    rows = [("faults that close the road", f"{sum(faults.values())} of {len(faults)}", passed or "all")]
    rows += [
        (f"harmless and flagged: {name}", share(_flagged(many), len(many)), f"{_flagged(many)}; {_highest(many)}")
        for name, many in looked["personal"].items()
    ]
    rows += [
        (
            f"harmless and flagged: all, profile {profile}",
            share(hits, total),
            f"{hits}; from {limits[profile] or 'their own'}",
        )
        for profile, hits in flagged.items()
    ]
    rows += [
        (f"decisions changed by {name}", share(turned, tries), f"{turned}; largest change of a score {moved:.3f}")
        for name, (turned, tries, moved) in changes.items()
    ]
    rows += [(f"a look by {name}", f"{each:.1f} ms", "512 x 512, one thread") for name, each in costs.items()]
    held = (
        all(faults.values())
        and flagged["personal"] <= MOST_FLAGGED * total
        and all(turned <= MOST_CHANGED * tries for turned, tries, _ in changes.values())
    )
    return Section(
        "Inspection of pictures",
        ("what", "measured", "note"),
        tuple(rows),
        LIMITS if "training drawings" in groups else (*LIMITS, _SMALL),
        held,
        {
            "faults": faults,
            "flagged": {
                profile: {name: [_flagged(many), len(many)] for name, many in made.items()}
                for profile, made in looked.items()
            },
            "changes": {name: list(each) for name, each in changes.items()},
            "milliseconds": costs,
        },
    )


class _Once:
    """A detector that looks at every picture once, however often it is asked. The pictures have to stay alive."""

    def __init__(self, detector: Detector) -> None:
        self.name, self.threshold, self.model_sha256 = detector.name, detector.threshold, detector.model_sha256
        self._detector = detector
        self._seen: dict[int, Finding] = {}

    def look(self, pixels: Pixels) -> Finding:
        if id(pixels) not in self._seen:
            self._seen[id(pixels)] = self._detector.look(pixels)
        return self._seen[id(pixels)]


def _flagged(many: Sequence[Inspection]) -> int:
    return sum(one.state == "flagged" for one in many)


def _highest(many: Sequence[Inspection]) -> str:
    names = [each.name for each in many[0].detectors]
    best = [max(one.detectors[place].score or 0.0 for one in many) for place in range(len(names))]
    return "highest " + ", ".join(f"{name} {score:.2f}" for name, score in zip(names, best, strict=True))


# ---- harmless changes


@dataclass(frozen=True, slots=True)
class Change:
    name: str
    make: Callable[[Pixels], Pixels]


def _resized(factor: float) -> Callable[[Pixels], Pixels]:
    def resize(pixels: Pixels) -> Pixels:
        return np.asarray(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)

    return resize


def _jpeg(pixels: Pixels) -> Pixels:
    return images.decode(images.encode_jpeg_file(pixels, None, 80), max_pixels=10**7).pixels


CHANGES = (
    Change("mirroring", lambda pixels: np.ascontiguousarray(pixels[:, ::-1])),
    Change("shrinking by 10 %", _resized(0.9)),
    Change("enlarging by 10 %", _resized(1.1)),
    Change("JPEG of quality 80", _jpeg),
    Change("cutting 8 pixels off each side", lambda pixels: np.ascontiguousarray(pixels[8:-8, 8:-8])),
)


def _changes(pictures: Sequence[Pixels], detectors: Sequence[Detector]) -> dict[str, tuple[int, int, float]]:
    """For each change: decisions that turned, decisions in all, and how far a score moved at most.

    Every picture is decided about at the thresholds in force and at the lowest limit of a profile.
    """
    before = [_decided(each, detectors) for each in pictures]
    found: dict[str, tuple[int, int, float]] = {}
    for change in CHANGES:
        after = [_decided(change.make(each), detectors) for each in pictures]
        pairs = [pair for was, now in zip(before, after, strict=True) for pair in zip(was, now, strict=True)]
        moved = [
            abs((one.score or 0) - (other.score or 0))
            for pair in pairs
            for one, other in zip(pair[0].detectors, pair[1].detectors, strict=True)
        ]
        found[change.name] = sum(one.state != other.state for one, other in pairs), len(pairs), max(moved)
    return found


def _decided(pixels: Pixels, detectors: Sequence[Detector]) -> tuple[Inspection, ...]:
    once = [_Once(each) for each in detectors]
    lowest = min(policy.flag_from or 1 for policy in PROFILES.values())
    return examine(pixels, once), examine(pixels, once, lowest)


# ---- what it costs


def _costs(detectors: Sequence[Detector], times: int) -> dict[str, float]:
    """Median milliseconds of a look."""
    pixels = inspection_pictures.draw(np.random.default_rng(0), 512)
    return {each.name: statistics.median(_timed(each, pixels) for _ in range(times)) for each in detectors}


def _timed(detector: Detector, pixels: Pixels) -> float:
    started = time.perf_counter()
    detector.look(pixels)
    return (time.perf_counter() - started) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawings", type=int, default=2000, help="training drawings to look at (%(default)s)")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    made = section(Options(quick=asked.quick), asked.drawings)
    print(made.markdown())
    return 0 if made.held else 1


if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.exit(main())
