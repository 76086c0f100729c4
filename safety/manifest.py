"""What our Content Credentials say, as plain data (C2PA 2.4); signing is safety.provenance's business.

The model stands in our own assertion and in `c2pa.ai-disclosure`, not as an `inputTo` ingredient: with an ingredient
the public signal rubric calls a picture that came from nothing but a prompt "media of unknown provenance".

The mark is `c2pa.watermarked.unbound`: "bound" needs an algorithm of the public soft-binding list, and ours is not on
it. Prompt and seed are personal data and written only on request; otherwise there is a commitment, which the
installation can open later and which tells a stranger nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backend.types import GenerationRequest, ModelFacts

SPEC_VERSION = "2.4"
NAMESPACE = "org.signet-studio"
FULLY_GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_MINING = ("cawg.ai_inference", "cawg.ai_generative_training", "cawg.ai_training", "cawg.data_mining")


@dataclass(frozen=True, slots=True)
class Statement:
    """The facts about one picture that its credentials state. `mark_id` is 12 hex digits, `created` is UTC."""

    record_id: str
    created: datetime
    request: GenerationRequest
    seed: int
    model: ModelFacts
    watermark: str
    mark_id: str


@dataclass(frozen=True, slots=True)
class Wording:
    """What the owner chose to say: `training_use` is "allowed" or "notAllowed"."""

    app: str
    version: str
    training_use: str
    prompt: bool


def manifest(statement: Statement, wording: Wording, media_type: str, secret: bytes) -> dict[str, Any]:
    """The definition for a c2pa Builder. `secret` salts the commitment to the prompt and is not in the result."""
    agent = {"name": wording.app, "version": wording.version}
    assertions = {
        "c2pa.actions.v2": _actions(statement, agent),
        "c2pa.ai-disclosure": _disclosure(statement.model),
        "cawg.training-mining": {"entries": {use: {"use": wording.training_use} for use in _MINING}},
        f"{NAMESPACE}.generation": _generation(statement, wording, secret),
    }
    return {
        "label": f"urn:c2pa:{uuid.uuid4()}",
        "claim_generator_info": [{**agent, "specVersion": SPEC_VERSION}],
        "title": statement.record_id,
        "format": media_type,
        "assertions": [{"label": label, "data": data, "created": True} for label, data in assertions.items()],
    }


def _actions(statement: Statement, agent: Mapping[str, str]) -> dict[str, Any]:
    when = statement.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    created = {"action": "c2pa.created", "digitalSourceType": FULLY_GENERATED, "softwareAgent": agent, "when": when}
    marked = {
        "action": "c2pa.watermarked.unbound",
        "softwareAgent": agent,
        "when": when,
        "parameters": {
            f"{NAMESPACE}.watermark": statement.watermark,
            f"{NAMESPACE}.mark": statement.mark_id,
        },
    }
    return {"actions": [created, marked], "allActionsIncluded": True}


def _disclosure(model: ModelFacts) -> dict[str, Any]:
    return {
        "modelType": "c2pa.types.model",
        "modelName": model.title,
        "modelIdentifier": f"sha256:{model.sha256}" if model.sha256 else model.id,
        "contentProfile": {"humanOversightLevel": "prompt_guided"},
    }


def _generation(statement: Statement, wording: Wording, secret: bytes) -> dict[str, Any]:
    request = statement.request
    facts: dict[str, Any] = {
        "record": statement.record_id,
        "mode": request.mode,
        "model": statement.model.model_dump(exclude_none=True),
        "sampler": request.sampler,
        "schedule": request.schedule,
        "steps": request.steps,
        "cfg": request.cfg,
        "width": request.width,
        "height": request.height,
    }
    if wording.prompt:
        return {**facts, "prompt": request.prompt, "negative": request.negative, "seed": statement.seed}
    return {**facts, "commitment": commitment(statement, secret)}


def commitment(statement: Statement, secret: bytes) -> str:
    """HMAC-SHA256 of prompt, negative and seed under a salt of this record alone.

    To open it, show the salt and the three values. Without the salt nobody can try out guesses.
    """
    salt = hmac.digest(secret, b"signet prompt commitment\0" + statement.record_id.encode(), hashlib.sha256)
    values = [statement.request.prompt, statement.request.negative, statement.seed]
    return hmac.new(salt, json.dumps(values).encode(), hashlib.sha256).hexdigest()
