"""The fixed lists the report draws from. They are data: one text file each, beside this module."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from training.errors import BadInput

FOLDER = Path(__file__).parent / "lists"


class BadList(BadInput):
    """A list names something twice or leaves a line unfinished."""


def _lines(name: str) -> list[str]:
    """Lines of a list without comments and blank lines."""
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _table(name: str) -> list[tuple[str, str]]:
    """Lines "left -> right" of a list."""
    rows: list[tuple[str, str]] = []
    for line in _lines(name):
        left, mark, right = line.partition(" -> ")
        if not mark or not left.strip() or not right.strip():
            raise BadList(f"{name}.txt: {line!r} should read 'left -> right'.")
        rows.append((left.strip(), right.strip()))
    return rows


@cache
def concepts() -> tuple[str, ...]:
    """The 300 common concepts, each with art in all four styles."""
    found = [label.strip() for label in " ".join(_lines("concepts")).split(",") if label.strip()]
    if len(set(found)) != len(found):
        raise BadList("concepts.txt names a concept twice.")
    return tuple(found)


@cache
def groups() -> dict[str, frozenset[str]]:
    """What also answers a prompt: asked concept to every label that shows the same thing, itself included."""
    found: dict[str, frozenset[str]] = {}
    for asked, right in _table("groups"):
        if asked in found:
            raise BadList(f"groups.txt names {asked!r} twice.")
        found[asked] = frozenset({asked, *(label.strip() for label in right.split(","))})
    return found


def accepted(concept: str) -> frozenset[str]:
    """Every label that counts as right when `concept` was asked for."""
    return groups().get(concept, frozenset({concept}))


@cache
def synonyms() -> tuple[tuple[str, str], ...]:
    """Pairs of a word that is no label and the concept it means."""
    return tuple(_table("synonyms"))


@cache
def pairs() -> tuple[tuple[str, str], ...]:
    """Pairs of concepts that look nothing like each other."""
    return tuple(_table("pairs"))
