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

from safety.prompt_filter.confusables import lookalikes
from safety.prompt_filter.decoding import Natural, natural, share_of_words
from safety.prompt_filter.lexicon import Lexicon

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
_INDIC = "\u0900-\u0963\u0966-\u0dff\u0e31-\u0e4e\u0eb1-\u0ecd\u102b-\u103e\u17b4-\u17d3"
"""Scripts whose vowel signs are marks: parts of their words, though not letters to Unicode."""
_MARKS = re.compile(f"[{_INDIC}]")
_WORD = re.compile(rf"(?:[^\W_]|[{_INDIC}])+")
_GAP = re.compile(rf"(?:[^\w{_INDIC}]|_)+")
_SIGN = re.compile(r"[^\w ]|_")
_SPACES = re.compile(r" {2,}")
_ESCAPED = re.compile(r"\\([()\[\]{}<>|:\\])")
_BRACKET = re.compile(r"[()\[\]{}]+")
_KINDS = frozenset({"lora", "lyco", "lycoris", "hypernet"})
_WEIGHTED = re.compile(r"\s*[-+]?[\d.]*\s*")
_NOTATION = re.compile(r"[()\[\]{}<>|]")
_MOST_NATURAL = 3
_MOST_WEIGHED = 12
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
        elif ord(char) not in _INVISIBLE and (
            unicodedata.category(char) not in {"Mn", "Me", "Cf", "Cc", "Co", "Cn"}
            or (_MARKS.match(char) and kept and _MARKS.match(kept[-1]))
        ):
            kept.append(char)
    return unicodedata.normalize("NFC", "".join(kept).translate(lookalikes()))


def words_of(text: str) -> list[str]:
    """The words of a folded text."""
    return _WORD.findall(text)


def readings(prompt: str, scheduled: Sequence[str]) -> tuple[Reading, ...]:
    """Every different reading, the plain one first; `scheduled` are the moments of the prompt."""
    found: dict[str, Reading] = {}
    scheduled = [_SPACES.sub(" ", _bare(text)) for text in scheduled]
    for text in (_bare(prompt), *_around_changes(scheduled)):
        for view in dict.fromkeys((_spaced(text), _joined(text))):
            for reading in _readings(view):
                found.setdefault(reading.text, reading)
    return tuple(found.values())


def naturals(prompt: str, scheduled: Sequence[str], lexicon: Lexicon) -> tuple[Natural, ...]:
    """What a classifier is to read: one text for most prompts, never more than three, the plainest first.

    Notation is taken out, and what was disguised is written out (see decoding.py). Of a prompt with scheduled words it
    is the text with every option in it, the one that most steps show, and that of the others that reads most like
    words.
    """
    texts = [_unbracketed(prompt, lexicon)]
    if scheduled:
        # What stands there longest shapes the picture, and is what somebody hides behind what comes before it.
        longest = _unbracketed(scheduled[0], lexicon)
        plain = dict.fromkeys(_unbracketed(text, lexicon) for text in scheduled[:_MOST_WEIGHED])
        texts += [longest, *sorted(plain, key=lambda text: -share_of_words(text, lexicon))]
    found: dict[str, Natural] = {}
    for text in texts:
        if len(found) < _MOST_NATURAL:
            read = natural(text, lexicon)
            found.setdefault(" ".join(read.text.lower().split()), read)
    return tuple(found.values())


def _network_name(match: re.Match[str]) -> str:
    """`<lora:oil_paint:0.8>` as "oil paint": weights say nothing, and a kind only where there is no such kind."""
    named = [part for part in match[2].split(":") if not _WEIGHTED.fullmatch(part)]
    return " ".join(["", *([] if match[1].lower() in _KINDS else [match[1]]), *named, ""]).replace("_", " ")


def _unbracketed(prompt: str, lexicon: Lexicon) -> str:
    """Prompt notation to plain text, with pieces of words put together where that makes more words than gaps do."""
    text = _ESCAPED.sub(r"\1", _DIVISION.sub(", ", prompt))
    if not _NOTATION.search(text):
        return text
    apart = _BRACKET.sub(" ", _WEIGHT.sub("", _NETWORK.sub(_network_name, text))).replace("|", ", ")
    together = _joined(text).replace("|", ", ")
    if share_of_words(together, lexicon) > share_of_words(apart, lexicon) + 0.02:
        return together
    return _SPACES.sub(" ", apart).replace(" ,", ",").strip()


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
