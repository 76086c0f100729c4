"""The Passport of a picture: all a stranger needs to judge and to repeat it, gathered when it is sealed."""

from __future__ import annotations

import hashlib
from datetime import datetime

import numpy as np

from backend.types import CheckedImage, CredentialFacts, Passport, Pixels, Reason, SourceFacts, WatermarkFacts

IDENTICAL_DB = 99.0  # stands for "no change at all", which has no finite value and no JSON


def psnr_db(before: Pixels, after: Pixels) -> float:
    """Peak signal-to-noise ratio in decibels of two pictures of the same shape; 99 if they are the same."""
    error = float(np.mean(np.square(before.astype(np.float64) - after)))
    return min(IDENTICAL_DB, float(10 * np.log10(255.0**2 / error))) if error else IDENTICAL_DB


def issue(
    checked: CheckedImage,
    *,
    record_id: str,
    data: bytes,
    media_type: str,
    created: datetime,
    watermark: WatermarkFacts,
    credential: CredentialFacts,
    sources: tuple[SourceFacts, ...] = (),
) -> Passport:
    """The Passport of exactly these `data`."""
    raw = checked.raw
    height, width = raw.pixels.shape[:2]
    return Passport(
        record_id=record_id,
        sha256=hashlib.sha256(data).hexdigest(),
        media_type=media_type,
        width=width,
        height=height,
        created=created,
        request=raw.request,
        seed=raw.seed,
        model=raw.model,
        engine=raw.engine,
        inspection=checked.inspection,
        watermark=watermark,
        credential=credential,
        policy=raw.verdict.policy,
        admission=raw.verdict.action,
        words=raw.words,
        networks=raw.networks,
        sources=sources,
        handling=checked.handling,
        # The categories and how sure admission was, never the words: a Passport travels with the picture's record.
        reasons=tuple(
            Reason(category=each.category, layer=each.layer, score=each.score) for each in raw.verdict.reasons
        ),
        audit_head=raw.verdict.audit_head,
        latent_mark=raw.latent_mark,
    )
