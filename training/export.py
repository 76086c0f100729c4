"""Put the trained parts together as a diffusers folder, fp16, swapped in whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from random import Random

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from training import autoencoder, data, geometry, lens, running, towers
from training.captions import vocabulary_texts
from training.errors import TrainingError
from training.geometry import SMALL, Geometry

PATCH = 4  # preview pixels per latent pixel and side
LIMIT = 31 * 2**20  # bytes
FULL_LIMIT = 60 * 2**20  # of the geometry "full"
KEPT = ("README.md", "signet.json")


class TooLarge(TrainingError):
    """The folder would exceed the repository's budget."""


def text_encoder(tower: CLIPTextModelWithProjection) -> CLIPTextModel:
    """The tower without its projection, as the pipeline wants it."""
    encoder = CLIPTextModel(tower.config)
    state = {name.removeprefix("text_model."): value for name, value in tower.state_dict().items()}
    state.pop("text_projection.weight")
    wanted = encoder.state_dict()
    prefix = "text_model." if any(name.startswith("text_model.") for name in wanted) else ""
    encoder.load_state_dict({prefix + name: value for name, value in state.items()})
    return encoder.eval()


def pipeline(
    vae: AutoencoderKL,
    tower: CLIPTextModelWithProjection,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
    shape: Geometry = SMALL,
) -> StableDiffusionPipeline:
    """The parts as a stock pipeline, without a checker of its own."""
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder(tower),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=geometry.scheduler(shape),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def assemble(work: Path, shape: Geometry = SMALL) -> StableDiffusionPipeline:
    """The pipeline from the checkpoints in `work`; a part that is not trained yet has random weights."""
    torch.manual_seed(0)
    tokens = work / "tokenizer"
    if (tokens / "vocab.json").exists():
        tokenizer = CLIPTokenizer.from_pretrained(tokens)
    else:
        tokenizer = geometry.train_tokenizer(vocabulary_texts(data.load(work)[1]))
    known = (work / "towers.safetensors").exists()
    tower = towers.load_text(work, shape) if known else geometry.text_tower(shape=shape)
    unet = geometry.denoiser(shape=shape)
    if (work / "denoiser.safetensors").exists():
        unet.load_state_dict(running.part(running.load(work / "denoiser.safetensors")[0], "average"))
        view = lens.of(work)
        if view is not None:
            view.take_off(unet)
    return pipeline(autoencoder.load(work, shape), tower, tokenizer, unet.eval(), shape)


def preview_map(latents: Tensor, pictures: Tensor, *, ridge: float = 1.0) -> dict[str, Tensor]:
    """Ridge regression from one scaled latent pixel to a 4 x 4 RGB patch.

    latents (B, C, h, w), pictures (B, 3, H, W) in [-1, 1]; gives weight (C, 48) and bias (48), the patch
    flattened as (3, 4, 4): `patch = pixel @ weight + bias`.
    """
    height, width = latents.shape[2:]
    small = torch.nn.functional.interpolate(pictures, (height * PATCH, width * PATCH), mode="area")
    patches = small.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).permute(0, 2, 3, 1, 4, 5).flatten(3)
    x = latents.permute(0, 2, 3, 1).flatten(0, 2).double()
    y = patches.flatten(0, 2).double()
    centre, level = x.mean(0), y.mean(0)
    gram = (x - centre).T @ (x - centre) + ridge * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, (x - centre).T @ (y - level))
    return {"weight": weight.float().contiguous(), "bias": (level - centre @ weight).float()}


@torch.no_grad()
def measure_preview_map(work: Path, shape: Geometry = SMALL, *, count: int = 1000) -> dict[str, Tensor]:
    """The preview map of the latent space in `work`, fitted on `count` pictures as the denoiser meets them."""
    pictures, records = data.load(work, size=shape.size)
    real = autoencoder.draw(pictures, records, Random(1), count)
    codec = autoencoder.codec(work, shape)
    return preview_map(codec.latents(real) * codec.scale, real)


def write(work: Path, target: Path, *, shape: Geometry = SMALL) -> int:
    """Exports to `target`, replacing it in one rename; gives the size in bytes."""
    draft = target.with_name(target.name + ".new")
    old = target.with_name(target.name + ".old")
    for leftover in (draft, old):
        shutil.rmtree(leftover, ignore_errors=True)
    assembled = assemble(work, shape)
    preview = measure_preview_map(work, shape)
    limit = FULL_LIMIT if shape.learned else LIMIT
    assembled.to(dtype=torch.float16)
    assembled.save_pretrained(draft, safe_serialization=True)
    geometry.save_tokenizer(assembled.tokenizer, draft / "tokenizer")
    # Transformers would load its part as fp16, diffusers its parts as float32: say float32 for all.
    config = draft / "text_encoder" / "config.json"
    config.write_text(config.read_text().replace('"float16"', '"float32"'))
    save_file(preview, draft / "latent_rgb.safetensors")
    for name in KEPT:
        if (target / name).exists():
            shutil.copy2(target / name, draft / name)
    for file in draft.rglob("*.safetensors"):
        file.chmod(0o644)
    size = sum(file.stat().st_size for file in draft.rglob("*") if file.is_file())
    if size > limit:
        shutil.rmtree(draft)
        raise TooLarge(f"The folder would hold {size / 2**20:.2f} MiB, the limit is {limit / 2**20:.0f} MiB.")
    if target.exists():
        target.replace(old)
    draft.replace(target)
    shutil.rmtree(old, ignore_errors=True)
    print(f"export: {size / 2**20:.2f} MiB in {target}", flush=True)
    return size
