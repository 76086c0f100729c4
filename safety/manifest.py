"""What our Content Credentials say, as plain data (C2PA 2.4); signing is safety.provenance's business.

The model stands in our own assertion, in `c2pa.ai-disclosure`, and with everything that was added to it as an `inputTo`
ingredient under the hash of its file (safety.model_ingredients).

The mark is `c2pa.watermarked.unbound`: "bound" needs an algorithm of the public soft-binding list, and ours is not on
it. Prompt and seed are personal data and written only on request; otherwise there is a commitment, which the
installation can open later and which tells a stranger nothing.

The pictures that went in are ingredients, added by safety.provenance: of those with credentials it validates and
carries these, the others stand as what they are, files without a known past. Their hashes are in our own assertion.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backend.types import GenerationRequest, ModelFacts, NetworkFacts, Words
from backend.types.pictures import Relation
from safety.actions import NAMESPACE, history
from safety.ingredients import Ingredient
from safety.model_ingredients import MEDIA_TYPE as MODEL_MEDIA_TYPE
from safety.model_ingredients import model_ingredients

SPEC_VERSION = "2.4"
DETECTOR = (
    "Credentials: any C2PA validator. Mark: the Verify page, or `launch.py verify`, of the installation that signed."
)
"""Which detector to use, for whoever reads the credentials (EU Code of Practice 3.4)."""
_RELATIONSHIPS: Mapping[Relation, str] = {"parent": "parentOf", "input": "inputTo", "component": "componentOf"}
_MINING = ("cawg.ai_inference", "cawg.ai_generative_training", "cawg.ai_training", "cawg.data_mining")


@dataclass(frozen=True, slots=True)
class Statement:
    """The facts about one picture that its credentials state. `mark_id` is 12 hex digits, `created` is UTC.

    `words` is the text that the model read, None if it is what was typed. With `kept` the mark was in the picture
    already and was not put in by this step. `latent_mark` is the method of a mark in the noise, "" without one.
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
    kept: bool = False
    latent_mark: str = ""

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

    Pictures without credentials are in it, the other ingredients are to be added in the order of `added(statement)`.
    """
    agent = {"name": wording.app, "version": wording.version}
    assertions = {
        "c2pa.actions.v2": _actions(statement, agent),
        **({"c2pa.ai-disclosure": _disclosure(statement.model)} if statement.request.paints else {}),
        "cawg.training-mining": {"entries": {use: {"use": wording.training_use} for use in _MINING}},
        f"{NAMESPACE}.generation": _generation(statement, wording, secret),
    }
    bare = [_source(statement, i) for i, each in enumerate(statement.ingredients) if each.data is None]
    return {
        "label": f"urn:c2pa:{uuid.uuid4()}",
        "claim_generator_info": [{**agent, "specVersion": SPEC_VERSION}],
        "title": statement.record_id,
        "format": media_type,
        "assertions": [{"label": label, "data": data, "created": True} for label, data in assertions.items()],
        **({"ingredients": bare} if bare else {}),
    }


def added(statement: Statement) -> Iterator[tuple[dict[str, Any], str, bytes]]:
    """(definition, media type, bytes) of the pictures that bring credentials, then of the models, which have none."""
    for index, each in enumerate(statement.ingredients):
        if each.data is not None:
            yield _source(statement, index), each.media_type, each.data
    for model in _models(statement):
        yield model, MODEL_MEDIA_TYPE, b""


def _source(statement: Statement, index: int) -> dict[str, Any]:
    """The definition of one picture. Its title is the hash of its file: names of files are nobody's business."""
    each = statement.ingredients[index]
    return {
        "label": _label(index),
        "title": each.facts.sha256,
        "format": each.media_type,
        "relationship": _RELATIONSHIPS[each.facts.relation],
    }


def _label(index: int) -> str:
    return f"source-{index}"


def _models(statement: Statement) -> tuple[dict[str, Any], ...]:
    return model_ingredients(statement.request, statement.model, statement.networks)


def _actions(statement: Statement, agent: Mapping[str, str]) -> dict[str, Any]:
    labels: dict[Relation, list[str]] = {}
    for index, each in enumerate(statement.ingredients):
        labels.setdefault(each.facts.relation, []).append(_label(index))
    marked = {
        "action": "c2pa.watermarked.unbound",
        "parameters": {
            f"{NAMESPACE}.watermark": statement.watermark,
            f"{NAMESPACE}.mark": statement.mark_id,
            **({f"{NAMESPACE}.latent": statement.latent_mark} if statement.latent_mark else {}),
        },
    }
    who = {"softwareAgent": agent, "when": statement.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    models = [each["label"] for each in _models(statement)]
    steps = history(statement.request, statement.networks, labels, models)
    if not statement.kept:
        steps = [*steps, marked]
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
    facts: dict[str, Any] = {"record": statement.record_id, "mode": request.mode, "detector": DETECTOR}
    if statement.kept:
        facts["mark"] = {"method": statement.watermark, "id": statement.mark_id, "kept": True}
    if request.paints:
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
    if not request.paints:
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
