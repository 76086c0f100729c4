"""Diffusers folders of other families to pipelines: which ones there are, and how each is opened and called."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
import transformers
from torch import Tensor

from backend.engine.preview import LatentToRgb
from backend.errors import UnreadableModel
from backend.models import formats
from backend.models.loader.precision import quantisation
from backend.types import ModelInfo


@dataclass(frozen=True, slots=True)
class Solo:
    """How one of diffusers' pipelines is called. Arguments it does not know are left out.

    Sides are multiples of the decoder's pixels per latent times `patch`. `tokens` is the longest prompt, `fixed` what
    is always passed. `space` is where its steps happen. `wide` says that float16 overflows.
    """

    patch: int = 1
    tokens: int | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    space: Literal["latents", "packed", "pixels"] = "latents"
    denoiser: str = "transformer"
    decoder: str = "vae"
    wide: bool = False


# The prompt is used as it was admitted: nothing rewrites it, and no size is rounded behind the user's back.
_AS_TYPED = {"clean_caption": False, "use_resolution_binning": False}

SOLO: Mapping[str, Solo] = {
    "StableDiffusion3Pipeline": Solo(patch=2, tokens=256),
    "FluxPipeline": Solo(patch=2, tokens=512, space="packed", wide=True),
    "PixArtAlphaPipeline": Solo(patch=2, tokens=120, fixed=_AS_TYPED),
    "PixArtSigmaPipeline": Solo(patch=2, tokens=300, fixed=_AS_TYPED),
    "SanaPipeline": Solo(tokens=300, fixed={**_AS_TYPED, "complex_human_instruction": None}, wide=True),
    "KandinskyV22CombinedPipeline": Solo(patch=8, denoiser="unet", decoder="movq"),
    "IFPipeline": Solo(patch=8, fixed=_AS_TYPED, space="pixels", denoiser="unet", decoder=""),
    "LatentConsistencyModelPipeline": Solo(denoiser="unet"),
}
_NEVER = ("safety_checker", "watermarker", "feature_extractor", "image_encoder")
"""Parts that are not loaded: checks and marks are the studio's own, and reference pictures are not taken here."""


def kind_of(info: ModelInfo) -> tuple[str, Solo]:
    """The pipeline's class and how it is called. Raises UnreadableModel for a class that cannot be run here."""
    kind = str(formats.check_folder(Path(info.path))["_class_name"])
    if kind not in SOLO:
        raise UnreadableModel(info.id, f"A {kind[:60]} cannot be run here.", f"These can: {', '.join(SOLO)}.")
    return kind, SOLO[kind]


def open_folder(info: ModelInfo, kind: str, solo: Solo, dtype: torch.dtype, precision: str) -> Any:
    """The pipeline with all its weights, on the CPU, checked to be complete."""
    path = Path(info.path)
    index = formats.read_json(path / "model_index.json")
    pipeline = getattr(diffusers, kind)
    knows = inspect.signature(pipeline.__init__).parameters
    parts: dict[str, Any] = {name: None for name in _NEVER if name in knows}
    if "requires_safety_checker" in knows:
        parts["requires_safety_checker"] = False
    parts |= {part: _text_encoder(path, part, name, dtype) for part, name in _transformers(path, index, parts)}
    parts |= _gguf_denoiser(path, index, solo, dtype)
    quantised = quantisation(precision, dtype)
    if quantised is not None and solo.denoiser not in parts:
        mapping = {solo.denoiser: quantised}
        parts["quantization_config"] = diffusers.PipelineQuantizationConfig(quant_mapping=mapping)
    pipe = pipeline.from_pretrained(path, local_files_only=True, use_safetensors=True, dtype=dtype, **parts)
    if any(tensor.is_meta for module in modules_of(pipe) for tensor in module.state_dict().values()):
        raise UnreadableModel(info.id, "Some weights are missing.", "Copy the model folder again.")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def modules_of(pipe: Any) -> list[Any]:
    """The parts of a pipeline that have weights."""
    return [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]


def _transformers(path: Path, index: Mapping[str, Any], parts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(folder, class) of the parts that transformers has to load."""
    return [
        (part, str(value[1]))
        for part, value in index.items()
        if isinstance(value, list) and value[0] == "transformers" and part not in parts
        if any((path / part).glob("*.safetensors"))
    ]


def _text_encoder(path: Path, part: str, name: str, dtype: torch.dtype) -> Any:
    model, found = getattr(transformers, name).from_pretrained(
        path / part, local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
    )
    if found["missing_keys"]:  # transformers would make up random ones, with no more than a warning
        raise UnreadableModel(path.name, f"Weights of {part} are missing.", "Copy the model folder again.")
    return model


def _gguf_denoiser(path: Path, index: Mapping[str, Any], solo: Solo, dtype: torch.dtype) -> dict[str, Any]:
    """A denoiser quantised to GGUF, if the folder holds one in place of safetensors."""
    file = next(iter(sorted((path / solo.denoiser).glob("*.gguf"))), None)
    if file is None:
        return {}
    kind = getattr(diffusers, str(index[solo.denoiser][1]))
    quantised = quantisation("gguf", dtype)
    return {
        solo.denoiser: kind.from_single_file(
            str(file), config=str(path), subfolder=solo.denoiser, local_files_only=True,
            quantization_config=quantised, dtype=dtype,
        )
    }  # fmt: skip


def fit_colours(pipe: Any, solo: Solo, device: torch.device, dtype: torch.dtype) -> tuple[int, LatentToRgb]:
    """Pixels per latent, and a map for previews fitted to what the decoder makes of noise."""
    if solo.space == "pixels":
        return 1, LatentToRgb(torch.eye(3), torch.zeros(3))
    decoder = getattr(pipe, solo.decoder)
    channels = int(decoder.config.latent_channels)
    noise = torch.randn(2, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        image = _decoded(decoder, noise.to(device, dtype)).float()
    factor = image.shape[-1] // 8
    seen = torch.nn.functional.avg_pool2d(image, factor).permute(0, 2, 3, 1).reshape(-1, 3).cpu()
    points = noise.permute(0, 2, 3, 1).reshape(-1, channels)
    solution = torch.linalg.lstsq(torch.cat([points, torch.ones(len(points), 1)], dim=1), seen).solution
    return factor, LatentToRgb(solution[:-1], solution[-1])


def _decoded(decoder: Any, latents: Tensor) -> Tensor:
    if isinstance(decoder, diffusers.VQModel):  # Kandinsky's, used without its codebook and without a scale
        return decoder.decode(latents, force_not_quantize=True).sample  # type: ignore[no-any-return]
    scaled = latents / decoder.config.scaling_factor + (decoder.config.get("shift_factor") or 0.0)
    return decoder.decode(scaled, return_dict=False)[0]  # type: ignore[no-any-return]
