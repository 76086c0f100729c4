"""The tools for one picture: noise, latents, passes, guides. backend.engine.scripts says when each is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend import images, sheet
from backend.engine import encoding, latent_mark
from backend.engine.canvas import Box, Mask
from backend.engine.conditioning import Conditioner, Reading
from backend.engine.control import Guide
from backend.engine.control_loader import LoadedControl, check_fit
from backend.engine.decoding import decode
from backend.engine.families import unet
from backend.engine.image_prompt import ImagePrompt
from backend.engine.lora import block_weight
from backend.engine.noise import Noise
from backend.engine.resources import Resources
from backend.engine.samplers import Stepper
from backend.engine.stage import Guidance, Keep, Stage, Voice
from backend.engine.upscale import upscale
from backend.errors import NotFound
from backend.models.loader import LoadedModel
from backend.preprocessors import preprocess
from backend.requests import seed_of
from backend.samplers import SAMPLERS
from backend.solvers.noise import NoiseTable
from backend.solvers.plan import Plan
from backend.solvers.plan import plan as plan_of
from backend.types import ControlUnit, Hires, ModelInfo, ModelKind, NetworkFacts, Pixels, Words
from backend.upscalers import PIXEL
from backend.wire import NoiseMark, Work

_MAX_PIXELS = 64_000_000


@dataclass(frozen=True, slots=True)
class Tools:
    """What the engine lends to every picture. `model_of` loads a catalogue entry, or finds it in memory."""

    model_of: Callable[[ModelInfo], LoadedModel]
    conditioner: Conditioner
    resources: Resources
    device: torch.device
    dtype: torch.dtype
    preprocessors: Path | None = None
    mark: NoiseMark | None = None


class Painter:
    """One picture of a job. Nothing is loaded before it is needed.

    `measures` collects what was done for want of memory, `ran` names what ran instead of the sampler asked for,
    `embedded` the textual inversions whose names stood in the text as words, `latent_mark` the mark in the first noise.
    """

    def __init__(self, work: Work, index: int, tools: Tools) -> None:
        self.work = work
        self.request = work.request
        self.index = index
        self.words: Words = work.request.words_of(index)
        self.measures: list[str] = []
        self.ran = ""
        self.embedded: set[str] = set()
        self.latent_mark = ""
        self._tools = tools

    @cached_property
    def model(self) -> LoadedModel:
        model = self._tools.model_of(self.work.model)
        return (
            self._tools.resources.with_vae(self.work.resource("vae", self.request.vae), model)
            if self.request.vae
            else model
        )

    @cached_property
    def noise(self) -> Noise:
        return Noise(self.request, self.index, self.model.latent_factor, self.model.device)

    @cached_property
    def table(self) -> NoiseTable:
        return NoiseTable.of(self.model.scheduler)

    # ---- pictures and latents

    def source(self) -> Pixels:
        """The picture to start from, as it is seen."""
        return self._pixels(self.request.init_image or "")

    def source_text(self) -> str | None:
        """The parameters text in the file of the picture to start from."""
        return images.decode(self._bytes(self.request.init_image or ""), max_pixels=_MAX_PIXELS).text

    def mask(self) -> NDArray[np.uint8] | None:
        """uint8 (h, w), bright where it is to be painted."""
        name = self.request.inpaint.mask if self.request.inpaint else None
        return images.to_mask(images.decode(self._bytes(name), max_pixels=_MAX_PIXELS)) if name else None

    def _pixels(self, name: str) -> Pixels:
        return images.decode(self._bytes(name), max_pixels=_MAX_PIXELS).pixels

    def _bytes(self, name: str) -> bytes:
        try:
            return Path(self.work.inputs[name].path).read_bytes()
        except OSError as error:
            raise NotFound("input picture", name) from error

    def cells(self) -> tuple[Pixels | None, ...]:
        """The pictures of a grid, no larger than a sheet can show."""
        number = len(self.work.cells)
        return tuple(
            sheet.shrunk(images.decode(Path(cell.path).read_bytes(), max_pixels=_MAX_PIXELS).pixels, number)
            if cell
            else None
            for cell in self.work.cells
        )

    def encode(self, pixels: Pixels) -> Tensor:
        """(H, W, 3) to the latent (1, C, h, w) in float32: the mean of what the autoencoder sees."""
        with torch.inference_mode():
            return encoding.encode(self.model, pixels)

    def decode(self, latent: Tensor) -> Pixels:
        """A finished latent to pixels; in tiles where memory is too short for the whole, which is noted."""
        with unet.tiling([self.model.vae], self.request.tiling):
            try:
                return decode(self.model, latent)
            except torch.OutOfMemoryError:
                self.measures.append("tile the decoder")
            return decode(self.model, latent, measure="tiled")

    def enlarge(self, pixels: Pixels, width: int, height: int, upscaler: str) -> Pixels:
        """By a built-in upscaler or one of the catalogue."""
        if upscaler in PIXEL:
            return upscale(pixels, width, height, upscaler)
        loaded = self._tools.resources.upscaler(
            self.work.resource("upscaler", upscaler), self._tools.device, self._tools.dtype
        )
        return upscale(pixels, width, height, loaded)

    # ---- passes

    def stage(
        self,
        width: int,
        height: int,
        *,
        start: Tensor | None = None,
        denoise: float | None = None,
        mask: Mask | None = None,
        hires: Hires | None = None,
        noise: Tensor | None = None,
        guides: tuple[Guide, ...] | None = None,
        painted: Pixels | None = None,
    ) -> Stage:
        """A pass at `width` x `height` pixels: from noise, or from the latent `start` with strength `denoise`.

        `mask` (height, width) is 1 where it may paint, `painted` the picture behind the mask for inpainting models,
        `noise` the first noise where it is not to be drawn anew.
        """
        request = self.request
        steps = (hires.steps if hires else 0) or request.steps
        sampler = (hires.sampler if hires else "") or request.sampler
        length = steps
        if hires and denoise:
            length, denoise = second_pass(steps, denoise, SAMPLERS[sampler].max_steps)
        plan = plan_of(
            sampler,
            (hires.schedule if hires else "") or request.schedule,
            length,
            self.table,
            denoise=denoise,
            eta=request.eta,
            churn=request.churn,
            family=self.work.model.family,
        )
        shape = unet.latent_shape(self.model, width, height)
        first = self.noise.first(shape) if noise is None else noise
        if start is None and noise is None:
            first = self._marked(first, plan)
        x = first * plan.start_sigma
        if start is not None:
            x = start + x * (1.0 if hires else request.noise_multiplier)  # which is img2img's alone (A1111 1.10.1)
        keep = None
        if mask is not None and start is not None:
            keep = Keep(self._latent_mask(mask, shape), start)
        return Stage(
            voices=self._voices(steps, hires),
            width=width,
            height=height,
            stepper=Stepper(plan, self.table, x, lambda: self.noise.draw(shape)),
            guidance=Guidance(
                (hires.cfg if hires and hires.cfg else None) or request.cfg, request.cfg_rescale, request.cfg_interval
            ),
            keep=keep,
            extra=self._further_channels(shape, keep, painted, mask) if self.model.inpaints else None,
            guides=self.guides(width, height) if guides is None else guides,
            prompts=self.image_prompts,
            tiling=request.tiling,
        )

    def _marked(self, drawn: Tensor, plan: Plan) -> Tensor:
        """The noise that a picture begins with, carrying the studio's mark where one is wanted and stays readable."""
        mark = self._tools.mark
        if (
            mark is None
            or not mark.carries(tuple(drawn.shape))
            or not latent_mark.stays(self.request, plan, self.model)
        ):
            return drawn
        self.latent_mark = mark.name
        return latent_mark.marked(mark, drawn, seed_of(self.request, self.index))

    def _latent_mask(self, mask: Mask, shape: tuple[int, int, int, int]) -> Tensor:
        """(1, 1, h, w) of zeros and ones: a latent is painted if more than half of its pixels are."""
        area = torch.nn.functional.interpolate(torch.from_numpy(mask)[None, None], shape[-2:], mode="area")
        return (area > 0.5).float().to(self.model.device)

    def _further_channels(
        self, shape: tuple[int, int, int, int], keep: Keep | None, painted: Pixels | None, mask: Mask | None
    ) -> Tensor:
        """Mask and masked picture: the five further channels of an inpainting model (Rombach et al. 2022)."""
        if keep is None or painted is None or mask is None:
            grey = np.full((shape[2] * self.model.latent_factor, shape[3] * self.model.latent_factor, 3), 127, np.uint8)
            return torch.cat([torch.ones(1, 1, *shape[2:], device=self.model.device), self.encode(grey)], dim=1)
        behind = np.where((mask > 0.5)[..., None], np.uint8(127), painted)
        return torch.cat([keep.mask, self.encode(behind)], dim=1)

    def _voices(self, steps: int, hires: Hires | None) -> tuple[Voice, ...]:
        prompt = (hires.prompt if hires else "") or self.words.prompt
        negative = (hires.negative if hires else "") or self.words.negative
        first = self._voice(self.model, prompt, negative, steps, hires)
        if self.request.refiner is None or hires is not None:
            return (first,)
        refiner = self._tools.model_of(self.work.resource("checkpoint", self.request.refiner.model))
        other = self._voice(refiner, prompt, negative, steps, None)
        return first, replace(other, since=self.request.refiner.switch)

    def _voice(self, model: LoadedModel, prompt: str, negative: str, steps: int, hires: Hires | None) -> Voice:
        own = model.info.id == self.work.model.id  # LoRAs fit the model they were chosen for, not its refiner
        bound = [
            (self._tools.resources.lora(self.work.resource("lora", use.id), model), use)
            for use in (self.words.loras if own else ())
        ]
        reading = Reading(
            self.request.clip_skip,
            self.request.emphasis,
            tuple((lora, weight) for lora, use in bound if (weight := use.text * block_weight(use.blocks, "BASE"))),
            {
                info.id: found
                for info in self.work.resources
                if info.kind == "embedding" and (found := self._tools.resources.embedding(info, model))
            },
        )
        texts = self._tools.conditioner.conditioning(
            model,
            prompt,
            negative,
            steps,
            reading,
            guided=self.request.cfg > 1 or bool(hires and hires.cfg and hires.cfg > 1),
            first_steps=self.request.steps if hires else None,
        )
        lines = [line for line, _ in texts.parts] + ([texts.negative] if texts.negative else [])
        self.embedded |= {name for line in lines for read in line.read for one in read for _, name in one.fixes}
        return Voice(model, texts, tuple((lora, use.unet, use.blocks) for lora, use in bound if use.unet))

    # ---- guides

    def guides(
        self, width: int, height: int, box: Box | None = None, whole: tuple[int, int] = (0, 0)
    ) -> tuple[Guide, ...]:
        """The ControlNet units for a pass; for a tile, `box` of a picture of `whole` (width, height) pixels."""
        return tuple(
            self._guide(unit, net, width, height, box, whole)
            for unit, net in self._controls
            if net.kind != "ip-adapter"
        )

    @cached_property
    def _controls(self) -> tuple[tuple[ControlUnit, LoadedControl], ...]:
        """Every unit with its model. Raises InvalidParameter for one that was made for other checkpoints."""
        found = []
        for unit in self.request.control:
            info = self.work.resource(_CONTROL_KINDS, unit.model)
            net = self._tools.resources.control(info, self.model)
            check_fit(net, self.model.unet, self.model.latent_factor)
            found.append((unit, net))
        return tuple(found)

    @cached_property
    def image_prompts(self) -> tuple[ImagePrompt, ...]:
        """The IP-Adapter units: pictures that act like words, the same in every pass."""
        with torch.inference_mode():
            return tuple(
                ImagePrompt(
                    net.net, net.net.tokens(self._tensor(self._pixels(unit.image))), unit.weight, unit.start, unit.end
                )
                for unit, net in self._controls
                if net.kind == "ip-adapter"
            )

    def _guide(
        self, unit: ControlUnit, net: LoadedControl, width: int, height: int, box: Box | None, whole: tuple[int, int]
    ) -> Guide:
        hint = preprocess(
            unit.preprocessor,
            self._pixels(unit.image),
            width=whole[0] if box else width,
            height=whole[1] if box else height,
            pixel_perfect=unit.pixel_perfect,
            resolution=unit.resolution,
            resize=unit.resize,
            low=unit.low,
            high=unit.high,
            weights=self._tools.preprocessors,
        )
        if box:
            hint = hint[box[1] : box[3], box[0] : box[2]]
        tensor = self._tensor(hint).to(self.model.dtype)
        return Guide(net, tensor, unit.weight, unit.start, unit.end, unit.mode)

    def _tensor(self, pixels: Pixels) -> Tensor:
        """(H, W, 3) to (1, 3, H, W) in [0, 1]."""
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float().to(self.model.device) / 255

    # ---- what is written down

    def networks(self) -> tuple[NetworkFacts, ...]:
        """Everything that was added to the model, with its hashes and licence as far as they are known."""
        weights = {("lora", use.id): use.unet for use in self.words.loras}
        weights |= {(info.kind, info.id): 1.0 for info in self.work.resources if info.kind != "lora"}
        weights |= {(kind, unit.model): unit.weight for unit in self.request.control for kind in _CONTROL_KINDS}
        return tuple(
            NetworkFacts(
                kind=info.kind,
                id=info.id,
                weight=weights[info.kind, info.id],
                sha256=info.sha256,
                autov3=info.autov3,
                licence=info.licence,
            )
            for info in self.work.resources
            if (info.kind, info.id) in weights and (info.kind != "embedding" or info.id in self.embedded)
        )


_CONTROL_KINDS: tuple[ModelKind, ...] = ("controlnet", "t2i-adapter", "ip-adapter")


def second_pass(steps: int, denoise: float, most: int) -> tuple[int, float]:
    """Length and strength of the run whose last `steps` steps are the second pass (A1111 1.10.1).

    Unlike img2img, the pass makes all of its steps: the run is so long that its strength leaves that many. A run is at
    most `most` steps long; where that is too short, the strength counts and there are fewer.
    """
    length = int(steps / min(denoise, 0.999))
    return (length, (steps - 0.5) / length) if length <= most else (most, denoise)
