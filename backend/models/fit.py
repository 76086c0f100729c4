"""Which additions fit which checkpoint, and in words why one does not. Pure."""

from __future__ import annotations

from backend.models.pipelines import TEXT_WIDTHS, family_name
from backend.types import ModelInfo

_ALONE = ("upscaler", "preprocessor")
# An autoencoder serves every model that was trained on its latents; cross-attention does not come into it.
_LATENTS = {"sd2": "sd1", "lcm": "sd1", "sdxl-refiner": "sdxl"}


def fits(addition: ModelInfo, model: ModelInfo) -> str:
    """ "" if `addition` (a LoRA, VAE, ControlNet, adapter or embedding) can be used with the checkpoint `model`, else
    the reason, as a clause: "it is made for SDXL, and this model is SD 1.x".
    """
    if addition.kind in _ALONE or addition.family == "any":
        return ""
    if addition.kind == "checkpoint":
        return "it is a checkpoint of its own"
    if addition.family == "unknown":
        return "its architecture is not known"
    if addition.kind == "vae":
        return _vae_fits(addition, model)
    if _trained_on(addition.family) != _trained_on(model.family):
        return f"it is made for {family_name(addition.family)}, and this model is {family_name(model.family)}"
    if addition.kind == "embedding" and model.family == "sdxl":
        return ""  # its width is that of one of two text encoders
    standard = TEXT_WIDTHS.get(addition.family)
    mine, theirs = addition.width or standard, model.width or TEXT_WIDTHS.get(model.family)
    if mine and theirs and mine != theirs:
        return f"it is made for text of width {mine}, and this model takes {theirs}"
    return ""


def _vae_fits(vae: ModelInfo, model: ModelInfo) -> str:
    if _LATENTS.get(vae.family, vae.family) != _LATENTS.get(model.family, model.family):
        return f"it is made for {family_name(vae.family)}, and this model is {family_name(model.family)}"
    if vae.factor != model.factor:
        return f"it makes {vae.factor} pixels of a latent, and this model needs {model.factor}"
    return ""


def _trained_on(family: str) -> str:
    """LCM's own models are SD 1.x inside."""
    return "sd1" if family == "lcm" else family
