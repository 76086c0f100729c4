"""What the front desk asks of the extensions, as a protocol; the composition root hands in the implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from backend import samplers
from backend.errors import NotFound
from backend.library import LibraryDesk
from backend.types import Job, ModelKind, Principal, Record
from backend.types.plans import Axis, ExtensionState, Fields, NameList, Plan, PlanKind
from backend.types.request import STRICTER
from backend.upscalers import LATENT, PIXEL


class Hooks(Protocol):
    """The extensions. Nothing but a SignetError ever comes out, and events are told without waiting."""

    def changed_fields(self, fields: Fields, principal: Principal) -> Fields:
        """The request as the extensions want it, before it is checked. Raises SignetError where one says no."""
        ...

    def picture_kept(self, record: Record) -> None: ...
    def job_ended(self, job: Job) -> None: ...
    def plans(self) -> Mapping[str, PlanKind]: ...
    def axes(self) -> Mapping[str, Axis]: ...

    def make(self, kind: str, fields: Fields, arguments: Mapping[str, Any]) -> Plan:
        """Raises NotFound, or a SignetError that names the argument at fault."""
        ...

    def states(self) -> tuple[ExtensionState, ...]: ...
    def close(self) -> None: ...


class NoHooks:
    """A studio without extensions."""

    def changed_fields(self, fields: Fields, principal: Principal) -> Fields:
        return fields

    def picture_kept(self, record: Record) -> None:
        return

    def job_ended(self, job: Job) -> None:
        return

    def plans(self) -> Mapping[str, PlanKind]:
        return {}

    def axes(self) -> Mapping[str, Axis]:
        return {}

    def make(self, kind: str, fields: Fields, arguments: Mapping[str, Any]) -> Plan:
        raise NotFound("plan", kind)

    def states(self) -> tuple[ExtensionState, ...]:
        return ()

    def close(self) -> None:
        return


def no_looser(asked: Fields, changed: Fields) -> Fields:
    """What extensions made of a request, without loosening it: a stricter policy that was asked for stays, and nobody's
    consent is declared for them."""
    kept = dict(changed)
    policies = (asked.get("policy") or "", changed.get("policy") or "")
    if all(policy in STRICTER for policy in policies):
        kept["policy"] = max(policies, key=STRICTER.index)
    if changed.get("consent") and not asked.get("consent"):
        kept["consent"] = asked.get("consent")
    return kept


def names_of(library: LibraryDesk) -> Callable[[NameList], tuple[str, ...]]:
    """Lists what requests may refer to, as it is when it is asked."""

    def models(kind: ModelKind) -> tuple[str, ...]:
        return tuple(info.id for info in library.catalog.all(kind))

    def names(kind: NameList) -> tuple[str, ...]:
        match kind:
            case "sampler":
                return samplers.names()
            case "schedule":
                return tuple(samplers.SCHEDULES)
            case "upscaler":
                return (*PIXEL, *models("upscaler"))
            case "latent upscaler":
                return LATENT
            case "style":
                return tuple(style.name for style in library.styles().values() if not style.divides)
            case "checkpoint" | "vae" | "lora":
                return models(kind)

    return names
