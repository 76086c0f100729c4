from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest

from backend.images import encode_jpeg, encode_png
from backend.types import (
    CheckedImage,
    CredentialReport,
    GenerationRequest,
    Grid,
    IngredientReport,
    NetworkFacts,
    Passport,
    RawImage,
    SealedImage,
    SourceFacts,
    SourceImage,
    Upscale,
    Words,
)
from safety import ingredients as ingredients_module
from safety.actions import ENHANCED, FULLY_GENERATED, NAMESPACE, PARTLY_GENERATED
from safety.errors import Unsealable
from safety.ingredient_report import ingredient_reports
from safety.inspect import inspect
from safety.keys import Keys
from safety.provenance import READ_SETTINGS, Credentials
from safety.seal import Encoders, seal
from safety.verify import FileVerifier
from tests.unit.safety.samples import WORDING, CornerMark, Fixed, History, picture, source, tampered

PNG = "image/png"
JPEG = "image/jpeg"
Seal = Callable[..., SealedImage]


def checked(raw: RawImage) -> CheckedImage:
    return inspect(raw, [Fixed(0.0)])


def crjson(data: bytes) -> dict[str, Any]:
    context = c2pa.Context(c2pa.Settings.from_dict(dict(READ_SETTINGS)))
    with c2pa.Reader(PNG, io.BytesIO(data), context=context) as reader:
        return dict(json.loads(reader.crjson()))


def assertions(data: bytes) -> dict[str, Any]:
    return dict(crjson(data)["manifests"][0]["assertions"])


def files(report: CredentialReport) -> list[IngredientReport]:
    """What went in beside the models."""
    return [each for each in report.ingredients if each.kind == "file"]


def generation(data: bytes) -> dict[str, Any]:
    return dict(assertions(data)[f"{NAMESPACE}.generation"])


@pytest.fixture
def make(raw: Callable[..., RawImage], mark: CornerMark, credentials: Credentials, encoders: Encoders) -> Seal:
    """Seal a picture made from `sources`; `using` signs, `changes` are the request's."""

    def run(
        *sources: SourceImage,
        using: Credentials = credentials,
        networks: tuple[NetworkFacts, ...] = (),
        words: Words | None = None,
        seed: int = 3,
        index: int = 0,
        **changes: Any,
    ) -> SealedImage:
        plain = raw(picture(seed=seed), index=index)
        request: GenerationRequest = plain.request.model_copy(update=changes)
        full = replace(plain, request=request, sources=sources, networks=networks, words=words)
        return seal(checked(full), watermark=mark, credentials=using, encoders=encoders)

    return run


@pytest.fixture
def first(make: Seal) -> SealedImage:
    """A picture that was made from words alone."""
    return make(index=7)


def test_a_picture_of_ours_that_is_changed_stays_in_the_chain(
    make: Seal, first: SealedImage, credentials: Credentials, tmp_path: Path
) -> None:
    sealed = make(source(tmp_path, first.data), mode="img2img")
    report = credentials.read(sealed.data, PNG)
    assert (report.state, report.ours) == ("valid", True)
    assert report.actions == ("c2pa.opened", "c2pa.edited", "c2pa.watermarked.unbound")
    assert report.digital_source_type == PARTLY_GENERATED
    (parent,) = files(report)
    assert (parent.relation, parent.state, parent.generator) == ("parentOf", "valid", "Signet")
    assert parent.title == first.passport.sha256
    assert parent.digital_source_type == FULLY_GENERATED
    labels = [each["label"] for each in crjson(sealed.data)["manifests"]]
    assert labels == [sealed.passport.credential.manifest_id, first.passport.credential.manifest_id]
    (facts,) = sealed.passport.sources
    assert (facts.sha256, facts.relation, facts.credentials, facts.carried) == (parent.title, "parent", "valid", True)
    assert Passport.model_validate_json(sealed.passport.model_dump_json()) == sealed.passport


def test_a_chain_of_edits_keeps_all_its_links(make: Seal, first: SealedImage, tmp_path: Path) -> None:
    second = make(source(tmp_path, first.data), mode="img2img", index=1)
    third = make(source(tmp_path, second.data), mode="inpaint", index=2)
    assert len(crjson(third.data)["manifests"]) == 3


def test_the_opened_action_refers_to_one_parent_and_states_no_source_type(
    make: Seal, first: SealedImage, tmp_path: Path
) -> None:
    guide = source(tmp_path, encode_jpeg(picture(seed=5), 64), "input", JPEG)
    sealed = make(guide, source(tmp_path, first.data), mode="inpaint")
    found = assertions(sealed.data)
    opened, edited, _ = found["c2pa.actions.v2"]["actions"]
    assert "digitalSourceType" not in opened
    (reference,) = opened["parameters"]["ingredients"]
    assert found[reference["url"].rsplit("/", 1)[-1]]["relationship"] == "parentOf"
    guided, model = edited["parameters"]["ingredients"]
    assert found[guided["url"].rsplit("/", 1)[-1]]["relationship"] == "inputTo"
    assert found[model["url"].rsplit("/", 1)[-1]]["dataTypes"] == [{"type": "c2pa.types.model"}]
    assert edited["parameters"][f"{NAMESPACE}.mode"] == "inpaint"
    assert found["c2pa.actions.v2"]["allActionsIncluded"] is True
    assert [each.relation for each in sealed.passport.sources] == ["parent", "input"]


def test_a_photograph_without_credentials_is_a_parent_of_unknown_past(
    make: Seal, credentials: Credentials, tmp_path: Path
) -> None:
    photo = encode_jpeg(picture(seed=5), 64)
    sealed = make(source(tmp_path, photo, media_type=JPEG), mode="img2img")
    report = credentials.read(sealed.data, PNG)
    assert (report.state, report.ours) == ("valid", True)
    assert [(each.relation, each.state, each.generator) for each in files(report)] == [("parentOf", "absent", None)]
    (facts,) = sealed.passport.sources
    assert (facts.credentials, facts.carried, facts.note) == ("absent", False, "")
    assert generation(sealed.data)["sources"][0]["sha256"] == facts.sha256


def test_a_tampered_parent_is_told_as_tampered_and_the_new_picture_is_valid(
    make: Seal, first: SealedImage, credentials: Credentials, tmp_path: Path
) -> None:
    sealed = make(source(tmp_path, tampered(first.data)), mode="img2img")
    report = credentials.read(sealed.data, PNG)
    assert (report.state, report.ours, report.ingredients[0].state) == ("valid", True, "invalid")
    assert "assertion.dataHash.mismatch" not in report.failures
    assert sealed.passport.sources[0].credentials == "invalid"
    assert sealed.passport.sources[0].carried


def test_damage_that_went_in_two_edits_ago_is_still_told(
    make: Seal, first: SealedImage, credentials: Credentials, tmp_path: Path
) -> None:
    second = make(source(tmp_path, first.data), mode="img2img", index=1)
    at = second.data.index(b"Starter")  # in the older manifest or the newer: both were signed
    broken = bytearray(second.data)
    broken[at] ^= 1
    third = make(source(tmp_path, bytes(broken)), mode="img2img", index=2)
    assert third.passport.sources[0].credentials == "invalid"
    assert credentials.read(third.data, PNG).ingredients[0].state != "valid"


@pytest.mark.parametrize("keep", [0.2, 0.6])
def test_credentials_too_damaged_to_carry_are_named_by_hash_with_the_reason(
    make: Seal, first: SealedImage, credentials: Credentials, tmp_path: Path, keep: float
) -> None:
    start = first.data.index(b"caBX")
    size = int.from_bytes(first.data[start - 4 : start], "big")
    broken = bytearray(first.data)
    cut = start + 4 + int(size * keep)
    broken[cut : start + 4 + size] = bytes(start + 4 + size - cut)
    sealed = make(source(tmp_path, bytes(broken)), mode="img2img")
    (facts,) = sealed.passport.sources
    assert (facts.credentials, facts.carried) == ("invalid", False)
    assert "too damaged to be taken over" in facts.note
    assert credentials.read(sealed.data, PNG).state == "valid"


def test_no_damage_to_a_source_makes_the_new_picture_invalid(
    make: Seal, first: SealedImage, credentials: Credentials, tmp_path: Path
) -> None:
    start = first.data.index(b"caBX") + 4
    rng = np.random.default_rng(0)
    for _ in range(25):
        broken = bytearray(first.data)
        for place in rng.integers(start, start + 9000, 2):
            broken[place] ^= int(rng.integers(1, 256))
        sealed = make(source(tmp_path, bytes(broken)), mode="img2img")
        assert credentials.read(sealed.data, PNG).state == "valid"


def test_a_control_picture_guides_and_the_result_is_still_made_from_words(
    make: Seal, first: SealedImage, credentials: Credentials, tmp_path: Path
) -> None:
    sealed = make(source(tmp_path, first.data, "input"))
    report = credentials.read(sealed.data, PNG)
    assert report.actions == ("c2pa.created", "c2pa.watermarked.unbound")
    assert report.digital_source_type == FULLY_GENERATED
    assert [(each.relation, each.state) for each in files(report)] == [("inputTo", "valid")]
    assert "ingredients" in assertions(sealed.data)["c2pa.actions.v2"]["actions"][0]["parameters"]


def test_one_picture_may_be_changed_and_guide_at_once_but_is_named_once_for_each(
    make: Seal, first: SealedImage, tmp_path: Path
) -> None:
    parent, guide = source(tmp_path, first.data), source(tmp_path, first.data, "input")
    sealed = make(parent, guide, guide, mode="img2img")
    assert [each.relation for each in sealed.passport.sources] == ["parent", "input"]
    assert len(crjson(sealed.data)["manifests"]) == 2, "its manifest is carried once"


def test_a_sheet_holds_every_cell_as_a_component(make: Seal, credentials: Credentials, tmp_path: Path) -> None:
    cells = [source(tmp_path, make(seed=i, index=i).data, "input") for i in range(4)]
    grid = Grid(cells=("a", "b", "c", "d", "a"), columns=2)
    sealed = make(*cells, cells[0], mode="grid", grid=grid, index=9)
    report = credentials.read(sealed.data, PNG)
    assert report.actions == ("c2pa.created", *["c2pa.placed"] * 4, "c2pa.watermarked.unbound")
    assert report.digital_source_type == PARTLY_GENERATED
    assert [(each.relation, each.state) for each in files(report)] == [("componentOf", "valid")] * 4
    assert {each.relation for each in sealed.passport.sources} == {"component"}
    assert "c2pa.ai-disclosure" not in assertions(sealed.data), "each cell has its own"


def test_making_larger_without_diffusion_is_a_resize_of_what_it_was(
    make: Seal, first: SealedImage, credentials: Credentials, tmp_path: Path
) -> None:
    sealed = make(source(tmp_path, first.data), mode="upscale", upscale=Upscale(upscaler="Lanczos"))
    report = credentials.read(sealed.data, PNG)
    assert report.actions == ("c2pa.opened", "c2pa.resized.proportional", "c2pa.watermarked.unbound")
    assert report.digital_source_type is None
    assert generation(sealed.data)["upscaler"] == "Lanczos"
    assert not {"model", "sampler", "commitment"} & set(generation(sealed.data)), "no model had a part in it"


def test_a_trained_upscaler_says_so(make: Seal, first: SealedImage, credentials: Credentials, tmp_path: Path) -> None:
    network = NetworkFacts(kind="upscaler", id="esrgan", sha256="cd" * 32)
    sealed = make(source(tmp_path, first.data), mode="upscale", upscale=Upscale(), networks=(network,))
    actions = assertions(sealed.data)["c2pa.actions.v2"]["actions"]
    assert actions[2]["action"] == "c2pa.enhanced"
    assert actions[2]["digitalSourceType"] == ENHANCED


def test_making_larger_with_diffusion_is_an_edit_by_ai(make: Seal, credentials: Credentials, tmp_path: Path) -> None:
    photo = source(tmp_path, encode_jpeg(picture(seed=5), 64), media_type=JPEG)
    sealed = make(photo, mode="upscale", upscale=Upscale(diffusion=True))
    report = credentials.read(sealed.data, PNG)
    assert report.actions[1] == "c2pa.edited"
    assert report.digital_source_type == PARTLY_GENERATED


def test_a_missing_source_closes_the_road(make: Seal, first: SealedImage, tmp_path: Path) -> None:
    parent = source(tmp_path, first.data)
    Path(parent.path).unlink()
    with pytest.raises(Unsealable, match="is gone"):
        make(parent, mode="img2img")


def test_a_source_that_changed_on_disk_closes_the_road(make: Seal, first: SealedImage, tmp_path: Path) -> None:
    parent = source(tmp_path, first.data)
    Path(parent.path).write_bytes(first.data + b"x")
    with pytest.raises(Unsealable, match="has changed"):
        make(parent, mode="img2img")


@pytest.mark.parametrize("mode", ["img2img", "inpaint", "upscale", "grid"])
def test_an_edit_is_never_declared_as_made_from_nothing(make: Seal, mode: str) -> None:
    with pytest.raises(Unsealable, match="not known which picture"):
        make(mode=mode)


def test_two_parents_close_the_road(make: Seal, first: SealedImage, tmp_path: Path) -> None:
    other = source(tmp_path, encode_png(picture(seed=8)))
    for mode in ("img2img", "txt2img"):
        with pytest.raises(Unsealable, match="not known which picture"):
            make(source(tmp_path, first.data), other, mode=mode)


def test_a_file_of_a_kind_that_holds_no_credentials_is_recorded_by_its_hash(
    make: Seal, credentials: Credentials, tmp_path: Path
) -> None:
    sealed = make(source(tmp_path, b"BM not really a picture", media_type="image/bmp"), mode="img2img")
    (facts,) = sealed.passport.sources
    assert facts.note == "Credentials cannot be read from a file of this kind."
    assert generation(sealed.data)["sources"] == [facts.model_dump()]
    assert credentials.read(sealed.data, PNG).state == "valid"


def test_credentials_beyond_the_limit_stay_behind_and_the_passport_says_so(
    make: Seal, first: SealedImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, guide = source(tmp_path, first.data), source(tmp_path, make(index=1).data, "input")
    monkeypatch.setattr(ingredients_module, "CARRIED_AT_MOST", 12_000)
    sealed = make(guide, parent, mode="img2img")
    kept, left = sealed.passport.sources
    assert (kept.relation, kept.carried, kept.note) == ("parent", True, "")
    assert (left.relation, left.credentials, left.carried) == ("input", "valid", False)
    assert "larger than what a picture takes over" in left.note
    assert len(crjson(sealed.data)["manifests"]) == 2


def test_a_source_with_remote_credentials_is_never_looked_up(
    make: Seal, keys: Keys, credentials: Credentials, tmp_path: Path
) -> None:
    made = {"action": "c2pa.created", "digitalSourceType": FULLY_GENERATED}
    definition = {"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [made]}}]}
    out = io.BytesIO()
    with c2pa.Builder(definition) as builder:
        builder.set_no_embed()
        builder.set_remote_url("http://127.0.0.1:9/manifest.c2pa")
        info = c2pa.C2paSignerInfo(b"es256", keys.chain_pem.encode(), keys.key_pem.encode(), None)
        builder.sign(c2pa.Signer.from_info(info), PNG, io.BytesIO(encode_png(picture())), out)
    sealed = make(source(tmp_path, out.getvalue()), mode="img2img")
    assert "never asked" in sealed.passport.sources[0].note
    assert credentials.read(sealed.data, PNG).state == "valid"


def test_no_thumbnail_and_no_file_name_of_a_source_is_written(make: Seal, first: SealedImage, tmp_path: Path) -> None:
    sealed = make(source(tmp_path, first.data), mode="img2img")
    assert b"thumbnail" not in sealed.data
    assert str(tmp_path).encode() not in sealed.data


def test_networks_and_the_words_of_this_picture_are_in_the_passport(make: Seal, credentials: Credentials) -> None:
    lora = NetworkFacts(kind="lora", id="ink", weight=0.8, sha256="ef" * 32, licence="MIT")
    words = Words(prompt="a red lighthouse", negative="fog")
    sealed = make(networks=(lora,), words=words, prompt="a __colour__ lighthouse")
    assert sealed.passport.networks == (lora,)
    assert (sealed.passport.words, sealed.passport.request.prompt) == (words, "a __colour__ lighthouse")
    (stated,) = generation(sealed.data)["networks"]
    assert (stated["id"], stated["sha256"], stated["licence"], stated["weight"]) == ("ink", "ef" * 32, "MIT", 0.8)
    assert b"red lighthouse" not in sealed.data.split(b"caBX")[1].split(b"IDAT")[0], "words stay out unless asked for"


def test_on_request_the_words_as_read_are_stated_with_those_typed(make: Seal, keys: Keys) -> None:
    talkative = Credentials(keys, replace(WORDING, prompt=True))
    words = Words(prompt="a red lighthouse", negative="fog")
    stated = generation(make(using=talkative, words=words, prompt="a __colour__ lighthouse").data)
    assert (stated["prompt"], stated["typed"]["prompt"]) == ("a red lighthouse", "a __colour__ lighthouse")
    assert "typed" not in generation(make(using=talkative).data)


def test_the_commitment_is_to_the_words_as_read(make: Seal) -> None:
    first, second = (make(words=Words(prompt=prompt), prompt="__x__") for prompt in ("a cat", "a dog"))
    assert generation(first.data)["commitment"] != generation(second.data)["commitment"]


def test_verification_tells_what_a_picture_was_made_from(
    make: Seal, first: SealedImage, other_credentials: Credentials, credentials: Credentials, tmp_path: Path
) -> None:
    verifier = FileVerifier(credentials, [CornerMark()], History())

    def summary(sealed: SealedImage) -> str:
        return verifier.verify(sealed.data, PNG, None, None).summary

    ours, photo = source(tmp_path, first.data), source(tmp_path, encode_jpeg(picture(seed=5), 64), "input", JPEG)
    broken = source(tmp_path, tampered(first.data))
    assert "made from 1 other picture, whose own credentials were valid." in summary(make(ours, mode="img2img"))
    assert "made from 1 other picture, whose own credentials were broken." in summary(make(broken, mode="img2img"))
    mixed = summary(make(ours, photo, mode="img2img"))
    assert "made from 2 other pictures: 1 with valid credentials, 1 with none that it holds." in mixed
    assert "made from" not in summary(first)
    theirs = source(tmp_path, make(using=other_credentials, index=3).data)
    assert "whose own credentials were valid" in summary(make(theirs, mode="img2img"))
    larger = summary(make(ours, mode="upscale", upscale=Upscale()))
    assert "What it was made from is declared made by AI" in larger
    twice = make(source(tmp_path, make(ours, mode="upscale", upscale=Upscale(), index=4).data), mode="upscale")
    assert "What it was made from is declared made by AI" in summary(twice)
    foreign = make(ours, photo, using=other_credentials, mode="img2img", index=5)
    assert "made from 2 other files: 1 with valid credentials" in summary(foreign)


def test_reports_and_passports_from_before_there_were_sources_still_load(first: SealedImage) -> None:
    assert CredentialReport.model_validate({"state": "valid"}).ingredients == ()
    assert not SourceFacts.model_validate({"sha256": "ab", "relation": "input"}).carried
    old = first.passport.model_dump(mode="json")
    for name in ("words", "networks", "sources"):
        del old[name]
    assert Passport.model_validate(old).sources == ()


def test_what_went_in_is_read_only_as_far_as_it_is_there() -> None:
    active: dict[str, Any] = {"ingredients": [{"relationship": "parentOf"}, {"active_manifest": "gone"}, "nonsense"]}
    reports = ingredient_reports({"active_manifest": "a", "manifests": {"a": active}})
    assert [(each.title, each.relation, each.state) for each in reports] == [
        ("", "parentOf", "absent"),
        ("", "", "invalid"),
    ]
    assert ingredient_reports({}) == ()
    itself = {"relationship": "parentOf", "active_manifest": "a", "label": "c2pa.ingredient.v3"}
    assert ingredient_reports({"active_manifest": "a", "manifests": {"a": {"ingredients": [itself]}}})[0].title == ""
