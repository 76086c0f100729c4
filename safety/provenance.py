"""Content Credentials made and read, with c2pa-python.

Signing is the last thing that happens to the bytes: any later change, even of a text chunk, makes them invalid.

The key is given to the native library rather than asked for by a callback. For a callback the library reserves 9 kB of
padding that no signature covers: a third of a small picture, in which anything could be hidden unnoticed.

Reading never touches the network: no remote manifests, no revocation look-ups. There is no public trust list in here;
`trusted` is what stands under an authority of the owner's own list (safety.trust_list). Our own files are told by our
own authorities, in a second reading. Adding an ingredient is a reading too, so signing has the same rules. Only a
time-stamp authority that the owner named is ever asked for anything (safety.stamping).
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import c2pa
import numpy as np

from backend.errors import InvalidParameter, Unavailable
from backend.images import encode_png
from backend.types import CredentialReport
from safety.actions import FULLY_GENERATED
from safety.ingredient_report import LONGEST, ingredient_reports, listed, mapping, short
from safety.keys import Identity, Keys
from safety.manifest import Statement, Wording, added, manifest
from safety.own_certificate import EXTENDED_USES
from safety.stamping import Stamping

READ_SETTINGS: Mapping[str, Any] = {
    "version": 1,
    "verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
}
WRITE_SETTINGS: Mapping[str, Any] = {
    **READ_SETTINGS,
    "builder": {"thumbnail": {"enabled": False}},
    "trust": {"trust_config": "\n".join(EXTENDED_USES)},
}
_THUMBNAIL = "thumbnail.jpg"
_TRIFLE_TYPE = "image/png"
_BOX = b"jumb"

log = logging.getLogger(__name__)


def reading_settings(anchors: str | None = None) -> dict[str, Any]:
    """How any file is read. `anchors` are PEM certificates that count as known for this reading."""
    known = {"user_anchors": anchors} if anchors else {}
    return {**READ_SETTINGS, "trust": {"trust_config": "\n".join(EXTENDED_USES), **known}}


def try_out(identity: Identity, key_pem: str, algorithm: str) -> None:
    """Sign a trifle and read it back. Raises InvalidParameter, with the library's reason, for what C2PA refuses."""
    out = io.BytesIO()
    try:
        with c2pa.Builder(_trifle(), context=_context(WRITE_SETTINGS)) as builder:
            builder.sign(_signer(identity.chain_pem, key_pem, algorithm), _TRIFLE_TYPE, io.BytesIO(_dot()), out)
    except c2pa.C2paError as error:
        detail = f"C2PA refuses to sign with this certificate ({str(error)[:160]})."
        raise InvalidParameter("certificate", detail, "Ask its authority for one that may sign C2PA claims.") from error
    found = _store(out.getvalue(), _TRIFLE_TYPE, _context(reading_settings(identity.ca_pem)))
    if _state(found) != "Trusted":
        codes = ", ".join(found.failures if isinstance(found, CredentialReport) else _failures(found))
        detail = f"What is signed with this certificate does not verify ({codes or 'no reason given'})."
        raise InvalidParameter("certificate", detail, "Give the whole chain, up to and with the root.")


class Credentials:
    """Signs with the keys of this installation and reads anybody's files. Safe to share between threads."""

    def __init__(
        self, keys: Keys, wording: Wording, *, trust: Sequence[str] = (), stamping: Stamping | None = None
    ) -> None:
        """`trust` are PEM certificates of the authorities whose signers count as trusted."""
        self._keys = keys
        self._wording = wording
        self._kinds = frozenset(c2pa.Reader.get_supported_mime_types())
        self._write = _context(WRITE_SETTINGS)
        self._read_as_stranger = _context(reading_settings("\n".join(trust)))
        # By number and authority together: another certificate of the same authority is not ours.
        self._read_as_owner = {str(own.serial): _context(reading_settings(own.ca_pem)) for own in keys.identities}
        self._signer = _signer(keys.chain_pem, keys.key_pem, keys.algorithm)
        self._stamping = stamping
        self._stamper = _signer(keys.chain_pem, keys.key_pem, keys.algorithm, stamping.url) if stamping else None

    @property
    def wording(self) -> Wording:
        return self._wording

    @property
    def stamps(self) -> bool:
        """Whether a time-stamp authority is asked for each picture."""
        return self._stamper is not None

    @property
    def signer(self) -> str:
        """The name in the certificate."""
        return self._keys.signer

    def sign(
        self, data: bytes, media_type: str, statement: Statement, thumbnail: bytes | None = None
    ) -> tuple[bytes, str]:
        """The same file with Content Credentials, and the id of its manifest. Pixels and text chunks stay as they are.

        The credentials of the ingredients come along, validated as they are taken over.

        `thumbnail` is a JPEG that validators may show. Raises Unavailable if the library refuses.
        """
        definition = manifest(statement, self._wording, media_type, self._keys.watermark_key)
        if thumbnail:
            definition["thumbnail"] = {"format": "image/jpeg", "identifier": _THUMBNAIL}
        try:
            signed = self._signed(data, media_type, definition, statement, thumbnail)
        except c2pa.C2paError as error:
            log.error("signing %s failed: %s", statement.record_id, error)
            detail = f"The picture could not be signed and is withheld ({str(error)[:120]})."
            hint = "Check the clock of this machine and the keys folder"
            hint += f", and whether {self._stamping.url} answers." if self._stamping else "."
            raise Unavailable(detail, hint) from error
        return signed, str(definition["label"])

    def _signed(
        self, data: bytes, media_type: str, definition: Mapping[str, Any], statement: Statement, thumbnail: bytes | None
    ) -> bytes:
        """Without a time stamp only where none is asked for, or where the owner allows that and the authority fails."""
        if self._stamper is not None and self._stamping is not None:
            try:
                return self._built(data, media_type, definition, statement, thumbnail, self._stamper)
            except c2pa.C2paError as error:
                if not self._stamping.optional:
                    raise
                log.warning("%s is signed without a time stamp: %s", statement.record_id, error)
        return self._built(data, media_type, definition, statement, thumbnail, self._signer)

    def _built(
        self,
        data: bytes,
        media_type: str,
        definition: Mapping[str, Any],
        statement: Statement,
        thumbnail: bytes | None,
        signer: Any,
    ) -> bytes:
        out = io.BytesIO()
        with c2pa.Builder(dict(definition), context=self._write) as builder:
            if thumbnail:
                builder.add_resource(_THUMBNAIL, io.BytesIO(thumbnail))
            for each, kind, content in added(statement):
                builder.add_ingredient(each, kind, io.BytesIO(content))
            builder.sign(signer, media_type, io.BytesIO(data), out)
        return out.getvalue()

    def reads(self, media_type: str) -> bool:
        """Whether credentials can be looked for in files of this kind."""
        return media_type in self._kinds

    def weight(self, data: bytes, media_type: str) -> int | None:
        """Bytes that a picture made from this file takes over with its credentials, None if they cannot be taken.

        Found by signing a trifle with them: some damage shows only then, and it must not stop the real picture.
        """
        trifle, out = _dot(), io.BytesIO()
        try:
            with c2pa.Builder(_trifle(), context=self._write) as builder:
                builder.add_ingredient({"relationship": "inputTo"}, media_type, io.BytesIO(data))
                builder.sign(self._signer, _TRIFLE_TYPE, io.BytesIO(trifle), out)
        except c2pa.C2paError as error:
            log.info("credentials that cannot be taken over: %s", error)
            return None
        return len(out.getvalue()) - len(trifle)

    def read(self, data: bytes, media_type: str) -> CredentialReport:
        """What the file's credentials say, as a validator with the owner's trust list reports it. Bad files do not
        raise.

        `ours` means: intact, and signed with a certificate of this installation, the one in force or an earlier one.
        """
        store = _store(data, media_type, self._read_as_stranger)
        if isinstance(store, CredentialReport):
            return store
        report = _report(store)
        own = self._read_as_owner.get(str(_signature(store).get("cert_serial_number")))
        if report.state == "valid" and own is not None:
            return report.model_copy(update={"ours": _state(_store(data, media_type, own)) == "Trusted"})
        return report


def _signer(chain_pem: str, key_pem: str, algorithm: str, stamp_url: str | None = None) -> Any:
    url = stamp_url.encode() if stamp_url else None
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, chain_pem.encode(), key_pem.encode(), url))


def _trifle() -> dict[str, Any]:
    """The least that can be signed."""
    made = {"action": "c2pa.created", "digitalSourceType": FULLY_GENERATED}
    return {
        "claim_generator_info": [{"name": "Signet"}],
        "format": _TRIFLE_TYPE,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [made]}}],
    }


def _dot() -> bytes:
    return encode_png(np.zeros((1, 1, 3), np.uint8))


def _context(settings: Mapping[str, Any]) -> Any:
    return c2pa.Context(settings=c2pa.Settings.from_dict(dict(settings)))


def _store(data: bytes, media_type: str, context: Any) -> dict[str, Any] | CredentialReport:
    """The manifest store as c2pa describes it, or a finished report if there is none to describe."""
    try:
        with c2pa.Reader(media_type, io.BytesIO(data), context=context) as reader:
            return cast(dict[str, Any], json.loads(reader.json()))
    except (ValueError, RecursionError):  # of what the library wrote; only a file made to break it comes to this
        return CredentialReport(state="invalid", failures=("claim.malformed",))
    except c2pa.C2paError.ManifestNotFound:
        return CredentialReport(state="absent")
    except c2pa.C2paError as error:
        if str(error).startswith("Remote"):
            return CredentialReport(state="absent", failures=("manifest.inaccessible",))
        log.info("unreadable credentials: %s", error)
        # The library also fails on odd files that never had a manifest; a manifest always brings a JUMBF box.
        if _BOX in data:
            return CredentialReport(state="invalid", failures=("claim.missing",))
        return CredentialReport(state="absent")


def _state(store: Mapping[str, Any] | CredentialReport) -> str:
    return "" if isinstance(store, CredentialReport) else str(store.get("validation_state"))


def _active(store: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(mapping(store.get("manifests")).get(str(store.get("active_manifest"))))


def _signature(store: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(_active(store).get("signature_info"))


def _report(store: Mapping[str, Any]) -> CredentialReport:
    active, signature = _active(store), _signature(store)
    actions = _actions(active)
    source = next((each for action in actions if (each := action.get("digitalSourceType"))), None)
    info = (listed(active.get("claim_generator_info")) or [{}])[0]
    return CredentialReport(
        state="valid" if _state(store) in ("Valid", "Trusted") else "invalid",
        trusted=_state(store) == "Trusted",
        actions=tuple(short(action.get("action")) or "" for action in actions),
        digital_source_type=short(source),
        generator=short(info.get("name") or active.get("claim_generator")),
        generator_version=short(info.get("version")),
        spec_version=short(info.get("specVersion")),
        when=next((short(each) for action in actions if (each := action.get("when"))), None),
        ident=short(active.get("title")),
        training_use=_training_use(active),
        signer=short(signature.get("common_name") or signature.get("issuer")),
        failures=_failures(store),
        ingredients=ingredient_reports(store),
        time_stamp=short(signature.get("time")),
        time_stamp_trusted="timeStamp.trusted" in _codes(store, "success", "informational"),
    )


def _data_of(active: Mapping[str, Any], label: str) -> Iterator[Mapping[str, Any]]:
    """The contents of the assertions whose label starts so."""
    for assertion in listed(active.get("assertions")):
        if str(assertion.get("label", "")).startswith(label):
            yield mapping(assertion.get("data"))


def _actions(active: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [action for data in _data_of(active, "c2pa.actions") for action in listed(data.get("actions"))][:LONGEST]


def _training_use(active: Mapping[str, Any]) -> str | None:
    """The strictest word on use for training (CAWG training and data mining 1.1)."""
    entries = (mapping(data.get("entries")).values() for data in _data_of(active, "cawg.training-mining"))
    stated = {str(mapping(entry).get("use")) for each in entries for entry in each}
    return next((use for use in ("notAllowed", "constrained", "allowed") if use in stated), None)


def _failures(store: Mapping[str, Any]) -> tuple[str, ...]:
    """Codes of the active manifest, then of what its ingredients newly fail; each once, in order."""
    results = mapping(store.get("validation_results"))
    parts = [mapping(results.get("activeManifest"))]
    parts += [mapping(delta.get("validationDeltas")) for delta in listed(results.get("ingredientDeltas"))]
    codes = [str(each.get("code"))[:LONGEST] for part in parts for each in listed(part.get("failure"))]
    return tuple(dict.fromkeys(codes))[:LONGEST]


def _codes(store: Mapping[str, Any], *kinds: str) -> set[str]:
    """Codes of the active manifest."""
    found = mapping(mapping(store.get("validation_results")).get("activeManifest"))
    return {str(each.get("code")) for kind in kinds for each in listed(found.get(kind))}
