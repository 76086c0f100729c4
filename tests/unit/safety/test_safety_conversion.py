"""The same picture in another file: its credentials, its mark and its labels."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend import images
from backend.images import decode, encode_jpeg, encode_png
from backend.types import NetworkFacts, Passport, RawImage, SealedImage, SourceImage, SpokenReason, Upscale, Verdict
from safety import labels
from safety.actions import ENHANCED, FULLY_GENERATED, PARTLY_GENERATED
from safety.inspect import inspect
from safety.keys import Keys
from safety.provenance import Credentials
from safety.seal import MEDIA_TYPES, Encoders, seal
from safety.watermark import Watermark, mark_id_of, open_watermark
from tests.unit.safety.samples import Fixed, MemoryMark, picture, source
from tests.unit.safety.test_safety_ingredients import assertions, files

PNG = "image/png"
Seal = Callable[..., SealedImage]
FORMATS = [kind for kind in MEDIA_TYPES if kind != "avif" or images.writes_avif()]


@pytest.fixture
def watermark() -> Watermark:
    return MemoryMark()


@pytest.fixture
def make(
    raw: Callable[..., RawImage], watermark: Watermark, credentials: Credentials, encoders: Encoders
) -> Iterator[Seal]:
    def run(
        *sources: SourceImage,
        pixels: Any = None,
        index: int = 0,
        label: bool = True,
        networks: tuple[NetworkFacts, ...] = (),
        verdict: Verdict | None = None,
        latent_mark: str = "",
        **changes: Any,
    ) -> SealedImage:
        plain = raw(picture(192) if pixels is None else pixels, index=index)
        full = replace(
            plain,
            request=plain.request.model_copy(update=changes),
            sources=sources,
            networks=networks,
            verdict=verdict or plain.verdict,
            latent_mark=latent_mark,
        )
        checked = inspect(full, [Fixed(0.0)])
        return seal(checked, watermark=watermark, credentials=credentials, encoders=encoders, label=label)

    yield run


@pytest.fixture
def first(make: Seal) -> SealedImage:
    return make(index=7)


def pixels_of(sealed: SealedImage) -> Any:
    return decode(sealed.data, max_pixels=10**6).pixels


@pytest.mark.parametrize("kind", FORMATS)
def test_a_conversion_keeps_parent_mark_and_label(
    make: Seal, first: SealedImage, credentials: Credentials, watermark: Watermark, tmp_path: Path, kind: str
) -> None:
    sealed = make(source(tmp_path, first.data), pixels=pixels_of(first), mode="convert", format=kind, index=1)
    media_type = MEDIA_TYPES[kind]
    report = credentials.read(sealed.data, media_type)
    assert (report.state, report.ours) == ("valid", True)
    assert report.actions == ("c2pa.opened", "c2pa.converted"), "nothing was marked in this step"
    (parent,) = files(report)
    assert (parent.relation, parent.state, parent.title) == ("parentOf", "valid", first.passport.sha256)
    assert not [each for each in report.ingredients if each.kind == "model"], "no model had a part in it"
    facts = sealed.passport.watermark
    assert (facts.kept, facts.mark_id) == (True, first.passport.watermark.mark_id)
    found = watermark.detect(pixels_of(sealed), [("job-7", mark_id_of("job-7")), ("job-1", mark_id_of("job-1"))])
    assert found.record_id == "job-7", "the mark leads to the picture it was first put in"
    assert labels.declared(sealed.data) == FULLY_GENERATED
    assert Passport.model_validate_json(sealed.passport.model_dump_json()) == sealed.passport


def test_a_lossless_conversion_changes_no_pixel(make: Seal, first: SealedImage, tmp_path: Path) -> None:
    sealed = make(source(tmp_path, first.data), pixels=pixels_of(first), mode="convert", index=1)
    assert np.array_equal(pixels_of(sealed), pixels_of(first))
    assert sealed.passport.watermark.psnr_db == 99.0


def test_a_stranger_s_picture_is_marked_when_it_is_converted_and_not_called_ai(
    make: Seal, credentials: Credentials, tmp_path: Path
) -> None:
    photo = encode_jpeg(picture(192, seed=5), 192)
    sealed = make(source(tmp_path, photo, media_type="image/jpeg"), pixels=picture(192, seed=5), mode="convert")
    report = credentials.read(sealed.data, PNG)
    assert report.actions == ("c2pa.opened", "c2pa.converted", "c2pa.watermarked.unbound")
    assert (report.digital_source_type, labels.read(sealed.data)) == (None, ())
    assert not sealed.passport.watermark.kept


def test_with_the_shipped_mark_only_our_own_stays(
    raw: Callable[..., RawImage],
    keys: Keys,
    other_keys: Keys,
    credentials: Credentials,
    encoders: Encoders,
    tmp_path: Path,
) -> None:
    mark = open_watermark("signet-dct", keys.watermark_key)
    for secret, index in ((keys.watermark_key, 1), (other_keys.watermark_key, 2)):
        pixels = open_watermark("signet-dct", secret).embed(picture(192), mark_id_of("x-0"))
        plain = raw(pixels, index=index)
        asked = plain.request.model_copy(update={"mode": "convert", "format": "jpeg", "quality": 80})
        full = replace(plain, request=asked, sources=(source(tmp_path, encode_png(pixels)),))
        sealed = seal(inspect(full, [Fixed(0.0)]), watermark=mark, credentials=credentials, encoders=encoders)
        facts = sealed.passport.watermark
        ours = index == 1
        assert (facts.kept, facts.mark_id) == (ours, f"{mark_id_of('x-0' if ours else 'job-2'):012x}")
        assert mark.detect(pixels_of(sealed), [("it", int(facts.mark_id, 16))]).record_id == "it"


def test_a_label_of_a_stranger_goes_on_with_the_picture(make: Seal, tmp_path: Path) -> None:
    packet = labels.packet(PARTLY_GENERATED, "theirs-1", "Example", "2")
    theirs = images.encode_webp_file(picture(192), None, 95, packet)
    sealed = make(source(tmp_path, theirs, media_type="image/webp"), pixels=picture(192), mode="convert")
    assert labels.declared(sealed.data) == PARTLY_GENERATED


# ---- labels


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("mode", "expected"), [("txt2img", FULLY_GENERATED), ("img2img", PARTLY_GENERATED)])
def test_every_format_carries_iptc_s_type_and_china_s_label_in_front_of_the_signature(
    make: Seal, first: SealedImage, credentials: Credentials, tmp_path: Path, kind: str, mode: str, expected: str
) -> None:
    sources = [source(tmp_path, first.data)] if mode == "img2img" else []
    sealed = make(*sources, mode=mode, format=kind)
    (label,) = labels.read(sealed.data)
    assert (label.where, label.source_type) == ("XMP", expected)
    assert tuple(label.aigc) == labels.AIGC_FIELDS
    assert (label.aigc["Label"], label.aigc["ContentProducer"], label.aigc["ProduceID"]) == ("1", "Signet", "job-0")
    assert credentials.read(sealed.data, MEDIA_TYPES[kind]).ours
    at = sealed.data.find(b"trainedAlgorithmicMedia" if mode == "txt2img" else b"compositeWithTrained")
    changed = bytearray(sealed.data)
    changed[at] ^= 1
    assert credentials.read(bytes(changed), MEDIA_TYPES[kind]).state == "invalid", "the signature covers it"


@pytest.mark.parametrize("kind", FORMATS)
def test_labels_can_be_left_out(make: Seal, kind: str) -> None:
    sealed = make(format=kind, label=False)
    assert labels.read(sealed.data) == ()
    assert b"TC260" not in sealed.data


def test_no_prompt_seed_or_person_is_in_a_label(make: Seal) -> None:
    text = images.metadata(make(prompt="a very private lighthouse").data)["XMP"]
    assert "private" not in text
    assert "11" not in json.dumps(dict(labels.read(make().data)[0].aigc))


def test_an_enlarged_picture_keeps_what_its_source_was_declared(make: Seal, first: SealedImage, tmp_path: Path) -> None:
    grown = make(source(tmp_path, first.data), mode="upscale", upscale=Upscale(), index=1)
    assert labels.declared(grown.data) == FULLY_GENERATED
    photo = source(tmp_path, encode_png(picture(seed=4)))
    network = NetworkFacts(kind="upscaler", id="esrgan", sha256="cd" * 32)
    enhanced = make(photo, mode="upscale", upscale=Upscale(), networks=(network,), index=2)
    (label,) = labels.read(enhanced.data)
    assert (label.source_type, label.aigc) == (ENHANCED, {}), "a sharpened photograph is not AI-made"


FOREIGN = [
    ('<r Iptc4xmpExt:DigitalSourceType="http://x/trainedAlgorithmicMedia"/>', "http://x/trainedAlgorithmicMedia", {}),
    ("<Iptc4xmpExt:DigitalSourceType>digitalCapture</Iptc4xmpExt:DigitalSourceType>", "digitalCapture", {}),
    ('<Iptc4xmpExt:DigitalSourceType rdf:resource="compositeSynthetic"/>', "compositeSynthetic", {}),
    ('<TC260:AIGC>{"Label":"2","ContentProducer":"x"}</TC260:AIGC>', None, {"Label": "2", "ContentProducer": "x"}),
    ("<q:AIGC>{&quot;Label&quot;:&quot;1&quot;}</q:AIGC>", None, {"Label": "1"}),
    ('<TC260:AIGC>{"AIGC":{"Label":"3"}}</TC260:AIGC>', None, {"Label": "3"}),
]


@pytest.mark.parametrize(("text", "source_type", "aigc"), FOREIGN)
def test_labels_of_others_are_read_in_every_spelling(text: str, source_type: str | None, aigc: dict[str, str]) -> None:
    (label,) = labels.read(images.encode_jpeg_file(picture(), None, 90, text))
    assert (label.source_type, dict(label.aigc)) == (source_type, aigc)


def test_the_key_aigc_is_found_in_png_text_and_exif_too() -> None:
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("AIGC", '{"Label":"1","ProduceID":"7"}')
    out = io.BytesIO()
    Image.fromarray(picture()).save(out, "PNG", pnginfo=info)
    assert labels.read(out.getvalue())[0].aigc["ProduceID"] == "7"
    exif = images.encode_jpeg_file(picture(), '{"AIGC":{"Label":"1","ContentProducer":"y"}}')
    assert labels.read(exif)[0].aigc["ContentProducer"] == "y"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<a:AIGC>" + "[" * 4000 + "</a:AIGC>",
        "<a:AIGC>[1]</a:AIGC>",
        "<a:AIGC>{}</a:AIGC>",
        "DigitalSourceType=" * 9000,
    ],
    ids=["empty", "deep", "list", "bare", "long"],
)
def test_nonsense_in_metadata_is_no_label(text: str) -> None:
    assert labels.read(encode_png(picture(), text)) == ()
    assert labels.read(images.png_with_xmp(encode_png(picture()), text)) == ()
    assert labels.read(text.encode()) == ()


# ---- what the Passport and the credentials say of the road


def test_the_passport_holds_handling_reasons_and_the_head_of_the_log(make: Seal) -> None:
    reason = SpokenReason("violence", "the very words", "rules", 0.7)
    verdict = Verdict("blur", "personal-1", (reason,), audit_head="12:abcd")
    passport = make(pixels=picture(320), verdict=verdict, latent_mark="gaussian-shading").passport
    assert (passport.handling, passport.audit_head, passport.latent_mark) == ("blur", "12:abcd", "gaussian-shading")
    assert [(each.category, each.layer, each.score) for each in passport.reasons] == [("violence", "rules", 0.7)]
    assert "the very words" not in passport.model_dump_json()


def test_what_is_hidden_here_has_no_thumbnail_in_its_credentials(make: Seal) -> None:
    assert b"c2pa.thumbnail" in make(pixels=picture(320)).data
    for action in ("blur", "withhold"):
        assert b"c2pa.thumbnail" not in make(pixels=picture(320), verdict=Verdict(action, "personal-1")).data


def test_models_loras_and_control_nets_are_ingredients_under_their_hash(make: Seal, credentials: Credentials) -> None:
    networks = (
        NetworkFacts(kind="lora", id="ink", sha256="CD" * 32),
        NetworkFacts(kind="vae", id="vae-ft", sha256="ef" * 32),
        NetworkFacts(kind="controlnet", id="edge"),
        NetworkFacts(kind="lora", id="ink", weight=0.3, sha256="cd" * 32),
    )
    sealed = make(networks=networks, latent_mark="gaussian-shading")
    models = [each for each in credentials.read(sealed.data, PNG).ingredients if each.kind == "model"]
    assert [(each.title, each.relation, each.ident) for each in models] == [
        ("Starter", "inputTo", "sha256:" + "ab" * 32),
        ("ink", "inputTo", "sha256:" + "cd" * 32),
        ("vae-ft", "inputTo", "sha256:" + "ef" * 32),
        ("edge", "inputTo", models[3].ident),
    ]
    assert not (models[3].ident or "").startswith("sha256"), "its hash is not known yet"
    found = assertions(sealed.data)
    stated = [each for label, each in found.items() if label.startswith("c2pa.ingredient")]
    assert [each["dataTypes"] for each in stated] == [[{"type": "c2pa.types.model"}]] * 4
    assert stated[1]["description"] == "LoRA"
    created = found["c2pa.actions.v2"]["actions"][0]
    assert len(created["parameters"]["ingredients"]) == 4
    assert found["c2pa.actions.v2"]["actions"][1]["parameters"]["org.signet-studio.latent"] == "gaussian-shading"


def test_pictures_come_before_models_so_that_a_validator_sees_their_past_first(
    make: Seal, first: SealedImage, tmp_path: Path
) -> None:
    for relation in ("parent", "input"):
        mode = "img2img" if relation == "parent" else "txt2img"
        found = assertions(make(source(tmp_path, first.data, relation), mode=mode).data)
        assert "activeManifest" in found["c2pa.ingredient.v3"]
        assert "dataTypes" in found["c2pa.ingredient.v3__1"]
