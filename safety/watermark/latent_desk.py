"""The marks in noise of this installation: the one that new pictures get, and what recovered noise says about all.

"Not tested" and "not found" are different answers, and neither means that a picture is not AI-made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.errors import SignetError
from backend.types import Pixels, WatermarkReport
from safety.keys import open_keys
from safety.watermark.evidence import corrected
from safety.watermark.latent import METHODS, LatentEvidence, LatentMark, open_latent_mark
from safety.watermark.types import FOUND_LEVEL

Recovered = NDArray[np.floating[Any]]
"""(1, channels, height, width): the noise that a model would make a picture from."""

EITHER = " or ".join(METHODS)


class LatentReader:
    """Implements safety.verify.MarkReader: looks for every mark in the noise that models give for a picture.

    `recover` runs models backwards, one noise for each; it raises a SignetError if none could. `known` gives (record
    id, seed) of the pictures that were made with a mark, or others to try, with "" for a seed of no record.
    """

    def __init__(
        self,
        marks: Sequence[LatentMark],
        recover: Callable[[Pixels], Sequence[Recovered]],
        known: Callable[[], Iterable[tuple[str, int]]],
    ) -> None:
        self._marks = tuple(marks)
        self._recover = recover
        self._known = known

    def read(self, pixels: Pixels) -> WatermarkReport:
        """Not `tested` where no noise could be recovered."""
        try:
            recovered = self._recover(pixels)
        except SignetError as error:
            return WatermarkReport(found=False, tested=False, method=EITHER, detail=error.problem.sentence())
        return self.report(recovered)

    def report(self, recovered: Sequence[Recovered]) -> WatermarkReport:
        """The p-value is corrected for all models, keys, methods and seeds that were tried.

        Gaussian Shading is looked for under the known seeds alone, Tree-Ring without any. A record is named only if it
        alone has the seed that fits.
        """
        owners: dict[int, list[str]] = defaultdict(list)
        for name, seed in self._known():
            owners[seed].append(name)
        looks = [look for latent in recovered for look in self._looks(latent, tuple(owners)) if look.tried]
        if not looks:
            return WatermarkReport(found=False, tested=False, method=EITHER)
        best = min(looks, key=lambda look: look.p_value)
        p_value = corrected(best.p_value, len(looks))
        if p_value > FOUND_LEVEL:
            return WatermarkReport(found=False, p_value=p_value, method=EITHER)
        fitting = [name for name in owners.get(best.nonce, ()) if name] if best.nonce is not None else []
        record_id = fitting[0] if len(fitting) == 1 else None
        return WatermarkReport(found=True, record_id=record_id, p_value=p_value, method=best.method)

    def _looks(self, latent: Recovered, seeds: Sequence[int]) -> Iterator[LatentEvidence]:
        for mark in self._marks:
            if mark.carries(latent.shape):
                yield mark.evidence(latent, seeds)


def open_noise_mark(keys: Path, method: str) -> LatentMark:
    """The mark for new pictures, under the key of the installation; `keys` is its folder. For the engine process."""
    return open_latent_mark(method, open_keys(keys).watermark_key)


def open_latent_reader(
    keys: Path,
    recover: Callable[[Pixels], Sequence[Recovered]],
    known: Callable[[], Iterable[tuple[str, int]]],
) -> LatentReader:
    """Reads all methods under all keys that were ever in force here: earlier pictures may carry another."""
    marks = [open_latent_mark(method, key) for key in open_keys(keys).watermark_keys for method in METHODS]
    return LatentReader(marks, recover, known)
