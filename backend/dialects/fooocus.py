"""Fooocus: JSON under "parameters" or in Exif, or A1111's text; "fooocus_scheme" says which."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from backend.dialects import a1111
from backend.dialects.found import Found, known, number, object_of, rest, size, stem, text_of, with_loras, words
from backend.dialects.names import sampling
from backend.images import Decoded

_RESOLUTION = re.compile(r"\(?\s*([0-9]{1,6})\s*[,x×*]\s*([0-9]{1,6})\s*\)?")
_LORA_KEY = re.compile(r"lora_combined_[0-9]{1,3}")
_SIGNS = ("base_model", "metadata_scheme", "adm_guidance", "full_prompt", "Fooocus V2 Expansion", "performance")
_USED = words(
    "prompt negative_prompt steps sampler scheduler guidance_scale seed resolution base_model base_model_hash vae "
    "clip_skip refiner_model refiner_switch loras version"
)


def read(decoded: Decoded) -> Found | None:
    for text in (decoded.text, decoded.texts.get("parameters")):
        values = object_of(text)
        if text and values and sum(name in values for name in _SIGNS) >= 2:
            return _found(values, text)
    scheme = decoded.texts.get("fooocus_scheme") or decoded.texts.get("Exif.MakerNote")
    if scheme == "a1111" and decoded.text:
        return a1111.from_text(decoded.text, program="Fooocus")
    return None


def _found(values: Mapping[str, Any], raw: str) -> Found:
    resolution = _RESOLUTION.fullmatch(str(values.get("resolution", ""))[:40])
    refiner = stem(values.get("refiner_model"))
    layer = number(values.get("clip_skip"))
    loras, lora_keys = _loras(values)
    version = text_of(values.get("version"))
    parameters = known(
        {
            "Steps": values.get("steps"),
            **sampling(values.get("sampler"), values.get("scheduler")),
            "CFG scale": values.get("guidance_scale"),
            "Seed": values.get("seed"),
            "Size": size(*resolution.groups()) if resolution else None,
            "Model hash": values.get("base_model_hash"),
            "Model": stem(values.get("base_model")),
            "VAE": None if values.get("vae") == "Default (model)" else stem(values.get("vae")),
            "Clip skip": int(layer) if layer and 1 < layer < 100 else None,
            "Refiner": refiner if refiner not in (None, "None") else None,
            "Refiner switch at": values.get("refiner_switch") if refiner not in (None, "None") else None,
            "Version": version or None,
        }
    )
    # The prompt as typed: `full_prompt` is what the styles made of it, and stays among the unknown.
    typed = text_of(values.get("prompt")) or text_of(values.get("full_prompt"))
    negative = text_of(values.get("negative_prompt"))
    return Found("Fooocus", with_loras(typed, loras), negative, parameters, rest(values, _USED | lora_keys), raw)


def _loras(values: Mapping[str, Any]) -> tuple[list[tuple[Any, Any]], frozenset[str]]:
    """(name, weight) of the list "loras" ([name, weight, hash]) or of "lora_combined_1": "name : weight"."""
    keys = [name for name in values if _LORA_KEY.fullmatch(name)]
    listed = values.get("loras")
    if isinstance(listed, list):
        return [(item[0], item[1]) for item in listed if isinstance(item, list) and len(item) >= 2], frozenset(keys)
    pairs = [text_of(values[name]).rpartition(" : ") for name in keys]
    return [(name, weight) for name, _, weight in pairs], frozenset(keys)
