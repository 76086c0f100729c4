"""Training a LoRA or the embedding of a new word, one optimisation step per call.

The model is not touched: what is learned is added to it in passing, the same as when it is used. Every step draws its
randomness from (seed, step) alone, so a resumed training goes on exactly as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn
from torch.nn import functional

from backend import images
from backend.engine import encoding, lora_dataset, lora_settings, lora_state
from backend.engine.embedding_training import NewWord
from backend.engine.families import unet as unet_family
from backend.engine.lora_card import LoraCard, metadata
from backend.engine.lora_dataset import TrainingImage
from backend.engine.lora_factors import Factors
from backend.engine.lora_objective import chosen, dice_of, rate_share, snr_weights, target
from backend.engine.lora_settings import TrainingSettings
from backend.models.loader import LoadedModel

_MAX_NORM = 1.0
_SMOOTHING = 0.95


@dataclass(frozen=True, slots=True)
class StepReport:
    """After one step. `average` is the moving average of the loss, `saved` the file written in this step."""

    step: int
    steps: int
    loss: float
    average: float
    learning_rate: float
    saved: Path | None = None


class Learned(Protocol):
    """What is learned on a model: the factors of a LoRA, or the vectors of a word."""

    def groups(self) -> list[dict[str, Any]]:
        """Parameters with their learning rates, as optimisers take them."""
        ...

    def named(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The same, under the names that a checkpoint gives them."""
        ...

    def captioned(self, pictures: Sequence[TrainingImage]) -> tuple[TrainingImage, ...]:
        """The pictures with the captions to learn from."""
        ...

    @property
    def bare(self) -> str:
        """What is left of a caption that is dropped."""
        ...

    def drawing(self) -> AbstractContextManager[None]:
        """Within it the denoiser has what was learned."""
        ...

    def moves(self, caption: str) -> bool:
        """Whether what the denoiser is told changes in the course of the training."""
        ...

    def said(self, caption: str) -> tuple[Tensor, Tensor | None]:
        """What the denoiser is told: (1, 77, dim), and SDXL's pooled (1, dim). Words beyond the context are cut."""
        ...

    def write(self, path: Path, told: Mapping[str, str]) -> None:
        """The file as it is shared, whole or not at all."""
        ...

    def close(self) -> None:
        """Take everything off the model."""
        ...


_LEARNED: Mapping[str, Callable[[LoadedModel, TrainingSettings, str], Learned]] = {
    "lora": Factors,
    "embedding": NewWord,
}


class Trainer:
    """A training at `step` of `settings.steps`. Files go to `folder`, named after the card. Used by one thread."""

    def __init__(
        self,
        model: LoadedModel,
        pictures: Sequence[TrainingImage],
        settings: TrainingSettings,
        folder: Path,
        card: LoraCard | None = None,
    ) -> None:
        """Encodes all pictures once. Raises InvalidParameter for settings or pictures that cannot be trained with."""
        lora_settings.check(model, pictures, settings)
        self._card = card or LoraCard("lora")
        lora_settings.check_name(self._card.name)
        self.step_number = 0
        self.average: float | None = None
        self._model, self._settings, self._folder = model, settings, folder
        self._noising = DDPMScheduler.from_config(dict(model.scheduler))
        self._texts: dict[str, tuple[Tensor, Tensor | None]] = {}
        with torch.inference_mode(False), torch.no_grad():
            self._learned = _LEARNED[settings.kind](model, settings, self._card.name)
            pictures = self._learned.captioned(pictures)
            self._latents = _latents(model, pictures, settings)
        self._captions = tuple(picture.caption for picture in pictures)
        self._data = lora_dataset.digest(pictures)
        self._optimizer = torch.optim.AdamW(self._learned.groups(), weight_decay=settings.weight_decay)
        self._rates = [group["lr"] for group in self._optimizer.param_groups]

    @property
    def done(self) -> bool:
        return self.step_number >= self._settings.steps

    def step(self) -> StepReport:
        """One optimisation step; saves when it is time to. Raises InvalidParameter if the loss is no number."""
        settings, number = self._settings, self.step_number
        share = rate_share(settings, number)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * share
        # The engine's loop runs in inference mode, in which nothing can be learned.
        with torch.inference_mode(False), torch.enable_grad():
            self._optimizer.zero_grad(set_to_none=True)
            loss = self._loss(dice_of(settings.seed, number))
            if not bool(loss.isfinite()):
                raise lora_settings.ran_off(number + 1)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_([parameter for _, parameter in self._learned.named()], _MAX_NORM)
            self._optimizer.step()
        value = float(loss.detach())
        self.average = value if self.average is None else _SMOOTHING * self.average + (1 - _SMOOTHING) * value
        self.step_number += 1
        saved = None
        if settings.save_every and self.step_number % settings.save_every == 0:
            saved = self.save(self._folder / f"{self._card.name}-{self.step_number:06}.safetensors")
            self.checkpoint(self._folder)
        return StepReport(self.step_number, settings.steps, value, self.average, settings.learning_rate * share, saved)

    def save(self, path: Path) -> Path:
        """What was learned so far, as it is shared, with its card."""
        told = metadata(self._card, self._model, self._settings, self._captions, self.step_number, self.average)
        self._learned.write(path, told)
        return path

    def checkpoint(self, folder: Path) -> Path:
        """All that is needed to go on, in one file, whole or not at all."""
        return lora_state.write(folder, self._state_tensors(), self._state())

    def resume(self, folder: Path) -> None:
        """Go on from a checkpoint in `folder`, bit by bit as if there had been no break.

        Raises InvalidParameter if it belongs to other pictures, another model or other settings, UnreadableModel if
        the file is damaged, NotFound if there is none. How often to save may be changed on the way, and with a constant
        learning rate how many steps to do.
        """
        with torch.inference_mode(False), torch.no_grad():  # what is made in inference mode can never be changed
            tensors, state = lora_state.read(folder, self._state_tensors(), self._state())
            for name, parameter in self._learned.named():
                parameter.copy_(tensors[name])
                self._optimizer.state[parameter] = {
                    "step": torch.tensor(float(state["step"])),
                    "exp_avg": tensors[f"{name}.m"].to(parameter.device),
                    "exp_avg_sq": tensors[f"{name}.v"].to(parameter.device),
                }
        self.step_number, self.average = int(state["step"]), state["average"]
        if not self.step_number:
            self._optimizer.state.clear()

    def close(self) -> None:
        """Take everything off the model."""
        self._learned.close()

    def _state(self) -> dict[str, Any]:
        return lora_state.describe(self._settings, self._data, self._model.info.id, self.step_number, self.average)

    def _state_tensors(self) -> dict[str, Tensor]:
        found = {}
        for name, parameter in self._learned.named():
            moments = self._optimizer.state.get(parameter, {})
            found[name] = parameter.detach()
            found[f"{name}.m"] = moments.get("exp_avg", torch.zeros_like(found[name]))
            found[f"{name}.v"] = moments.get("exp_avg_sq", torch.zeros_like(found[name]))
        return found

    def _loss(self, dice: torch.Generator) -> Tensor:
        settings, model = self._settings, self._model
        picked = chosen(len(self._captions), settings, self.step_number)
        # Every draw is made whether it is used or not, so that one setting does not move the dice of another.
        dropped = torch.rand(len(picked), generator=dice) < settings.caption_dropout
        turned = torch.rand(len(picked), generator=dice) < 0.5
        clean = torch.cat(
            [
                self._latents[index][int(turn) if settings.flip else 0]
                for index, turn in zip(picked, turned, strict=True)
            ]
        )
        noise = torch.randn(clean.shape, generator=dice)
        noise = noise + settings.noise_offset * torch.randn(*clean.shape[:2], 1, 1, generator=dice)
        times = torch.randint(0, len(self._noising.alphas_cumprod), (len(picked),), generator=dice)
        captions = [
            self._learned.bare if drop else self._captions[index] for index, drop in zip(picked, dropped, strict=True)
        ]
        states, pooled = self._encoded(captions)
        noisy: Tensor = self._noising.add_noise(clean, noise, times)
        with self._learned.drawing():
            predicted = model.unet(
                noisy.to(model.device, model.dtype),
                times.to(model.device),
                encoder_hidden_states=states,
                added_cond_kwargs=self._added(pooled),
                return_dict=False,
            )[0].float()
        wanted = target(self._noising, clean, noise, times).to(model.device)
        errors = functional.mse_loss(predicted, wanted, reduction="none").mean(dim=(1, 2, 3))
        return (errors * snr_weights(self._noising, times, settings.min_snr).to(model.device)).mean()

    def _added(self, pooled: Tensor | None) -> dict[str, Tensor] | None:
        if pooled is None:
            return None
        side = self._settings.resolution
        ids = unet_family.time_ids(self._model, side, side, negative=False)
        return {
            "text_embeds": pooled,
            "time_ids": torch.tensor([ids] * len(pooled), device=self._model.device, dtype=self._model.dtype),
        }

    def _encoded(self, captions: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """(B, 77, dim), and SDXL's pooled (B, dim); remembered where they stay as they are."""
        with torch.no_grad():
            for caption in {one for one in captions if not self._learned.moves(one)} - set(self._texts):
                self._texts[caption] = self._learned.said(caption)
        found = [self._texts[one] if one in self._texts else self._learned.said(one) for one in captions]
        pooled = [one for _, one in found if one is not None]
        return torch.cat([states for states, _ in found]), torch.cat(pooled) if pooled else None


def _latents(
    model: LoadedModel, pictures: Sequence[TrainingImage], settings: TrainingSettings
) -> tuple[tuple[Tensor, ...], ...]:
    """Each picture cut to the square in its middle, as it is and, if asked for, mirrored: (1, C, h, w) on the CPU."""
    side, found = settings.resolution, []
    for picture in pictures:
        pixels = images.resize(picture.pixels, side, side, "crop")
        ways = (pixels, pixels[:, ::-1]) if settings.flip else (pixels,)
        found.append(tuple(encoding.encode(model, way).cpu() for way in ways))
    return tuple(found)
