"""InvokeAI in its three ages: "invokeai_metadata" (3 and later), "sd-metadata" (2) and "Dream" (1 and 2)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from backend.dialects.found import Found, known, number, object_of, rest, size, stem, text_of, with_loras, words
from backend.dialects.names import sampling
from backend.images import Decoded

_USED = words(
    "positive_prompt negative_prompt steps scheduler cfg_scale cfg_rescale_multiplier seed width height model vae "
    "loras clip_skip strength seamless_x seamless_y app_version refiner_model refiner_start hrf_enabled hrf_strength "
    "hrf_method hrf_width hrf_height"
)
_USED_IMAGE = words("prompt steps sampler cfg_scale seed width height strength seamless")
_DREAM_FLAG = re.compile(r'" (?=-)')
_DREAM = {"-s": "Steps", "-S": "Seed", "-C": "CFG scale", "-f": "Denoising strength"}


def read(decoded: Decoded) -> Found | None:
    texts = decoded.texts
    if values := object_of(texts.get("invokeai_metadata")):
        return _graph_age(values, texts["invokeai_metadata"], texts)
    if values := object_of(texts.get("sd-metadata")):
        return _metadata_age(values, texts["sd-metadata"])
    return _dream_age(texts["Dream"]) if texts.get("Dream") else None


def _graph_age(values: Mapping[str, Any], raw: str, texts: Mapping[str, str]) -> Found:
    skipped = number(values.get("clip_skip"))
    version = text_of(values.get("app_version"))
    refiner = _model(values.get("refiner_model"))
    parameters = known(
        {
            "Steps": values.get("steps"),
            **sampling(values.get("scheduler")),
            "CFG scale": values.get("cfg_scale"),
            "CFG Rescale": values.get("cfg_rescale_multiplier") or None,
            "Seed": values.get("seed"),
            "Size": size(values.get("width"), values.get("height")),
            "Model": _model(values.get("model")),
            "VAE": _model(values.get("vae")),
            "Denoising strength": values.get("strength"),
            # InvokeAI counts the layers left out, A1111 the layer that is taken.
            "Clip skip": int(skipped) + 1 if skipped and 0 < skipped < 100 else None,
            "Tiling": "True" if values.get("seamless_x") or values.get("seamless_y") else None,
            "Refiner": refiner,
            "Refiner switch at": values.get("refiner_start") if refiner else None,
            **_hires(values),
            "Version": f"InvokeAI {version}" if version else None,
        }
    )
    graph = {name: texts[name] for name in ("invokeai_workflow", "invokeai_graph") if name in texts}
    return Found(
        program="InvokeAI",
        prompt=with_loras(text_of(values.get("positive_prompt")), _loras(values.get("loras"))),
        negative=text_of(values.get("negative_prompt")),
        parameters=parameters,
        unknown=rest(values, _USED) | graph,
        raw=raw,
    )


def _hires(values: Mapping[str, Any]) -> dict[str, Any]:
    if not values.get("hrf_enabled"):
        return {}
    return {
        "Hires resize": size(values.get("hrf_width"), values.get("hrf_height")),
        "Hires upscaler": values.get("hrf_method"),
        "Denoising strength": values.get("hrf_strength"),
    }


def _model(value: Any) -> str | None:
    """The name out of a model's entry, which has been an object with one of three keys, or a string."""
    if not isinstance(value, Mapping):
        return stem(value)
    inner = value.get("model")
    entry = inner if isinstance(inner, Mapping) else value
    return stem(next((entry[key] for key in ("model_name", "name", "key") if entry.get(key)), None))


def _loras(value: Any) -> list[tuple[Any, Any]]:
    entries = [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []
    return [(_model(entry.get("lora", entry.get("model"))), entry.get("weight")) for entry in entries]


def _metadata_age(values: Mapping[str, Any], raw: str) -> Found:
    image = values.get("image")
    image = image if isinstance(image, Mapping) else {}
    prompt, negative = _split(_prompt_text(image.get("prompt")))
    version = text_of(values.get("app_version"))
    digest = text_of(values.get("model_hash"))
    parameters = known(
        {
            "Steps": image.get("steps"),
            **sampling(image.get("sampler")),
            "CFG scale": image.get("cfg_scale"),
            "Seed": image.get("seed"),
            "Size": size(image.get("width"), image.get("height")),
            "Model hash": digest[:10] or None,
            "Model": stem(values.get("model_weights")),
            "Denoising strength": image.get("strength"),
            "Tiling": "True" if image.get("seamless") is True else None,
            "Version": f"InvokeAI {version}" if version else None,
        }
    )
    outer = rest(values, ("image", "model_weights", "app_version"))
    return Found("InvokeAI", prompt, negative, parameters, outer | rest(image, _USED_IMAGE), raw)


def _prompt_text(value: Any) -> str:
    """One string, or a list of {prompt, weight}."""
    if isinstance(value, list):
        return " ".join(text_of(part.get("prompt")) for part in value if isinstance(part, Mapping))
    return text_of(value)


def _split(prompt: str) -> tuple[str, str]:
    """InvokeAI 2 has the negative prompt in square brackets inside the prompt."""
    positive: list[str] = []
    negative: list[str] = []
    opened = False
    for part in re.split(r"([\[\]])", prompt):
        if part in ("[", "]"):
            opened = part == "["
        elif part.strip(" ,"):
            (negative if opened else positive).append(part.strip())
    return " ".join(positive), ", ".join(negative)


def _dream_age(raw: str) -> Found | None:
    """A command line: "the prompt" -s 50 -S 1 -W 512 -H 768 -C 7.5 -A k_lms"""
    text = raw.strip()
    parts = _DREAM_FLAG.split(text)
    if not text.startswith('"') or len(parts) < 2:
        return None
    prompt, negative = _split('" '.join(parts[:-1])[1:])
    flags = {flag: " ".join(values) for flag, *values in _flags(parts[-1].split())}
    parameters = known(
        {
            **{name: flags.get(flag) for flag, name in _DREAM.items()},
            **sampling(flags.get("-A")),
            "Size": size(flags.get("-W"), flags.get("-H")),
        }
    )
    unknown = rest(flags, (*_DREAM, "-A", "-W", "-H"))
    return Found("InvokeAI", prompt, negative, parameters, unknown, raw)


def _flags(words: list[str]) -> Iterator[list[str]]:
    """Each flag with the values up to the next one; a negative number is a value."""
    starts = [place for place, word in enumerate(words) if word.startswith("-") and not word[1:2].isdigit()]
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        yield words[start:end]
