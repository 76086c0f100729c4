"""What a request that is refused is told: what was read, where, by which layer, and what may be changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from backend.errors import Refused
from backend.types import SpokenReason
from safety.policy import MEANING, Category, Policy
from safety.prompt_filter.weighing import Judgement

_WHY: Mapping[str, str] = {
    "sexual-minors": "Sexual content with minors is never made here",
    "nudification": "Undressing real people is never done here",
    "opt-out": "This person asked not to be depicted",
}
_CHANGE: Mapping[str, str] = {
    "likeness": "If the people in it agreed, declare their consent with the request; else use another picture.",
    "public-figure": "Describe somebody who does not exist instead of naming a person.",
    "living-artist": "Describe the technique instead of naming the artist.",
    "copyright": "Describe something of your own instead.",
    "adversarial": "Write what you want to see in plain words.",
}
_PLACES: Mapping[str, str] = {
    "prompt": "the prompt",
    "negative": "the negative prompt",
    "styles": "the prompt with its styles",
    "loras": "the name of a LoRA",
    "model": "the name of a model",
    "hires.prompt": "the prompt of the second pass",
    "hires.negative": "the negative prompt of the second pass",
    "grid.title": "the title of the sheet",
    "grid.labels": "a label of the sheet",
    "client_extras": "a text sent along",
    "init_image": "the picture",
    "control": "the guiding picture",
}


class RefusedByPolicy(Refused):
    """A refusal that says what was read, where, and what may be changed. `reasons` and `policy` are for the log."""

    def __init__(self, judgement: Judgement, policy: Policy) -> None:
        self.reasons, self.policy = judgement.reasons, policy
        reason = judgement.reasons[0]
        why = _WHY.get(reason.layer) or _WHY.get(reason.category) or f"This policy does not allow {_meaning(reason)}"
        if reason.layer == "picture":
            detail = f"{why}: {_place(reason.field)} counts as {reason.span}."
        else:
            score = f", score {reason.score:.2f}"
            detail = f'{why}: {_place(reason.field)} was read as "{reason.span}" (by {reason.layer}{score}).'
        advice = [_CHANGE.get(reason.category, "Change or remove it."), *judgement.offers]
        if reason.category in _WHY:
            advice = []
        hint = f"Nothing was made, and the prompt is kept for you to change. Policy in force: {policy.id}."
        super().__init__(detail, " ".join((*advice, hint)), reason.field.partition(".")[0])


def _meaning(reason: SpokenReason) -> str:
    return MEANING.get(cast(Category, reason.category), reason.category)


def _place(field: str) -> str:
    return _PLACES.get(field, f"the field {field}")
