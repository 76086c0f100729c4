"""The models that made a picture, as ingredients of its credentials (C2PA 2.4, ingredient v3 with `dataTypes`).

A model is no picture: it goes in as `inputTo`, typed `c2pa.types.model`, under the SHA-256 of its file, and without a
manifest, because model files carry none. The public signal rubric does not look at the type: where a model is the very
first ingredient it reads "media of unknown provenance" beside "fully GenAI media". So pictures always come first; for a
picture from nothing but words the remark remains, and it is true of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.types import GenerationRequest, ModelFacts, ModelKind, NetworkFacts

MEDIA_TYPE = "application/octet-stream"
_MODEL = "c2pa.types.model"
_WORDS: Mapping[ModelKind, str] = {
    "checkpoint": "Diffusion model",
    "lora": "LoRA",
    "vae": "Autoencoder (VAE)",
    "controlnet": "ControlNet",
    "t2i-adapter": "T2I-Adapter",
    "ip-adapter": "IP-Adapter",
    "embedding": "Textual inversion",
    "upscaler": "Upscaler",
    "preprocessor": "Preprocessor",
}


def model_ingredients(
    request: GenerationRequest, model: ModelFacts, networks: Sequence[NetworkFacts]
) -> tuple[dict[str, Any], ...]:
    """The definitions for a c2pa Builder, the model first, each file once; empty where no model had a part."""
    found = [_definition(model.title, "checkpoint", model.sha256)] if request.paints else []
    found += [_definition(network.id, network.kind, network.sha256) for network in networks]
    once = {(each.get("instance_id") or each["title"], each["description"]): each for each in found}
    return tuple({**each, "label": f"model-{index}"} for index, each in enumerate(once.values()))


def _definition(title: str, kind: ModelKind, sha256: str | None) -> dict[str, Any]:
    return {
        "title": title,
        "description": _WORDS[kind],
        "relationship": "inputTo",
        "data_types": [{"type": _MODEL}],
        **({"instance_id": f"sha256:{sha256.lower()}"} if sha256 else {}),
    }
