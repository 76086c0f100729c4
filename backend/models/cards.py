"""Cards: what a file, the files beside it and its own metadata say about a model, chosen and put in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from backend.models.folders import Place
from backend.models.lora_metadata import Spec
from backend.models.sidecars import preview_of, read_sidecars
from backend.models.texts import plain
from backend.types import ModelCard, ModelInfo

Sort = Literal["name", "newest", "oldest", "size", "folder"]
_ORDERS: Mapping[Sort, Callable[[ModelCard], Any]] = {
    "name": lambda card: card.info.id.casefold(),
    "newest": lambda card: -card.info.modified_ns,
    "oldest": lambda card: card.info.modified_ns,
    "size": lambda card: -card.info.size,
    "folder": lambda card: (card.folder.casefold(), card.info.id.casefold()),
}


def card(place: Place, info: ModelInfo, spec: Spec) -> ModelCard:
    """What the user wrote comes before what the file says of itself."""
    said = read_sidecars(place.path.parent, place.stem, place.beside)
    picture = preview(place)
    return ModelCard(
        info=replace(info, licence=plain(info.licence, 200)),
        folder=place.folder,
        description=said.description or spec.description,
        author=spec.author or said.author,
        source=said.source,
        base_model=said.base_model or spec.base_model,
        triggers=said.triggers or spec.triggers,
        tags=spec.tags,
        notes=said.notes,
        preferred_weight=said.preferred_weight,
        preview=str(picture) if picture else None,
        metadata=spec.metadata,
    )


def preview(place: Place) -> Path | None:
    name = preview_of(place.stem, place.beside)
    return place.path.with_name(name) if name else None


def chosen(cards: Iterable[ModelCard], text: str, folder: str | None, sort: Sort) -> tuple[ModelCard, ...]:
    """In order; ties keep the order of the disk."""
    words = text.casefold().split()
    kept = [card for card in cards if _within(card, folder) and _says(card, words)]
    return tuple(sorted(kept, key=_ORDERS[sort]))


def _within(card: ModelCard, folder: str | None) -> bool:
    return folder is None or card.folder == folder or card.folder.startswith(f"{folder}/")


def _says(card: ModelCard, words: list[str]) -> bool:
    if not words:
        return True
    tags = " ".join(tag for tag, _ in card.tags)
    parts = (card.info.id, card.info.title, card.folder, card.description, card.author, card.base_model, card.notes)
    said = "\n".join((*parts, *card.triggers, tags, card.metadata.get("ss_output_name", ""))).casefold()
    return all(word in said for word in words)
