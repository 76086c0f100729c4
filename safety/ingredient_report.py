"""What a manifest store says about the pictures that went into its picture. Pure functions on what c2pa read.

The new picture does not hold the pixels of its ingredients, so that they fitted their credentials is the word of the
signer, who checked it when they went in; that the credentials themselves are whole is checked again with each reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from backend.types.history import IngredientReport

LONGEST = 200
"""Characters of any name, and number of actions or ingredients, taken over from a stranger's file."""
_UNKNOWN_SIGNER = {"signingCredential.untrusted", "timeStamp.untrusted"}  # says nothing about the file
_DEPTH = 20
_MODEL = "c2pa.types.model"


def ingredient_reports(store: Mapping[str, Any]) -> tuple[IngredientReport, ...]:
    """The ingredients of the active manifest, what was changed first."""
    active = _manifest(store, store.get("active_manifest"))
    found = [_report(store, each) for each in listed(active.get("ingredients"))[:LONGEST]]
    return tuple(sorted(found, key=lambda each: each.relation != "parentOf"))


def short(value: object) -> str | None:
    """A stranger's text, cut; None for nothing."""
    return str(value)[:LONGEST] if value else None


def _report(store: Mapping[str, Any], found: Mapping[str, Any]) -> IngredientReport:
    own = _manifest(store, found.get("active_manifest"))
    info = (listed(own.get("claim_generator_info")) or [{}])[0]
    return IngredientReport(
        title=short(found.get("title")) or "",
        relation=short(found.get("relationship")) or "",
        state=_state(store, found),
        generator=short(info.get("name") or own.get("claim_generator")),
        digital_source_type=_source_type(store, found),
        kind="model" if _is_model(found) else "file",
        ident=short(found.get("instance_id")) if _is_model(found) else None,
    )


def _is_model(found: Mapping[str, Any]) -> bool:
    """C2PA 2.4, asset types: "c2pa.types.model" and what stands under it."""
    types = [str(each.get("type")) for each in listed(found.get("data_types"))]
    return any(each == _MODEL or each.startswith(f"{_MODEL}.") for each in types)


def _state(store: Mapping[str, Any], found: Mapping[str, Any]) -> Literal["valid", "invalid", "absent"]:
    if not found.get("active_manifest"):
        return "absent"
    results = mapping(found.get("validation_results"))
    recorded = mapping(results.get("activeManifest"))
    if not recorded or not _manifest(store, found.get("active_manifest")):
        return "invalid"
    address = f"/{found.get('label')}"
    deeper = listed(results.get("ingredientDeltas"))  # what had gone into that picture in its turn
    deeper += [
        each
        for each in listed(mapping(store.get("validation_results")).get("ingredientDeltas"))
        if _uri(each).endswith(address)
    ]
    parts = [recorded, *(mapping(each.get("validationDeltas")) for each in deeper)]
    codes = {str(failure.get("code")) for part in parts for failure in listed(part.get("failure"))}
    return "valid" if codes <= _UNKNOWN_SIGNER else "invalid"


def _source_type(store: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """What the ingredient is declared to be; if its own actions are silent, what it was opened from is."""
    for _ in range(_DEPTH):
        own = _manifest(store, found.get("active_manifest"))
        actions = [
            action
            for assertion in listed(own.get("assertions"))
            if str(assertion.get("label", "")).startswith("c2pa.actions")
            for action in listed(mapping(assertion.get("data")).get("actions"))
        ]
        if kind := next((each for action in actions if (each := action.get("digitalSourceType"))), None):
            return short(kind)
        parents = [each for each in listed(own.get("ingredients")) if each.get("relationship") == "parentOf"]
        if not parents:
            return None
        found = parents[0]
    return None


def _uri(delta: Mapping[str, Any]) -> str:
    return str(delta.get("ingredientAssertionURI"))


def _manifest(store: Mapping[str, Any], label: object) -> Mapping[str, Any]:
    return mapping(mapping(store.get("manifests")).get(str(label)))


def mapping(value: object) -> Mapping[str, Any]:
    """A stranger's value where an object is meant; empty for anything else."""
    return value if isinstance(value, Mapping) else {}


def listed(value: object) -> list[Mapping[str, Any]]:
    """The objects of a stranger's list; none of anything else."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
