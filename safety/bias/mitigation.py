"""A proposal to say what an open prompt leaves open, picture by picture: plain text that the user sees and may edit.

Off unless somebody asks. It is made only for prompts all of whose words are known here to leave everything open: one
person noun among words like "a photo of the face of". Any other word (a gender, an age, a people, a name, a year, a
place, an illness, another language, prompt syntax) means no proposal: what is not understood is not changed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from backend.errors import InvalidParameter
from backend.types import Shape

ATTRIBUTES: tuple[str, ...] = ("female", "male")
"""What is rotated unless the user writes something else."""

OPEN_NOUNS: frozenset[str] = frozenset(
    noun.strip()
    for noun in """
    accountant, architect, artist, author, baker, bartender, biologist, bus driver, butcher, carpenter, cashier,
    chef, childcare worker, cleaner, computer programmer, construction worker, cook, cyclist, dancer, dentist,
    designer, doctor, electrician, engineer, farmer, firefighter, fitness instructor, flight attendant, gardener,
    hairdresser, health worker, housekeeper, janitor, journalist, judge, laboratory technician, lawyer, librarian,
    manager, mathematician, mechanic, musician, nurse, office clerk, office worker, painter, person, pharmacist,
    philosopher, photographer, pilot, plumber, police officer, politician, professor, psychologist, reader,
    receptionist, runner, sales assistant, scientist, security guard, singer, social worker, software developer,
    student, surgeon, swimmer, tailor, taxi driver, teacher, therapist, truck driver, veterinarian, volunteer,
    waiter, welder, writer, astronaut, colleague, friend, neighbour, customer, passenger, tourist, leader
    """.replace("\n", " ").split(",")
)
_FRAME: frozenset[str] = frozenset(
    re.findall(
        r"[a-z-]+",
        """
        a an the of in at with photo photograph picture portrait image drawing painting illustration close-up closeup
        headshot icon emoji face head happy smiling friendly serious confident calm creative intelligent successful kind
        tired busy working studio background
        """,
    )
)
"""Colours are not among them: they can be said of skin and hair."""
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")
_PLAIN = re.compile(r"[A-Za-z ,.\-]+")
_MOST_WORDS = 30


class Proposal(Shape):
    """`text` is the proposed prompt, None where there is none; `why_not` says why. `value` is what was put in."""

    prompt: str
    text: str | None = None
    value: str = ""
    why_not: str = ""

    @property
    def changes(self) -> bool:
        return self.text is not None and self.text != self.prompt


def propose(
    prompt: str, place: int, attributes: Sequence[str] = ATTRIBUTES, *, brings_picture: bool = False
) -> Proposal:
    """The prompt of picture number `place` with the attribute whose turn it is before its one person noun.

    Raises InvalidParameter for attributes that are not a few plain words each.
    """
    values = _checked(attributes)
    why = "A picture goes in, which may show somebody." if brings_picture else _closed(prompt)
    if why:
        return Proposal(prompt=prompt, why_not=why)
    found = _noun(prompt)
    if found is not None and found[0] and prompt[found[0]].isupper():
        return Proposal(prompt=prompt, why_not="A word with a capital letter may be a name.")
    if found is None:
        return Proposal(prompt=prompt, why_not="There is not exactly one person of whom nothing is said.")
    value = values[place % len(values)]
    before, noun, after = prompt[: found[0]], prompt[found[0] : found[1]], prompt[found[1] :]
    article = "an" if value[0].casefold() in "aeiou" else "a"
    before = re.sub(
        r"\b(an?)( )$", lambda match: _as_written(match[1], article) + match[2], before, flags=re.IGNORECASE
    )
    return Proposal(prompt=prompt, text=f"{before}{value} {noun}{after}", value=value)


def _checked(attributes: Sequence[str]) -> tuple[str, ...]:
    values = tuple(" ".join(one.split()) for one in attributes)
    if not 2 <= len(values) <= 20 or any(not _PLAIN.fullmatch(one) or len(one) > 60 for one in values):
        raise InvalidParameter("attributes", "Two to twenty attributes of a few plain words are needed.")
    return values


def _closed(prompt: str) -> str:
    """Why the prompt is left alone, "" if nothing speaks against a change."""
    if not prompt.strip():
        return "The prompt is empty."
    if not _PLAIN.fullmatch(prompt):
        return "The prompt holds figures, syntax or letters that are not read here."
    words = _WORD.findall(prompt.casefold())
    if len(words) > _MOST_WORDS:
        return "The prompt says a lot already."
    rest = _without_nouns(prompt.casefold())
    strange = next((word for word in _WORD.findall(rest) if word not in _FRAME), None)
    if strange:
        return f'The word "{strange[:40]}" may say who, when or where.'
    return ""


def _without_nouns(text: str) -> str:
    return _NOUNS.sub(" ", text)


def _noun(prompt: str) -> tuple[int, int] | None:
    found = [match.span() for match in _NOUNS.finditer(prompt.casefold())]
    return found[0] if len(found) == 1 else None


def _as_written(article: str, new: str) -> str:
    return new.capitalize() if article[0].isupper() else new


_NOUNS = re.compile(rf"\b(?:{'|'.join(sorted(map(re.escape, OPEN_NOUNS), key=len, reverse=True))})\b")
