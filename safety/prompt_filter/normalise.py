"""One prompt, read in every way that a disguise could hide it.

`fold` undoes disguises of single characters. `readings` then gives the text as plain lower-case words under several
assumptions (digits stand for letters, punctuation stands inside words, letters stand apart), because each assumption is
wrong for some harmless text: rules look at all of them, and only for whole words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Letters of other scripts that look like Latin ones, as pairs; a small part of Unicode's confusables.
_PAIRS = (
    "аa еe оo рp сc уy хx іi јj ѕs ԁd ԛq ԝw һh ӏl ґr вb нh кk мm тt ьb зe гr ѵv пn "
    "αa βb γy δd εe ζz ηn θo ιi κk λl μu νv οo πn ρp σo ςc τt υu χx ωw ϲc ϳj "
    "ոn սu օo ցg հh ѡw ɑa ɡg ıi ɩi ɪi ʟl ɴn ʀr ꜱs ᴀa ʙb ᴄc ᴅd ᴇe ꜰf ɢg ʜh ᴊj ᴋk ᴍm ᴏo ᴘp ᴛt ᴜu ᴠv ᴡw ʏy ᴢz "
    "ƅb ɓb ƈc ɗd đd ɛe ɠg ɦh ɨi łl ŋn øo ɵo ʂs ŧt ʋv ƶz"
)
_LOOKALIKES = {ord(pair[0]): pair[1] for pair in _PAIRS.split()}
# Letters inside boxes and circles, and the regional indicators that flags are made of, have no decomposition.
_LOOKALIKES |= {start + i: chr(ord("a") + i) for start in (0x1F150, 0x1F170, 0x1F1E6) for i in range(26)}
_INVISIBLE = {0x115F, 0x1160, 0x2800, 0x3164, 0xFFA0}  # look like nothing, and are letters or symbols to Unicode

_Table = Mapping[int, int]
_AS_IS: _Table = {}
_LEET: _Table = str.maketrans("0134578@$!", "oieastbasi")
_LEET_L: _Table = str.maketrans("0134578@$!", "oleastbasl")
# All patterns are linear: a prompt is a stranger's text, and backtracking would be a way to stop the gate.
_LEET_WORD = re.compile(r"[a-z0-9@$!]+")
_LETTER = re.compile(r"[a-z]")
_NETWORK = re.compile(r"<\w+:([^:<>]*)(?::[^<>]*)?>")
_WEIGHT = re.compile(r":\s*[-+]?(?:\d+(?:\.\d*)?|\.\d+)\s*(?=[)\]])")
_LONG_RUN = re.compile(r"(\w)\1{2,}")
_SPELLED = re.compile(r"(?<![^ ])\w(?: \w){2,}(?![^ ])")


@dataclass(frozen=True, slots=True)
class Reading:
    """`text` is words with one space between and around them; `layer` names the disguise that was assumed."""

    layer: str
    text: str


def fold(text: str) -> str:
    """NFKC, lower case, and without marks, invisible characters and foreign look-alikes."""
    # Case first: the look-alike table holds small letters only, and some capitals decompose only when small.
    lower = unicodedata.normalize("NFKC", text).casefold()
    kept = []
    for char in unicodedata.normalize("NFKD", lower):
        if char.isspace():
            kept.append(" ")
        elif ord(char) not in _INVISIBLE and unicodedata.category(char) not in {"Mn", "Me", "Cf", "Cc", "Co", "Cn"}:
            kept.append(char)
    return unicodedata.normalize("NFC", "".join(kept).translate(_LOOKALIKES))


def readings(prompt: str) -> tuple[Reading, ...]:
    """Every different reading, the plain one first."""
    found: dict[str, Reading] = {}
    for reading in _readings(_without_syntax(fold(prompt))):
        found.setdefault(reading.text, reading)
    return tuple(found.values())


def _without_syntax(text: str) -> str:
    """A1111's notation to plain text: `<lora:name:1>` counts as its name, `(word:1.3)` as its word."""
    return _WEIGHT.sub("", _NETWORK.sub(r" \1 ", text.replace("\\", "")))


def _readings(text: str) -> Iterator[Reading]:
    for layer, table in (("words", _AS_IS), ("digits", _LEET), ("digits", _LEET_L)):
        plain = _unleet(text, table)
        words = _words(plain)
        yield Reading(layer, words)
        yield Reading("spacing", _spelled_out(words, table))
        yield Reading("punctuation", _words("".join(char for char in plain if char.isalnum() or char == " ")))
        if _LONG_RUN.search(words):
            yield Reading("repetition", _LONG_RUN.sub(r"\1", words))
            yield Reading("repetition", _LONG_RUN.sub(r"\1\1", words))


def _words(text: str) -> str:
    return f" {' '.join(''.join(char if char.isalnum() else ' ' for char in text).split())} "


def _unleet(text: str, table: _Table) -> str:
    """Digits and signs to letters, in words that have a letter of their own."""
    return _LEET_WORD.sub(lambda match: match[0].translate(table) if _LETTER.search(match[0]) else match[0], text)


def _spelled_out(words: str, table: _Table) -> str:
    """Runs of single letters ("a b c") as one word each, marked with "+" because they have lost their word ends."""
    return _SPELLED.sub(lambda match: f"+{match[0].replace(' ', '').translate(table)}+", words)
