"""The safety desk of an engine process, and the verifier of the studio: everything put together from one config.

A DeskConfig is plain data, so that it can be sent to a spawned process; the process opens keys and loads networks
itself. Pixels go in, sealed bytes come out, and whatever cannot be checked, marked or signed stays in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.types import CheckedImage, Pixels, RawImage, SealedImage
from backend.version import NAME, VERSION
from safety.inspect import Detector, inspect
from safety.keys import Keys, open_keys
from safety.manifest import Wording
from safety.nsfw import OpenNsfw
from safety.nudenet import NudeNet
from safety.provenance import Credentials
from safety.seal import Encoders, seal
from safety.verify import FileVerifier, Lookups
from safety.watermark import Watermark, open_watermark

SHIPPED_MARK = "signet-dct"


@dataclass(frozen=True, slots=True)
class DeskConfig:
    """What the owner's settings mean for safety. `keys` is the folder of the installation's keys.

    `training_use` is "allowed" or "notAllowed". `threads` are CPU threads of each picture scanner.
    """

    keys: Path
    watermark: str = SHIPPED_MARK
    nsfw_threshold: float = 0.8
    training_use: str = "notAllowed"
    prompt_in_credentials: bool = False
    prompt_in_infotext: bool = True
    nudenet: bool = False
    app_name: str = NAME
    app_version: str = VERSION
    threads: int = 1


class Desk:
    """Implements backend.ports.SafetyDesk. Safe to share between threads."""

    def __init__(
        self,
        detectors: Sequence[Detector],
        watermark: Watermark,
        credentials: Credentials,
        encoders: Encoders,
        *,
        infotext: bool,
    ) -> None:
        self._detectors = tuple(detectors)
        self._watermark = watermark
        self._credentials = credentials
        self._encoders = encoders
        self._infotext = infotext

    def inspect(self, raw: RawImage) -> CheckedImage:
        """Raises NotInspected if any scanner is missing or fails."""
        return inspect(raw, self._detectors)

    def seal(self, checked: CheckedImage) -> SealedImage:
        """Raises Unsealable or Unavailable rather than let something out unmarked or unsigned."""
        return seal(
            checked,
            watermark=self._watermark,
            credentials=self._credentials,
            encoders=self._encoders,
            infotext=self._infotext,
        )


def open_desk(
    config: DeskConfig,
    encode_png: Callable[[Pixels, str | None], bytes],
    encode_thumbnail: Callable[[Pixels], bytes | None],
    encode_jpeg: Callable[[Pixels, int], bytes],
) -> Desk:
    """Open keys, load and warm the scanners. Raises Unavailable if any of it is missing: no desk without it."""
    detectors: list[Detector] = [OpenNsfw(config.nsfw_threshold, threads=config.threads)]
    if config.nudenet:
        detectors.append(NudeNet())
    keys = open_keys(config.keys)
    watermark = open_watermark(config.watermark, keys.watermark_key)
    encoders = Encoders(encode_png, encode_thumbnail, encode_jpeg)
    return Desk(detectors, watermark, _credentials(config, keys), encoders, infotext=config.prompt_in_infotext)


def open_verifier(config: DeskConfig, lookups: Lookups) -> FileVerifier:
    """The verifier of this installation; `lookups` is the history.

    It reads the mark that new pictures get, and always the shipped one too: earlier pictures may carry that.
    """
    keys = open_keys(config.keys)
    methods = dict.fromkeys((SHIPPED_MARK, config.watermark))
    watermarks = [open_watermark(method, keys.watermark_key) for method in methods]
    return FileVerifier(_credentials(config, keys), watermarks, lookups)


def _credentials(config: DeskConfig, keys: Keys) -> Credentials:
    wording = Wording(config.app_name, config.app_version, config.training_use, config.prompt_in_credentials)
    return Credentials(keys, wording)
