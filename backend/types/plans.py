"""Plans: one request and a few arguments that become many requests, and sheets of their pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Fields = Mapping[str, Any]
"""A request as a face received it, not checked yet."""

ArgumentKind = Literal["axis", "flag", "whole", "choice", "pictures"]
AxisKind = Literal["whole", "number", "flag", "choice", "choices", "text", "search", "order", "size"]
NameList = Literal["sampler", "schedule", "checkpoint", "vae", "upscaler", "latent upscaler", "style", "lora"]

MAX_PICTURES = 400
"""The most pictures of one plan: as many as a sheet has places."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One field of a plan's form. `minimum` and `maximum` bound a whole number, `choices` are those of a choice."""

    name: str
    label: str
    kind: ArgumentKind
    about: str = ""
    default: Any = None
    choices: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int = 0


@dataclass(frozen=True, slots=True)
class Axis:
    """Something a plot can vary.

    `apply` gives the request with one value set, and raises InvalidParameter where that would mean nothing. `names` is
    the list a choice is made from, `extra` are choices besides. What costs more when it changes has the larger `cost`
    and changes less often. `bare` values need no name in the legend.
    """

    name: str
    kind: AxisKind
    apply: Callable[[Fields, Any], Fields]
    example: str = ""
    names: tuple[NameList, ...] = ()
    extra: tuple[str, ...] = ()
    cost: int = 0
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A request of a plan; `label` says which of them it is where something is wrong with it."""

    fields: Fields
    label: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A grid to be: `cells` are numbers of the plan's drafts, row by row."""

    cells: tuple[int, ...]
    columns: int
    column_labels: tuple[str, ...] = ()
    row_labels: tuple[str, ...] = ()
    title: str = ""
    margin: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be made: `drafts` in the order in which they are queued, then the sheets. `shape` is the number of
    pictures along each axis."""

    drafts: tuple[Draft, ...]
    sheets: tuple[Sheet, ...] = ()
    shape: tuple[int, ...] = ()


class PlanContext(Protocol):
    """What a plan may ask of the studio."""

    @property
    def axes(self) -> Mapping[str, Axis]:
        """Everything a plot can vary, in the order in which it is applied."""
        ...

    def names(self, kind: NameList) -> tuple[str, ...]:
        """Names that a request may use. Raises NotAllowed without the door "models:read"."""
        ...

    def draw_seed(self) -> int: ...


@dataclass(frozen=True, slots=True)
class PlanKind:
    """A way to make a plan. `make` raises a SignetError that names the argument at fault."""

    name: str
    title: str
    about: str
    arguments: tuple[Argument, ...]
    make: Callable[[Fields, Mapping[str, Any], PlanContext], Plan]


@dataclass(frozen=True, slots=True)
class ExtensionState:
    """How an extension does. `doors` are what it was granted; `problem` is the last thing that went wrong in it."""

    name: str
    title: str
    version: str
    about: str
    doors: tuple[str, ...] = ()
    on: bool = True
    failures: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FilledAxis:
    """An axis with all the names it can take now, as a form shows it."""

    axis: Axis
    choices: tuple[str, ...] = field(default=())
