"""The one door out: a checked picture is marked, encoded and signed, or it does not leave.

Order: mark the pixels, read the mark back, encode with the infotext, sign, read the signature back. Each step that
cannot be shown to have worked ends the road for this picture. Signing is last, and the signed bytes are the ones that
are stored and served. This module alone makes a SealedImage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from backend import images
from backend.types import CheckedImage, CredentialFacts, Pixels, RawImage, SealedImage, WatermarkFacts
from safety.errors import Unsealable
from safety.ingredients import ingredients
from safety.manifest import Statement
from safety.passport import issue, psnr_db
from safety.provenance import Credentials
from safety.watermark import Watermark, mark_id_of

SURE = 1e-6
"""The largest p-value at which our own mark counts as readable."""
_PASSED = ("clean", "flagged")
_THUMBNAIL_FROM = 256  # pixels of the longer side; a smaller picture is its own thumbnail
_CREDENTIAL_THUMBNAIL = 160


@dataclass(frozen=True, slots=True)
class Encoders:
    """How pixels become files; handed in, because safety encodes nothing itself.

    `png` takes the infotext or None, `thumbnail` gives None for small pictures, `jpeg` takes the longest side in px.
    """

    png: Callable[[Pixels, str | None], bytes]
    thumbnail: Callable[[Pixels], bytes | None]
    jpeg: Callable[[Pixels, int], bytes]


def seal(
    checked: CheckedImage, *, watermark: Watermark, credentials: Credentials, encoders: Encoders, infotext: bool = True
) -> SealedImage:
    """Make the file that may leave. With `infotext` False the parameters stay out of the file, not out of the history.

    Raises Unsealable if a picture that went in is gone or changed, the mark cannot be read back or the signature does
    not hold, Unavailable if signing fails.
    """
    raw = checked.raw
    if checked.inspection.state not in _PASSED:
        raise Unsealable("The picture was not inspected; it is withheld.", "Run the request again.")
    record_id = f"{raw.job_id}-{raw.index}"
    created = datetime.now(UTC)
    marked, mark = _marked(raw.pixels, record_id, watermark)
    statement = Statement(
        record_id,
        created,
        raw.request,
        raw.seed,
        raw.model,
        mark.method,
        mark.mark_id,
        words=raw.words,
        networks=raw.networks,
        ingredients=ingredients(raw.request, raw.sources, credentials),
    )
    media_type = MEDIA_TYPES[raw.request.format]
    unsigned, mark = _encoded(marked, mark, raw, watermark, encoders, raw.infotext if infotext else None)
    thumbnail = _credential_thumbnail(marked, checked, encoders)
    data, manifest_id = credentials.sign(unsigned, media_type, statement, thumbnail)
    passport = issue(
        checked,
        record_id=record_id,
        data=data,
        media_type=media_type,
        created=created,
        watermark=mark,
        credential=_proven(data, media_type, manifest_id, credentials),
        sources=tuple(each.facts for each in statement.ingredients),
    )
    return SealedImage(data, media_type, passport, raw.infotext, raw.index, encoders.thumbnail(marked))


def _marked(pixels: Pixels, record_id: str, watermark: Watermark) -> tuple[Pixels, WatermarkFacts]:
    """Pixels that carry the mark of the record, and the proof that they do."""
    mark_id = mark_id_of(record_id)
    marked = watermark.embed(pixels, mark_id)
    seen = watermark.detect(marked, [(record_id, mark_id)])
    if not (seen.found and seen.p_value <= SURE and seen.record_id == record_id):
        height, width = pixels.shape[:2]
        detail = f"This picture ({width} x {height}) does not hold the invisible mark (p = {seen.p_value:.1g})."
        raise Unsealable(detail, "Very small or nearly uniform pictures cannot carry it: try a larger size.")
    return marked, WatermarkFacts(
        method=watermark.name, mark_id=f"{mark_id:012x}", p_value=seen.p_value, psnr_db=psnr_db(pixels, marked)
    )


def _encoded(
    marked: Pixels,
    mark: WatermarkFacts,
    raw: RawImage,
    watermark: Watermark,
    encoders: Encoders,
    text: str | None,
) -> tuple[bytes, WatermarkFacts]:
    """The file before it is signed. A format that loses detail has to show that the mark is still there."""
    kind, quality = raw.request.format, raw.request.quality
    if kind == "png":
        return encoders.png(marked, text), mark
    data = _LOSSY[kind](marked, text, quality)
    pixels = images.decode(data, max_pixels=marked.shape[0] * marked.shape[1]).pixels
    record_id = f"{raw.job_id}-{raw.index}"
    seen = watermark.detect(pixels, [(record_id, mark_id_of(record_id))])
    if not (seen.found and seen.p_value <= SURE and seen.record_id == record_id):
        detail = (
            f"As {kind.upper()} of quality {quality} this picture loses its invisible mark (p = {seen.p_value:.1g})."
        )
        raise Unsealable(detail, "Choose PNG, or a higher quality.")
    return data, mark.model_copy(update={"p_value": seen.p_value, "psnr_db": psnr_db(raw.pixels, pixels)})


_LOSSY: Mapping[str, Callable[[Pixels, str | None, int], bytes]] = {
    "jpeg": images.encode_jpeg_file,
    "webp": images.encode_webp_file,
}
MEDIA_TYPES: Mapping[str, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def _credential_thumbnail(marked: Pixels, checked: CheckedImage, encoders: Encoders) -> bytes | None:
    """What validators may show. Not for flagged pictures: a viewer that hides the picture would still show this."""
    if checked.inspection.state != "clean" or max(marked.shape[:2]) <= _THUMBNAIL_FROM:
        return None
    return encoders.jpeg(marked, _CREDENTIAL_THUMBNAIL)


def _proven(data: bytes, media_type: str, manifest_id: str, credentials: Credentials) -> CredentialFacts:
    report = credentials.read(data, media_type)
    if report.state != "valid" or not report.ours:
        codes = ", ".join(report.failures) or report.state
        detail = f"The signature of this picture does not hold ({codes}); it is withheld."
        raise Unsealable(detail, "Check the clock of this machine and the keys folder.")
    return CredentialFacts(
        manifest_id=manifest_id, state=report.state, trusted=report.trusted, signer=credentials.signer
    )
