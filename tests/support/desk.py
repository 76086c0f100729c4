"""A stand-in for the safety desk: says that every picture is clean and wraps it as a plain PNG, unsigned."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from datetime import UTC, datetime

from backend import images
from backend.ids import new_id
from backend.types import (
    CheckedImage,
    CredentialFacts,
    Inspection,
    Passport,
    Pixels,
    RawImage,
    SealedImage,
    Verdict,
    WatermarkFacts,
)


class PlainDesk:
    def inspect(self, raw: RawImage) -> CheckedImage:
        return CheckedImage(raw, Inspection(state="clean"))

    def harmless(self, pixels: Pixels, verdict: Verdict) -> bool:
        return True

    def seal(self, checked: CheckedImage) -> SealedImage:
        raw = checked.raw
        height, width = raw.pixels.shape[:2]
        record_id = new_id()
        # Like a signature, the id makes the bytes of every picture unique.
        data = images.encode_png(raw.pixels, f"{raw.infotext}, Record: {record_id}")
        passport = Passport(
            record_id=record_id,
            sha256=hashlib.sha256(data).hexdigest(),
            media_type="image/png",
            width=width,
            height=height,
            created=datetime.now(UTC),
            request=raw.request,
            seed=raw.seed,
            model=raw.model,
            engine=raw.engine,
            inspection=checked.inspection,
            watermark=WatermarkFacts(method="none", mark_id=secrets.token_hex(6), p_value=1.0, psnr_db=99.0),
            credential=CredentialFacts(manifest_id=record_id, state="invalid", trusted=False, signer="nobody"),
            policy=raw.verdict.policy,
            admission=raw.verdict.action,
            words=raw.words,
            networks=raw.networks,
        )
        return SealedImage(data, "image/png", passport, raw.infotext, raw.index)


def open_desk() -> PlainDesk:
    """Lies in a module, so that it finds its way into a spawned process."""
    return PlainDesk()


def never_open() -> PlainDesk:
    """A driver that hangs."""
    time.sleep(3600)
    return PlainDesk()


def die_at_once(_connection: object, _config: object) -> None:
    """In place of the engine's main: a process that never comes up."""
    os._exit(3)


def pixels_of(sealed: SealedImage) -> Pixels:
    return images.decode(sealed.data, max_pixels=1 << 24).pixels
