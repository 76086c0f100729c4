"""One prompt, read in every way that a disguise could hide it.

`fold` undoes disguises of single characters. `readings` then gives the text as plain lower-case words under several
assumptions (digits stand for letters, punctuation stands inside words, letters stand apart), because each assumption is
wrong for some harmless text: rules look at all of them, and only for whole words.

The notation of prompts hides words too. So each text is read with its brackets as gaps and with its pieces joined, as
the model gets them, and that of every step where words are scheduled (safety.prompt_filter.moments).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from safety.prompt_filter.moments import moments

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
_NETWORK = re.compile(r"<(\w+):([^>]*)>")
_WEIGHT = re.compile(r":\s*[-+]?[\d.]+\s*(?=[)\]])")
_DIVISION = re.compile(r"BREAK|\bAND\b")
_BRACKETS: Mapping[int, None] = dict.fromkeys(map(ord, "()[]{}"))
_ASCII_CONTROLS = {**dict.fromkeys(range(32)), 127: None, **dict.fromkeys((*range(9, 14), *range(28, 32)), " ")}
_GAP = re.compile(r"[\W_]+")
_SIGN = re.compile(r"[^\w ]|_")
_SPACES = re.compile(r" {2,}")
_MARGIN = 400  # characters around what changes: pieces further apart are no word to the model either
_LONG_RUN = re.compile(r"(\w)\1{2,}")
_SPELLED = re.compile(r"(?<![^ ])\w(?: \w){2,}(?![^ ])")


@dataclass(frozen=True, slots=True)
class Reading:
    """`text` is words with one space between and around them; `layer` names the disguise that was assumed."""

    layer: str
    text: str


def fold(text: str) -> str:
    """NFKC, lower case, and without marks, invisible characters and foreign look-alikes."""
    if text.isascii():
        return text.lower().translate(_ASCII_CONTROLS)
    # Case first: the look-alike table holds small letters only, and some capitals decompose only when small.
    lower = unicodedata.normalize("NFKC", text).casefold()
    kept = []
    for char in unicodedata.normalize("NFKD", lower):
        if char.isspace():
            kept.append(" ")
        elif ord(char) not in _INVISIBLE and unicodedata.category(char) not in {"Mn", "Me", "Cf", "Cc", "Co", "Cn"}:
            kept.append(char)
    return unicodedata.normalize("NFC", "".join(kept).translate(_LOOKALIKES))


def readings(prompt: str, steps: int) -> tuple[Reading, ...]:
    """Every different reading, the plain one first; `steps` of the sampler show the scheduled words."""
    found: dict[str, Reading] = {}
    scheduled = [_SPACES.sub(" ", _bare(text)) for text in moments(prompt, steps)]
    for text in (_bare(prompt), *_around_changes(scheduled)):
        for view in dict.fromkeys((_spaced(text), _joined(text))):
            for reading in _readings(view):
                found.setdefault(reading.text, reading)
    return tuple(found.values())


def _bare(text: str) -> str:
    # BREAK and AND are signs only in capitals, so before folding.
    return fold(_DIVISION.sub(" ", text)).replace("\\", "")


def _around_changes(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts without what they all begin and end with, except for a margin of whole words."""
    before = _in_common(texts)
    after = _in_common([text[before:][::-1] for text in texts])
    found = []
    for text in texts:
        behind = len(text) - after
        start = text.find(" ", before - _MARGIN, before) if before > _MARGIN else 0
        end = text.rfind(" ", behind, behind + _MARGIN) if after > _MARGIN else len(text)
        found.append(text[max(0, start) : end if end >= 0 else len(text)])
    return tuple(dict.fromkeys(found))


def _in_common(texts: Sequence[str]) -> int:
    """How many characters all of them begin with."""
    if not texts:
        return 0
    first, last = min(texts), max(texts)  # what these two share, all between them share
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def _spaced(text: str) -> str:
    """A1111's notation to plain text: `<lora:name:1>` counts as its words, `(word:1.3)` as its word."""
    return _WEIGHT.sub("", _networks(text, r" \1 \2 "))


def _joined(text: str) -> str:
    """The same with the pieces put together, as they reach the model: `(wo:1.3)rd`, `wo<lora:name:1>rd`."""
    return _WEIGHT.sub("", _networks(text, "")).translate(_BRACKETS)


def _networks(text: str, replacement: str) -> str:
    end = text.rfind(">") + 1  # behind the last one no tag can end, and to look for it from each start takes long
    return _NETWORK.sub(replacement, text[:end]) + text[end:]


def _readings(text: str) -> Iterator[Reading]:
    for layer, table in (("words", _AS_IS), ("digits", _LEET), ("digits", _LEET_L)):
        plain = _unleet(text, table)
        words = _words(plain)
        yield Reading(layer, words)
        yield Reading("spacing", _spelled_out(words, table))
        yield Reading("punctuation", _words(_SIGN.sub("", plain)))
        if _LONG_RUN.search(words):
            yield Reading("repetition", _LONG_RUN.sub(r"\1", words))
            yield Reading("repetition", _LONG_RUN.sub(r"\1\1", words))


def _words(text: str) -> str:
    return f" {_GAP.sub(' ', text).strip()} "


def _unleet(text: str, table: _Table) -> str:
    """Digits and signs to letters, in words that have a letter of their own."""
    return _LEET_WORD.sub(lambda match: match[0].translate(table) if _LETTER.search(match[0]) else match[0], text)


def _spelled_out(words: str, table: _Table) -> str:
    """Runs of single letters ("a b c") as one word each, marked with "+" because they have lost their word ends."""
    return _SPELLED.sub(lambda match: f"+{match[0].replace(' ', '').translate(table)}+", words)
