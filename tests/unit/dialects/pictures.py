"""Pictures as other programs save them, built in code: only the shape of their text is theirs."""

from __future__ import annotations

import gzip
import io
import json

import numpy as np
from PIL import Image, PngImagePlugin

from backend import images
from backend.images import Decoded


def png(width: int = 8, height: int = 8, alpha: np.ndarray | None = None, **chunks: str) -> Decoded:
    """A PNG with text chunks, read back the way every upload is."""
    info = PngImagePlugin.PngInfo()
    for name, text in chunks.items():
        info.add_itxt(name.replace("__", "-"), text)
    picture = Image.new("RGB", (width, height), (10, 20, 30))
    if alpha is not None:
        picture = Image.fromarray(np.dstack([np.full((*alpha.shape, 3), 99, dtype=np.uint8), alpha]))
    out = io.BytesIO()
    picture.save(out, "PNG", pnginfo=info)
    return images.decode(out.getvalue(), max_pixels=1_000_000)


def exif_webp(tags: dict[int, str]) -> Decoded:
    exif = Image.Exif()
    for tag, text in tags.items():
        exif[tag] = text
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "WEBP", exif=exif.tobytes())
    return images.decode(out.getvalue(), max_pixels=1_000_000)


def hidden(text: str, *, packed: bool = True, side: int = 64) -> np.ndarray:
    """An alpha channel (side, side) that hides `text`, column by column."""
    body = gzip.compress(text.encode()) if packed else text.encode()
    stream = (b"stealth_pngcomp" if packed else b"stealth_pnginfo") + (8 * len(body)).to_bytes(4, "big") + body
    bits = np.unpackbits(np.frombuffer(stream, dtype=np.uint8))
    flat = np.zeros(side * side, dtype=np.uint8)
    flat[: len(bits)] = bits
    return flat.reshape(side, side).T | np.uint8(254)


def comfy_nodes() -> dict[str, dict]:
    """Two passes: 512 x 768 from nothing, enlarged to 768 x 1152, with a LoRA and a clip skip of 2."""
    return {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15\\dream_8.safetensors"}},
        "2": {
            "class_type": "LoraLoader",
            "inputs": {
                "lora_name": "style/ink.safetensors",
                "strength_model": 0.8,
                "strength_clip": 1.0,
                "model": ["1", 0],
                "clip": ["1", 1],
            },
        },
        "3": {"class_type": "CLIPSetLastLayer", "inputs": {"stop_at_clip_layer": -2, "clip": ["2", 1]}},
        "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red fox", "clip": ["3", 0]}},
        "5": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["3", 0]}},
        "6": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
        "7": {
            "class_type": "KSampler",
            "inputs": {
                "seed": ["20", 0],
                "steps": 20,
                "cfg": 6.5,
                "sampler_name": "dpmpp_2m",
                "scheduler": "karras",
                "denoise": 1.0,
                "model": ["2", 0],
                "positive": ["4", 0],
                "negative": ["5", 0],
                "latent_image": ["6", 0],
            },
        },
        "8": {
            "class_type": "LatentUpscale",
            "inputs": {"upscale_method": "bislerp", "width": 768, "height": 1152, "samples": ["7", 0]},
        },
        "9": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 5,
                "steps": 12,
                "cfg": 5.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 0.5,
                "model": ["2", 0],
                "positive": ["4", 0],
                "negative": ["5", 0],
                "latent_image": ["8", 0],
            },
        },
        "10": {"class_type": "VAEDecode", "inputs": {"samples": ["9", 0], "vae": ["1", 2]}},
        "11": {"class_type": "SaveImage", "inputs": {"images": ["10", 0]}},
        "20": {"class_type": "PrimitiveInt", "inputs": {"value": 123456789012345678}},
    }


def comfy(nodes: dict[str, dict] | None = None) -> str:
    return json.dumps(comfy_nodes() if nodes is None else nodes)
