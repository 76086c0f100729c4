"""The safety desk of an engine process, and the verifier of the studio: everything put together from one config.

A DeskConfig is plain data, so that it can be sent to a spawned process; the process opens keys and loads networks
itself. Pixels go in, sealed bytes come out, and whatever cannot be checked, marked or signed stays in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.errors import Unavailable
from backend.types import CheckedImage, Pixels, RawImage, SealedImage, Verdict
from backend.version import NAME, VERSION
from safety import drawn
from safety.drawn import Drawn
from safety.inspect import Detector, harmless, inspect
from safety.keys import Keys, open_keys
from safety.manifest import Wording
from safety.nsfw import OpenNsfw
from safety.nudenet import NudeNet
from safety.provenance import Credentials
from safety.seal import Encoders, seal
from safety.stamping import stamping
from safety.trust_list import trust_list
from safety.verify import FileVerifier, Lookups, MarkReader, every_mark
from safety.watermark import OWN, Watermark, open_watermark

SHIPPED_MARK = "signet-tile"


@dataclass(frozen=True, slots=True)
class DeskConfig:
    """What the owner's settings mean for safety. `keys` is the folder of the installation's keys.

    `nsfw_threshold` is that of OpenNSFW, `drawn_threshold` that of nsfwjs, `nudenet` adds a third scanner.
    `training_use` is "allowed" or "notAllowed". `threads` are CPU threads of each picture scanner. `label_metadata`
    writes labels beside the credentials, `trust` is the folder of the owner's trust list; see safety.stamping for
    `timestamp_url`, which is not asked when `offline`, and without which a picture may leave if `timestamp_optional`.
    """

    keys: Path
    watermark: str = SHIPPED_MARK
    nsfw_threshold: float = 0.8
    drawn_threshold: float = drawn.THRESHOLD
    training_use: str = "notAllowed"
    prompt_in_credentials: bool = False
    prompt_in_infotext: bool = True
    nudenet: bool = False
    app_name: str = NAME
    app_version: str = VERSION
    threads: int = 1
    label_metadata: bool = True
    trust: Path | None = None
    timestamp_url: str = ""
    timestamp_optional: bool = False
    offline: bool = False


def open_detectors(config: DeskConfig) -> tuple[Detector, ...]:
    """Every scanner of this installation, loaded and warm. Raises Unavailable if one of them is missing or changed."""
    scanners: list[Detector] = [
        OpenNsfw(config.nsfw_threshold, threads=config.threads),
        Drawn(config.drawn_threshold, threads=config.threads),
    ]
    if config.nudenet:
        scanners.append(NudeNet())
    return tuple(scanners)


class Desk:
    """Implements backend.ports.SafetyDesk. Safe to share between threads.

    Previews are looked at by the scanner for drawings alone, the fastest one, or by all if it is not there.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        watermark: Watermark,
        credentials: Credentials,
        encoders: Encoders,
        *,
        infotext: bool,
        label: bool = True,
    ) -> None:
        self._detectors = tuple(detectors)
        self._quick = tuple(each for each in detectors if isinstance(each, Drawn)) or self._detectors
        self._watermark = watermark
        self._credentials = credentials
        self._encoders = encoders
        self._infotext = infotext
        self._label = label

    def inspect(self, raw: RawImage) -> CheckedImage:
        """Raises NotInspected if any scanner is missing or fails."""
        return inspect(raw, self._detectors)

    def harmless(self, pixels: Pixels, verdict: Verdict) -> bool:
        """Whether a preview of a picture under this verdict may be seen as it is. Never raises; in doubt it may not."""
        return harmless(pixels, self._quick, verdict.flag_from)

    def seal(self, checked: CheckedImage) -> SealedImage:
        """Raises Unsealable or Unavailable rather than let something out unmarked or unsigned."""
        return seal(
            checked,
            watermark=self._watermark,
            credentials=self._credentials,
            encoders=self._encoders,
            infotext=self._infotext,
            label=self._label,
        )


def open_desk(
    config: DeskConfig,
    encode_png: Callable[[Pixels, str | None], bytes],
    encode_thumbnail: Callable[[Pixels], bytes | None],
    encode_jpeg: Callable[[Pixels, int], bytes],
    scanners: Callable[[DeskConfig], Sequence[Detector]] = open_detectors,
) -> Desk:
    """Open keys, load and warm the scanners. Raises Unavailable if any of it is missing: no desk without it.

    Without a scanner there is none either, whatever `scanners` opens.
    """
    detectors = scanners(config)
    if not detectors:
        raise Unavailable("No picture scanner is loaded.", "Without one no picture can leave.")
    keys = open_keys(config.keys)
    watermark = open_watermark(config.watermark, keys.watermark_key)
    encoders = Encoders(encode_png, encode_thumbnail, encode_jpeg)
    return Desk(
        detectors,
        watermark,
        _credentials(config, keys),
        encoders,
        infotext=config.prompt_in_infotext,
        label=config.label_metadata,
    )


def open_verifier(config: DeskConfig, lookups: Lookups, readers: Sequence[MarkReader] = ()) -> FileVerifier:
    """The verifier of this installation; `lookups` is the history.

    It reads the mark that new pictures get and all of our own methods, under every key that was ever in force:
    earlier pictures may carry those.
    """
    keys = open_keys(config.keys)
    return FileVerifier(_credentials(config, keys), every_mark((*OWN, config.watermark), keys), lookups, readers)


def _credentials(config: DeskConfig, keys: Keys) -> Credentials:
    wording = Wording(config.app_name, config.app_version, config.training_use, config.prompt_in_credentials)
    stamps = stamping(config.timestamp_url, offline=config.offline, optional=config.timestamp_optional)
    return Credentials(keys, wording, trust=trust_list(config.trust) if config.trust else (), stamping=stamps)
