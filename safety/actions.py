"""What was done, in the words of `c2pa.actions.v2` (C2PA 2.4, section on actions).

Three beginnings: a picture was opened (then it is the only parent, and what follows changes it), a sheet was composed
of pictures, or a picture was made from words, perhaps guided by others. `c2pa.opened` has no source type: the opened
picture has its own. Whatever diffusion repaints is declared as partly made by AI, wherever on the canvas it was.

Making larger without diffusion adds nothing that was not there, so it is a proportional resize; if a trained upscaler
did it, `c2pa.enhanced` says so. Another format of the same picture is `c2pa.converted`, which is no edit.

Models are inputs of the step in which they ran. A mark that was in the picture already is not put in again, so there is
no step for it.
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


def source_type(request: GenerationRequest, networks: Sequence[NetworkFacts], *, parent: bool) -> str | None:
    """IPTC's digital source type of the finished picture; None where it is still whatever its parent was."""
    if request.mode == "grid" or (request.paints and parent):
        return PARTLY_GENERATED
    if request.paints:
        return FULLY_GENERATED
    return ENHANCED if any(network.kind == "upscaler" for network in networks) else None


def history(
    request: GenerationRequest, networks: Sequence[NetworkFacts], labels: Labels, models: Sequence[str] = ()
) -> list[Action]:
    """The actions before the mark, without agent and time. `models` are the labels of the models that ran."""
    inputs = (*labels.get("input", ()), *models)
    if parents := labels.get("parent", ()):
        return [_with({"action": "c2pa.opened"}, parents), *_changes(request, networks, inputs)]
    if request.mode == "grid":
        made: Action = {"action": "c2pa.created", "digitalSourceType": PARTLY_GENERATED}
        return [made, *(_with({"action": "c2pa.placed"}, [label]) for label in labels.get("component", ()))]
    return [_with({"action": "c2pa.created", "digitalSourceType": FULLY_GENERATED}, inputs)]


def _changes(request: GenerationRequest, networks: Sequence[NetworkFacts], inputs: Sequence[str]) -> list[Action]:
    if request.mode == "convert":
        return [{"action": "c2pa.converted"}]
    if request.paints:
        edited: Action = {"action": "c2pa.edited", "digitalSourceType": PARTLY_GENERATED}
        return [_with(edited, inputs, {f"{NAMESPACE}.mode": request.mode})]
    if any(network.kind == "upscaler" for network in networks):
        enhanced: Action = {"action": "c2pa.enhanced", "digitalSourceType": ENHANCED}
        return [{"action": "c2pa.resized.proportional"}, _with(enhanced, inputs)]
    return [_with({"action": "c2pa.resized.proportional"}, inputs)]


def _with(action: Action, labels: Sequence[str], parameters: Mapping[str, Any] | None = None) -> Action:
    """The action with references to the ingredients of these labels."""
    found = {**(parameters or {}), **({"ingredientIds": list(labels)} if labels else {})}
    return {**action, "parameters": found} if found else action
