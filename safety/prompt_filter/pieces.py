"""One piece of text between gaps: a word, a disguised word, or something that may be one if the rest agrees."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from safety.prompt_filter.confusables import lookalikes
from safety.prompt_filter.lexicon import Lexicon, skeleton

_EDGE = ".?'’‘“”*_~^`=-–—/\\#&%！？!"
_ELIDED = re.compile(r"(?:[cdjlmnst]|qu|dell|nell|sull|all|un)['’][a-z]{2,}$")
_PARTED = re.compile(r"[^a-z0-9@$!|+]+")
_LEETISH = re.compile(r"[0-9@$!|+]")
_LETTERS = re.compile(r"[a-z]+")
_MEASURE = re.compile(
    r"\d+(?:st|nd|rd|th|s|d|k|p|am|pm|mm|cm|m|km|kg|g|mp|px|fps|hz|yo|y|yr|yrs|in|ft|gb|mb|w|v|c|f|b|ers|girls?|boys?)"
)
_LEET = str.maketrans("0134567890@$!|+", "oieasgtbgoasiit")
_LEET_L = str.maketrans("0134567890@$!|+", "oleasgtbgoasllt")
_THRICE = re.compile(r"(.)\1\1|(.)\2.*(.)\3")
_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
_LONG_RUN = re.compile(r"(.)\1\1+")
_REPEATED = re.compile(r"(.)\1+")
_SMOOTH = 3.0  # mean cost of a letter up to which a segmentation reads like words
_COMPOUND = 12  # letters up to which a word of another language often looks like two English ones
_SENTENCE = 24  # letters from which a piece is rather a sentence than a word, whatever the language
_PROBE = 120
_LONGEST = 48  # letters of a piece that can be one disguised word
ROT13 = str.maketrans("abcdefghijklmnopqrstuvwxyz", "nopqrstuvwxyzabcdefghijklm")


@dataclass(frozen=True, slots=True)
class Piece:
    """What stands between gaps: `head` + `core` + `tail`. `known` is a word, or what it was made into (`fixed`).

    The others are what it may be if the rest of the text agrees: Latin letters in disguise, without the marks on its
    letters, with its digits for letters (a number too), as two words, backwards, rotated.
    """

    head: str
    core: str
    tail: str
    known: bool = False
    fixed: str = ""
    layer: str = ""
    latin: str = ""
    unmarked: str = ""
    counted: str = ""
    parted: str = ""
    backwards: str = ""
    rotated: str = ""
    foreign: bool = False

    def said(self, text: str) -> str:
        return f"{self.head}{text}{self.tail}"


def piece_of(raw: str, lexicon: Lexicon) -> Piece:
    """What the piece is, with all that it may be."""
    core = raw.strip(_EDGE)
    head, _, tail = raw.partition(core) if core else (raw, "", "")
    low = core.lower()
    if not core or low in lexicon or low.isdigit():
        return Piece(head, core, tail, known=True, counted=_from_digits(low, lexicon))
    if core.isascii():
        return _plain_piece(head, core, tail, low, lexicon)
    unmarked = "".join(
        char for char in unicodedata.normalize("NFKD", low.casefold()) if unicodedata.category(char) not in {"Mn", "Me"}
    )
    if unmarked.isascii():
        word = unmarked if unmarked in lexicon else _plain_piece("", unmarked, "", unmarked, lexicon).fixed
        return Piece(head, core, tail, unmarked=word)
    looks = unmarked.translate(lookalikes())
    if not looks.isascii():
        return Piece(head, core, tail, foreign=True)
    word = looks if looks in lexicon else _plain_piece("", looks, "", looks, lexicon).fixed
    turned = looks[::-1] if len(looks) > 3 and looks[::-1] in lexicon else ""
    scripts = {_script(char) for char in unmarked if char.isalpha()}
    if len(scripts) > 1:
        return Piece(head, core, tail, known=bool(word), fixed=word or looks, layer="homoglyphs")
    if scripts == {"LATIN"}:  # small capitals, turned letters: or a language that has such letters
        return Piece(head, core, tail, unmarked=word, backwards=turned)
    return Piece(head, core, tail, latin=word, backwards=turned, foreign=True)


def _script(char: str) -> str:
    return unicodedata.name(char, "").partition(" ")[0]


def _plain_piece(head: str, core: str, tail: str, low: str, lexicon: Lexicon) -> Piece:
    """A piece in ASCII that is no word: spelled with signs, stretched, run together, or simply unknown."""
    fixed, layer = _by_capitals(core, lexicon) or _repaired(low, lexicon)
    if layer == "splicing" and len(low) < _COMPOUND:
        return Piece(head, core, tail, parted=fixed)
    if fixed or layer:
        return Piece(head, core, tail, known=True, fixed=fixed, layer=layer, counted=_from_digits(low, lexicon))
    if _LEETISH.search(low) and (word := _from_digits(low, lexicon) or _sounded(low)):
        return Piece(head, core, tail, counted=word)
    if not low.isalpha() or not 3 < len(low) <= _LONGEST:
        return Piece(head, core, tail)
    backwards, rotated = low[::-1], low.translate(ROT13)
    return Piece(
        head,
        core,
        tail,
        backwards=backwards if backwards in lexicon else "",
        rotated=rotated if rotated in lexicon else "",
    )


def _repaired(low: str, lexicon: Lexicon) -> tuple[str, str]:
    """The words meant and the disguise; ("", "known") for what is fine as it is, ("", "") for what is not known."""
    parts = [part for part in _PARTED.split(low) if part]
    if len(parts) > 1:
        if _ELIDED.match(low):  # d'une, l'orage
            return "", ""
        whole = "".join(parts)
        if all(part in lexicon or part.isdigit() for part in parts) and (
            whole not in lexicon or max(map(len, parts)) > 3
        ):
            return "", "known"
        if whole in lexicon:
            return whole, "punctuation"
        if word := _meant(whole, lexicon):
            return word, "digits"
        repaired = [("", "known") if part in lexicon else _repaired(part, lexicon) for part in parts]
        if all(layer for _, layer in repaired):
            layers = [layer for word, layer in repaired if word]
            joined = " ".join(word or part for part, (word, _) in zip(parts, repaired, strict=True))
            return (joined, layers[0]) if layers else ("", "known")
        return "", ""
    if len(low) > _LONGEST and not low.isalpha():
        return "", ""
    if (_LEETISH.search(low) and any(char.isalpha() for char in low)) or "$" in low or "@" in low:
        return _without_digits(low, lexicon)
    if _THRICE.search(low):
        once = _REPEATED.sub(r"\1", low)
        if word := lexicon.meant(low) if len(once) > 2 else once if once in lexicon else None:
            return word, "repetition"
        if len(_LONG_RUN.findall(low)) > 1:  # nobody writes so, whatever the word is
            return once, "repetition"
    return _unspliced(low, lexicon)


def _meant(low: str, lexicon: Lexicon) -> str | None:
    """The word that is spelled with digits or signs here, if any: of short ones more than half must be letters."""
    digits = len(_LEETISH.findall(low))
    if not digits or len(low) > _LONGEST or len(skeleton(low)) < 3 or (len(low) < 4 and 2 * digits >= len(low)):
        return None
    return lexicon.meant(low)


def _from_digits(low: str, lexicon: Lexicon) -> str:
    """The word that every digit and sign as a letter gives, as in texts that are written so throughout."""
    if not _LEETISH.search(low) or len(low) > _LONGEST:
        return ""
    return next((word for table in (_LEET, _LEET_L) if (word := low.translate(table)) in lexicon), "")


def _sounded(low: str) -> str:
    """A name or a rare word with its digits as letters: nothing vouches for it but the rest of such a text."""
    letters = low.translate(_LEET)
    return letters if letters.isalpha() and 2 < len(low) <= _LONGEST and not _MEASURE.fullmatch(low) else ""


def _without_digits(low: str, lexicon: Lexicon) -> tuple[str, str]:
    if _MEASURE.fullmatch(low):
        return "", "known"
    if word := _meant(low, lexicon):
        return word, "digits"
    groups = _LETTERS.findall(low)
    if (groups and all(group in lexicon for group in groups)) or (len(groups) == 1 and len(groups[0]) < 4):
        return "", "known"
    for table in (_LEET, _LEET_L):
        pieces, cost = lexicon.segmented(low.translate(table))
        if cost < _SMOOTH:
            return " ".join(pieces), "digits"
    return "", ""


def _by_capitals(core: str, lexicon: Lexicon) -> tuple[str, str] | None:
    """Words run together that capitals still tell apart, if most of their letters are in known words."""
    parts = _CASE.split(core) if len(core) >= _COMPOUND else [core]
    if len(parts) < 2:
        return None
    told = [part if part.lower() in lexicon else _repaired(part.lower(), lexicon)[0] for part in parts]
    known = sum(len(part) for part, text in zip(parts, told, strict=True) if text)
    if 2 * known < len(core):
        return None
    return " ".join(text or part for part, text in zip(parts, told, strict=True)), "splicing"


def _unspliced(low: str, lexicon: Lexicon) -> tuple[str, str]:
    if len(low) < 7 or not low.isalpha():
        return "", ""
    pieces, cost = lexicon.segmented(low)
    if cost < _SMOOTH and max(map(len, pieces)) > 3:
        return " ".join(pieces), "splicing"
    if len(low) >= _SENTENCE and (text := _mostly_words(pieces)):
        return text, "splicing"
    if len(low) > 9:
        for turned, layer in ((low[::-1], "reversed"), (low.translate(ROT13), "rot13")):
            if lexicon.segmented(turned[:_PROBE])[1] < _SMOOTH:
                return " ".join(lexicon.segmented(turned)[0]), layer
    return "", ""


def _mostly_words(pieces: Sequence[str]) -> str:
    """A sentence without gaps in which a name or a rare word is not known: letters of it are put together again."""
    known = sum(len(piece) for piece in pieces if len(piece) > 2)
    if known < 0.8 * sum(map(len, pieces)) or max(map(len, pieces)) < 5:
        return ""
    text = " ".join(piece if len(piece) > 1 or piece in ("a", "i") else f"\0{piece}\0" for piece in pieces)
    return text.replace("\0 \0", "").replace("\0", "")


def told_apart(letters: str, lexicon: Lexicon) -> str:
    """The words that letters without gaps make, "" if they make none."""
    low = letters.lower()
    if not low.isascii():
        return letters if len(letters) > 2 else ""
    if low in lexicon:
        return letters
    if word := _meant(low, lexicon):
        return word
    pieces, cost = lexicon.segmented(low.translate(_LEET))
    return " ".join(pieces) if cost < _SMOOTH and len(low) > 3 else ""
