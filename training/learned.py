"""The autoencoder of the geometry `full`: both halves and the latent space learned together, on a GPU.

L1 on a pyramid of sizes and on gradients, Kullback-Leibler divergence to a standard normal, and LPIPS (Zhang 2018)
where a package has it. Latents are scaled by one number, measured: the inverse of their standard deviation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from training import data, geometry, running
from training.autoencoder import draw, psnr, pyramid_loss
from training.geometry import FULL, Geometry

FILE = "autoencoder.safetensors"
PEAK = 1e-3
NEAR_NORMAL = 1e-3
"""Weight of the divergence, both it and the L1 taken as means over values."""
SEEN_ALIKE = 0.1
"""Weight of LPIPS."""
BATCH, GPU_BATCH = 4, 32
CROP = 128
"""Side of the pieces a CPU learns from; the network is convolutions only, so pieces teach it whole pictures."""
PROBE = 48


@dataclass(frozen=True, slots=True)
class Learned:
    """A trained encoder as later stages use it."""

    module: AutoencoderKL
    scale: float

    @torch.no_grad()
    def latents(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to the means of their latents, not scaled, on the pictures' device."""
        device = running.device_of(self.module)
        parts = [self.module.encode(some.to(device)).latent_dist.mean for some in torch.split(pictures, 16)]
        return torch.cat(parts).float().to(pictures.device)


def perceptual(device: torch.device) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Shift-tolerant LPIPS of two batches in [-1, 1] if stlpips-pytorch and what it needs are installed.

    It needs torchvision, which must never be beside the studio's CPU build of torch: an environment for training only.
    """
    try:
        found = importlib.import_module("stlpips_pytorch.stlpips")
    except ImportError:
        return None
    network = found.LPIPS(net="alex", variant="shift_tolerant", verbose=False).to(device).requires_grad_(False)

    def distance(made: Tensor, real: Tensor) -> Tensor:
        value: Tensor = network(made, real).mean()
        return value

    return distance


def loss_of(module: AutoencoderKL, real: Tensor, alike: Callable[[Tensor, Tensor], Tensor] | None = None) -> Tensor:
    """Loss of pictures (B, 3, H, W) drawn again from a sample of their latents."""
    with running.half(real.device):
        posterior = module.encode(real).latent_dist
        made = module.decode(posterior.sample()).sample.float()
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    divergence = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    total: Tensor = pyramid_loss(made, real) + NEAR_NORMAL * divergence
    return total if alike is None else total + SEEN_ALIKE * alike(made, real)


def cropped(pictures: Tensor, side: int, rng: Random) -> Tensor:
    """A random square of (B, 3, H, W), the same for all."""
    top, left = (rng.randint(0, max(0, length - side)) for length in pictures.shape[2:])
    return pictures[:, :, top : top + side, left : left + side].contiguous()


def train(
    work: Path,
    *,
    minutes: float,
    seed: int,
    resume: bool,
    shape: Geometry = FULL,
    device: torch.device | str = "cpu",
) -> None:
    """Trains for `minutes` and leaves `work/autoencoder.safetensors`; its note tells the scale of the latents."""
    torch.manual_seed(seed)
    rng = Random(seed)
    pictures, records = data.load(work, size=shape.size)
    module = geometry.autoencoder(shape=shape)
    run = running.begin(module, minutes=minutes, peak=PEAK, device=device, rng=rng)
    path = work / FILE
    if resume and path.exists():
        run.resume(path)
    alike = perceptual(run.device)
    on_gpu = run.device.type == "cuda"
    batch, side = (GPU_BATCH, shape.size) if on_gpu else (BATCH, min(CROP, shape.size))
    probe = draw(pictures, records, Random(1), PROBE)
    over = run.step > 0 and run.budget.share() >= 1
    while not over:
        real = cropped(draw(pictures, records, rng, batch), side, rng).to(run.device)
        run.advance(partial(loss_of, module, real, alike))
        if run.step % 100 == 0:
            speed = run.step * batch / run.budget.seconds()
            print(
                f"autoencoder: step {run.step} loss {run.loss:.4f} {speed:.1f}/s {run.budget.share():.0%}", flush=True
            )
        over = run.budget.share() >= 1
        if over or run.due(120):
            with torch.random.fork_rng():  # a measurement must not change what is drawn next
                now = run.average.into(geometry.autoencoder(shape=shape).to(run.device))
            assert isinstance(now, AutoencoderKL)
            scale, quality = measure(now, probe)
            run.save(path, scale=scale)
            print(f"autoencoder: step {run.step} PSNR {quality:.2f} dB scale {scale:.4f}", flush=True)


@torch.no_grad()
def measure(module: AutoencoderKL, probe: Tensor) -> tuple[float, float]:
    """The scale that gives the latents of `probe` unit standard deviation, and the PSNR there and back in dB."""
    latents = Learned(module, 1.0).latents(probe)
    device = running.device_of(module)
    made = torch.cat([module.decode(some.to(device)).sample.float().cpu() for some in torch.split(latents, 8)])
    return 1 / max(1e-6, float(latents.std())), psnr(made, probe)


def load(work: Path, shape: Geometry = FULL) -> AutoencoderKL:
    """The trained autoencoder, scaling factor included."""
    tensors, facts = running.load(work / FILE)
    module = geometry.autoencoder(shape=shape)
    running.check_fits(work / FILE, module, tensors, facts)
    module.load_state_dict(running.part(tensors, "average"))
    module.register_to_config(scaling_factor=facts["scale"])
    return module.eval()


def codec(work: Path, shape: Geometry = FULL, device: torch.device | str = "cpu") -> Learned:
    """The trained encoder on a device."""
    module = load(work, shape)
    return Learned(module.to(device), float(module.config.scaling_factor))
