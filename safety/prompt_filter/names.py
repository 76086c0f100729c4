"""Layer four: names of living people, as signals and not as blocks.

A name says who is meant, not what for. A living artist's name is noted, and a description of the technique is offered
in its place; a public figure's name is noted and makes the rules look for what would harm that person (rules.py counts
it as the list "named"). Whoever asked not to be depicted stands in the owner's own list, one name to a line, and is
refused by name. Names are matched whole: a first name alone is nobody, and people who have died are not listed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from safety.prompt_filter.normalise import fold, words_of
from safety.prompt_filter.phrases import Phrases

Kind = Literal["public-figure", "living-artist", "opt-out"]
_KINDS: Mapping[str, Kind] = {kind: kind for kind in get_args(Kind)}
_FIGURES = ("figures_politics", "figures_culture", "figures_short", "offices")
_LONGEST_FILE = 4 << 20
_POSSESSIVE = re.compile(r"['’]s\b")


@dataclass(frozen=True, slots=True)
class Named:
    """Somebody the text names. `offer` is what may be written instead of an artist's name."""

    kind: Kind
    name: str
    offer: str = ""


class Names:
    """The shipped names, and those who opted out. Immutable."""

    def __init__(self, opted_out: Sequence[str] = ()) -> None:
        source = tomllib.loads(files(__package__).joinpath("names.toml").read_text(encoding="utf-8"))
        self._techniques: dict[str, str] = source["artists"]
        self._phrases = Phrases(
            {
                "opt-out": [name for name in opted_out if fold(name).strip()],
                "living-artist": list(self._techniques),
                "public-figure": [name for group in _FIGURES for name in source[group]],
            }
        )
        self._not_meant = Phrases({"not_meant": source["not_meant"]})

    def found(self, text: str) -> tuple[Named, ...]:
        """Everybody the text names, each once, in order of appearance. `text` is a natural reading."""
        words = words_of(fold(_POSSESSIVE.sub(" ", text)))
        found = dict.fromkeys(self._phrases.find(self._not_meant.blanked(words)))
        return tuple(Named(_KINDS[kind], name, self._offer(kind, name)) for kind, name in found)

    def _offer(self, kind: str, name: str) -> str:
        return self._techniques.get(name, "") if kind == "living-artist" else ""


def opted_out(path: Path | None) -> tuple[str, ...]:
    """The names in the owner's list: UTF-8, one to a line, "#" begins a remark. No file is an empty list.

    Raises ValueError for a file that cannot be read: a list that somebody relies on is not silently left out.
    """
    if path is None or not path.exists():
        return ()
    try:
        if path.stat().st_size > _LONGEST_FILE:
            raise ValueError(f"{path.name} is larger than {_LONGEST_FILE >> 20} MiB")
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror})") from error
    return tuple(name for line in lines if (name := line.partition("#")[0].strip()))
