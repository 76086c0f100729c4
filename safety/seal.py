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
from backend.errors import SignetError
from backend.types import CheckedImage, CredentialFacts, Pixels, RawImage, SealedImage, WatermarkFacts
from safety import labels
from safety.actions import source_type
from safety.errors import Unsealable
from safety.ingredients import ingredients
from safety.manifest import Statement, Wording
from safety.passport import IDENTICAL_DB, issue, psnr_db
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
    checked: CheckedImage,
    *,
    watermark: Watermark,
    credentials: Credentials,
    encoders: Encoders,
    infotext: bool = True,
    label: bool = True,
) -> SealedImage:
    """Make the file that may leave. With `infotext` False the parameters stay out of the file, not out of the history;
    with `label` False the labels in plain metadata do (safety.labels).

    Raises Unsealable if a picture that went in is gone or changed, the mark cannot be read back or the signature does
    not hold, Unavailable if signing fails.
    """
    raw = checked.raw
    if checked.inspection.state not in _PASSED:
        raise Unsealable("The picture was not inspected; it is withheld.", "Run the request again.")
    record_id = f"{raw.job_id}-{raw.index}"
    created = datetime.now(UTC)
    marked, mark = _marked(raw, record_id, watermark)
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
        kept=mark.kept,
        latent_mark=raw.latent_mark,
    )
    media_type = MEDIA_TYPES[raw.request.format]
    text = raw.infotext if infotext else None
    packet = _label(statement, credentials.wording) if label else None
    unsigned, mark = _encoded(marked, mark, raw, watermark, encoders, text, packet)
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
    return SealedImage(data, media_type, passport, raw.infotext, raw.index, _thumbnail(marked, checked, encoders))


def _label(statement: Statement, wording: Wording) -> str | None:
    """The labels of the picture; None for one that is no more than its parent was, of which nothing is known."""
    parent = next((each for each in statement.ingredients if each.facts.relation == "parent"), None)
    own = source_type(statement.request, statement.networks, parent=parent is not None)
    inherited = parent.declared if parent else None
    stated = inherited if inherited and not statement.request.paints and labels.is_ai(inherited) else own or inherited
    return labels.packet(stated, statement.record_id, wording.app, wording.version) if stated else None


def _marked(raw: RawImage, record_id: str, watermark: Watermark) -> tuple[Pixels, WatermarkFacts]:
    """Pixels that carry the mark of the record, and the proof that they do.

    A conversion is the same picture, so a mark of ours that is in it stays: two marks would disturb each other, and
    the one it has leads to where it comes from.
    """
    if raw.request.mode == "convert" and (kept := _kept(raw.pixels, watermark)):
        return raw.pixels, kept
    mark_id = mark_id_of(record_id)
    marked = watermark.embed(raw.pixels, mark_id)
    seen = watermark.detect(marked, [(record_id, mark_id)])
    if not (seen.found and seen.p_value <= SURE and seen.record_id == record_id):
        height, width = raw.pixels.shape[:2]
        detail = f"This picture ({width} x {height}) does not hold the invisible mark (p = {seen.p_value:.1g})."
        raise Unsealable(detail, "Very small or nearly uniform pictures cannot carry it: try a larger size.")
    return marked, WatermarkFacts(
        method=watermark.name, mark_id=f"{mark_id:012x}", p_value=seen.p_value, psnr_db=psnr_db(raw.pixels, marked)
    )


def _kept(pixels: Pixels, watermark: Watermark) -> WatermarkFacts | None:
    """The mark of ours that is in the picture, None if there is none that can be read for sure."""
    try:
        first = watermark.detect(pixels, ())
        if not first.found or first.mark_id is None:
            return None
        name = f"{first.mark_id:012x}"
        seen = watermark.detect(pixels, [(name, first.mark_id)])
    except SignetError:  # too small to be looked at; then it is too small to be marked, and that will be said
        return None
    if not (seen.found and seen.p_value <= SURE and seen.record_id == name):
        return None
    return WatermarkFacts(method=watermark.name, mark_id=name, p_value=seen.p_value, psnr_db=IDENTICAL_DB, kept=True)


def _encoded(
    marked: Pixels,
    mark: WatermarkFacts,
    raw: RawImage,
    watermark: Watermark,
    encoders: Encoders,
    text: str | None,
    packet: str | None,
) -> tuple[bytes, WatermarkFacts]:
    """The file before it is signed. A format that loses detail has to show that the mark is still there."""
    kind, quality = raw.request.format, raw.request.quality
    if kind == "png":
        data = encoders.png(marked, text)
        return (images.png_with_xmp(data, packet) if packet else data), mark
    data = _LOSSY[kind](marked, text, quality, packet)
    pixels = images.decode(data, max_pixels=marked.shape[0] * marked.shape[1]).pixels
    name, mark_id = "this picture", int(mark.mark_id, 16)
    seen = watermark.detect(pixels, [(name, mark_id)])
    if not (seen.found and seen.p_value <= SURE and seen.record_id == name):
        detail = (
            f"As {kind.upper()} of quality {quality} this picture loses its invisible mark (p = {seen.p_value:.1g})."
        )
        raise Unsealable(detail, "Choose PNG, or a higher quality.")
    return data, mark.model_copy(update={"p_value": seen.p_value, "psnr_db": psnr_db(raw.pixels, pixels)})


_LOSSY: Mapping[str, Callable[[Pixels, str | None, int, str | None], bytes]] = {
    "jpeg": images.encode_jpeg_file,
    "webp": images.encode_webp_file,
    "avif": images.encode_avif_file,
}
MEDIA_TYPES: Mapping[str, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "avif": "image/avif",
}


def _thumbnail(marked: Pixels, checked: CheckedImage, encoders: Encoders) -> bytes | None:
    """What walls show. Of a covered picture only its colours, of a withheld one nothing."""
    if checked.handling == "show":
        return encoders.thumbnail(marked)
    return images.encode_veil(marked) if checked.handling == "blur" else None


def _credential_thumbnail(marked: Pixels, checked: CheckedImage, encoders: Encoders) -> bytes | None:
    """What validators may show. Not for a picture that is hidden here: a viewer that hides it would still show this."""
    if checked.inspection.state != "clean" or checked.handling != "show" or max(marked.shape[:2]) <= _THUMBNAIL_FROM:
        return None
    return encoders.jpeg(marked, _CREDENTIAL_THUMBNAIL)


def _proven(data: bytes, media_type: str, manifest_id: str, credentials: Credentials) -> CredentialFacts:
    report = credentials.read(data, media_type)
    if report.state != "valid" or not report.ours:
        codes = ", ".join(report.failures) or report.state
        detail = f"The signature of this picture does not hold ({codes}); it is withheld."
        raise Unsealable(detail, "Check the clock of this machine and the keys folder.")
    return CredentialFacts(
        manifest_id=manifest_id,
        state=report.state,
        trusted=report.trusted,
        signer=credentials.signer,
        time_stamp="made" if report.time_stamp else "failed" if credentials.stamps else "none",
    )
