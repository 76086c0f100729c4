"""Admission whose decisions are on record before anything follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from backend.auditing import refusal_facts, texts_of, verdict_facts
from backend.errors import Refused
from backend.ports import Admission, AuditLog
from backend.types import GenerationRequest, Principal, Verdict


@dataclass(frozen=True, slots=True)
class RecordedAdmission:
    """`facts` say what the decision is about; `actor` is who asked, where that is not who it is judged for."""

    admission: Admission
    log: AuditLog

    def admit(
        self,
        request: GenerationRequest,
        principal: Principal,
        facts: Mapping[str, Any],
        actor: Principal | None = None,
    ) -> Verdict:
        """The verdict, quoting its own entry. Raises Refused, which is on record too, or what the log raises."""
        verdict = self.judged(request, principal, facts, actor)
        entry = {**facts, **verdict_facts(verdict)}
        return replace(verdict, audit_head=self.log.append("verdict", actor or principal, entry, texts_of(request)))

    def judged(
        self,
        request: GenerationRequest,
        principal: Principal,
        facts: Mapping[str, Any],
        actor: Principal | None = None,
    ) -> Verdict:
        """The same where only a refusal is worth an entry."""
        try:
            return self.admission.admit(request, principal)
        except Refused as error:
            self.log.append("refusal", actor or principal, {**facts, **refusal_facts(error)}, texts_of(request))
            raise


@dataclass(frozen=True, slots=True)
class OfTexts:
    """Implements backend.ports.Admission for texts that are no job, such as captions."""

    recorded: RecordedAdmission
    facts: Mapping[str, Any]

    def admit(self, request: GenerationRequest, principal: Principal) -> Verdict:
        return self.recorded.judged(request, principal, self.facts)
