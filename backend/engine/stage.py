"""One pass of denoising at one size: what the loop steps through in batches with other pictures' passes."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.engine.conditioning import Conditioning, Encoded
from backend.engine.control import Guide
from backend.engine.families import unet
from backend.engine.families.unet import Row
from backend.engine.image_prompt import ImagePrompt
from backend.engine.lora import Bound
from backend.engine.samplers import Stepper
from backend.models.loader import LoadedModel

Uses = tuple[tuple[Bound, float, tuple[float, ...]], ...]


@dataclass(frozen=True, slots=True)
class Guidance:
    """Classifier-free guidance: its `scale`, rescaling by `rescale`, used within `interval` (shares of the steps)."""

    scale: float
    rescale: float = 0.0
    interval: tuple[float, float] = (0.0, 1.0)

    def on(self, share: float) -> bool:
        begin, end = self.interval
        return self.scale > 1 and begin <= share < end


@dataclass(frozen=True, slots=True)
class Voice:
    """Who denoises: a model with the texts it reads and the LoRAs added to it, from the share `since` of the steps."""

    model: LoadedModel
    texts: Conditioning
    loras: Uses = ()
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Keep:
    """What an inpainting pass leaves alone: `mask` (1, 1, h, w) is 1 where it paints, `latent` what stays elsewhere."""

    mask: Tensor
    latent: Tensor


@dataclass(slots=True, eq=False)
class Stage:
    """Mutable through its stepper alone. `extra` (1, 5, h, w) are the further channels of an inpainting model.

    `width` and `height` are pixels. `voices` are in order of `since`; the last whose time has come speaks.
    """

    voices: tuple[Voice, ...]
    width: int
    height: int
    stepper: Stepper
    guidance: Guidance
    keep: Keep | None = None
    extra: Tensor | None = None
    guides: tuple[Guide, ...] = ()
    prompts: tuple[ImagePrompt, ...] = ()
    tiling: bool = False

    @property
    def voice(self) -> Voice:
        share = self.stepper.share
        return next(voice for voice in reversed(self.voices) if voice.since <= share or voice is self.voices[0])

    @property
    def leads(self) -> bool:
        """Whether the first model still speaks: guides were made for its layers, and end where a refiner takes over."""
        return self.voice is self.voices[0]

    @property
    def model(self) -> LoadedModel:
        return self.voice.model

    @property
    def key(self) -> Hashable:
        """Stages of equal key may share a forward: same weights, same size, same number of tokens."""
        voice = self.voice
        return id(voice.model.unet), self.width, self.height, voice.texts.tokens, self.tiling

    @property
    def guided(self) -> bool:
        """Whether the negative row takes part in the next forward."""
        texts = self.voice.texts
        if texts.negative is None:
            return False
        return len(texts.parts) > 1 or self.guidance.on(self.stepper.share)

    @property
    def size(self) -> int:
        """Rows of the next forward."""
        return len(self.voice.texts.parts) + self.guided

    @property
    def most_rows(self) -> int:
        """Rows of any forward of this pass: guidance may begin later, a refiner may read the prompt otherwise."""
        return max(len(voice.texts.parts) + (voice.texts.negative is not None) for voice in self.voices)

    def rows(self) -> tuple[Row, ...]:
        """The negative row first, if it takes part, then one for each part of the prompt."""
        voice, stepper = self.voice, self.stepper
        latent = stepper.model_input()
        if voice.model.inpaints and self.extra is not None:
            latent = torch.cat([latent, self.extra], dim=1)
        texts: list[tuple[Encoded, bool]] = []
        if self.guided and voice.texts.negative:
            texts.append((voice.texts.negative.at(stepper.step), False))
        texts += [(line.at(stepper.step), True) for line, _ in voice.texts.parts]
        return tuple(
            Row(
                latent,
                stepper.timestep,
                text.states,
                text.pooled,
                unet.time_ids(voice.model, self.width, self.height, negative=not conditional),
                conditional,
            )
            for text, conditional in texts
        )

    def guide(self, outputs: Tensor) -> Tensor:
        """The rows' predictions (size, C, h, w) to one (1, C, h, w).

        Classifier-free guidance (Ho & Salimans 2022), several parts as in Liu et al. 2022, rescaling after Lin et al.
        2023, section 3.4.
        """
        if not self.guided:
            return outputs
        negative, conditional = outputs[:1], outputs[1:]
        scale = self.guidance.scale if self.guidance.on(self.stepper.share) else 1.0
        guided = negative
        for number, (_, weight) in enumerate(self.voice.texts.parts):
            guided = guided + scale * weight * (conditional[number : number + 1] - negative)
        if self.guidance.rescale:
            even = guided * (conditional[:1].std() / guided.std())
            guided = self.guidance.rescale * even + (1 - self.guidance.rescale) * guided
        return guided

    def advance(self, prediction: Tensor) -> Tensor:
        """One move on; returns the estimate of the finished latent, for previews."""
        denoised = self.stepper.denoised(prediction)
        if self.keep is not None:
            denoised = denoised * self.keep.mask + self.keep.latent * (1 - self.keep.mask)
        self.stepper.advance(denoised)
        return denoised
