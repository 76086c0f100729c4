"""Content Credentials made and read, with c2pa-python.

Signing is the last thing that happens to the bytes: any later change, even of a text chunk, makes them invalid.

The key is given to the native library rather than asked for by a callback. For a callback the library reserves 9 kB of
padding that no signature covers: a third of a small picture, in which anything could be hidden unnoticed.

Reading never touches the network: no remote manifests, no revocation look-ups. No public trust list is installed, so
`trusted` is False for every file; our own files are told by our own authority, in a second reading. Adding an
ingredient is a reading too, so signing has the same rules.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping
from typing import Any, cast

import c2pa
import numpy as np

from backend.errors import Unavailable
from backend.images import encode_png
from backend.types import CredentialReport
from safety.actions import FULLY_GENERATED
from safety.ingredient_report import LONGEST, ingredient_reports, short
from safety.keys import Keys
from safety.manifest import Statement, Wording, ingredient, manifest

READ_SETTINGS: Mapping[str, Any] = {
    "version": 1,
    "verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
}
WRITE_SETTINGS: Mapping[str, Any] = {**READ_SETTINGS, "builder": {"thumbnail": {"enabled": False}}}
_THUMBNAIL = "thumbnail.jpg"
_TRIFLE_TYPE = "image/png"

log = logging.getLogger(__name__)


def reading_settings(anchors: str | None = None) -> dict[str, Any]:
    """How any file is read. `anchors` are PEM certificates that count as known for this reading."""
    return {**READ_SETTINGS, "trust": {"user_anchors": anchors} if anchors else {}}


class Credentials:
    """Signs with the keys of this installation and reads anybody's files. Safe to share between threads."""

    def __init__(self, keys: Keys, wording: Wording) -> None:
        self._keys = keys
        self._wording = wording
        self._kinds = frozenset(c2pa.Reader.get_supported_mime_types())
        self._write = _context(WRITE_SETTINGS)
        self._read_as_stranger = _context(reading_settings())
        self._read_as_owner = _context(reading_settings(keys.ca_pem))
        self._signer = c2pa.Signer.from_info(
            c2pa.C2paSignerInfo(b"es256", keys.chain_pem.encode(), keys.key_pem.encode(), None)
        )

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
        out = io.BytesIO()
        try:
            with c2pa.Builder(definition, context=self._write) as builder:
                if thumbnail:
                    builder.add_resource(_THUMBNAIL, io.BytesIO(thumbnail))
                for index, each in enumerate(statement.ingredients):
                    if each.data is not None:
                        builder.add_ingredient(ingredient(statement, index), each.media_type, io.BytesIO(each.data))
                builder.sign(self._signer, media_type, io.BytesIO(data), out)
        except c2pa.C2paError as error:
            log.error("signing %s failed: %s", statement.record_id, error)
            detail = f"The picture could not be signed and is withheld ({str(error)[:120]})."
            raise Unavailable(detail, "Check the clock of this machine and the keys folder.") from error
        return out.getvalue(), str(definition["label"])

    def reads(self, media_type: str) -> bool:
        """Whether credentials can be looked for in files of this kind."""
        return media_type in self._kinds

    def weight(self, data: bytes, media_type: str) -> int | None:
        """Bytes that a picture made from this file takes over with its credentials, None if they cannot be taken.

        Found by signing a trifle with them: some damage shows only then, and it must not stop the real picture.
        """
        made = {"action": "c2pa.created", "digitalSourceType": FULLY_GENERATED}
        definition = {
            "claim_generator_info": [{"name": self._wording.app}],
            "format": _TRIFLE_TYPE,
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [made]}}],
        }
        trifle, out = encode_png(np.zeros((1, 1, 3), np.uint8)), io.BytesIO()
        try:
            with c2pa.Builder(definition, context=self._write) as builder:
                builder.add_ingredient({"relationship": "inputTo"}, media_type, io.BytesIO(data))
                builder.sign(self._signer, _TRIFLE_TYPE, io.BytesIO(trifle), out)
        except c2pa.C2paError as error:
            log.info("credentials that cannot be taken over: %s", error)
            return None
        return len(out.getvalue()) - len(trifle)

    def read(self, data: bytes, media_type: str) -> CredentialReport:
        """What the file's credentials say, as a validator without any trust list reports it. Bad files do not raise.

        `ours` means: intact, and signed under the authority of this installation.
        """
        store = _store(data, media_type, self._read_as_stranger)
        if isinstance(store, CredentialReport):
            return store
        report = _report(store)
        if report.state == "valid" and _serial(store) == str(self._keys.serial):
            known = _store(data, media_type, self._read_as_owner)
            return report.model_copy(update={"ours": _state(known) == "Trusted"})
        return report


def _context(settings: Mapping[str, Any]) -> Any:
    return c2pa.Context(settings=c2pa.Settings.from_dict(dict(settings)))


def _store(data: bytes, media_type: str, context: Any) -> dict[str, Any] | CredentialReport:
    """The manifest store as c2pa describes it, or a finished report if there is none to describe."""
    try:
        with c2pa.Reader(media_type, io.BytesIO(data), context=context) as reader:
            return cast(dict[str, Any], json.loads(reader.json()))
    except c2pa.C2paError.ManifestNotFound:
        return CredentialReport(state="absent")
    except c2pa.C2paError as error:
        if str(error).startswith("Remote"):
            return CredentialReport(state="absent", failures=("manifest.inaccessible",))
        log.info("unreadable credentials: %s", error)
        # The library also fails on odd files that never had a manifest; a manifest always brings a JUMBF box.
        if b"jumb" in data:
            return CredentialReport(state="invalid", failures=("claim.missing",))
        return CredentialReport(state="absent")


def _state(store: dict[str, Any] | CredentialReport) -> str:
    return "" if isinstance(store, CredentialReport) else str(store.get("validation_state"))


def _active(store: Mapping[str, Any]) -> Mapping[str, Any]:
    found = store.get("manifests", {}).get(store.get("active_manifest"), {})
    return found if isinstance(found, Mapping) else {}


def _serial(store: Mapping[str, Any]) -> str:
    return str((_active(store).get("signature_info") or {}).get("cert_serial_number"))


def _report(store: Mapping[str, Any]) -> CredentialReport:
    active = _active(store)
    actions = _actions(active)
    source = next((each for action in actions if (each := action.get("digitalSourceType"))), None)
    info = (active.get("claim_generator_info") or [{}])[0]
    signature = active.get("signature_info") or {}
    return CredentialReport(
        state="valid" if store.get("validation_state") in ("Valid", "Trusted") else "invalid",
        actions=tuple(short(action.get("action")) or "" for action in actions),
        digital_source_type=short(source),
        generator=short(info.get("name") or active.get("claim_generator")),
        signer=short(signature.get("common_name") or signature.get("issuer")),
        failures=_failures(store),
        ingredients=ingredient_reports(store),
    )


def _actions(active: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = [
        action
        for assertion in active.get("assertions", ())
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", ())
    ]
    return found[:LONGEST]


def _failures(store: Mapping[str, Any]) -> tuple[str, ...]:
    """Codes of the active manifest, then of what its ingredients newly fail; each once, in order."""
    results = store.get("validation_results") or {}
    parts = [results.get("activeManifest") or {}]
    parts += [delta.get("validationDeltas") or {} for delta in results.get("ingredientDeltas") or ()]
    codes = [str(each.get("code"))[:LONGEST] for part in parts for each in part.get("failure") or ()]
    return tuple(dict.fromkeys(codes))[:LONGEST]
