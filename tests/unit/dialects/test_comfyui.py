from __future__ import annotations

import json
import time

import pytest

from backend import dialects
from backend.dialects import Found
from tests.unit.dialects.pictures import comfy, comfy_nodes, exif_webp, png


def found_in(prompt: str, **chunks: str) -> Found:
    found = dialects.read(png(prompt=prompt, **chunks))
    assert found is not None
    return found


def test_a_graph_of_two_passes_becomes_a_picture_with_hires():
    found = found_in(comfy(), workflow="{}")
    assert (found.program, found.negative) == ("ComfyUI", "blurry")
    assert found.prompt == "a red fox <lora:ink:0.8>"
    assert dict(found.parameters) == {
        "Steps": "20",
        "Sampler": "DPM++ 2M",
        "Schedule type": "Karras",
        "CFG scale": "6.5",
        "Seed": "123456789012345678",
        "Size": "512x768",
        "Model": "dream_8",
        "Clip skip": "2",
        "Hires resize": "768x1152",
        "Hires upscaler": "Latent (bicubic)",
        "Hires steps": "12",
        "Hires sampler": "Euler",
        "Hires schedule type": "Normal",
        "Hires CFG Scale": "5",
        "Denoising strength": "0.5",
    }
    assert found.unknown["Pass 2 Seed"] == "5"
    assert found.unknown["workflow"] == "{}"


def test_the_picture_of_an_inner_pass_is_known_by_its_size():
    nodes = comfy_nodes()
    nodes["30"] = {"class_type": "VAEDecode", "inputs": {"samples": ["7", 0], "vae": ["1", 2]}}
    nodes["31"] = {"class_type": "SaveImage", "inputs": {"images": ["30", 0]}}
    last = dialects.read(png(768, 1152, prompt=comfy(nodes)))
    inner = dialects.read(png(512, 768, prompt=comfy(nodes)))
    assert last is not None and last.parameters["Hires resize"] == "768x1152"
    assert inner is not None and "Hires resize" not in inner.parameters


def test_a_second_pass_after_an_upscaling_model_names_the_model():
    nodes = comfy_nodes()
    nodes["8"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["70", 0], "vae": ["1", 2]}}
    nodes["70"] = {
        "class_type": "ImageScale",
        "inputs": {"upscale_method": "lanczos", "width": 768, "height": 1152, "image": ["71", 0]},
    }
    nodes["71"] = {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["72", 0], "image": ["73", 0]}}
    nodes["72"] = {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "4x_foolhardy.pth"}}
    nodes["73"] = {"class_type": "VAEDecode", "inputs": {"samples": ["7", 0], "vae": ["1", 2]}}
    parameters = found_in(comfy(nodes)).parameters
    assert (parameters["Hires upscaler"], parameters["Hires resize"]) == ("4x_foolhardy", "768x1152")
    assert (parameters["Steps"], parameters["Size"]) == ("20", "512x768")


def test_a_picture_that_began_from_a_picture_has_a_strength_and_no_size():
    nodes = comfy_nodes()
    nodes["10"]["inputs"]["samples"] = ["7", 0]
    nodes["6"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["40", 0], "vae": ["1", 2]}}
    nodes["40"] = {"class_type": "LoadImage", "inputs": {"image": "x.png"}}
    nodes["7"]["inputs"]["denoise"] = 0.6
    parameters = found_in(comfy({name: node for name, node in nodes.items() if name not in ("8", "9")})).parameters
    assert parameters["Denoising strength"] == "0.6"
    assert "Size" not in parameters


def test_control_combined_and_linked_texts_are_followed_to_the_right_side():
    nodes = comfy_nodes()
    nodes["50"] = {
        "class_type": "ControlNetApplyAdvanced",
        "inputs": {"positive": ["51", 0], "negative": ["5", 0], "control_net": ["60", 0], "image": ["61", 0]},
    }
    nodes["51"] = {
        "class_type": "ConditioningCombine",
        "inputs": {"conditioning_1": ["4", 0], "conditioning_2": ["52", 0]},
    }
    nodes["52"] = {
        "class_type": "CLIPTextEncodeSDXL",
        "inputs": {"text_g": ["53", 0], "text_l": "snow", "clip": ["3", 0]},
    }
    nodes["53"] = {"class_type": "StringConcatenate", "inputs": {"string_a": "in a", "string_b": "forest"}}
    for sampler in ("7", "9"):
        nodes[sampler]["inputs"] |= {"positive": ["50", 0], "negative": ["50", 1]}
    found = found_in(comfy(nodes))
    assert found.prompt == "a red fox\nin a, forest\nsnow <lora:ink:0.8>"
    assert found.negative == "blurry"


def test_the_sampler_in_parts_of_newer_graphs_is_read():
    nodes = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cake", "clip": ["9", 0]}},
        "3": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["2", 0]}},
        "4": {"class_type": "BasicGuider", "inputs": {"model": ["1", 0], "conditioning": ["3", 0]}},
        "5": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {
                "noise": ["6", 0],
                "guider": ["4", 0],
                "sampler": ["7", 0],
                "sigmas": ["8", 0],
                "latent_image": ["10", 0],
            },
        },
        "6": {"class_type": "RandomNoise", "inputs": {"noise_seed": 77}},
        "7": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "8": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 4, "model": ["1", 0]}},
        "9": {"class_type": "DualCLIPLoader", "inputs": {"clip_name1": "t5.safetensors"}},
        "10": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 1024}},
        "11": {"class_type": "SaveImage", "inputs": {"images": ["5", 0]}},
    }
    found = found_in(comfy(nodes))
    assert found.prompt == "a cake"
    assert dict(found.parameters) == {
        "Steps": "4",
        "Sampler": "Euler",
        "Schedule type": "Simple",
        "Seed": "77",
        "Size": "1024x1024",
        "Model": "flux1-dev",
        "Distilled CFG Scale": "3.5",
    }


def test_several_loras_in_one_loader_are_read_and_those_switched_off_are_not():
    nodes = comfy_nodes()
    nodes["2"] = {
        "class_type": "Power Lora Loader (rgthree)",
        "inputs": {
            "lora_1": {"on": True, "lora": "one.safetensors", "strength": 0.5},
            "lora_2": {"on": False, "lora": "two.safetensors", "strength": 1},
            "model": ["1", 0],
            "clip": ["1", 1],
        },
    }
    assert found_in(comfy(nodes)).prompt == "a red fox <lora:one:0.5>"


EDITOR = {
    "nodes": [
        {"id": 1, "type": "CheckpointLoaderSimple", "widgets_values": ["v1-5.ckpt"]},
        {"id": 2, "type": "CLIPTextEncode", "inputs": [{"name": "clip", "link": 1}], "widgets_values": ["a red fox"]},
        {"id": 3, "type": "CLIPTextEncode", "inputs": [{"name": "clip", "link": 2}], "widgets_values": ["blurry"]},
        {"id": 4, "type": "EmptyLatentImage", "widgets_values": [512, 640, 1]},
        {
            "id": 5,
            "type": "KSampler",
            "inputs": [
                {"name": "model", "link": 3},
                {"name": "positive", "link": 4},
                {"name": "negative", "link": 5},
                {"name": "latent_image", "link": 6},
            ],
            "widgets_values": [99, "randomize", 25, 7.5, "heun", "exponential", 1],
        },
        {"id": 6, "type": "SaveImage", "inputs": [{"name": "images", "link": 7}], "widgets_values": ["x"]},
    ],
    "links": [
        [1, 1, 1, 2, 0, "CLIP"],
        [2, 1, 1, 3, 0, "CLIP"],
        [3, 1, 0, 5, 0, "MODEL"],
        [4, 2, 0, 5, 1, "CONDITIONING"],
        [5, 3, 0, 5, 2, "CONDITIONING"],
        [6, 4, 0, 5, 3, "LATENT"],
        [7, 5, 0, 6, 0, "IMAGE"],
    ],
}


def test_without_the_api_graph_the_graph_of_the_editor_is_read():
    found = dialects.read(png(workflow=json.dumps(EDITOR)))
    assert found is not None
    assert (found.prompt, found.negative) == ("a red fox", "blurry")
    assert (found.parameters["Seed"], found.parameters["Steps"], found.parameters["Size"]) == ("99", "25", "512x640")
    assert (found.parameters["Sampler"], found.parameters["Schedule type"]) == ("Heun", "Exponential")
    assert found.parameters["Model"] == "v1-5"


def test_a_webp_carries_the_graph_in_exif():
    found = dialects.read(exif_webp({0x0110: "prompt:" + comfy(), 0x010F: "workflow:{}"}))
    assert found is not None and found.parameters["Seed"] == "123456789012345678"


def test_the_text_of_a1111_beside_a_graph_is_preferred():
    found = found_in(comfy(), parameters="a cat\nSteps: 1, Seed: 2, Size: 8x8")
    assert (found.program, found.prompt) == ("A1111", "a cat")


def _ring(count: int) -> dict[str, dict]:
    """Every node is sampler, text and loader at once and depends on all kinds of neighbours, round and round."""
    names = ("model", "positive", "negative", "latent_image", "clip", "text", "seed", "steps", "guider", "samples")
    return {
        str(place): {
            "class_type": "KSampler",
            "inputs": {name: [str((place + 1 + step * 7) % count), step % 3] for step, name in enumerate(names)},
        }
        for place in range(count)
    }


HOSTILE = {
    "deep list": "[" * 100_000,
    "deep object": '{"a":' * 50_000,
    "a deep value in a graph": json.dumps(comfy_nodes()).replace('"a red fox"', "[" * 500 + "]" * 500),
    "a ring": comfy(_ring(2000)),
    "a ring with an end": comfy(_ring(1900) | {"end": {"class_type": "SaveImage", "inputs": {"images": ["0", 0]}}}),
    "many ends": comfy({str(n): {"class_type": "SaveImage", "inputs": {"a": ["x", 0]}} for n in range(2000)}),
    "a node of itself": comfy({"1": {"class_type": "KSampler", "inputs": {"positive": ["1", 0], "samples": ["1", 0]}}}),
    "a million nothings": "{" * 1_000_000,
    "too many nodes": comfy({str(n): {"class_type": "A", "inputs": {}} for n in range(15_000)}),
    "a huge number": json.dumps({"1": {"class_type": "K", "inputs": {"seed": 1}}}).replace("1}}", "9" * 100_000 + "}}"),
    "wrong types": json.dumps({"1": {"class_type": 3, "inputs": []}, "2": None, "3": {"class_type": "A", "inputs": 1}}),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("chunk", ["prompt", "workflow", "parameters", "invokeai_metadata", "Comment"])
def test_a_hostile_graph_ends_soon_and_never_raises(text: str, chunk: str):
    picture = png(Software="NovelAI", **{chunk: text}) if chunk == "Comment" else png(**{chunk: text})
    began = time.process_time()
    found = dialects.read(picture)
    if found:
        dialects.fields_of(found)
    assert time.process_time() - began < 2
