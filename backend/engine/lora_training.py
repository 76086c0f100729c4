"""Training a LoRA, one optimisation step per call.

The model is not touched: the trained factors are an addition on its rows, the same as when the LoRA is used. Every step
draws its randomness from (seed, step) alone, so a resumed training goes on exactly as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn
from torch.nn import functional

from backend import images
from backend.engine import encoding, lora_dataset, lora_file, lora_keys, lora_settings, lora_state
from backend.engine.families import unet as unet_family
from backend.engine.lora import Assignment, RowAdditions
from backend.engine.lora_card import LoraCard, metadata
from backend.engine.lora_dataset import TrainingImage
from backend.engine.lora_factors import factors, untrained
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
        self._captions = tuple(picture.caption for picture in pictures)
        self._data = lora_dataset.digest(pictures)
        self._noising = DDPMScheduler.from_config(dict(model.scheduler))
        self._texts: dict[str, tuple[Tensor, Tensor | None]] = {}
        self._additions = RowAdditions()
        with torch.inference_mode(False), torch.no_grad():
            self._latents = _latents(model, pictures, settings)
            self._bound = untrained(model, settings)
        rates = (settings.learning_rate, settings.text_learning_rate or settings.learning_rate / 2)
        groups = [
            {"params": [factor for site in sites for factor in factors(site)], "lr": rates[part > 0]}
            for part, (_, sites) in enumerate(self._bound.parts)
            if sites
        ]
        self._optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
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
            nn.utils.clip_grad_norm_(self._parameters(), _MAX_NORM)
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
        """The LoRA as it is now, a kohya file with its card. Half precision, as LoRAs are shared."""
        layers = {
            layer: {"up": up.half(), "down": down.half(), "alpha": torch.tensor(float(self._settings.alpha)).half()}
            for layer, (down, up) in self._layers()
        }
        told = metadata(self._card, self._model, self._settings, self._captions, self.step_number, self.average)
        lora_file.write_adapter(path, layers, told)
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
        tensors, state = lora_state.read(folder, self._state_tensors(), self._state())
        with torch.no_grad():
            for (layer, pair), parameters in zip(self._layers(), self._pairs(), strict=True):
                for role, kept, parameter in zip(("down", "up"), pair, parameters, strict=True):
                    kept.copy_(tensors[f"{layer}.{role}"])
                    self._optimizer.state[parameter] = {
                        "step": torch.tensor(float(state["step"])),
                        "exp_avg": tensors[f"{layer}.{role}.m"].to(kept.device),
                        "exp_avg_sq": tensors[f"{layer}.{role}.v"].to(kept.device),
                    }
        self.step_number, self.average = int(state["step"]), state["average"]
        if not self.step_number:
            self._optimizer.state.clear()

    def close(self) -> None:
        """Take the additions off the model."""
        self._additions.forget()

    def _state(self) -> dict[str, Any]:
        return lora_state.describe(self._settings, self._data, self._model.info.id, self.step_number, self.average)

    def _state_tensors(self) -> dict[str, Tensor]:
        found = {}
        for (layer, pair), parameters in zip(self._layers(), self._pairs(), strict=True):
            for role, kept, parameter in zip(("down", "up"), pair, parameters, strict=True):
                moments = self._optimizer.state.get(parameter, {})
                found[f"{layer}.{role}"] = kept
                found[f"{layer}.{role}.m"] = moments.get("exp_avg", torch.zeros_like(kept))
                found[f"{layer}.{role}.v"] = moments.get("exp_avg_sq", torch.zeros_like(kept))
        return found

    def _layers(self) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
        """Kohya's layer names with (down, up)."""
        several = len(self._bound.parts) > 2
        for part, (_, sites) in enumerate(self._bound.parts):
            for site in sites:
                down, up = factors(site)
                name = lora_keys.kohya_text(site.path, part, several) if part else lora_keys.kohya_unet(site.path)
                yield name, (down.detach(), up.detach())

    def _pairs(self) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
        return (factors(site) for _, sites in self._bound.parts for site in sites)

    def _parameters(self) -> list[nn.Parameter]:
        return [factor for pair in self._pairs() for factor in pair]

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
        captions = ["" if drop else self._captions[index] for index, drop in zip(picked, dropped, strict=True)]
        states, pooled = self._encoded(captions)
        noisy: Tensor = self._noising.add_noise(clean, noise, times)
        with self._additions.applied(model.unet, self._everywhere()):
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

    def _everywhere(self) -> list[Assignment]:
        return [Assignment(slice(None), ((self._bound, 1.0, ()),))]

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
        """(B, 77, dim), and SDXL's pooled (B, dim); remembered while the text encoders stay as they are."""
        if self._settings.train_text_encoder:
            found = [_said(self._model, caption, self._additions, self._everywhere()) for caption in captions]
        else:
            with torch.no_grad():
                for caption in set(captions) - set(self._texts):
                    self._texts[caption] = _said(self._model, caption, self._additions, [])
            found = [self._texts[caption] for caption in captions]
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


def _said(
    model: LoadedModel, caption: str, additions: RowAdditions, assignments: Sequence[Assignment]
) -> tuple[Tensor, Tensor | None]:
    """What the denoiser is told: (1, 77, dim), and SDXL's pooled (1, dim). Words beyond the context are cut off."""
    states, pooled = [], None
    for encoder, tokenizer in zip(lora_keys.text_encoders(model), lora_keys.tokenizers(model), strict=True):
        limit = int(tokenizer.model_max_length)
        ids = tokenizer(caption, padding="max_length", max_length=limit, truncation=True).input_ids
        with additions.applied(encoder, assignments):
            out = encoder(torch.tensor([ids], device=model.device), output_hidden_states=True)
        # SDXL listens to the layer before the last, as it is (see backend.engine.conditioning).
        states.append(out.hidden_states[-2] if model.is_sdxl else out.last_hidden_state)
        pooled = getattr(out, "text_embeds", pooled)
    return torch.cat(states, dim=-1), pooled if model.is_sdxl else None
