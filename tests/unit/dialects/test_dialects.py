from __future__ import annotations

import json

import numpy as np
import pytest

from backend import dialects, images, infotext
from backend.dialects import Found
from backend.dialects.novelai import with_weights
from backend.dialects.stealth import stealth_text
from tests.unit.dialects.pictures import hidden, png

A1111 = (
    "a cat, (red:1.2)\nNegative prompt: blurry\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 42, "
    "Size: 512x768, Model hash: 6ce0161689, Model: v1-5, Version: v1.10.1"
)


def found_in(decoded: images.Decoded) -> Found:
    found = dialects.read(decoded)
    assert found is not None
    return found


def test_the_text_of_a1111_is_read_with_an_old_sampler_name_split():
    found = found_in(png(parameters=A1111))
    assert (found.program, found.prompt, found.negative) == ("A1111", "a cat, (red:1.2)", "blurry")
    assert (found.parameters["Sampler"], found.parameters["Schedule type"]) == ("DPM++ 2M", "Karras")
    assert (found.raw, dict(found.unknown)) == (A1111, {})


@pytest.mark.parametrize(
    ("fields", "program"),
    [
        ("Version: f2.0.1v1.10.1-previous-224", "Forge"),
        ("Version: f1.0.5-v1.10.1RC", "reForge"),
        ("App: SD.Next, Version: 3fe4c65", "SD.Next"),
        ("Version: Signet 0.1.0", "Signet"),
        ("Version: v1.6.0", "A1111"),
    ],
)
def test_the_family_of_a1111_is_told_apart_and_its_own_keys_are_kept(fields: str, program: str):
    text = f"a cat\nSteps: 20, Seed: 42, Distilled CFG Scale: 3.5, Module 1: ae, Pipeline: StableDiffusion, {fields}"
    found = found_in(png(parameters=text))
    assert found.program == program
    assert found.parameters["Distilled CFG Scale"] == "3.5"
    assert found.unknown["Module 1"] == "ae"
    assert found.unknown["Pipeline"] == "StableDiffusion"


def test_our_own_pictures_read_back_in_every_container():
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    text = infotext.write("ключ 鍵", "", {"Steps": 4, "Seed": 1, "Size": "16x16", "Version": "Signet 0.1.0"})
    for encode in (images.encode_png, images.encode_jpeg_file, images.encode_webp_file):
        found = found_in(images.decode(encode(pixels, text), max_pixels=1000))
        assert (found.program, found.prompt, found.parameters["Steps"]) == ("Signet", "ключ 鍵", "4")


def test_a_chunk_without_parameters_is_a_prompt_and_a_stray_comment_is_nothing():
    assert found_in(png(parameters="just a cat")).prompt == "just a cat"
    assert dialects.read(png(Comment="made with GIMP")) is None
    assert dialects.read(png()) is None


def test_swarmui_is_read():
    values = {
        "prompt": "a boat",
        "negativeprompt": "fog",
        "model": "Flux/flux1-dev.safetensors",
        "seed": 7,
        "steps": "25",
        "cfgscale": 1.0,
        "width": 1024,
        "height": "768",
        "sampler": "euler_ancestral",
        "scheduler": "sgm_uniform",
        "loras": "ink,style/oil.safetensors",
        "loraweights": "0.5,1",
        "refinerupscale": 1.5,
        "refinercontrolpercentage": 0.4,
        "refinerupscalemethod": "pixel-lanczos",
        "swarm_version": "0.9.1.1",
        "nopreviews": True,
    }
    whole = {"sui_image_params": values, "sui_extra_data": {"date": "2026-01-01"}, "sui_models": [{"name": "m"}]}
    found = found_in(png(parameters=json.dumps(whole)))
    assert (found.program, found.negative) == ("SwarmUI", "fog")
    assert found.prompt == "a boat <lora:ink:0.5> <lora:oil:1>"
    assert found.parameters["Size"] == "1024x768"
    assert (found.parameters["Model"], found.parameters["Steps"]) == ("flux1-dev", "25")
    assert (found.parameters["Sampler"], found.parameters["Schedule type"]) == ("Euler a", "SGM Uniform")
    assert (found.parameters["Hires upscale"], found.parameters["Denoising strength"]) == ("1.5", "0.4")
    assert found.parameters["Hires upscaler"] == "Lanczos"
    assert found.unknown["nopreviews"] == "True"
    assert json.loads(found.unknown["sui_extra_data"]) == {"date": "2026-01-01"}


def test_fooocus_is_read_in_its_own_scheme():
    values = {
        "prompt": "a goldfish",
        "full_prompt": ["cinematic a goldfish", "a goldfish, sharp"],
        "negative_prompt": "",
        "steps": 30,
        "resolution": "(768, 1280)",
        "guidance_scale": 4.0,
        "sampler": "dpmpp_2m_sde_gpu",
        "scheduler": "karras",
        "seed": "6952411511246973023",
        "base_model": "juggernautXL_v8",
        "base_model_hash": "aeb7e9e689",
        "clip_skip": 2,
        "refiner_model": "None",
        "refiner_switch": 0.5,
        "adm_guidance": "(1.5, 0.8, 0.3)",
        "loras": [["sd_xl_offset.safetensors", 0.1, "4852686128"]],
        "vae": "Default (model)",
        "version": "Fooocus v2.4.3",
    }
    found = found_in(png(parameters=json.dumps(values), fooocus_scheme="fooocus"))
    assert (found.program, found.prompt) == ("Fooocus", "a goldfish <lora:sd_xl_offset:0.1>")
    assert (found.parameters["Sampler"], found.parameters["Schedule type"]) == ("DPM++ 2M SDE", "Karras")
    assert (found.parameters["Size"], found.parameters["Seed"]) == ("768x1280", "6952411511246973023")
    assert "Refiner" not in found.parameters and "VAE" not in found.parameters
    assert found.unknown["adm_guidance"] == "(1.5, 0.8, 0.3)"
    older = {name: value for name, value in values.items() if name != "loras"} | {"lora_combined_1": "ink v2 : 0.7"}
    assert found_in(png(parameters=json.dumps(older))).prompt == "a goldfish <lora:ink v2:0.7>"


def test_fooocus_is_read_in_the_scheme_of_a1111():
    assert found_in(png(parameters=A1111, fooocus_scheme="a1111")).program == "Fooocus"


def test_invokeai_is_read():
    values = {
        "positive_prompt": "oil painting",
        "negative_prompt": "photo",
        "width": 1024,
        "height": 768,
        "seed": 3,
        "cfg_scale": 8.0,
        "cfg_rescale_multiplier": 0.7,
        "steps": 35,
        "scheduler": "dpmpp_2m_k",
        "clip_skip": 1,
        "model": {"key": "x", "name": "juggernautXL"},
        "vae": {"model_name": "fix"},
        "loras": [
            {"lora": {"model_name": "ink"}, "weight": 0.75},
            {"model": {"name": "oil"}, "weight": -1},
        ],
        "app_version": "5.4.0",
        "controlnets": [],
    }
    found = found_in(png(invokeai_metadata=json.dumps(values)))
    assert (found.program, found.prompt) == ("InvokeAI", "oil painting <lora:ink:0.75> <lora:oil:-1>")
    assert (found.parameters["Sampler"], found.parameters["Schedule type"]) == ("DPM++ 2M", "Karras")
    assert (found.parameters["Model"], found.parameters["VAE"]) == ("juggernautXL", "fix")
    assert (found.parameters["Clip skip"], found.parameters["CFG Rescale"]) == ("2", "0.7")
    assert found.unknown == {"controlnets": "[]"}


def test_the_older_ages_of_invokeai_are_read():
    image = {
        "prompt": [{"prompt": "a woman at night [skinny, glowing eyes]", "weight": 1.0}],
        "steps": 50,
        "cfg_scale": 5,
        "height": 768,
        "width": 512,
        "seed": 29,
        "sampler": "k_lms",
        "seamless": True,
    }
    outer = {"model_weights": "deliberate", "model_hash": "56d1442a0feefd", "app_version": "2.3.0", "image": image}
    middle = found_in(png(**{"sd__metadata": json.dumps(outer)}))
    assert (middle.prompt, middle.negative) == ("a woman at night", "skinny, glowing eyes")
    assert middle.parameters["Model hash"] == "56d1442a0f"
    assert (middle.parameters["Sampler"], middle.parameters["Tiling"]) == ("LMS", "True")
    oldest = found_in(png(Dream='"a "big" cat [dog]" -s 50 -S 29 -W 512 -H 768 -C 7.5 -A k_euler_a -U 4 0.95 -f 0.4'))
    assert (oldest.prompt, oldest.negative) == ('a "big" cat', "dog")
    assert dict(oldest.parameters) == {
        "Steps": "50",
        "Seed": "29",
        "CFG scale": "7.5",
        "Denoising strength": "0.4",
        "Sampler": "Euler a",
        "Size": "512x768",
    }
    assert oldest.unknown == {"-U": "4 0.95"}


COMMENT = {"prompt": "{{fox}}, (tail)", "steps": 28, "sampler": "k_euler_ancestral", "seed": 22, "scale": 5.0,
           "uc": "[lowres]", "noise_schedule": "karras", "cfg_rescale": 0.2, "strength": 0.7}  # fmt: skip


def test_novelai_is_read_from_its_chunks_and_takes_the_size_of_the_picture():
    found = found_in(png(24, 16, Software="NovelAI", Description="fox", Source="V3", Comment=json.dumps(COMMENT)))
    assert (found.program, found.prompt) == ("NovelAI", "((fox:1.05):1.05), \\(tail\\)")
    assert found.negative == "(lowres:0.952)"
    assert (found.parameters["Size"], found.parameters["CFG Rescale"]) == ("24x16", "0.2")
    assert "Denoising strength" not in found.parameters  # a default it writes for every picture
    assert found.unknown["Source"] == "V3"


@pytest.mark.parametrize("packed", [True, False])
def test_novelai_is_read_from_the_lowest_bit_of_the_alpha(packed: bool):
    text = json.dumps({"Software": "NovelAI", "Comment": json.dumps(COMMENT)})
    found = found_in(png(alpha=hidden(text, packed=packed)))
    assert (found.program, found.parameters["Seed"]) == ("NovelAI", "22")


def test_a1111_text_is_read_from_the_alpha_too():
    assert found_in(png(alpha=hidden(A1111))).parameters["Seed"] == "42"


def test_an_alpha_that_lies_about_its_length_or_hides_nothing_is_no_text():
    lying = hidden(A1111, packed=False)
    flat = lying.T.reshape(-1).copy()
    flat[15 * 8 : 19 * 8] = 255
    text = stealth_text(flat.reshape(lying.shape).T)
    assert text is not None and text.startswith("a cat")
    flat[3] ^= 1
    assert stealth_text(flat.reshape(lying.shape).T) is None
    bomb = hidden("x" * 30_000_000, side=512)
    assert len(stealth_text(bomb) or "") <= 1 << 20
    for alpha in (None, np.zeros((3, 3), dtype=np.uint8), np.full((64, 64), 255, dtype=np.uint8)):
        assert stealth_text(alpha) is None


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("{a}", "(a:1.05)"),
        ("[a]", "(a:0.952)"),
        ("{[a}]", "{(a\\}:0.952)"),
        ("a}", "a}"),
        ("{a", "{a"),
        ("[a", "\\[a"),
        ("a]", "a\\]"),
        ("(a)", "\\(a\\)"),
        ("1.5::rain, fog:: sky", "(rain, fog:1.5) sky"),
        ("-1::hat::", "(hat:-1)"),
        ("2::a, 0.5::{b}", "(a, :2)((b:1.05):0.5)"),
        ("a::b", "a::b"),
    ],
)
def test_the_brackets_of_novelai_become_weights(theirs: str, ours: str):
    assert with_weights(theirs).replace("\\}", "}") == ours.replace("\\}", "}")


def test_pasted_text_is_read_as_whatever_it_is():
    assert dialects.read_text("  ") is None
    assert dialects.read_text("a cat") == Found("A1111", "a cat", "", {}, {}, "a cat")
    pasted = dialects.read_text(A1111)
    assert pasted is not None and pasted.parameters["Seed"] == "42"
    graph = dialects.read_text(json.dumps({"sui_image_params": {"prompt": "x", "seed": 1}}))
    assert graph is not None and graph.program == "SwarmUI"
