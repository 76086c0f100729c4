"""What a trained file says about itself: kohya's `ss_*` keys and ModelSpec 1.0.1. All values are text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from backend.engine.lora_dataset import tag_frequency
from backend.engine.lora_settings import TrainingSettings
from backend.models.loader import LoadedModel
from backend.version import VERSION

_BASES = {"sd1": "sd_v1", "sd2": "sd_v2", "sdxl": "sdxl_base_v1-0"}
_ARCHITECTURES = {
    "sd1": "stable-diffusion-v1", "sd2": "stable-diffusion-v2-512", "sdxl": "stable-diffusion-xl-v1-base",
}  # fmt: skip
_VELOCITY = {"sd2": "stable-diffusion-v2-768-v"}


@dataclass(frozen=True, slots=True)
class LoraCard:
    """What the person who trains says about the result. Empty fields are left out of the file."""

    name: str
    licence: str = ""
    author: str = ""
    description: str = ""
    trigger: str = ""


def metadata(
    card: LoraCard,
    model: LoadedModel,
    settings: TrainingSettings,
    captions: Sequence[str],
    step: int,
    loss: float | None,
) -> Mapping[str, str]:
    """Of a LoRA or an embedding after `step` steps. `loss` is the moving average, None before the first step."""
    family, velocity = model.info.family, str(model.scheduler.get("prediction_type")) == "v_prediction"
    side = settings.resolution
    architecture = (_VELOCITY if velocity else {}).get(family) or _ARCHITECTURES.get(family, family)
    word = settings.kind == "embedding"
    known = {
        "ss_output_name": card.name,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(settings.rank),
        "ss_network_alpha": str(settings.alpha),
        "ss_network_args": json.dumps({"conv_dim": settings.rank} if settings.targets == "all" else {}),
        "ss_base_model_version": _BASES.get(family, family),
        "ss_v2": str(family == "sd2"),
        "ss_sd_model_name": model.info.title,
        "ss_sd_model_hash": (model.info.sha256 or "")[:10],
        "ss_new_sd_model_hash": model.info.sha256 or "",
        "ss_resolution": f"({side}, {side})",
        "ss_num_train_images": str(len(captions)),
        "ss_tag_frequency": json.dumps({card.name: tag_frequency(captions)}, ensure_ascii=False),
        "ss_steps": str(step),
        "ss_max_train_steps": str(settings.steps),
        "ss_learning_rate": str(settings.learning_rate),
        "ss_lr_scheduler": settings.schedule,
        "ss_optimizer": "torch.optim.AdamW",
        "ss_total_batch_size": str(settings.batch),
        "ss_seed": str(settings.seed),
        "ss_noise_offset": str(settings.noise_offset),
        "ss_caption_dropout_rate": str(settings.caption_dropout),
        "ss_min_snr_gamma": "" if settings.min_snr is None else str(settings.min_snr),
        "ss_training_comment": f"Signet {VERSION}" + ("" if loss is None else f", loss {loss:.4f}"),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": f"{architecture}/{'textual-inversion' if word else 'lora'}",
        "modelspec.implementation": "diffusers",
        "modelspec.title": card.name,
        "modelspec.resolution": f"{side}x{side}",
        "modelspec.date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "modelspec.prediction_type": "v" if velocity else "epsilon",
        "modelspec.trigger_phrase": card.name if word else card.trigger,
        "modelspec.license": card.licence,
        "modelspec.author": card.author,
        "modelspec.description": card.description,
    }
    return {key: value for key, value in known.items() if value and not (word and key.startswith("ss_network_"))}
