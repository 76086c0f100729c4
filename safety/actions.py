"""What was done, in the words of `c2pa.actions.v2` (C2PA 2.4, section on actions).

Three beginnings: a picture was opened (then it is the only parent, and what follows changes it), a sheet was composed
of pictures, or a picture was made from words, perhaps guided by others. `c2pa.opened` has no source type: the opened
picture has its own. Whatever diffusion repaints is declared as partly made by AI, wherever on the canvas it was.

Making larger without diffusion adds nothing that was not there, so it is a proportional resize; if a trained upscaler
did it, `c2pa.enhanced` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.types import GenerationRequest, NetworkFacts
from backend.types.pictures import Relation

NAMESPACE = "org.signet-studio"
_IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
FULLY_GENERATED = _IPTC + "trainedAlgorithmicMedia"
PARTLY_GENERATED = _IPTC + "compositeWithTrainedAlgorithmicMedia"
ENHANCED = _IPTC + "algorithmicallyEnhanced"

Labels = Mapping[Relation, Sequence[str]]
"""The labels of the ingredients, by what became of them."""
Action = dict[str, Any]


def only_enlarged(request: GenerationRequest) -> bool:
    """Whether no model painted anything: the picture was made larger and that is all."""
    return request.mode == "upscale" and not (request.upscale and request.upscale.diffusion)


def history(request: GenerationRequest, networks: Sequence[NetworkFacts], labels: Labels) -> list[Action]:
    """The actions before the mark, without agent and time."""
    inputs = labels.get("input", ())
    if parents := labels.get("parent", ()):
        return [_with({"action": "c2pa.opened"}, parents), *_changes(request, networks, inputs)]
    if request.mode == "grid":
        made: Action = {"action": "c2pa.created", "digitalSourceType": PARTLY_GENERATED}
        return [made, *(_with({"action": "c2pa.placed"}, [label]) for label in labels.get("component", ()))]
    return [_with({"action": "c2pa.created", "digitalSourceType": FULLY_GENERATED}, inputs)]


def _changes(request: GenerationRequest, networks: Sequence[NetworkFacts], inputs: Sequence[str]) -> list[Action]:
    if not only_enlarged(request):
        edited: Action = {"action": "c2pa.edited", "digitalSourceType": PARTLY_GENERATED}
        return [_with(edited, inputs, {f"{NAMESPACE}.mode": request.mode})]
    resized = _with({"action": "c2pa.resized.proportional"}, inputs)
    if any(network.kind == "upscaler" for network in networks):
        return [resized, {"action": "c2pa.enhanced", "digitalSourceType": ENHANCED}]
    return [resized]


def _with(action: Action, labels: Sequence[str], parameters: Mapping[str, Any] | None = None) -> Action:
    """The action with references to the ingredients of these labels."""
    found = {**(parameters or {}), **({"ingredientIds": list(labels)} if labels else {})}
    return {**action, "parameters": found} if found else action
