"""From what was typed to the text of every picture: styles in, comments out, dynamic prompts drawn, in A1111's order.

Tags of extra networks stay in the text, so that they travel with the picture; the engine takes them out (`networks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from backend.prompts import comments, styles
from backend.prompts.styles import Style
from backend.prompts.wildcards import Wildcards

_MARKS = ("{", "__")


def expand(
    prompt: str,
    negative: str,
    style_names: Sequence[str] = (),
    *,
    seed: int,
    count: int = 1,
    wildcards: Path | None = None,
    known: Mapping[str, Style] | None = None,
    keep_comments: bool = False,
) -> tuple[tuple[str, str], ...]:
    """(prompt, negative prompt) of each of `count` pictures; picture i draws with `seed + i`.

    `wildcards` is the folder of wildcard files, `known` the styles by name. Without anything random in the text all
    pairs are equal. Raises InvalidParameter for a style that is not known.
    """
    chosen = styles.choose(known or {}, style_names)
    typed = styles.apply(chosen, prompt, negative)
    read = tuple(comments.remove(text, enabled=not keep_comments) for text in typed)
    if not any(mark in text for mark in _MARKS for text in read):
        return ((read[0], read[1]),) * count
    folder = wildcards if any("__" in text for text in read) else None
    drawn = Wildcards(folder).pictures(read, seed, count)
    return tuple((pair[0], pair[1]) for pair in drawn)


def variations(prompt: str, limit: int, *, wildcards: Path | None = None) -> tuple[str, ...]:
    """Every combination of a dynamic prompt (combinatorial mode), the first `limit` of them, comments taken out."""
    text = comments.remove(prompt)
    return Wildcards(wildcards if "__" in text else None).all(text, limit)
