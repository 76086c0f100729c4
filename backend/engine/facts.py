"""What is written down about a picture while the engine still knows it: infotext, model and engine facts."""

from __future__ import annotations

import diffusers
import torch

from backend import infotext
from backend.engine.rows import Picture
from backend.models.loader import LoadedModel
from backend.samplers import AUTOMATIC
from backend.types import EngineFacts, ModelFacts, Pixels, RawImage
from backend.version import NAME, VERSION


def raw_image(picture: Picture, pixels: Pixels, sha256: str | None, seconds: float) -> RawImage:
    model, request = picture.model, picture.work.request
    text = infotext.write(
        request.prompt,
        request.negative,
        {
            "Steps": request.steps,
            "Sampler": request.sampler,
            "Schedule type": None if request.schedule == AUTOMATIC else request.schedule,
            "CFG scale": f"{request.cfg:g}",
            "Seed": picture.seed,
            "Size": f"{request.width}x{request.height}",
            "Model hash": sha256[:10] if sha256 else None,
            "Model": model.info.id,
            "Signet bucket": picture.bucket,
            "Version": f"{NAME} {VERSION}",
        },
    )
    return RawImage(
        pixels=pixels,
        job_id=picture.work.job_id,
        index=picture.index,
        seed=picture.seed,
        request=request,
        infotext=text,
        model=_model_facts(model, sha256),
        engine=_engine_facts(picture, seconds),
        verdict=picture.work.verdict,
    )


def _model_facts(model: LoadedModel, sha256: str | None) -> ModelFacts:
    info = model.info
    return ModelFacts(id=info.id, title=info.title, family=info.family, licence=info.licence, sha256=sha256)


def _engine_facts(picture: Picture, seconds: float) -> EngineFacts:
    model = picture.model
    return EngineFacts(
        app=f"{NAME} {VERSION}",
        torch=torch.__version__,
        diffusers=str(diffusers.__version__),
        device=describe(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        attention="torch sdpa",
        bucket=picture.bucket,
        seconds=round(seconds, 3),
    )


def describe(device: torch.device) -> str:
    """A device for people: "cpu (2 threads)" or the name of the GPU."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else device.type
