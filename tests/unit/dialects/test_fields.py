from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import dialects
from backend.dialects import Fields, Found
from backend.images import Decoded
from backend.types import GenerationRequest
from tests.unit.dialects.pictures import comfy_nodes


def fields_of(**parameters: str) -> Fields:
    named = {name.replace("_", " "): value for name, value in parameters.items()}
    return dialects.fields_of(Found("A1111", "a cat", "dog", named, {}, ""))


def test_everything_that_has_a_field_finds_it():
    text = (
        "a cat\nNegative prompt: dog\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, "
        "Seed: 9007199254740993, Size: 512x768, Model hash: 6ce0161689, Model: v1-5, VAE: mse, Variation seed: 3, "
        "Variation seed strength: 0.2, Seed resize from: 256x384, Denoising strength: 0.5, Clip skip: 2, Tiling: True, "
        "CFG Rescale: 0.7, Eta: 0.9, Hires upscale: 1.5, Hires steps: 10, Hires upscaler: Latent, "
        'Hires sampler: Euler, Hires prompt: "b, c", Emphasis: No norm, Refiner: xl, Refiner switch at: 0.8, '
        "Sigma churn: 3, CFG interval: 0.1 to 0.9, Signet bucket: 2, Version: v1.10.1"
    )
    found = dialects.read_text(text)
    assert found is not None
    result = dialects.fields_of(found)
    assert result.ignored == ()
    extras = result.fields["client_extras"]
    assert extras == {"Model hash": "6ce0161689", "Version": "v1.10.1"}
    assert {name: value for name, value in result.fields.items() if name != "client_extras"} == {
        "prompt": "a cat",
        "negative": "dog",
        "steps": 20,
        "sampler": "DPM++ 2M",
        "schedule": "Karras",
        "cfg": 6.5,
        "seed": 9007199254740993,
        "width": 512,
        "height": 768,
        "model": "v1-5",
        "vae": "mse",
        "variation": {"seed": 3, "strength": 0.2},
        "resize_from": (256, 384),
        "clip_skip": 2,
        "tiling": True,
        "cfg_rescale": 0.7,
        "cfg_interval": (0.1, 0.9),
        "eta": 0.9,
        "emphasis": "no norm",
        "refiner": {"model": "xl", "switch": 0.8},
        "churn": {"churn": 3.0},
        "bucket": 2,
        "hires": {
            "width": 768,
            "height": 1152,
            "upscaler": "Latent",
            "steps": 10,
            "denoise": 0.5,
            "sampler": "Euler",
            "schedule": "Automatic",
            "prompt": "b, c",
        },
    }
    GenerationRequest(**result.fields)


def test_without_a_second_pass_the_strength_is_that_of_the_picture():
    result = fields_of(Denoising_strength="0.4", Hires_upscale="2")
    assert result.fields["denoise"] == 0.4
    assert "hires" not in result.fields
    assert result.ignored == ("Hires upscale",)


@pytest.mark.parametrize(
    "name",
    ["Steps", "CFG_scale", "Seed", "Size", "Clip_skip", "Tiling", "Sampler", "Emphasis", "Seed_resize_from", "Eta"],
)
@pytest.mark.parametrize("value", ["nonsense", "", "nan", "1e400", "-", "0x0", "١x٢"])
def test_a_value_without_sense_is_named_kept_and_not_used(name: str, value: str):
    result = fields_of(**{name: value})
    plain = name.replace("_", " ")
    assert result.ignored == (plain,)
    assert result.fields == {"prompt": "a cat", "negative": "dog", "client_extras": {plain: value}}


def test_a_schedule_that_is_not_ours_falls_back_to_the_samplers_own_and_is_named():
    result = fields_of(Sampler="Euler", Schedule_type="Moonlight")
    assert (result.fields["sampler"], result.fields["schedule"]) == ("Euler", "Automatic")
    assert result.ignored == ("Schedule type",)


def test_unknown_keys_travel_on_with_the_request():
    result = dialects.fields_of(Found("Forge", "", "", {"Steps": "3"}, {"Module 1": "ae"}, ""))
    assert result.fields["client_extras"] == {"Module 1": "ae"}


def test_what_nobody_can_store_is_left_out():
    text = '{"sui_image_params": {"prompt": "a\\u0000 \\ud800cat", "a\\u0000b": "\\udc00"}}'
    for found in (dialects.read_text(text), dialects.read(picture({"parameters": text}))):
        assert found is not None
        assert (found.prompt, dict(found.unknown)) == ("a ?cat", {"ab": "?"})


def test_a_whole_graph_does_not_travel_with_the_request():
    result = dialects.fields_of(Found("ComfyUI", "", "", {}, {"workflow": "{" * 5000, "note": "x"}, ""))
    assert result.fields["client_extras"] == {"note": "x"}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)
KEYS = [
    "sui_image_params", "prompt", "negativeprompt", "loras", "loraweights", "seed", "steps", "width", "height",
    "sampler", "scheduler", "model", "vae", "image", "resolution", "base_model", "adm_guidance", "full_prompt",
    "clip_skip", "refiner_model", "lora_combined_1", "positive_prompt", "cfg_scale", "clipstopatlayer",
    "variationseedstrength", "refinerupscale", "refinercontrolpercentage", "uc", "Comment", "Software", "nodes",
    "links",
]  # fmt: skip
shaped = st.dictionaries(st.sampled_from(KEYS), anything, max_size=12)
CHUNKS = [
    "parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata", "Dream", "Comment", "Software",
    "fooocus_scheme", "postprocessing", "Exif.UserComment", "Exif.Make", "Exif.Model", "Exif.MakerNote", "XMP",
    "comment",
]  # fmt: skip


def picture(texts: Mapping[str, str]) -> Decoded:
    text = texts.get("Exif.UserComment") or texts.get("parameters")
    return Decoded(np.zeros((4, 4, 3), dtype=np.uint8), "image/png", text, texts=texts)


def _read_all(texts: Mapping[str, str]) -> None:
    found = dialects.read(picture(texts))
    if found is None:
        return
    assert all(isinstance(text, str) for text in (found.prompt, found.negative, found.raw))
    for name, value in [*found.parameters.items(), *found.unknown.items()]:
        assert isinstance(name, str) and isinstance(value, str)
        assert "\0" not in name + value
    json.dumps([found.prompt, found.parameters, found.unknown, found.raw], ensure_ascii=False).encode()
    fields = dialects.fields_of(found).fields
    assert set(fields) <= set(GenerationRequest.model_fields)


@given(st.dictionaries(st.sampled_from(CHUNKS), st.text(max_size=200) | shaped.map(json.dumps), max_size=5))
def test_reading_anything_never_raises_and_gives_only_text(texts: dict[str, str]):
    _read_all(texts)


@given(shaped, st.sampled_from(CHUNKS))
def test_reading_objects_with_the_right_names_and_wrong_values_never_raises(values: dict[str, Any], chunk: str):
    for text in (json.dumps(values), "prompt:" + json.dumps(values), json.dumps({"sui_image_params": values})):
        _read_all({chunk: text, "Software": "NovelAI"} if chunk == "Comment" else {chunk: text})


@given(st.data())
def test_reading_a_graph_with_any_of_its_values_replaced_never_raises(data: st.DataObject):
    nodes = comfy_nodes()
    for _ in range(data.draw(st.integers(1, 4))):
        node = nodes[data.draw(st.sampled_from(sorted(nodes)))]
        if not isinstance(node["inputs"], dict) or not node["inputs"]:
            continue
        name = data.draw(st.sampled_from(sorted(node["inputs"])))
        node["inputs"][name] = data.draw(anything | st.sampled_from([[key, 0] for key in nodes]))
    _read_all({"prompt": json.dumps(nodes)})


@given(st.text(), st.dictionaries(st.text(max_size=8), st.text(max_size=8)))
def test_fields_of_anything_never_raises(text: str, parameters: dict[str, str]):
    known = ("Steps", "Seed", "Size", "Hires resize", "Hires upscale", "Sampler", "Hires sampler", "Clip skip")
    named = dict(zip(known, [text, *parameters.values()], strict=False))
    dialects.fields_of(Found("A1111", text, "", parameters | named, {}, ""))
