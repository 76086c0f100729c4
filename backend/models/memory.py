"""Which models are in memory: least recently used goes first, counted in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection

from backend.models.loader import LoadedModel
from backend.types import ModelInfo


class ModelMemory:
    """Keeps loaded models below `budget` bytes. Not thread-safe: the engine's loop alone uses it.

    A model larger than the whole budget is still loaded, alone: the budget says what to keep, not what is allowed.
    """

    def __init__(self, load: Callable[[ModelInfo], LoadedModel], budget: int) -> None:
        self._load = load
        self._budget = budget
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()

    @property
    def used(self) -> int:
        """Bytes of weights in memory."""
        return sum(model.size for model in self._models.values())

    @property
    def loaded(self) -> tuple[str, ...]:
        """Ids, least recently used first."""
        return tuple(self._models)

    def has(self, info: ModelInfo) -> bool:
        held = self._models.get(info.id)
        return held is not None and held.info == info

    def get(self, info: ModelInfo, leased: Collection[str] = ()) -> LoadedModel:
        """The model, loaded if need be; models in `leased` (ids of running jobs) are not unloaded for it.

        An entry whose file has changed since (another `info` under the same id) is read again.
        """
        if not self.has(info):
            self._models.pop(info.id, None)
            self._make_room(info.size, leased)
            self._models[info.id] = self._load(info)
        self._models.move_to_end(info.id)
        self._make_room(0, {*leased, info.id})
        return self._models[info.id]

    def _make_room(self, needed: int, leased: Collection[str]) -> None:
        for ident in tuple(self._models):
            if self.used + needed <= self._budget:
                return
            if ident not in leased:
                del self._models[ident]
