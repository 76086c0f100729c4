"""The gate before the queue: a request passes, passes with a note, or is refused with its reasons.

Every text that a picture is made from is read: the prompt as typed and as it came to be for each picture (styles in,
wildcards drawn), the second pass's own prompt, the names of the networks, the labels of a sheet, and what else a
program sent to be kept with the picture. A refusal of one picture refuses the request: nothing is made by halves.

The positive prompts decide. A negative prompt names what must not be seen, and refusing "child" there would refuse the
very people who keep children out of their pictures; what it says by leaving out is in safety.prompt_filter.negation.

A picture that somebody brings and that shows a face shows a real person, as far as anybody here can tell, and so does
one that cannot be looked at. Whatever undresses or sexualises that person is refused under every policy, in whichever
field it stands. Anything else that is made from such a picture is "likeness", for which the policy may ask that the
person's consent is declared. safety.sources does the looking.

The effective policy is the owner's, tightened by what the request asks for; no role, source or field loosens it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from backend.types import GenerationRequest, Principal, SourceLook, Verdict, Words
from backend.types.jobs import LADDER
from safety import request_texts as texts
from safety.policy import PERSONAL, PROFILES, Category, Policy
from safety.prompt_filter.reading import Reader, shipped
from safety.prompt_filter.rules import Evidence, together
from safety.prompt_filter.weighing import Judgement, Read, Seen, offered, seen, weighed
from safety.refusal import RefusedByPolicy

__all__ = ["BodyLooks", "Gate", "Looks", "RefusedByPolicy"]

_EXPLICIT = 0.5  # score of the picture scanner from which a brought picture already shows too much
_BRIEF = 6  # words up to which a text leaves open what is painted
_COVERS = frozenset({"clothes", "garment"})
_LIKENESS = 0.6
_PERSON = ("a picture of a person", "picture")


class Looks(Protocol):
    """backend.ports.SourceLooks."""

    def look(self, sha256: str) -> SourceLook: ...


@runtime_checkable
class BodyLooks(Looks, Protocol):
    """A SourceLooks that can also tell where a mask lies."""

    def masks_body(self, sha256: str, mask: str | None, inverted: bool) -> bool:
        """Whether what is repainted is more than faces and background, as far as can be told; in doubt it is."""
        ...


@dataclass(frozen=True, slots=True)
class _Sources:
    """What is known of the pictures brought. `person`: one shows somebody, `explicit`: and too much of them already."""

    person: bool = False
    explicit: bool = False
    body: bool = False
    field: str = "init_image"
    doubt: str = ""


class Gate:
    """Implements backend.ports.Admission. Safe to share between threads.

    `policy` gives the owner's policy at the moment of asking. `reader` opens the layers of text on first use: where
    they are missing the studio runs, but every request raises Unavailable. Without `sources` every picture that is
    brought counts as one of a person.
    """

    def __init__(
        self,
        policy: Policy | Callable[[], Policy] = PERSONAL,
        reader: Reader | Callable[[], Reader] = shipped,
        sources: Looks | None = None,
    ) -> None:
        self._policy = policy
        self._reader = reader
        self._sources = sources

    def admit(self, request: GenerationRequest, principal: Principal) -> Verdict:
        """Raises RefusedByPolicy, or Unavailable without a classifier. The request must be the one that will run."""
        policy = self.policy_for(request)
        judgement = self.judge(request, policy, principal)
        if judgement.action == "refuse":
            raise RefusedByPolicy(judgement, policy)
        return Verdict(
            judgement.action,
            policy.id,
            judgement.reasons,
            flagged=policy.flagged,
            flag_from=policy.flag_from,
            previews=policy.previews,
            score=max((reason.score for reason in judgement.reasons), default=0.0),
            offers=judgement.offers,
        )

    def policy_for(self, request: GenerationRequest) -> Policy:
        """The owner's policy now, tightened as the request asks."""
        own = self._policy if isinstance(self._policy, Policy) else self._policy()
        return own.tightened(PROFILES[request.policy]) if request.policy else own

    def judge(self, request: GenerationRequest, policy: Policy, principal: Principal) -> Judgement:
        """What the request comes to, refusals included. Raises Unavailable without a classifier."""
        reader = self._reader if isinstance(self._reader, Reader) else self._reader()
        steps = max(request.steps, request.hires.steps if request.hires else 0)
        looked = self._look(request)
        second = texts.second_pass(reader, request, steps)
        networks = tuple(texts.of_networks(reader, request))
        typed = Words(prompt=request.prompt, negative=request.negative)
        found: dict[Category, Seen] = {}
        spoken: list[Read] = []
        for words in dict.fromkeys((typed, *request.words)):
            reads, extra = texts.of_picture(reader, request, words, steps)
            spoken += reads
            if looked.person:
                extra = together(extra, _with_person(looked, [*reads, *second]))
            if looked.person or any("minor" in read.evidence for read in (*reads, *second)):
                reads += networks
            _strongest(found, seen((*reads, *second), extra))
        beside: Evidence = {"source": _PERSON} if looked.person else {}
        for read in texts.beside(reader, request):
            _strongest(found, seen((read,), beside))
        if looked.person:
            _of_source(found, looked, spoken)
        judgement = weighed(found, policy, principal.roles, offered(spoken))
        consented = request.consent and "classroom" not in policy.name.split("+") and "kiosk" not in principal.roles
        return _consented(judgement) if consented else judgement

    def _look(self, request: GenerationRequest) -> _Sources:
        """Pictures that shape what is painted: no masks, and nothing for an upscaler that does not paint."""
        if not request.paints:
            return _Sources()
        brought = [("init_image", request.init_image), *(("control", unit.image) for unit in request.control)]
        people = explicit = False
        where, doubt = "init_image", ""
        for place, name in brought:
            if not name:
                continue
            look = self._sources.look(name) if self._sources else SourceLook(problem="nothing looks at pictures here")
            if look.people or look.problem:
                where = where if people else place
                people, doubt = True, doubt or look.problem
                explicit = explicit or look.nsfw >= _EXPLICIT
        return _Sources(people, explicit, people and self._masks_body(request), where, doubt)

    def _masks_body(self, request: GenerationRequest) -> bool:
        if request.mode != "inpaint" or not request.init_image:
            return False
        mask = request.inpaint.mask if request.inpaint else None
        if mask is None or not isinstance(self._sources, BodyLooks):  # what is new beside a face may be a body
            return True
        return self._sources.masks_body(request.init_image, mask, bool(request.inpaint and request.inpaint.inverted))


def _with_person(looked: _Sources, reads: Sequence[Read]) -> Evidence:
    """A picture of a person as evidence; "body" where a mask lies on one and the text leaves open what comes there."""
    found: dict[str, tuple[str, str]] = {"source": _PERSON}
    known = together(*(read.evidence for read in reads))
    if looked.body and sum(read.words for read in reads) <= _BRIEF and "garment" not in known:
        found["body"] = ("a mask on a body", "mask")
    return found


def _strongest(found: dict[Category, Seen], new: Mapping[Category, Seen]) -> None:
    for category, this in new.items():
        if category not in found or this.score > found[category].score:
            found[category] = this


def _of_source(found: dict[Category, Seen], looked: _Sources, texts: Sequence[Read]) -> None:
    """What a picture of a person means by itself."""
    known = together(*(read.evidence for read in texts))
    if looked.explicit and (_COVERS.isdisjoint(known) or "baring" in known):
        span = "a picture of a person that already shows too much, and nothing that covers it"
        _strongest(found, {"nudification": Seen(0.85, span, "picture", looked.field, True)})
    span = (
        f"one of a person, because it cannot be looked at ({looked.doubt})" if looked.doubt else "a picture of a person"
    )
    found["likeness"] = Seen(_LIKENESS, span, "picture", looked.field, True)


def _consented(judgement: Judgement) -> Judgement:
    """With the consent of the people in the picture their likeness is no more than noted."""
    actions = tuple(
        "note" if reason.category == "likeness" and action != "allow" else action
        for reason, action in zip(judgement.reasons, judgement.actions, strict=True)
    )
    gravest = max(actions, key=LADDER.index, default=judgement.action)
    return replace(judgement, action=gravest, actions=actions)
