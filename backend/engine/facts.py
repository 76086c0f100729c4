"""What is written down about a picture while the engine still knows it: infotext, model and engine facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers
import torch

from backend import infotext
from backend.engine.painter import Painter, Tools
from backend.requests import seed_of
from backend.samplers import AUTOMATIC, SAMPLERS
from backend.types import (
    Bucket,
    EngineFacts,
    GenerationRequest,
    ModelFacts,
    ModelInfo,
    NetworkFacts,
    Pixels,
    RawImage,
    SourceImage,
)
from backend.version import NAME, VERSION
from backend.wire import Work

_PAINTS_NOT = ModelFacts(id="", title="no model", family="none", licence="not stated", sha256=None)


def raw_image(
    painter: Painter,
    pixels: Pixels,
    bucket: Bucket,
    sha256: str | None,
    seconds: float,
    tools: Tools,
) -> RawImage:
    """`sha256` is the model's, None while it is not known yet; `seconds` is the time in the engine."""
    work, request = painter.work, painter.request
    networks = painter.networks()
    return RawImage(
        pixels=pixels,
        job_id=work.job_id,
        index=painter.index,
        seed=seed_of(request, painter.index),
        request=request,
        infotext=text_of(painter, networks, bucket, sha256, pixels),
        model=_model_facts(work.model, sha256) if paints(request) else _PAINTS_NOT,
        engine=_engine_facts(painter, bucket, seconds, tools),
        verdict=work.verdict,
        words=painter.words,
        networks=networks,
        sources=sources(work),
        latent_mark=painter.latent_mark,
    )


def paints(request: GenerationRequest) -> bool:
    """Whether a diffusion model has a part in the picture."""
    return request.paints


def sources(work: Work) -> tuple[SourceImage, ...]:
    """The pictures that went in, the one that was changed first; a mask is no picture."""
    request = work.request
    mask = request.inpaint.mask if request.inpaint else None
    named = [work.inputs[name] for name in request.inputs if name != mask]
    return (*named, *(cell for cell in work.cells if cell))


def text_of(
    painter: Painter, networks: tuple[NetworkFacts, ...], bucket: Bucket, sha256: str | None, pixels: Pixels
) -> str:
    """The A1111 text of the picture."""
    request, work, words = painter.request, painter.work, painter.words
    height, width = pixels.shape[:2]
    if request.mode == "convert" and (told := painter.source_text()):
        return told  # the picture is the same one, and so is the way it was made
    if not paints(request):
        return infotext.write(
            words.prompt,
            words.negative,
            {
                "Size": f"{width}x{height}",
                "Postprocess upscaler": request.upscale.upscaler if request.upscale else None,
                "Signet mode": request.mode,
                "Version": f"{NAME} {VERSION}",
            },
        )
    own = request.mode in ("img2img", "inpaint", "upscale")
    parameters: dict[str, object] = {
        "Steps": request.steps,
        "Sampler": painter.ran or request.sampler,
        "Schedule type": None if painter.ran or request.schedule == AUTOMATIC else request.schedule,
        "CFG scale": f"{request.cfg:g}",
        "Seed": seed_of(request, painter.index),
        "Size": f"{request.width}x{request.height}",
        "Model hash": sha256[:10] if sha256 else None,
        "Model": work.model.id,
        **_vae(networks),
        **_variation(request, painter.index),
        "Denoising strength": f"{request.denoise:g}"
        if own
        else f"{request.hires.denoise:g}"
        if request.hires
        else None,
        "Clip skip": request.clip_skip if request.clip_skip > 1 else None,
        "RNG": "CPU",
        "Tiling": "True" if request.tiling else None,
        **_inpaint(request),
        **_hires(request),
        **_hashes(networks),
        **_controls(request),
        **_rest(request),
        "Signet bucket": bucket,
        "Signet latent mark": painter.latent_mark or None,
        "Version": f"{NAME} {VERSION}",
    }
    return infotext.write(words.prompt, words.negative, parameters)


def _vae(networks: tuple[NetworkFacts, ...]) -> Mapping[str, object]:
    found = next((network for network in networks if network.kind == "vae"), None)
    return {} if found is None else {"VAE hash": found.sha256[:10] if found.sha256 else None, "VAE": found.id}


def _variation(request: GenerationRequest, index: int) -> Mapping[str, object]:
    texts: dict[str, object] = {}
    if request.variation:
        texts["Variation seed"] = request.variation.seed + index
        texts["Variation seed strength"] = f"{request.variation.strength:g}"
    if request.resize_from:
        texts["Seed resize from"] = "x".join(map(str, request.resize_from))
    return texts


def _inpaint(request: GenerationRequest) -> Mapping[str, object]:
    asked = request.inpaint
    if asked is None:
        return {}
    whole = asked.area == "whole"
    grown = request.outpaint
    return {
        "Mask mode": "Inpaint not masked" if asked.inverted else None,
        "Mask blur": asked.blur,
        "Inpaint area": None if whole else "Only masked",
        "Masked area padding": None if whole else asked.padding,
        "Masked content": _CONTENT[asked.fill],
        "Outpaint": f"left {grown.left}, right {grown.right}, up {grown.up}, down {grown.down}" if grown else None,
    }


_CONTENT = {"fill": "fill", "original": None, "noise": "latent noise", "nothing": "latent nothing"}


def _hires(request: GenerationRequest) -> Mapping[str, object]:
    asked = request.hires
    if asked is None:
        return {}
    return {
        "Hires resize": f"{asked.width}x{asked.height}",
        "Hires steps": asked.steps or None,
        "Hires upscaler": asked.upscaler,
        "Hires sampler": asked.sampler or None,
        "Hires schedule type": asked.schedule if asked.schedule not in ("", AUTOMATIC) else None,
        "Hires CFG Scale": None if asked.cfg is None else f"{asked.cfg:g}",
        "Hires prompt": asked.prompt or None,
        "Hires negative prompt": asked.negative or None,
    }


def _hashes(networks: tuple[NetworkFacts, ...]) -> Mapping[str, object]:
    loras = [(network.id, network.autov3) for network in networks if network.kind == "lora" and network.autov3]
    words = [(network.id, network.sha256) for network in networks if network.kind == "embedding" and network.sha256]
    return {
        "Lora hashes": infotext.lora_hashes(loras) if loras else None,
        "TI hashes": infotext.ti_hashes((name, sha256[:12]) for name, sha256 in words) if words else None,
    }


def _controls(request: GenerationRequest) -> Mapping[str, object]:
    return {
        f"ControlNet {number}": ", ".join(
            (
                f"Module: {unit.preprocessor}",
                f"Model: {unit.model}",
                f"Weight: {unit.weight:g}",
                f"Resize Mode: {unit.resize}",
                f"Guidance Start: {unit.start:g}",
                f"Guidance End: {unit.end:g}",
                f"Pixel Perfect: {unit.pixel_perfect}",
                f"Control Mode: {unit.mode}",
            )
        )
        for number, unit in enumerate(request.control)
    }


def _rest(request: GenerationRequest) -> Mapping[str, object]:
    refiner, churn, upscale = request.refiner, request.churn, request.upscale
    return {
        "Refiner": refiner.model if refiner else None,
        "Refiner switch at": f"{refiner.switch:g}" if refiner else None,
        "CFG Rescale": f"{request.cfg_rescale:g}" if request.cfg_rescale else None,
        "CFG interval": "{:g} to {:g}".format(*request.cfg_interval) if request.cfg_interval != (0.0, 1.0) else None,
        "Eta": f"{request.eta:g}" if request.eta is not None else None,
        "Sigma churn": f"{churn.churn:g}" if churn.churn else None,
        "Sigma tmin": f"{churn.tmin:g}" if churn.churn and churn.tmin else None,
        "Sigma tmax": f"{churn.tmax:g}" if churn.churn and churn.tmax is not None else None,
        "Sigma noise": f"{churn.noise:g}" if churn.noise != 1 else None,
        "Noise multiplier": f"{request.noise_multiplier:g}" if request.noise_multiplier != 1 else None,
        "Emphasis": request.emphasis.capitalize() if request.emphasis != "original" else None,
        "Postprocess upscaler": upscale.upscaler if upscale else None,
        "Sampler note": SAMPLERS[request.sampler].note or None,
        "Signet mode": request.mode if request.mode != "txt2img" else None,
    }


def _model_facts(info: ModelInfo, sha256: str | None) -> ModelFacts:
    return ModelFacts(id=info.id, title=info.title, family=info.family, licence=info.licence, sha256=sha256)


def _engine_facts(painter: Painter, bucket: Bucket, seconds: float, tools: Tools) -> EngineFacts:
    return EngineFacts(
        app=f"{NAME} {VERSION}",
        torch=torch.__version__,
        diffusers=str(diffusers.__version__),
        device=describe(tools.device),
        dtype=str(tools.dtype).removeprefix("torch."),
        attention=f"torch sdpa ({_attention()})",
        bucket=bucket,
        seconds=round(seconds, 3),
        measures=tuple(dict.fromkeys(painter.measures)),
        solver="" if painter.ran else SAMPLERS[painter.request.sampler].note,
    )


def _attention() -> str:
    """Which kernels torch may choose from."""
    cuda: Any = torch.backends.cuda
    allowed = {
        "flash": cuda.flash_sdp_enabled(),
        "efficient": cuda.mem_efficient_sdp_enabled(),
        "cudnn": cuda.cudnn_sdp_enabled(),
    }
    named = [name for name, on in allowed.items() if on]
    return "auto" if len(named) == len(allowed) else "".join(named) or "math"


def describe(device: torch.device) -> str:
    """A device for people: "cpu (2 threads)" or the name of the GPU."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type
