"""What requests may refer to, for tests: a few models by name, and a folder for pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.errors import NotFound, SignetError, UnknownModel
from backend.inputs import Input
from backend.models.cards import Sort
from backend.requests import Library
from backend.types import ModelCard, ModelInfo, ModelKind


class FewModels:
    """A catalogue of the given models; `refused_models` by file name."""

    def __init__(self, *models: ModelInfo, refused: dict[str, SignetError] | None = None) -> None:
        self.known = models
        self.refused_models = refused if refused is not None else {}
        self.why_not = ""

    def all(self, kind: ModelKind | None = "checkpoint") -> tuple[ModelInfo, ...]:
        return tuple(model for model in self.known if kind in (None, model.kind))

    def find(self, name: str, kind: ModelKind | tuple[ModelKind, ...] = "checkpoint") -> ModelInfo:
        kinds = (kind,) if isinstance(kind, str) else kind
        there = [model for one in kinds for model in self.all(one)]
        for model in there:
            if name.strip().casefold() == model.id.casefold():
                return model
        raise UnknownModel(name, [model.id for model in there])

    def fits(self, addition: ModelInfo, model: ModelInfo) -> str:
        return self.why_not

    def refused(self) -> dict[str, SignetError]:
        return self.refused_models

    def card(self, name: str, kind: ModelKind = "checkpoint") -> ModelCard:
        return ModelCard(self.find(name, kind))

    def cards(
        self, kind: ModelKind, text: str = "", folder: str | None = None, sort: Sort = "name"
    ) -> tuple[ModelCard, ...]:
        return tuple(ModelCard(model) for model in self.all(kind) if text.casefold() in model.title.casefold())

    def preview(self, name: str, kind: ModelKind) -> Path | None:
        return None

    def version(self) -> int:
        return 1


class Pictures:
    """Pictures that exist by name and size alone."""

    def __init__(self, **sizes: tuple[int, int]) -> None:
        self._sizes = sizes

    def get(self, ident: str) -> Input:
        if ident not in self._sizes:
            raise NotFound("input picture", ident)
        return Input(ident, Path("/nowhere"), "image/png", *self._sizes[ident])


def library(*models: ModelInfo, **sizes: tuple[int, int]) -> Library:
    few: Any = FewModels(*models)
    return Library(few, Pictures(**sizes))
