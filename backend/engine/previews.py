"""What people may see of a picture that is still in the making, and has not been inspected.

The policy under which a job was admitted says whether its previews are shown, blurred or kept back; a picture that will
be blurred or withheld whatever it shows has no clearer previews than that. One that is to be shown is looked at first,
and blurred with all that follow it if a scanner flags it or fails. Nothing here reaches the picture itself: a preview
is drawn from a copy of the estimate.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, get_args, runtime_checkable

from backend import images
from backend.images import blurred
from backend.types import Pixels, Verdict
from backend.types.jobs import Previews as Mode

_LOG = logging.getLogger(__name__)

SHARE = 0.05
"""Of the loop's time that looking at previews may take: a slow scanner makes them rarer, never unseen."""

_MODES: tuple[Mode, ...] = get_args(Mode)
_AT_LEAST: Mapping[str, Mode] = MappingProxyType({"allow": "show", "note": "show", "blur": "blur", "withhold": "none"})


def mode_of(verdict: Verdict) -> Mode:
    """The stricter of what the policy says of previews and what will become of the picture; "none" in doubt."""
    policy: Mode = verdict.previews if verdict.previews in _MODES else "none"
    return max(policy, _AT_LEAST.get(verdict.action, "none"), key=_MODES.index)


@runtime_checkable
class Glancing(Protocol):
    """A safety desk that looks at previews too."""

    def harmless(self, pixels: Pixels, verdict: Verdict) -> bool:
        """Whether a preview of a picture under this verdict may be seen as it is; in doubt it may not."""
        ...


@dataclass(frozen=True, slots=True)
class Veil:
    """How the pictures of one moment are shown: as they are, or so blurred that only colours are left."""

    down: bool

    def over(self, pixels: Pixels) -> Pixels:
        return blurred(pixels) if self.down else pixels

    def jpeg(self, pixels: Pixels) -> bytes:
        """A small JPEG."""
        return images.encode_preview(self.over(pixels))


class Previews:
    """`most` per second and job; `blur` is the owner's wish to blur them all. A desk that cannot look lets none be seen
    clearly. Mutable: knows which jobs were flagged and how long the last look took."""

    def __init__(self, desk: object, *, most: float, blur: bool) -> None:
        self._desk = desk if isinstance(desk, Glancing) else None
        self._gap = 1 / most
        self._blur = blur
        self._flagged: set[str] = set()
        self._cost = 0.0

    def wanted(self, verdict: Verdict) -> bool:
        """Whether anything at all may be seen of pictures under this verdict before they are finished."""
        return mode_of(verdict) != "none"

    def due(self, job_id: str, verdict: Verdict, waited: float) -> bool:
        """Whether it is time for another preview of the job, `waited` seconds after its last."""
        gap = max(self._gap, self._cost / SHARE) if self._looks(job_id, verdict) else self._gap
        return self.wanted(verdict) and waited >= gap

    def veil(self, job_id: str, verdict: Verdict, pixels: Pixels) -> Veil:
        """How to show `pixels`, and whatever else was drawn at that moment of that picture."""
        if not self._looks(job_id, verdict):
            return Veil(down=True)
        if not self._harmless(pixels, verdict):
            self._flagged.add(job_id)
            return Veil(down=True)
        return Veil(down=False)

    def forget(self, job_id: str) -> None:
        self._flagged.discard(job_id)

    def _looks(self, job_id: str, verdict: Verdict) -> bool:
        """Whether previews of the job may be seen clearly as long as they are harmless."""
        clear = mode_of(verdict) == "show" and not self._blur
        return clear and self._desk is not None and job_id not in self._flagged

    def _harmless(self, pixels: Pixels, verdict: Verdict) -> bool:
        started = time.perf_counter()
        try:
            return self._desk is not None and self._desk.harmless(pixels, verdict)
        except Exception:  # noqa: BLE001 - a look that failed has not found the preview harmless
            _LOG.exception("a preview could not be looked at; it is blurred")
            return False
        finally:
            self._cost = time.perf_counter() - started
