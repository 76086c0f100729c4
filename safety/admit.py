"""The gate before the queue: a request passes, passes with a note, or is refused with its reasons.

Every text that a picture is made from is read: the prompt as typed and as it came to be for each picture (styles in,
wildcards drawn), the second pass's own prompt, and the names of the networks in it. A refusal of one picture refuses
the request: nothing is made by halves.

The positive prompts decide. A negative prompt names what must not be seen, and refusing "child" there would refuse the
very people who keep children out of their pictures. No role and no setting overrides a refusal.
"""

from __future__ import annotations

from backend.errors import Refused
from backend.types import GenerationRequest, Principal, SpokenReason, Verdict, Words
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
        reasons = self._reasons(request)
        for reason in reasons:
            if self.policy.actions.get(reason.category) == "refuse":
                raise RefusedByPolicy(reason, self.policy)
        noted = tuple(reason for reason in reasons if self.policy.actions.get(reason.category) == "note")
        return Verdict("note" if noted else "allow", self.policy.id, noted)

    def _reasons(self, request: GenerationRequest) -> tuple[SpokenReason, ...]:
        """What is found in any of the texts, each finding once, those of the typed prompt first."""
        steps = max(request.steps, request.hires.steps if request.hires else 0)
        # The second pass repaints what the first one made, so what they say counts together.
        second = self._filter.evidence(request.hires.prompt if request.hires else "", steps)
        found: dict[SpokenReason, None] = {}
        for text in dict.fromkeys((request.prompt, *map(_text, request.words), *_drawn(request))):
            found |= dict.fromkeys(self._filter.reasons(self._filter.evidence(text, steps), second))
        return tuple(found)


def _drawn(request: GenerationRequest) -> tuple[str, ...]:
    """What is written into a sheet of pictures."""
    grid = request.grid
    return (grid.title, *grid.column_labels, *grid.row_labels) if grid else ()


def _text(words: Words) -> str:
    """The prompt of one picture, with the networks that were chosen without being named in it."""
    return "\n".join((words.prompt, *(use.id for use in words.loras)))
