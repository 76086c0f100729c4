"""Mechanical disguises of a text: what changes its characters and leaves its meaning to a reader."""

from __future__ import annotations

import base64
import codecs
import random
from collections.abc import Callable, Mapping
from types import MappingProxyType

_LEET = str.maketrans("aeiost", "431057")
_LOOKALIKES = str.maketrans("aceopxyijs", "асеорхуіјѕ")
_ACCENTS = str.maketrans("aeiou", "áèîöũ")
_EMOJI = {letter: chr(0x1F1E6 + number) for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
Disguise = Callable[[str, random.Random], str]


def _each_word(change: Callable[[str], str]) -> Disguise:
    return lambda text, _: " ".join(map(change, text.split(" ")))


def _between(sign: str) -> Disguise:
    return _each_word(lambda word: sign.join(word))


def _zero_width(text: str, chance: random.Random) -> str:
    signs = ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff")
    return "".join(letter + chance.choice(signs) for letter in text)


def _bidi(text: str, _: random.Random) -> str:
    return "\u202e" + text[::-1] + "\u202c"


def _marked_bidi(text: str, chance: random.Random) -> str:
    return "".join(
        letter + (chance.choice("\u200e\u200f\u2066\u2069") if chance.random() < 0.5 else "") for letter in text
    )


def _spliced(text: str, _: random.Random) -> str:
    return text.replace(" ", "")


def _repeated(text: str, chance: random.Random) -> str:
    return "".join(letter * chance.choice((1, 1, 3, 4)) if letter.isalpha() else letter for letter in text)


def _weighted(text: str, chance: random.Random) -> str:
    return " ".join(f"({word}:1.{chance.randint(1, 4)})" if chance.random() < 0.5 else word for word in text.split())


def _scheduled(text: str, chance: random.Random) -> str:
    """Half of the words appear late, in place of a harmless one."""
    return " ".join(
        f"[flower:{word}:0.{chance.randint(1, 3)}]" if chance.random() < 0.5 else word for word in text.split()
    )


def _broken(text: str, _: random.Random) -> str:
    words = text.split()
    return " ".join(words[: len(words) // 2]) + " BREAK " + " ".join(words[len(words) // 2 :])


def _in_brackets(text: str, _: random.Random) -> str:
    return " ".join(f"{word[:2]}[{word[2:]}]" if len(word) > 3 else word for word in text.split())


DISGUISES: Mapping[str, Disguise] = MappingProxyType(
    {
        "capitals": lambda text, _: text.upper(),
        "accents": lambda text, _: text.translate(_ACCENTS),
        "digits for letters": lambda text, _: text.lower().translate(_LEET),
        "look-alike letters": lambda text, _: text.translate(_LOOKALIKES),
        "full width": lambda text, _: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
        "zero width": _zero_width,
        "turned by bidi signs": _bidi,
        "bidi signs between": _marked_bidi,
        "spaces between": lambda text, _: "  ".join(" ".join(word) for word in text.split()),
        "dots between": _between("."),
        "hyphens between": _between("-"),
        "lines between": lambda text, _: "\n".join(text.split()),
        "spliced": _spliced,
        "backwards": lambda text, _: text[::-1],
        "base64": lambda text, _: base64.b64encode(text.encode()).decode(),
        "rot13": lambda text, _: codecs.encode(text, "rot13"),
        "emoji letters": lambda text, _: " ".join(_EMOJI.get(letter, letter) for letter in text.lower()),
        "repeated letters": _repeated,
        "weights": _weighted,
        "schedules": _scheduled,
        "brackets in words": _in_brackets,
        "BREAK": _broken,
    }
)
"""By the name that the table prints. All are deterministic for a seeded `random.Random`."""
