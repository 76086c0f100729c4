"""The autoencoder: pictures (B, 3, 128, 128) in [-1, 1] to latents (B, 24, 8, 8) and back.

The geometry `full` learns its latents (`training/learned.py`); here are those of `small`, and what is common. A CPU
has no time to discover a latent space, so the space is computed: the principal components of 16 x 16 patches. The
decoder learns to draw from them, better than the linear inverse would; the encoder learns to compute them. Neither
waits for the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training import data, geometry, progress, running
from training.captions import draw_scene
from training.data import Record
from training.errors import BadInput
from training.geometry import SMALL, Geometry
from training.pictures import batch

BATCH = 4
PEAK = 1.5e-3
BLUR = 0.1  # largest noise on the decoder's latents, in units of their standard deviation
PATCH = geometry.SIZE // geometry.LATENT_SIZE
PARTS = ("decoder", "encoder")
DECODER_SHARE = 0.75  # of the minutes of both


class Codec(Protocol):
    """What later stages need of an autoencoder: unscaled latents of pictures, and the scale that makes them unit."""

    @property
    def scale(self) -> float:
        """1 / standard deviation of the latents."""

    def latents(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to unscaled latents (B, C, h, w) on the same device."""


@dataclass(frozen=True, slots=True)
class Basis:
    """The linear map from pictures to latents; `scale` brings the latents to unit standard deviation."""

    weight: Tensor  # (C, 3, 16, 16)
    bias: Tensor  # (C,)
    scale: float

    def latents(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, C, H / 16, W / 16), not scaled."""
        return functional.conv2d(pictures, self.weight, self.bias, stride=PATCH)

    def to(self, device: torch.device) -> Basis:
        """The same on a device."""
        return Basis(self.weight.to(device), self.bias.to(device), self.scale)


def fit_basis(pictures: Tensor, channels: int = geometry.LATENT_CHANNELS) -> Basis:
    """Principal components of the patches of (B, 3, H, W), each divided by the root of its standard deviation.

    Half whitening: full whitening would spend the denoiser on invisible detail, none would let the mean
    brightness drown everything.
    """
    patches = functional.unfold(pictures, PATCH, stride=PATCH).transpose(1, 2).flatten(0, 1).double()
    centre = patches.mean(0)
    values, vectors = torch.linalg.eigh((patches - centre).T @ (patches - centre) / len(patches))
    spread = values.flip(0)[:channels].sqrt()
    rows = vectors.flip(1)[:, :channels].T / spread[:, None].sqrt()
    scale = float((spread.square() / spread).mean().rsqrt())
    weight = rows.reshape(channels, 3, PATCH, PATCH).float()
    return Basis(weight, -(rows @ centre).float(), scale)


def pyramid_loss(made: Tensor, real: Tensor, levels: int = 4) -> Tensor:
    """L1 at full size, half, quarter, ... plus L1 of the horizontal and vertical differences at full size."""
    across = (made.diff(dim=3) - real.diff(dim=3)).abs().mean()
    down = (made.diff(dim=2) - real.diff(dim=2)).abs().mean()
    total: Tensor = across + down
    for level in range(levels):
        if level:
            made, real = functional.avg_pool2d(made, 2), functional.avg_pool2d(real, 2)
        total = total + (made - real).abs().mean() / (1.0 if level == 0 else 2.0)
    return total


def decoder_loss(module: AutoencoderKL, basis: Basis, real: Tensor) -> Tensor:
    """Pyramid loss of (B, 3, H, W) drawn from its own latents with a little noise, as the denoiser leaves it."""
    latents = basis.latents(real)
    noise = torch.rand(len(real), 1, 1, 1, device=real.device) * BLUR / basis.scale
    with running.half(real.device):
        made = module.decode(latents + noise * torch.randn_like(latents)).sample
    return pyramid_loss(made.float(), real)


def encoder_loss(module: AutoencoderKL, basis: Basis, real: Tensor) -> Tensor:
    """Mean squared error of the encoder's latent means, in units of the latents' variance."""
    with running.half(real.device):
        mean = module.encode(real).latent_dist.mean
    return functional.mse_loss(mean.float() * basis.scale, basis.latents(real) * basis.scale)


def build() -> AutoencoderKL:
    """An untrained autoencoder whose encoder is certain of its latents: the spread is fixed near nothing.

    The encoder has a linear map to learn, so its residual branches start at zero.
    """
    module = geometry.autoencoder()
    with torch.no_grad():
        for block in module.encoder.modules():
            if isinstance(block, ResnetBlock2D):
                block.conv2.weight.zero_()
        module.quant_conv.weight[geometry.LATENT_CHANNELS :] = 0
        module.quant_conv.bias[geometry.LATENT_CHANNELS :] = -9
    return module


@torch.no_grad()
def psnr(made: Tensor, real: Tensor) -> float:
    """Mean peak signal-to-noise ratio in dB of pictures (B, 3, H, W) in [-1, 1]."""
    errors = ((made.clamp(-1, 1) - real) / 2).square().mean(dim=(1, 2, 3)).clamp_min(1e-10)
    return float((-10 * errors.log10()).mean())


def draw(pictures: NDArray[np.uint8], records: list[Record], rng: Random, count: int) -> Tensor:
    """A random batch as the denoiser will meet it: on random backgrounds, everyday things more often.

    The square root flattens the weights: the autoencoder should not forget the rare.
    """
    rows = rng.choices(range(len(records)), [record.weight**0.5 for record in records], k=count)
    return batch(pictures, rows, [draw_scene(records[row], rng) for row in rows])


def basis_of(work: Path) -> Basis:
    """The basis in `work/basis.safetensors`, fitted on 3,000 drawn pictures if it is not there yet."""
    path = work / "basis.safetensors"
    if not path.exists():
        pictures, records = data.load(work)
        basis = fit_basis(draw(pictures, records, Random(0), 3000))
        running.save(path, {"weight": basis.weight, "bias": basis.bias}, {"scale": basis.scale})
    tensors, facts = running.load(path)
    return Basis(tensors["weight"], tensors["bias"], facts["scale"])


def stage(
    work: Path,
    *,
    minutes: float,
    seed: int,
    resume: bool,
    part: str = "both",
    shape: Geometry = SMALL,
    device: torch.device | str = "cpu",
) -> None:
    """The whole stage: both parts of `small` one after the other, or one of them; the one autoencoder of `full`."""
    if shape.learned:
        from training import learned  # which builds on this module

        if part != "both":
            raise BadInput(f"The autoencoder of the geometry {shape.name} has no parts: leave out --part.")
        learned.train(work, minutes=minutes, seed=seed, resume=resume, shape=shape, device=device)
        return
    shares = {"decoder": DECODER_SHARE, "encoder": 1 - DECODER_SHARE} if part == "both" else {part: 1.0}
    for name, share in shares.items():
        if progress.stopped():
            return
        train(work, name, minutes=share * minutes, seed=seed, resume=resume, device=device)


def train(
    work: Path, part: str, *, minutes: float, seed: int, resume: bool, device: torch.device | str = "cpu"
) -> None:
    """Trains the "decoder" or the "encoder" of `small` for `minutes` and leaves `work/PART.safetensors`."""
    torch.manual_seed(seed)
    rng = Random(seed)
    pictures, records = data.load(work, size=SMALL.size)
    basis = basis_of(work)
    module = build()
    other = (module.encoder, module.quant_conv) if part == "decoder" else (module.decoder, module.post_quant_conv)
    for frozen in other:
        frozen.requires_grad_(False)
    run = running.begin(module, minutes=minutes, peak=PEAK, decay=0.998, device=device, rng=rng)
    path = work / f"{part}.safetensors"
    if resume and path.exists():
        run.resume(path)
    probe = draw(pictures, records, Random(1), 64)
    measure, there = decoder_loss if part == "decoder" else encoder_loss, basis.to(run.device)
    over = run.step > 0 and run.budget.share() >= 1
    while not over:
        real = draw(pictures, records, rng, BATCH).to(run.device)
        run.advance(lambda real=real: measure(module, there, real))  # type: ignore[misc]
        if run.step % 100 == 0:
            speed = run.step * BATCH / run.budget.seconds()
            print(f"{part}: step {run.step} loss {run.loss:.4f} {speed:.1f}/s {run.budget.share():.0%}", flush=True)
        over = run.budget.share() >= 1
        if over or run.due(120):
            run.save(path)
            with torch.random.fork_rng():  # a measurement must not change what is drawn next
                note = score(run.average.into(build()), basis, part, probe)
            print(f"{part}: step {run.step} {note}", flush=True)


@torch.no_grad()
def score(module: torch.nn.Module, basis: Basis, part: str, probe: Tensor) -> str:
    """How good a part is on fixed pictures: PSNR of the decoder, explained variance of the encoder."""
    assert isinstance(module, AutoencoderKL)
    latents = basis.latents(probe)
    if part == "decoder":
        return f"PSNR {psnr(module.decode(latents).sample, probe):.2f} dB"
    missed = (module.encode(probe).latent_dist.mean - latents).square().mean() / latents.var()
    return f"explains {1 - float(missed):.2%} of the latents"


def codec(work: Path, shape: Geometry = SMALL, device: torch.device | str = "cpu") -> Codec:
    """What computes the latents of a geometry, from what `work` holds."""
    if shape.learned:
        from training import learned  # which builds on this module

        return learned.codec(work, shape, device)
    return basis_of(work).to(torch.device(device))


def load(work: Path, shape: Geometry = SMALL) -> AutoencoderKL:
    """The autoencoder from what `work` holds of it, scaling factor included."""
    if shape.learned:
        from training import learned  # which builds on this module

        return learned.load(work, shape)
    module = build()
    state = module.state_dict()
    for part, names in (("decoder", ("decoder.", "post_quant")), ("encoder", ("encoder.", "quant_conv"))):
        if (work / f"{part}.safetensors").exists():
            trained = running.part(running.load(work / f"{part}.safetensors")[0], "average")
            state |= {name: value for name, value in trained.items() if name.startswith(names)}
    module.load_state_dict(state)
    module.register_to_config(scaling_factor=basis_of(work).scale)
    return module.eval()
