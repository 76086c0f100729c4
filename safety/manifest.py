"""What our Content Credentials say, as plain data (C2PA 2.4); signing is safety.provenance's business.

The model stands in our own assertion and in `c2pa.ai-disclosure`, not as an `inputTo` ingredient: with an ingredient
the public signal rubric calls a picture that came from nothing but a prompt "media of unknown provenance".

The mark is `c2pa.watermarked.unbound`: "bound" needs an algorithm of the public soft-binding list, and ours is not on
it. Prompt and seed are personal data and written only on request; otherwise there is a commitment, which the
installation can open later and which tells a stranger nothing.

The pictures that went in are ingredients: those with credentials are added by safety.provenance, which validates and
carries them, the others stand here as what they are, files without a known past. Their hashes are in our own assertion.
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

from backend.types import GenerationRequest, ModelFacts, NetworkFacts, Words
from backend.types.pictures import Relation
from safety.actions import NAMESPACE, history, only_enlarged
from safety.ingredients import Ingredient

SPEC_VERSION = "2.4"
_RELATIONSHIPS: Mapping[Relation, str] = {"parent": "parentOf", "input": "inputTo", "component": "componentOf"}
_MINING = ("cawg.ai_inference", "cawg.ai_generative_training", "cawg.ai_training", "cawg.data_mining")


@dataclass(frozen=True, slots=True)
class Statement:
    """The facts about one picture that its credentials state. `mark_id` is 12 hex digits, `created` is UTC.

    `words` is the text that the model read, None if it is what was typed.
    """

    record_id: str
    created: datetime
    request: GenerationRequest
    seed: int
    model: ModelFacts
    watermark: str
    mark_id: str
    words: Words | None = None
    networks: tuple[NetworkFacts, ...] = ()
    ingredients: tuple[Ingredient, ...] = ()

    @property
    def read(self) -> Words:
        """The text of this picture."""
        return self.words or Words(prompt=self.request.prompt, negative=self.request.negative)


@dataclass(frozen=True, slots=True)
class Wording:
    """What the owner chose to say: `training_use` is "allowed" or "notAllowed"."""

    app: str
    version: str
    training_use: str
    prompt: bool


def manifest(statement: Statement, wording: Wording, media_type: str, secret: bytes) -> dict[str, Any]:
    """The definition for a c2pa Builder. `secret` salts the commitment to the prompt and is not in the result.

    Ingredients that come with bytes are not in it: they are to be added under `ingredient(statement, index)`.
    """
    agent = {"name": wording.app, "version": wording.version}
    assertions = {
        "c2pa.actions.v2": _actions(statement, agent),
        **({"c2pa.ai-disclosure": _disclosure(statement.model)} if _painted(statement.request) else {}),
        "cawg.training-mining": {"entries": {use: {"use": wording.training_use} for use in _MINING}},
        f"{NAMESPACE}.generation": _generation(statement, wording, secret),
    }
    known = [ingredient(statement, i) for i, each in enumerate(statement.ingredients) if each.data is None]
    return {
        "label": f"urn:c2pa:{uuid.uuid4()}",
        "claim_generator_info": [{**agent, "specVersion": SPEC_VERSION}],
        "title": statement.record_id,
        "format": media_type,
        "assertions": [{"label": label, "data": data, "created": True} for label, data in assertions.items()],
        **({"ingredients": known} if known else {}),
    }


def ingredient(statement: Statement, index: int) -> dict[str, str]:
    """The definition of one ingredient. Its title is the hash of its file: names of files are nobody's business."""
    each = statement.ingredients[index]
    return {
        "label": _label(index),
        "title": each.facts.sha256,
        "format": each.media_type,
        "relationship": _RELATIONSHIPS[each.facts.relation],
    }


def _label(index: int) -> str:
    return f"source-{index}"


def _painted(request: GenerationRequest) -> bool:
    """Whether a model made pixels of this very file: not those of a sheet, whose cells have their own credentials."""
    return request.mode != "grid" and not only_enlarged(request)


def _actions(statement: Statement, agent: Mapping[str, str]) -> dict[str, Any]:
    labels: dict[Relation, list[str]] = {}
    for index, each in enumerate(statement.ingredients):
        labels.setdefault(each.facts.relation, []).append(_label(index))
    marked = {
        "action": "c2pa.watermarked.unbound",
        "parameters": {
            f"{NAMESPACE}.watermark": statement.watermark,
            f"{NAMESPACE}.mark": statement.mark_id,
        },
    }
    who = {"softwareAgent": agent, "when": statement.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    steps = [*history(statement.request, statement.networks, labels), marked]
    return {"actions": [{**step, **who} for step in steps], "allActionsIncluded": True}


def _disclosure(model: ModelFacts) -> dict[str, Any]:
    return {
        "modelType": "c2pa.types.model",
        "modelName": model.title,
        "modelIdentifier": f"sha256:{model.sha256}" if model.sha256 else model.id,
        "contentProfile": {"humanOversightLevel": "prompt_guided"},
    }


def _generation(statement: Statement, wording: Wording, secret: bytes) -> dict[str, Any]:
    request = statement.request
    facts: dict[str, Any] = {"record": statement.record_id, "mode": request.mode}
    if _painted(request):
        facts["model"] = statement.model.model_dump(exclude_none=True)
        facts |= {name: getattr(request, name) for name in ("sampler", "schedule", "steps", "cfg", "width", "height")}
    if request.mode in ("img2img", "inpaint"):
        facts["denoise"] = request.denoise
    if request.upscale:
        facts["upscaler"] = request.upscale.upscaler
    if statement.networks:
        facts["networks"] = [network.model_dump(exclude_none=True) for network in statement.networks]
    if statement.ingredients:
        facts["sources"] = [each.facts.model_dump() for each in statement.ingredients]
    if not _painted(request):
        return facts
    if wording.prompt:
        return {**facts, **_words(statement), "seed": statement.seed}
    return {**facts, "commitment": commitment(statement, secret)}


def _words(statement: Statement) -> dict[str, Any]:
    """The text that the model read, and what was typed where that is something else."""
    read, request = statement.read, statement.request
    written: dict[str, Any] = {"prompt": read.prompt, "negative": read.negative}
    if (read.prompt, read.negative) == (request.prompt, request.negative):
        return written
    return {**written, "typed": {"prompt": request.prompt, "negative": request.negative}}


def commitment(statement: Statement, secret: bytes) -> str:
    """HMAC-SHA256 of prompt and negative as the model read them, and of the seed, under a salt of this record alone.

    To open it, show the salt and the three values. Without the salt nobody can try out guesses.
    """
    salt = hmac.digest(secret, b"signet prompt commitment\0" + statement.record_id.encode(), hashlib.sha256)
    values = [statement.read.prompt, statement.read.negative, statement.seed]
    return hmac.new(salt, json.dumps(values).encode(), hashlib.sha256).hexdigest()
