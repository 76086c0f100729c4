"""A prompt as a person would read it: what was disguised is written out, what was not is left as it is.

A classifier learns from natural text, so it is given natural text: not every reading a disguise allows (that is for the
term lists, see normalise.py) but the one that looks most like words. A piece of text is changed only if what comes out
is in the lexicon, and letters of another script become Latin ones only in words of mixed scripts or where most words of
that script turn into known ones: genuine Russian, Greek or Chinese stays what it is.

The lexicon is English. Disguised words of other languages are undone as far as single characters go (look-alikes,
invisible and combining characters, letters apart), not where it takes a vocabulary (digits for letters, reversal).

Everything is linear in the length of the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from safety.prompt_filter.codes import decoded
from safety.prompt_filter.confusables import lookalikes
from safety.prompt_filter.lexicon import Lexicon
from safety.prompt_filter.pieces import ROT13, Piece, piece_of, told_apart

_DROPPED = {"Cf", "Cc", "Co", "Cn", "Cs"}
_BLANK = {0x115F, 0x1160, 0x2800, 0x3164, 0xFFA0, 0x034F, 0x17B4, 0x17B5}
_VARIATION = (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *range(0x180B, 0x1810), 0x20E3)
_REMOVED = dict.fromkeys((*_BLANK, *_VARIATION))
_SIGNS = str.maketrans(
    {"🆎": "ab", "🆑": "cl", "🆒": "cool", "🆓": "free", "🆔": "id", "🆕": "new", "🆗": "ok", "🆙": "up", "🆚": "vs"}
    | {"⭕": "o", "❌": "x", "✖": "x", "💲": "$", "❗": "!", "❕": "!", "➕": "+", "✝": "t", "🅾": "o", "🔞": " 18+ "}
)
_FLAG = re.compile(r"(?<![\U0001F1E6-\U0001F1FF])([\U0001F1E6-\U0001F1FF]{2})(?![\U0001F1E6-\U0001F1FF])")
_FLAG_RUN = re.compile(r"[\U0001F1E6-\U0001F1FF](?:\s*[\U0001F1E6-\U0001F1FF])*")
_BOXED = re.compile("[\U0001f150-\U0001f169\U0001f170-\U0001f189\U0001f1e6-\U0001f1ff]")
_PIECE = re.compile(r"[^\s,;:\"()\[\]{}<>…，。、；：（）【】「」]+")
_ROW = re.compile(r"(?<![^\W_])(?:[^\W_]|[@$!])(?:(?:[^\w@$!]|_){1,4}(?:[^\W_]|[@$!])(?![^\W_])){2,}")
_SIGN_ROW = re.compile(r"(?<![^\W_])[^\W_](?:[@$!][^\W_](?![^\W_])){2,}")
_ROW_GAP = re.compile(r"(?:[^\w@$!]|_)+")
_SIGN_GAP = re.compile(r"[@$!]")
_WORDS = re.compile(r"[^\W\d_]+")
_ROTATIONS = tuple(
    str.maketrans("abcdefghijklmnopqrstuvwxyz", "".join(chr((i + shift) % 26 + 97) for i in range(26)))
    for shift in (*range(1, 13), *range(14, 26))
)
_ATBASH = str.maketrans("abcdefghijklmnopqrstuvwxyz", "zyxwvutsrqponmlkjihgfedcba")
_LEADING = frozenset({"a", "an", "the"})
_FOLLOWING = frozenset({"a", "an", "the", "of", "in", "on", "at", "by", "with", "and", "to", "from", "is", "are"})
_COUNTED = 60  # words that decide whether a whole text is written in another alphabet or backwards


@dataclass(frozen=True, slots=True)
class Natural:
    """`text` as a person would read it; `layers` name the disguises taken off, none for plain text."""

    text: str
    layers: tuple[str, ...] = ()

    @property
    def layer(self) -> str:
        return ", ".join(self.layers) or "words"

    def then(self, text: str, *layers: str) -> Natural:
        return replace(self, text=text, layers=tuple(dict.fromkeys((*self.layers, *layers))))


def natural(text: str, lexicon: Lexicon) -> Natural:
    """The likeliest plain reading of a text without prompt notation. Never fails; plain text comes back as it is."""
    found = Natural(text)
    for undo in (_written_out, _shown, _joined, _mended):
        found = undo(found, lexicon)
    return found


def share_of_words(text: str, lexicon: Lexicon) -> float:
    """Which share of the letters stands in known words, 0..1; 0 for a text without letters."""
    words = [word.lower() for word in _WORDS.findall(text)]
    total = sum(map(len, words))
    return sum(len(word) for word in words if word in lexicon) / total if total else 0.0


def _written_out(given: Natural, lexicon: Lexicon) -> Natural:
    """Base64, hexadecimal and the like, where text comes out."""

    def reads(text: str) -> bool:
        plain = _mended(_joined(_shown(Natural(text), lexicon), lexicon), lexicon).text
        letters = sum(char.isalpha() or char.isspace() for char in plain)
        foreign = sum(char.isalpha() and not char.isascii() for char in plain) > 0.3 * len(plain)
        return letters >= max(3, 0.6 * len(plain)) and (foreign or share_of_words(plain, lexicon) >= 0.5)

    text, layers = decoded(given.text, reads)
    return given.then(text, *layers)


def _shown(given: Natural, lexicon: Lexicon) -> Natural:
    """Without what cannot be seen, and with signs that stand for letters as letters."""
    if given.text.isascii():
        return given
    text = given.text.translate(_REMOVED)
    text = "".join(
        " " if char.isspace() else char for char in text if char.isspace() or unicodedata.category(char) not in _DROPPED
    )
    layers = ["invisible"] if len(text) < len(given.text) else []
    if _BOXED.search(text):
        spelled = _FLAG_RUN.sub(lambda run: run[0] if len(run[0].split()) > 1 else _FLAG.sub(" ", run[0]), text)
        spelled = spelled.translate({point: look for point, look in lookalikes().items() if point > 0x1F100})
        layers += ["letters"] if spelled != text else []
        text = spelled
    text = text.translate(_SIGNS)
    return given.then(unicodedata.normalize("NFKC", text), *layers)


def _joined(given: Natural, lexicon: Lexicon) -> Natural:
    """Letters that stand apart put together: "w o r d", "w.o.r.d", and several words in one such row."""
    text = _ROW.sub(lambda row: _row(row[0], _ROW_GAP, lexicon), given.text)
    text = _SIGN_ROW.sub(lambda row: _row(row[0], _SIGN_GAP, lexicon), text)
    return given.then(text, "spacing") if text != given.text else given


def _row(row: str, gap: re.Pattern[str], lexicon: Lexicon) -> str:
    """A wider gap than the usual one ends a word, and a space among dots; where there is none the lexicon tells."""
    gaps, letters = gap.findall(row), gap.split(row)
    if not row.isascii() and any(unicodedata.category(char)[0] == "M" for char in "".join(gaps)):
        return row  # vowel signs of Indic scripts and the like: one word
    usual = Counter(gaps).most_common(1)[0][0]
    words = letters[:1]
    for between, letter in zip(gaps, letters[1:], strict=True):
        if len(between) > len(usual) or (" " in between and " " not in usual):
            words.append("")
        words[-1] += letter
    if all(word.isdigit() for word in words):
        return row
    told = [told_apart(word, lexicon) for word in words]
    read = sum(len(word) for word, text in zip(words, told, strict=True) if text)
    if read < 3 or 2 * read < len(letters):
        return row
    return " ".join(text or word for word, text in zip(words, told, strict=True))


def _mended(given: Natural, lexicon: Lexicon) -> Natural:
    """Single words put right, then the whole text turned around or out of another alphabet if most words ask for it."""
    seen: dict[str, Piece] = {}
    matches = list(_PIECE.finditer(given.text))
    for match in matches:
        if match[0] not in seen:
            seen[match[0]] = piece_of(match[0], lexicon)
    pieces = [seen[match[0]] for match in matches]
    letters = sum(len(piece.core) for piece in pieces) or 1
    plain = sum(len(piece.core) for piece in pieces if piece.known) / letters
    if plain < 0.5 and (turned := _turned(given, pieces, lexicon)):
        return turned
    hopes = _hopes(pieces, plain)
    layers: list[str] = []
    spoken = []
    for piece in pieces:
        text, layer = next(((text, layer) for layer, text in hopes(piece) if text), ("", ""))
        spoken.append(piece.said(text) if text else piece.said(piece.core))
        layers += [layer] if text else []
    parts = []
    end = 0
    for match, text in zip(matches, spoken, strict=True):
        parts += [given.text[end : match.start()], text]
        end = match.end()
    parts.append(given.text[end:])
    if layers.count("splicing") > 1:  # one compound that no list has is common, two are a manner of writing
        layers.append("run together")
    merged, glued = _glued(parts, pieces, plain, lexicon)
    return given.then(merged, *layers, *(("spacing",) if glued else ()))


def _hopes(pieces: list[Piece], plain: float) -> Callable[[Piece], Iterator[tuple[str, str]]]:
    """Which of the guesses about single words to believe, given all of them and the share of known words."""
    hits = sum(len(piece.core) for piece in pieces if piece.latin)
    misses = sum(len(piece.core) for piece in pieces if piece.foreign and not piece.latin)
    unknown = sum(1 for piece in pieces if not piece.known and len(piece.core) > 3)
    total = sum(len(piece.core) for piece in pieces) or 1
    english = plain + sum(len(piece.core) for piece in pieces if piece.unmarked) / total >= 0.5
    parted = plain >= 0.4 or all(piece.known or piece.parted for piece in pieces)
    leet = sum(piece.layer == "digits" for piece in pieces)
    signs = sum(1 for piece in pieces if piece.layer == "digits" or piece.counted)
    spelled = (leet > 1 and 5 * leet >= len(pieces)) or (leet > 0 and 4 * signs >= 3 * len(pieces))
    believe = {
        name: plain >= 0.4 or 2 * sum(1 for piece in pieces if getattr(piece, name)) > unknown
        for name in ("backwards", "rotated")
    }

    def hopes(piece: Piece) -> Iterator[tuple[str, str]]:
        yield piece.layer, piece.fixed
        yield "digits", piece.counted if spelled else ""
        yield "splicing", piece.parted if parted else ""
        yield "marks", piece.unmarked if english else ""
        yield "homoglyphs", piece.latin if hits > misses else ""
        yield "reversed", piece.backwards if believe["backwards"] else ""
        yield "rot13", piece.rotated if believe["rotated"] else ""

    return hopes


def _turned(given: Natural, pieces: list[Piece], lexicon: Lexicon) -> Natural | None:
    """The whole text read backwards, or with another alphabet, if most of its words become known ones."""
    cores = [(piece.latin or piece.core).lower() for piece in pieces][:_COUNTED]
    long = [core for core in cores if len(core) > 2 and core.isascii()]
    total = sum(map(len, long))
    if total < 4:
        return None

    def share(read: Callable[[str], str]) -> float:
        return sum(len(core) for core in long if read(core) in lexicon) / total

    def backwards(core: str) -> str:
        return core[::-1]

    if share(backwards) >= 0.6:
        text = _folded(given.text) if any(piece.latin for piece in pieces) else given.text
        by_word = _PIECE.sub(lambda match: match[0][::-1], text)
        return _mended(given.then(min(text[::-1], by_word, key=_disorder), "reversed"), lexicon)
    alphabets = (ROT13, *_ROTATIONS, _ATBASH) if total >= 12 else (ROT13,)
    for table in alphabets:
        if share(lambda core, table=table: core.translate(table)) >= 0.7:  # type: ignore[misc]
            return _mended(given.then(given.text.lower().translate(table), "rot13"), lexicon)
    return None


def _disorder(text: str) -> int:
    """How often an article or a preposition stands where English puts none: before another, or at the end."""
    words = [*_WORDS.findall(text.lower()), "of"]
    return sum(one in _LEADING and other in _FOLLOWING for one, other in pairwise(words))


def _glued(parts: list[str], pieces: list[Piece], plain: float, lexicon: Lexicon) -> tuple[str, bool]:
    """Words that were cut in two put together: both halves short, one of them no word, the whole a word."""
    if plain > 0.97:
        return "".join(parts), False
    short = [not piece.foreign and not piece.fixed and 0 < len(piece.core) < 6 for piece in pieces]
    found: list[int] = []
    for i in range(len(pieces) - 1):
        one, other = pieces[i], pieces[i + 1]
        if not (short[i] and short[i + 1]) or (one.known and other.known) or one.tail or other.head:
            continue
        if (found and found[-1] == i - 1) or parts[2 * i + 2].strip():
            continue
        whole = (one.core + other.core).lower()
        if len(whole) > 3 and whole in lexicon:
            found.append(i)
    covered = sum(len(pieces[i].core) + len(pieces[i + 1].core) for i in found)
    if not found or (plain < 0.4 and 2 * covered < sum(len(piece.core) for piece in pieces)):
        return "".join(parts), False
    gone = {2 * i + 2 for i in found}
    return "".join("" if i in gone else part for i, part in enumerate(parts)), True


def _folded(text: str) -> str:
    """Small letters, without marks, and with every look-alike as the Latin letter."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(char for char in plain if unicodedata.category(char) not in {"Mn", "Me"}).translate(lookalikes())
