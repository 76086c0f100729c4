"""Credentials made to mislead, to overwhelm, or at the wrong time: a clear answer, and never a wrong "valid"."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest

from backend.errors import Unavailable
from backend.images import encode_png
from backend.types import RawImage, SealedImage
from safety.actions import FULLY_GENERATED
from safety.certificates import issue_chain
from safety.inspect import inspect
from safety.keys import Keys, identity
from safety.manifest import manifest
from safety.provenance import WRITE_SETTINGS, Credentials
from safety.seal import Encoders, seal
from safety.verify import FileVerifier
from tests.unit.safety.authorities import KEYS, Authority, key_pem
from tests.unit.safety.samples import WORDING, CornerMark, Fixed, History, picture, source, tampered
from tests.unit.safety.test_safety_provenance import PNG, statement

MADE = {"action": "c2pa.created", "digitalSourceType": FULLY_GENERATED}


def sign(definition: dict[str, Any], chain_pem: str, key: bytes | str, algorithm: str = "es256") -> bytes:
    """With any definition and any certificate, as a stranger would."""
    out = io.BytesIO()
    key = key.encode() if isinstance(key, str) else key
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, chain_pem.encode(), key, None))
    with c2pa.Builder(definition, context=c2pa.Context(c2pa.Settings.from_dict(dict(WRITE_SETTINGS)))) as builder:
        builder.sign(signer, PNG, io.BytesIO(encode_png(picture())), out)
    return out.getvalue()


def bare(**more: Any) -> dict[str, Any]:
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [MADE]}}
    return {"claim_generator_info": [{"name": "Mallory"}], "format": PNG, "assertions": [actions], **more}


def summary(credentials: Credentials, data: bytes) -> str:
    return FileVerifier(credentials, [CornerMark()], History()).verify(data, PNG, picture(), None).summary


def test_a_manifest_of_a_thousand_ingredients_is_answered_and_cut(credentials: Credentials, other_keys: Keys) -> None:
    many = [{"title": f"source {i}", "format": PNG, "relationship": "inputTo"} for i in range(1000)]
    data = sign(bare(ingredients=many), other_keys.chain_pem, other_keys.key_pem)
    began = time.perf_counter()
    report = credentials.read(data, PNG)
    assert time.perf_counter() - began < 20
    assert (report.state, report.ours, len(report.ingredients)) == ("valid", False, 200)
    assert "of which it holds no credentials" in summary(credentials, data)


def test_a_very_long_manifest_is_answered_and_its_texts_are_cut(credentials: Credentials, other_keys: Keys) -> None:
    long = "x" * 200_000
    made = {**MADE, "softwareAgent": {"name": long}}
    assertions = [
        {"label": "c2pa.actions.v2", "data": {"actions": [made, *[{"action": "c2pa.edited"}] * 2000]}},
        {"label": "com.example.long", "data": {"text": long}},
    ]
    definition = bare(title=long, claim_generator_info=[{"name": long}], assertions=assertions)
    data = sign(definition, other_keys.chain_pem, other_keys.key_pem)
    report = credentials.read(data, PNG)
    assert len(report.model_dump_json()) < 10_000
    assert (len(report.generator or ""), len(report.ident or ""), len(report.actions)) == (200, 200, 200)


def test_deep_nesting_in_an_assertion_is_survived(credentials: Credentials, other_keys: Keys) -> None:
    deep: Any = 1
    for _ in range(60):
        deep = {"a": deep}
    assertions = [*bare()["assertions"], {"label": "com.example.deep", "data": deep}]
    data = sign(bare(assertions=assertions), other_keys.chain_pem, other_keys.key_pem)
    assert credentials.read(data, PNG).state in ("valid", "invalid")


def test_what_the_library_cannot_describe_is_invalid(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch, other_keys: Keys
) -> None:
    data = sign(bare(), other_keys.chain_pem, other_keys.key_pem)
    for broken in ("{", "[" * 100_000):
        monkeypatch.setattr(c2pa.Reader, "json", lambda self, broken=broken: broken)
        report = credentials.read(data, PNG)
        assert (report.state, report.failures) == ("invalid", ("claim.malformed",))


# ---- certificates at the wrong time


def test_a_certificate_that_has_run_out_since_makes_it_invalid_and_says_so(keys: Keys, tmp_path: Path) -> None:
    root, key = Authority(), KEYS["es256"]()
    life = (datetime.now(UTC) + timedelta(seconds=2.5) - datetime.now(UTC)).total_seconds() / 86400
    chain = root.issue(key, days=(-1, life)).decode()  # type: ignore[arg-type]
    own = identity(chain)
    ours = replace(keys, chain_pem=chain, ca_pem=own.ca_pem, serial=own.serial, key_pem=key_pem(key).decode())
    credentials = Credentials(ours, WORDING)
    data, _ = credentials.sign(encode_png(picture()), PNG, statement())
    assert credentials.read(data, PNG).ours
    time.sleep(4)
    report = credentials.read(data, PNG)
    assert (report.state, report.ours, report.trusted) == ("invalid", False, False)
    assert "signingCredential.expired" in report.failures
    assert "the certificate of the signer has run out" in summary(credentials, data)


def test_with_the_clock_set_back_before_the_certificate_nothing_is_signed(keys: Keys) -> None:
    chain_pem, key = issue_chain(datetime.now(UTC) + timedelta(days=30))
    own = identity(chain_pem)
    early = replace(keys, chain_pem=chain_pem, ca_pem=own.ca_pem, serial=own.serial, key_pem=key)
    with pytest.raises(Unavailable, match="withheld") as caught:
        Credentials(early, WORDING).sign(encode_png(picture()), PNG, statement())
    assert "Check the clock of this machine" in (caught.value.problem.hint or "")


def test_the_certificate_of_another_does_not_go_with_one_s_own_key(keys: Keys, other_keys: Keys) -> None:
    """Our certificate is in every picture we sign; without its key it is of no use."""
    try:
        data = sign(bare(), keys.chain_pem, other_keys.key_pem)
    except c2pa.C2paError:
        return  # the library would not even sign; a stranger could write his own
    report = Credentials(keys, WORDING).read(data, PNG)
    assert (report.state, report.ours) == ("invalid", False)


def test_a_stranger_who_takes_our_name_is_not_taken_for_us(credentials: Credentials, keys: Keys) -> None:
    own = Authority(keys.signer + " authority")
    key = KEYS["es256"]()
    chain = own.issue(key, organisation="Signet installation", serial=keys.serial).decode()
    definition = manifest(statement(), WORDING, PNG, b"secret")
    definition["assertions"][0]["data"]["actions"][0].pop("parameters", None)
    data = sign(definition, chain, key_pem(key))
    report = credentials.read(data, PNG)
    assert (report.state, report.ours, report.generator) == ("valid", False, "Signet")
    assert "who is unknown here and not on a trust list: anybody can sign under any name" in summary(credentials, data)


# ---- damage


@pytest.fixture(scope="module")
def signed(credentials: Credentials) -> bytes:
    return credentials.sign(encode_png(picture(), "a lighthouse"), PNG, statement())[0]


def test_a_changed_byte_makes_it_invalid_or_changes_nothing_that_is_said(
    credentials: Credentials, signed: bytes
) -> None:
    """No hash covers the names of the boxes around the manifest and the padding behind the signature; nothing that is
    read stands there. Every pixel and every statement is covered."""
    honest = credentials.read(signed, PNG)
    start = signed.index(b"caBX") + 4
    statements = range(start, signed.rindex(b"c2pa.signature"))
    pixels = range(signed.rindex(b"IDAT") + 4, len(signed))
    rng = np.random.default_rng(1)
    unnoticed = 0
    for place in (*rng.choice(statements, 200), *rng.choice(pixels, 100)):
        changed = bytearray(signed)
        changed[place] ^= int(rng.integers(1, 256))
        report = credentials.read(bytes(changed), PNG)
        assert report.state != "valid" or report == honest, f"byte {place}"
        assert report.state != "valid" or place in statements, f"pixels, byte {place}"
        unnoticed += report.state == "valid"
    assert unnoticed < 12, "39 of 3,239 bytes are such names"


def test_a_file_cut_off_anywhere_is_never_valid(credentials: Credentials, signed: bytes) -> None:
    for size in np.random.default_rng(2).integers(0, len(signed) - 1, 60):
        assert credentials.read(signed[:size], PNG).state != "valid"


def test_a_changed_file_is_valid_under_no_media_type(credentials: Credentials, signed: bytes) -> None:
    changed = tampered(signed)
    for kind in ("image/jpeg", "image/webp", "image/avif", "image/gif", "application/pdf", "nonsense/x", ""):
        assert credentials.read(changed, kind).state != "valid"


@pytest.fixture
def make(raw: Callable[..., RawImage], credentials: Credentials, encoders: Encoders) -> Callable[..., SealedImage]:
    def run(*sources: Any, index: int, **changes: Any) -> SealedImage:
        plain = raw(picture(seed=index), index=index)
        full = replace(plain, request=plain.request.model_copy(update=changes), sources=sources)
        checked = inspect(full, [Fixed(0.0)])
        return seal(checked, watermark=CornerMark(), credentials=credentials, encoders=encoders)

    return run


def test_a_long_chain_of_edits_is_read_in_reasonable_time(
    make: Callable[..., SealedImage], credentials: Credentials, tmp_path: Path
) -> None:
    last = make(index=0)
    for index in range(1, 16):
        last = make(source(tmp_path, last.data), index=index, mode="img2img")
    began = time.perf_counter()
    report = credentials.read(last.data, PNG)
    assert time.perf_counter() - began < 5
    assert (report.state, report.ours) == ("valid", True)


def test_a_picture_made_from_hundreds_of_claims_is_sealed_and_valid(
    make: Callable[..., SealedImage], credentials: Credentials, other_keys: Keys, tmp_path: Path
) -> None:
    many = [{"title": f"source {i}", "format": PNG, "relationship": "inputTo"} for i in range(300)]
    theirs = sign(bare(ingredients=many), other_keys.chain_pem, other_keys.key_pem)
    sealed = make(source(tmp_path, theirs), index=1, mode="img2img")
    report = credentials.read(sealed.data, PNG)
    assert (report.state, report.ours) == ("valid", True)
    assert [each.state for each in report.ingredients if each.kind == "file"] == ["valid"]
    assert json.loads(sealed.passport.model_dump_json())["sources"][0]["carried"] is True
