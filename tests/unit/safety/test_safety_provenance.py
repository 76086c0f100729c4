from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import c2pa
import numpy as np
import pytest

from backend.errors import Unavailable
from backend.images import decode, encode_jpeg, encode_png
from backend.types import ModelFacts
from safety.actions import FULLY_GENERATED, NAMESPACE
from safety.certificates import issue_chain
from safety.keys import Keys
from safety.manifest import Statement, added, commitment, manifest
from safety.provenance import READ_SETTINGS, Credentials, reading_settings
from tests.unit.safety.samples import WORDING, picture, request

PNG = "image/png"


def statement(record_id: str = "job-0", prompt: str = "a lighthouse") -> Statement:
    model = ModelFacts(id="starter", title="Starter", family="starter", licence="MIT", sha256="ab" * 32)
    return Statement(record_id, datetime.now(UTC), request(prompt), 11, model, "signet-dct", "0123456789ab")


def crjson(data: bytes) -> dict[str, Any]:
    with c2pa.Reader(
        PNG, io.BytesIO(data), context=c2pa.Context(c2pa.Settings.from_dict(dict(READ_SETTINGS)))
    ) as reader:
        found: dict[str, Any] = json.loads(reader.crjson())["manifests"][0]
    return found


def pixel_offset(data: bytes) -> int:
    """Somewhere inside the compressed pixels."""
    return data.rindex(b"IDAT") + 40


@pytest.fixture(scope="module")
def plain() -> bytes:
    return encode_png(picture(), "a lighthouse\nSteps: 4")


@pytest.fixture(scope="module")
def signed(credentials: Credentials, plain: bytes) -> bytes:
    return credentials.sign(plain, PNG, statement())[0]


def test_a_signed_png_reads_back_valid_ours_and_not_trusted(
    credentials: Credentials, signed: bytes, keys: Keys
) -> None:
    report = credentials.read(signed, PNG)
    assert (report.state, report.ours, report.trusted) == ("valid", True, False)
    assert report.actions == ("c2pa.created", "c2pa.watermarked.unbound")
    assert report.digital_source_type == FULLY_GENERATED
    assert (report.generator, report.signer) == ("Signet", keys.signer)
    assert report.failures == ("signingCredential.untrusted",), "any public validator says so, and so do we"


def test_signing_changes_neither_pixels_nor_the_parameters_text(plain: bytes, signed: bytes) -> None:
    before, after = decode(plain, max_pixels=10**6), decode(signed, max_pixels=10**6)
    assert np.array_equal(before.pixels, after.pixels)
    assert after.text == before.text == "a lighthouse\nSteps: 4"


def test_one_changed_byte_of_the_pixels_makes_it_invalid(credentials: Credentials, signed: bytes) -> None:
    changed = bytearray(signed)
    changed[pixel_offset(signed)] ^= 1
    report = credentials.read(bytes(changed), PNG)
    assert (report.state, report.ours) == ("invalid", False)
    assert "assertion.dataHash.mismatch" in report.failures


def test_credentials_moved_to_another_picture_are_invalid(credentials: Credentials, signed: bytes) -> None:
    start = signed.index(b"caBX") - 4
    chunk = signed[start : start + 12 + int.from_bytes(signed[start : start + 4], "big")]
    other = encode_png(picture(seed=5), "a lighthouse\nSteps: 4")
    moved = other[:33] + chunk + other[33:]
    assert credentials.read(moved, PNG).state == "invalid"


def test_a_text_chunk_added_after_signing_makes_it_invalid(credentials: Credentials, signed: bytes) -> None:
    donor = encode_png(picture(), "other text")
    start = donor.index(b"tEXt") - 4
    chunk = donor[start : start + 12 + int.from_bytes(donor[start : start + 4], "big")]
    end = signed.rindex(b"IEND") - 4
    assert credentials.read(signed[:end] + chunk + signed[end:], PNG).state == "invalid"


def test_a_picture_saved_anew_has_no_credentials(credentials: Credentials, signed: bytes) -> None:
    pixels = decode(signed, max_pixels=10**6).pixels
    assert credentials.read(encode_png(pixels), PNG).state == "absent"
    assert credentials.read(encode_jpeg(pixels, 64), "image/jpeg").state == "absent"


@pytest.mark.parametrize("size", [0, 8, 20, 60])
def test_scraps_of_a_file_without_a_manifest_are_absent(credentials: Credentials, plain: bytes, size: int) -> None:
    assert credentials.read(plain[:size], PNG).state == "absent"


def test_a_cut_off_file_with_a_manifest_is_invalid(credentials: Credentials, signed: bytes) -> None:
    assert credentials.read(signed[:3000], PNG).state == "invalid"


def test_the_file_of_another_installation_is_valid_but_not_ours(
    credentials: Credentials, other_credentials: Credentials, plain: bytes, other_keys: Keys
) -> None:
    theirs, _ = other_credentials.sign(plain, PNG, statement())
    report = credentials.read(theirs, PNG)
    assert (report.state, report.ours, report.trusted) == ("valid", False, False)
    assert report.signer == other_keys.signer


def test_remote_manifests_and_revocation_are_never_looked_up(
    credentials: Credentials, plain: bytes, keys: Keys
) -> None:
    for settings in (reading_settings(), reading_settings(keys.ca_pem)):
        assert settings["verify"]["remote_manifest_fetch"] is False
        assert settings["verify"]["ocsp_fetch"] is False
    with c2pa.Builder(manifest(statement(), WORDING, PNG, b"secret")) as builder:
        for definition, kind, content in added(statement()):
            builder.add_ingredient(definition, kind, io.BytesIO(content))
        builder.set_no_embed()
        builder.set_remote_url("http://127.0.0.1:9/manifest.c2pa")
        out = io.BytesIO()
        info = c2pa.C2paSignerInfo(b"es256", keys.chain_pem.encode(), keys.key_pem.encode(), None)
        signer = c2pa.Signer.from_info(info)
        builder.sign(signer, PNG, io.BytesIO(plain), out)
    report = credentials.read(out.getvalue(), PNG)
    assert (report.state, report.failures) == ("absent", ("manifest.inaccessible",))


def test_the_manifest_holds_what_the_conformance_programme_asks_for(signed: bytes) -> None:
    found = crjson(signed)
    claim, actions = found["claim.v2"], found["assertions"]["c2pa.actions.v2"]
    created = [each["url"] for each in claim["created_assertions"]]
    assert found["label"].startswith("urn:c2pa:")
    assert claim["claim_generator_info"]["specVersion"] == "2.4"
    assert claim["dc:title"] == "job-0"
    assert created[0].endswith("c2pa.actions.v2")
    (model,) = claim["gathered_assertions"]
    assert model["url"].endswith("c2pa.ingredient.v3"), "the library files every ingredient as gathered"
    assert actions["allActionsIncluded"] is True
    assert actions["actions"][0]["action"] == "c2pa.created"
    assert actions["actions"][0]["digitalSourceType"] == FULLY_GENERATED
    assert actions["actions"][0]["softwareAgent"] == {"name": "Signet", "version": "0.1.0"}
    named = {name for action in actions["actions"] for name in action.get("parameters", {})}
    assert all("." in name for name in named - {"ingredients"})
    assert found["assertions"]["c2pa.ai-disclosure"]["modelIdentifier"] == "sha256:" + "ab" * 32
    assert {each["use"] for each in found["assertions"]["cawg.training-mining"]["entries"].values()} == {"notAllowed"}
    assert not [label for label in found["assertions"] if "thumbnail" in label]


def test_the_manifest_id_is_the_one_in_the_file(credentials: Credentials, plain: bytes) -> None:
    data, manifest_id = credentials.sign(plain, PNG, statement())
    assert crjson(data)["label"] == manifest_id


def test_prompt_and_seed_stay_out_unless_asked_for(credentials: Credentials, keys: Keys, plain: bytes) -> None:
    facts = statement(prompt="a very private lighthouse")
    silent = credentials.sign(plain, PNG, facts)[0]
    open_ = Credentials(keys, replace(WORDING, prompt=True)).sign(plain, PNG, facts)[0]
    assert b"private" not in silent
    assert "seed" not in crjson(silent)["assertions"][f"{NAMESPACE}.generation"]
    assert crjson(open_)["assertions"][f"{NAMESPACE}.generation"]["prompt"] == "a very private lighthouse"
    assert crjson(open_)["assertions"][f"{NAMESPACE}.generation"]["seed"] == 11


def test_the_commitment_binds_the_prompt_and_cannot_be_guessed_without_the_secret() -> None:
    facts = statement()
    assert commitment(facts, b"secret") == commitment(facts, b"secret")
    others = [replace(facts, seed=12), statement(prompt="a lighthouse!"), statement("job-1")]
    assert len({commitment(each, b"secret") for each in (facts, *others)} | {commitment(facts, b"other")}) == 5


def test_training_use_follows_the_setting() -> None:
    wording = replace(WORDING, training_use="allowed")
    data = {each["label"]: each["data"] for each in manifest(statement(), wording, PNG, b"s")["assertions"]}
    assert {each["use"] for each in data["cawg.training-mining"]["entries"].values()} == {"allowed"}


def test_a_thumbnail_is_added_only_when_one_is_given(credentials: Credentials, plain: bytes) -> None:
    data, _ = credentials.sign(plain, PNG, statement(), encode_jpeg(picture(), 32))
    assert "c2pa.thumbnail.claim" in crjson(data)["assertions"]
    assert credentials.read(data, PNG).state == "valid"


def test_signing_with_an_expired_certificate_is_a_clear_error_and_no_file(keys: Keys, plain: bytes) -> None:
    chain_pem, key_pem = issue_chain(datetime(2001, 1, 1, tzinfo=UTC))
    expired = Credentials(replace(keys, chain_pem=chain_pem, key_pem=key_pem), WORDING)
    with pytest.raises(Unavailable, match="could not be signed and is withheld"):
        expired.sign(plain, PNG, statement())


def test_nearly_every_byte_of_a_signed_file_is_covered(credentials: Credentials, signed: bytes) -> None:
    places = range(0, len(signed), 17)
    unnoticed = 0
    for place in places:
        changed = bytearray(signed)
        changed[place] ^= 1
        unnoticed += credentials.read(bytes(changed), PNG).state == "valid"
    # What remains is about 1 kB of padding that the library leaves behind the signature, whatever the picture.
    assert unnoticed * 17 < 1500


def test_no_secret_is_in_the_file(signed: bytes, keys: Keys) -> None:
    secret = base64.b64decode("".join(keys.key_pem.splitlines()[1:-1]))
    assert b"PRIVATE" not in signed
    assert secret[36:68] not in signed, "the private number of a P-256 key in PKCS8"
    assert keys.watermark_key not in signed


def test_threads_share_one_signer(credentials: Credentials, plain: bytes) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda i: credentials.sign(plain, PNG, statement(f"job-{i}")), range(12)))
        reports = list(pool.map(lambda each: credentials.read(each[0], PNG), made))
    assert all(report.ours for report in reports)
    assert len({manifest_id for _, manifest_id in made}) == 12


def test_reading_survives_random_damage(credentials: Credentials, signed: bytes) -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(signed)
        for place in rng.integers(0, len(changed), 3):
            changed[place] ^= int(rng.integers(1, 256))
        credentials.read(bytes(changed), PNG)
