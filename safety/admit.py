"""The gate before the queue: a request passes, passes with a note, or is refused with its reasons.

The positive prompt decides. A negative prompt names what must not be seen, and refusing "child" there would refuse the
very people who keep children out of their pictures. No role and no setting overrides a refusal.
"""

from __future__ import annotations

from backend.errors import Refused
from backend.types import GenerationRequest, Principal, SpokenReason, Verdict
from safety.policy import PERSONAL, Policy
from safety.prompt_filter import Filter

_WHY = {
    "sexual-minors": "Sexual content with minors is never made here",
    "nudification": "Undressing real people is never done here",
    "sexual": "This policy allows no sexual content",
}


class RefusedByPolicy(Refused):
    """A refusal that says what was read, and where."""

    def __init__(self, reason: SpokenReason, policy: Policy) -> None:
        detail = f'{_WHY[reason.category]}: the prompt was read as "{reason.span}" (by {reason.layer}).'
        hint = f"Nothing was made, and the prompt is kept for you to change. Policy in force: {policy.id}."
        super().__init__(detail, hint)


class Gate:
    """Implements backend.ports.Admission. Safe to share between threads."""

    def __init__(self, policy: Policy = PERSONAL) -> None:
        self.policy = policy
        self._filter = Filter()

    def admit(self, request: GenerationRequest, principal: Principal) -> Verdict:
        """Raises RefusedByPolicy. The request must be the one that will run: wildcards and styles already expanded."""
        reasons = self._filter.read(request.prompt)
        for reason in reasons:
            if self.policy.actions.get(reason.category) == "refuse":
                raise RefusedByPolicy(reason, self.policy)
        noted = tuple(reason for reason in reasons if self.policy.actions.get(reason.category) == "note")
        return Verdict("note" if noted else "allow", self.policy.id, noted)
