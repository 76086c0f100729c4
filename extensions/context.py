"""What an extension says of itself, and the doors it is given: no more than it asked for and was granted."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from backend.errors import NotAllowed
from backend.types.plans import Axis, NameList

Door = Literal["plans", "prompt", "events", "models:read"]
"""plans: makes many requests of one. prompt: may change a request before it is checked. events: hears of pictures and
jobs. models:read: may list models, samplers and styles."""

Names = Callable[[NameList], tuple[str, ...]]


def _no_names(kind: NameList) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Extension:
    """What an extension says of itself."""

    name: str
    title: str
    version: str
    about: str
    doors: frozenset[Door] = frozenset()


@dataclass(frozen=True, slots=True)
class Context:
    """Handed to every hook. `axes` is everything a plot can vary, in the order in which it is applied."""

    extension: str
    doors: frozenset[Door]
    axes: Mapping[str, Axis] = field(default_factory=dict)
    _names: Names = field(default=_no_names, repr=False)

    def names(self, kind: NameList) -> tuple[str, ...]:
        """Names that a request may use. Raises NotAllowed without the door "models:read"."""
        self.need("models:read")
        return self._names(kind)

    def draw_seed(self) -> int:
        """0 <= seed < 2**32, as for a request that names none."""
        return secrets.randbelow(2**32)

    def need(self, door: Door) -> None:
        """Raises NotAllowed if the extension was not granted this."""
        if door not in self.doors:
            detail = f'The extension "{self.extension}" was not granted "{door}".'
            raise NotAllowed(detail, "Name it among the doors of the extension, and grant it.")
