"""What the picture scanners make of somebody's own pictures, and where their thresholds draw the line.

Nobody but the owner has the pictures that matter here: the project holds no explicit ones, so what the scanners *find*
can only be measured on a folder like this. Pictures below a sub-folder "safe" or "unsafe" carry that label; with labels
the share of safe pictures that are flagged and of unsafe ones that are found can be told, without them only how the
scores are spread. Files are read and forgotten; nothing is stored and nothing is sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidParameter, SignetError
from backend.types import Pixels
from safety.bias.intervals import wilson
from safety.inspect import Detector, scores

Label = Literal["safe", "unsafe", ""]
Scores = NDArray[np.float64]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff"})
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
WANTED = 0.005
_LABELS: tuple[Label, ...] = ("safe", "unsafe", "")
_STEP = 0.01  # of suggested thresholds


@dataclass(frozen=True, slots=True)
class Seen:
    """The scores of one picture, by detector. `path` is relative to the folder."""

    path: str
    label: Label
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Calibration:
    """`unread` are files that could not be shown to every detector, and why; `thresholds` those in force."""

    seen: tuple[Seen, ...]
    unread: tuple[tuple[str, str], ...]
    thresholds: Mapping[str, float]


def pictures(folder: Path) -> Iterator[tuple[Path, Label]]:
    """Picture files below the folder, by name, with their labels. Links are not followed, hidden files not read.

    Raises InvalidParameter if there is no such folder.
    """
    if not folder.is_dir():
        raise InvalidParameter("folder", f"There is no folder {folder}.", "Name a folder with pictures.")
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(here, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith(".") and not path.is_symlink():
                yield path, _label(path.relative_to(folder))


def _label(path: Path) -> Label:
    """That of the outermost folder with such a name."""
    folders = [part.casefold() for part in path.parts[:-1]]
    named = [part for part in folders if part in ("safe", "unsafe")]
    return "" if not named else "safe" if named[0] == "safe" else "unsafe"


def calibrate(
    folder: Path,
    detectors: Sequence[Detector],
    read: Callable[[Path], Pixels],
    *,
    most: int | None = None,
    told: Callable[[int], None] = lambda done: None,
) -> Calibration:
    """Show every picture to every detector; `read` decodes a file and may raise a SignetError or an OSError.

    With `most`, every k-th picture is taken so that about so many are. `told` hears how many are done.
    """
    files = list(pictures(folder))
    every = max(1, -(-len(files) // most)) if most else 1
    seen: list[Seen] = []
    unread: list[tuple[str, str]] = []
    for number, (path, label) in enumerate(files[::every], 1):
        name = path.relative_to(folder).as_posix()
        try:
            given = scores(read(path), detectors)
        except (SignetError, OSError) as error:
            unread.append((name, error.problem.detail if isinstance(error, SignetError) else type(error).__name__))
        else:
            if failed := [f"{who}: {said}" for who, said in given.items() if isinstance(said, str)]:
                unread.append((name, f"a scanner failed ({failed[0]})"))
            else:
                proper = {who: score for who, score in given.items() if not isinstance(score, str)}
                seen.append(Seen(name, label, proper))
        told(number)
    return Calibration(tuple(seen), tuple(unread), {each.name: each.threshold for each in detectors})


def report(calibration: Calibration, wanted: float = WANTED) -> dict[str, Any]:
    """Everything that can be told, as plain JSON values. `wanted` is the share of safe pictures that may be flagged.

    Raises InvalidParameter for a share that is none.
    """
    if not 0 <= wanted < 1:
        raise InvalidParameter("wanted", f"{wanted} is no share of pictures.", "Use a number from 0 to 1.")
    counts = {label or "unlabelled": sum(one.label == label for one in calibration.seen) for label in _LABELS}
    return {
        "pictures": counts,
        "unread": [{"file": name, "why": why} for name, why in calibration.unread],
        "detectors": {name: _detector(calibration, name, wanted) for name in calibration.thresholds},
        "together": {
            label or "unlabelled": _share(_flagged(calibration, label))
            for label in _LABELS
            if any(one.label == label for one in calibration.seen)
        },
        "agreement": [_agreement(calibration, *pair) for pair in combinations(calibration.thresholds, 2)],
        "wanted": wanted,
    }


def _scores(calibration: Calibration, name: str, label: Label | None = None) -> Scores:
    return np.array([one.scores[name] for one in calibration.seen if label in (None, one.label)], np.float64)


def _flagged(calibration: Calibration, label: Label) -> NDArray[np.bool_]:
    """By any detector, at the thresholds in force."""
    each = [_scores(calibration, name, label) >= limit for name, limit in calibration.thresholds.items()]
    flagged: NDArray[np.bool_] = np.any(each, axis=0)
    return flagged


def _share(flagged: NDArray[np.bool_]) -> dict[str, Any]:
    hits, tries = int(flagged.sum()), len(flagged)
    low, high = wilson(hits, tries)
    return {
        "flagged": hits,
        "of": tries,
        "share": hits / tries if tries else None,
        "interval": [float(low), float(high)],
    }


def _detector(calibration: Calibration, name: str, wanted: float) -> dict[str, Any]:
    limit = calibration.thresholds[name]
    groups = {label: _scores(calibration, name, label) for label in _LABELS}
    groups = {label: given for label, given in groups.items() if len(given)}
    return {
        "threshold": limit,
        "groups": {
            label or "unlabelled": {
                "quantiles": dict(zip(map(str, QUANTILES), map(float, np.quantile(given, QUANTILES)), strict=True)),
                "now": _share(given >= limit),
                "at": [{"threshold": level, **_share(given >= level)} for level in LEVELS],
            }
            for label, given in groups.items()
        },
        "suggestion": _suggestion(groups.get("safe"), groups.get("unsafe"), wanted),
    }


def _suggestion(safe: Scores | None, unsafe: Scores | None, wanted: float) -> dict[str, Any] | None:
    """The lowest threshold, in steps of 0.01, at which no more than the wanted share of safe pictures is flagged.

    None without safe pictures. `shown` tells whether the interval too keeps to the wanted share.
    """
    if safe is None:
        return None
    steps = [round(_STEP * number, 2) for number in range(1, round(1 / _STEP))]
    found = next((step for step in steps if np.mean(safe >= step) <= wanted), None)
    if found is None:
        return {"threshold": None, "safe": _share(safe >= steps[-1]), "unsafe": None, "shown": False}
    of_safe = _share(safe >= found)
    return {
        "threshold": found,
        "safe": of_safe,
        "unsafe": None if unsafe is None else _share(unsafe >= found),
        "shown": of_safe["interval"][1] <= wanted,
    }


def _agreement(calibration: Calibration, one: str, other: str) -> dict[str, Any]:
    """How often two detectors flag the same pictures, with Cohen's kappa (None where one of them never differs)."""
    limits = calibration.thresholds
    first, second = (_scores(calibration, name) >= limits[name] for name in (one, other))
    total = len(first)
    same = float(np.mean(first == second)) if total else 0.0
    chance = float(first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean())) if total else 1.0
    return {
        "detectors": [one, other],
        "both": int((first & second).sum()),
        "first only": int((first & ~second).sum()),
        "second only": int((~first & second).sum()),
        "neither": int((~first & ~second).sum()),
        "kappa": (same - chance) / (1 - chance) if chance < 1 else None,
    }
