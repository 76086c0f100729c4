"""One forward for passes of different pictures: rows, what controls add to them, what LoRAs add to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from backend.engine import control
from backend.engine.attention_maps import Heat, recording
from backend.engine.families import unet
from backend.engine.families.unet import Batch, Row
from backend.engine.image_prompt import Part, image_attention
from backend.engine.lora import Assignment, RowAdditions
from backend.engine.stage import Stage
from backend.types import Bucket


class Forward:
    """Used by the engine's loop alone."""

    def __init__(self) -> None:
        self._additions = RowAdditions()

    def forget(self) -> None:
        """Let go of everything that is bound to a model."""
        self._additions.forget()

    def __call__(
        self, stages: Sequence[Stage], bucket: Bucket, heats: Sequence[Heat | None] = ()
    ) -> tuple[Tensor, ...]:
        """The guided prediction (1, C, h, w) of every pass. All must be of one key and fit into `bucket` rows.

        `heats` has for every pass where to record its attention, or None.
        """
        model = stages[0].model
        rows = [stage.rows() for stage in stages]
        places = tuple(_slices(rows))
        additions = [
            Assignment(place, stage.voice.loras)
            for place, stage in zip(places, stages, strict=True)
            if stage.voice.loras
        ]
        watched = [
            (stage, place.start + stage.guided, heat)
            for stage, place, heat in zip(stages, places, heats, strict=False)
            if heat is not None
        ]
        with (
            torch.inference_mode(),
            unet.tiling([model.unet], stages[0].tiling),
            self._additions.applied(model.unet, additions),
            image_attention(model.unet, tuple(_seen(stages, rows, places))),
            recording(model.unet, watched),
        ):
            extra = _control(stages, rows, places, bucket)
            outputs = unet.denoise(model, [row for each in rows for row in each], bucket, extra)
            return tuple(stage.guide(outputs[place]) for place, stage in zip(places, stages, strict=True))


def _slices(rows: Sequence[Sequence[Row]]) -> Iterator[slice]:
    end = 0
    for each in rows:
        begin, end = end, end + len(each)
        yield slice(begin, end)


def _seen(stages: Sequence[Stage], rows: Sequence[Sequence[Row]], places: Sequence[slice]) -> Iterator[Part]:
    """The pictures that act as prompts at this step."""
    for stage, own, place in zip(stages, rows, places, strict=True):
        acting = [prompt for prompt in stage.prompts if stage.leads and prompt.active(stage.stepper.share)]
        if acting:
            yield place, [row.conditional for row in own], acting


def _control(
    stages: Sequence[Stage], rows: Sequence[Sequence[Row]], places: Sequence[slice], bucket: Bucket
) -> dict[str, Any]:
    """Each picture's residuals are worked out from its own rows, so that they do not depend on company."""
    parts = []
    for stage, own, place in zip(stages, rows, places, strict=True):
        if not (stage.guides and stage.leads):
            continue
        batch = Batch.of(stage.model, own)
        channels = stage.model.latent_channels  # an inpainting model's further channels are not the control's business
        found = control.residuals(
            stage.guides,
            batch.latents[:, :channels],
            batch.times,
            batch.texts,
            batch.added,
            [row.conditional for row in own],
            stage.stepper.share,
        )
        if found is not None:
            parts.append((place, found))
    return control.scatter(parts, bucket) if parts else {}
