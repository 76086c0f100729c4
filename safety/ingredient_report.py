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


def ingredient_reports(store: Mapping[str, Any]) -> tuple[IngredientReport, ...]:
    """The ingredients of the active manifest, what was changed first."""
    active = _manifest(store, store.get("active_manifest"))
    found = [_report(store, each) for each in _list(active.get("ingredients"))[:LONGEST]]
    return tuple(sorted(found, key=lambda each: each.relation != "parentOf"))


def short(value: object) -> str | None:
    """A stranger's text, cut; None for nothing."""
    return str(value)[:LONGEST] if value else None


def _report(store: Mapping[str, Any], found: Mapping[str, Any]) -> IngredientReport:
    own = _manifest(store, found.get("active_manifest"))
    info = (_list(own.get("claim_generator_info")) or [{}])[0]
    return IngredientReport(
        title=short(found.get("title")) or "",
        relation=short(found.get("relationship")) or "",
        state=_state(store, found),
        generator=short(info.get("name") or own.get("claim_generator")),
        digital_source_type=_source_type(store, found),
    )


def _state(store: Mapping[str, Any], found: Mapping[str, Any]) -> Literal["valid", "invalid", "absent"]:
    if not found.get("active_manifest"):
        return "absent"
    results = _mapping(found.get("validation_results"))
    recorded = _mapping(results.get("activeManifest"))
    if not recorded or not _manifest(store, found.get("active_manifest")):
        return "invalid"
    address = f"/{found.get('label')}"
    deeper = _list(results.get("ingredientDeltas"))  # what had gone into that picture in its turn
    deeper += [
        each
        for each in _list(_mapping(store.get("validation_results")).get("ingredientDeltas"))
        if _uri(each).endswith(address)
    ]
    parts = [recorded, *(_mapping(each.get("validationDeltas")) for each in deeper)]
    codes = {str(failure.get("code")) for part in parts for failure in _list(part.get("failure"))}
    return "valid" if codes <= _UNKNOWN_SIGNER else "invalid"


def _source_type(store: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """What the ingredient is declared to be; if its own actions are silent, what it was opened from is."""
    for _ in range(_DEPTH):
        own = _manifest(store, found.get("active_manifest"))
        actions = [
            action
            for assertion in _list(own.get("assertions"))
            if str(assertion.get("label", "")).startswith("c2pa.actions")
            for action in _list(_mapping(assertion.get("data")).get("actions"))
        ]
        if kind := next((each for action in actions if (each := action.get("digitalSourceType"))), None):
            return short(kind)
        parents = [each for each in _list(own.get("ingredients")) if each.get("relationship") == "parentOf"]
        if not parents:
            return None
        found = parents[0]
    return None


def _uri(delta: Mapping[str, Any]) -> str:
    return str(delta.get("ingredientAssertionURI"))


def _manifest(store: Mapping[str, Any], label: object) -> Mapping[str, Any]:
    return _mapping(_mapping(store.get("manifests")).get(str(label)))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
