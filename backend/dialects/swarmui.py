"""SwarmUI: JSON with "sui_image_params" where A1111 has its text (docs/Image Metadata Format.md of SwarmUI)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.dialects.found import Found, known, number, object_of, rest, size, stem, text_of, with_loras, words
from backend.dialects.names import sampling, upscaler_of
from backend.images import Decoded

_USED = words(
    "prompt negativeprompt model seed steps cfgscale width height sampler scheduler loras loraweights variationseed "
    "variationseedstrength initimagecreativity clipstopatlayer seamlesstileable vae refinermodel refinerupscale "
    "refinercontrolpercentage refinerupscalemethod refinersteps refinercfgscale fluxguidancescale swarm_version"
)


def read(decoded: Decoded) -> Found | None:
    for text in (decoded.text, decoded.texts.get("parameters")):
        whole = object_of(text)
        values = whole.get("sui_image_params") if whole else None
        if text and whole and isinstance(values, dict):
            return _found(values, whole, text)
    return None


def _found(values: Mapping[str, Any], whole: Mapping[str, Any], raw: str) -> Found:
    variation = number(values.get("variationseedstrength")) or 0
    layer = number(values.get("clipstopatlayer"))
    tiled = str(values.get("seamlesstileable", "")).casefold()
    parameters = known(
        {
            "Steps": values.get("steps"),
            **sampling(values.get("sampler"), values.get("scheduler")),
            "CFG scale": values.get("cfgscale"),
            "Distilled CFG Scale": values.get("fluxguidancescale"),
            "Seed": values.get("seed"),
            "Size": size(values.get("width"), values.get("height")),
            "Model": stem(values.get("model")),
            "VAE": stem(values.get("vae")),
            "Variation seed": values.get("variationseed") if variation else None,
            "Variation seed strength": values.get("variationseedstrength") if variation else None,
            "Denoising strength": values.get("initimagecreativity"),
            "Clip skip": int(abs(layer)) if layer and abs(layer) < 100 else None,
            "Tiling": "True" if tiled in ("true", "1", "yes") else None,
            **_second_pass(values),
            "Version": f"SwarmUI {values['swarm_version']}" if values.get("swarm_version") else None,
        }
    )
    return Found(
        program="SwarmUI",
        prompt=with_loras(text_of(values.get("prompt")), _loras(values)),
        negative=text_of(values.get("negativeprompt")),
        parameters=parameters,
        unknown=rest(values, _USED) | rest(whole, ("sui_image_params",)),
        raw=raw,
    )


def _second_pass(values: Mapping[str, Any]) -> dict[str, Any]:
    """SwarmUI's refiner is A1111's hires pass when it enlarges, and A1111's refiner when it is another model."""
    share = number(values.get("refinercontrolpercentage"))
    factor = number(values.get("refinerupscale"))
    if factor is not None and factor > 1:
        return {
            "Hires upscale": values.get("refinerupscale"),
            "Hires upscaler": _upscaler(text_of(values.get("refinerupscalemethod"))),
            "Hires steps": values.get("refinersteps"),
            "Hires CFG Scale": values.get("refinercfgscale"),
            "Hires checkpoint": stem(values.get("refinermodel")),
            "Denoising strength": share,
        }
    if stem(values.get("refinermodel")) and share is not None:
        return {"Refiner": stem(values.get("refinermodel")), "Refiner switch at": round(1 - share, 4)}
    return {}


def _upscaler(method: str) -> str | None:
    """ "pixel-lanczos", "latent-bicubic" or "model-4x_foo.pth"."""
    kind, _, name = method.partition("-")
    if kind in ("pixel", "latent"):
        return upscaler_of(name, latent=kind == "latent")
    return stem(name if kind in ("model", "latentmodel") else method)


def _loras(values: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    names, weights = _listed(values.get("loras")), _listed(values.get("loraweights"))
    return [(name, weights[place] if place < len(weights) else 1) for place, name in enumerate(names)]


def _listed(value: Any) -> list[Any]:
    """A JSON list, or its older form, one string with commas."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value if isinstance(value, list) else []
