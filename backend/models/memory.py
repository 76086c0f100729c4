"""What is in memory: least recently used goes first, counted in bytes. Models, and what is loaded to go with them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Protocol, TypeVar, overload

from backend.models.loader import LoadedModel
from backend.types import ModelInfo


class Held(Protocol):
    """Anything that was loaded for an entry of the catalogue. `size` is bytes of weights."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def size(self) -> int: ...


T = TypeVar("T", bound=Held)


class ModelMemory:
    """Keeps what is loaded below `budget` bytes. Not thread-safe: the engine's loop alone uses it.

    A model larger than the whole budget is still loaded, alone: the budget says what to keep, not what is allowed.
    ControlNets, upscalers and other pipelines share the budget: whoever wants one says how it is loaded.
    """

    def __init__(self, load: Callable[[ModelInfo], LoadedModel], budget: int) -> None:
        self._load = load
        self._budget = budget
        self._held: OrderedDict[tuple[str, str], Held] = OrderedDict()

    @property
    def budget(self) -> int:
        return self._budget

    @property
    def used(self) -> int:
        """Bytes of weights in memory."""
        return sum(held.size for held in self._held.values())

    @property
    def loaded(self) -> tuple[str, ...]:
        """Ids, least recently used first."""
        return tuple(ident for _, ident in self._held)

    def has(self, info: ModelInfo) -> bool:
        held = self._held.get(_key(info))
        return held is not None and _same_file(held.info, info)

    @overload
    def get(self, info: ModelInfo, leased: Collection[str] = ()) -> LoadedModel: ...

    @overload
    def get(self, info: ModelInfo, leased: Collection[str], load: Callable[[ModelInfo], T]) -> T: ...

    def get(self, info: ModelInfo, leased: Collection[str] = (), load: Callable[[ModelInfo], Any] | None = None) -> Any:
        """The entry in memory, loaded if need be (by `load`, or as a Stable Diffusion model).

        Nothing in `leased` (ids in use by running jobs) is unloaded for it. An entry whose file has changed since
        (another `info` under the same id) is read again.
        """
        key = _key(info)
        if not self.has(info):
            self._held.pop(key, None)
            self._make_room(info.size, leased)
            self._held[key] = (load or self._load)(info)
        self._held.move_to_end(key)
        self._make_room(0, {*leased, info.id})
        return self._held[key]

    def unload(self, ident: str) -> bool:
        """Let go of one entry; False if it was not here. Its memory is free once nobody else refers to it."""
        found = [key for key in self._held if key[1] == ident]
        for key in found:
            del self._held[key]
        return bool(found)

    def drop_all(self, leased: Collection[str] = ()) -> tuple[str, ...]:
        """Let go of everything that is not in `leased`; returns the ids."""
        gone = tuple(ident for ident in self.loaded if ident not in leased)
        for ident in gone:
            self.unload(ident)
        return gone

    def _make_room(self, needed: int, leased: Collection[str]) -> None:
        for key in tuple(self._held):
            if self.used + needed <= self._budget:
                return
            if key[1] not in leased:
                del self._held[key]


def _same_file(one: ModelInfo, other: ModelInfo) -> bool:
    """Hashes are found out later than a model is loaded; to know them makes it no other model."""
    return replace(one, sha256=None, autov3=None) == replace(other, sha256=None, autov3=None)


def _key(info: ModelInfo) -> tuple[str, str]:
    """A checkpoint and a ControlNet may have the same name."""
    return info.kind, info.id
