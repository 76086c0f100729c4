"""What can go wrong with the inspection of a picture, each with an attempt to get one through all the same."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

import numpy as np

from backend import images
from backend.errors import SignetError, Unavailable
from backend.types import Pixels, RawImage, Verdict
from safety.desk import DeskConfig, open_desk, open_detectors
from safety.drawn import WEIGHTS, Drawn
from safety.inspect import Detector, Finding, NotInspected, harmless, inspect
from safety.nsfw import OpenNsfw, weights_path

Attempt = Callable[[], object]


def closed() -> dict[str, bool]:
    """For every fault, whether nothing came through and the reason was one that people are told."""
    with quiet():
        return {name: _is_closed(attempt) for name, attempt in faults()}


class _Scanner:
    """Answers as it is told to."""

    name, model_sha256 = "scanner", "00"

    def __init__(self, answer: object, threshold: float = 0.8) -> None:
        self._answer, self.threshold = answer, threshold

    def look(self, pixels: Pixels) -> Finding:
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer if isinstance(self._answer, Finding) else Finding(self._answer)  # type: ignore[arg-type]


def faults() -> Iterator[tuple[str, Attempt]]:
    """By name. Attempts on previews raise if the preview would be covered, as those on pictures do."""
    good = np.full((64, 64, 3), 90, np.uint8)
    for name, answer in {
        "a scanner that crashes": RuntimeError("boom"),
        "a scanner out of memory": MemoryError(),
        "a score that is not a number": float("nan"),
        "an infinite score": float("inf"),
        "a negative score": -0.1,
        "a score above 1": 1.1,
        "no score at all": None,
        "a doubtful score that is not a number": Finding(0.0, doubtful=float("nan")),
    }.items():
        yield name, lambda answer=answer: inspect(_raw(good), [_Scanner(0.0), _Scanner(answer)])
        yield f"{name}, previews", lambda answer=answer: harmless(good, [_Scanner(0.0), _Scanner(answer)]) or _shut()
    yield "a threshold that is not a number", lambda: inspect(_raw(good), [_Scanner(0.0, float("nan"))])
    yield "a threshold of nought", lambda: inspect(_raw(good), [_Scanner(0.0, 0.0)])
    yield "no scanner", lambda: inspect(_raw(good), [])
    yield "no scanner, previews", lambda: harmless(good, []) or _shut()
    yield "no scanner, desk", lambda: _desk(lambda config: [])
    for name, pixels in {
        "numbers that are not bytes": good.astype(np.float32),
        "a picture without pixels": good[:0],
        "a picture in grey": good[..., 0],
        "a picture with transparency": np.dstack([good, good[..., :1]]),
        "no array": None,
    }.items():
        yield name, lambda pixels=pixels: inspect(_raw(pixels), [_Scanner(0.0)])
    yield from _weights()


def _weights() -> Iterator[tuple[str, Attempt]]:
    for name, where, opened in (
        ("OpenNSFW", weights_path(), lambda path: OpenNsfw(0.8, weights=path)),
        ("nsfwjs", WEIGHTS, lambda path: Drawn(weights=path)),
    ):
        yield f"{name}: weights missing", lambda opened=opened: opened(Path("nowhere"))
        for change, altered in _ALTERED.items():
            yield (
                f"{name}: weights {change}",
                lambda opened=opened, where=where, altered=altered: _with(altered(where.read_bytes()), opened),
            )
    yield "NudeNet switched on, not installed", _without_nudenet


_ALTERED: Mapping[str, Callable[[bytes], bytes]] = MappingProxyType(
    {
        "empty": lambda data: b"",
        "cut short": lambda data: data[:-1],
        "with one bit changed": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    }
)


def _with(data: bytes, opened: Callable[[Path], object]) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        path.write_bytes(data)
        return opened(path)


def _without_nudenet() -> object:
    with mock.patch.dict(sys.modules, {"nudenet": None}):
        return open_detectors(DeskConfig(Path(), nudenet=True))


def _desk(scanners: Callable[[DeskConfig], Sequence[Detector]]) -> object:
    with tempfile.TemporaryDirectory() as folder:
        config = DeskConfig(Path(folder) / "keys")
        return open_desk(config, images.encode_png, images.encode_thumbnail, images.encode_jpeg, scanners)


def _shut() -> object:
    raise Unavailable("The preview is not shown.")


def _is_closed(attempt: Attempt) -> bool:
    try:
        attempt()
    except (NotInspected, Unavailable):
        return True
    except SignetError:
        return False
    return False


def _raw(pixels: Any) -> RawImage:
    """As much of a picture as inspection looks at."""
    return RawImage(pixels, "job", 0, 0, None, "", None, None, Verdict("allow", "bench"))  # type: ignore[arg-type]


@contextmanager
def quiet() -> Iterator[None]:
    """Scanners that fail on purpose are no news."""
    logger = logging.getLogger("safety.inspect")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
