"""Finding a model by whatever people call it. Pure: names in, the entry or the near names out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from backend.types import ModelInfo

MOST_NAMES = 12
_TITLE = re.compile(r"(?P<name>.+?)\s*\[(?P<hash>[0-9a-f]{8,64})\]")
_HEX = re.compile(r"[0-9a-f]{8,64}")
_SHORT = 3
"""Letters; a piece of a name with fewer means nothing."""


def file_name(info: ModelInfo) -> str:
    return PurePath(info.path).name


def a1111_title(info: ModelInfo) -> str:
    """ "name.safetensors [AutoV2]", as sd_model_checkpoint and its list have it; without the hash while unknown."""
    return f"{file_name(info)} [{info.sha256[:10]}]" if info.sha256 else file_name(info)


def by_hash(wanted: str, infos: Iterable[ModelInfo]) -> ModelInfo | None:
    """By the whole sha256, or by AutoV2 or AutoV3 with at least 8 digits of it."""
    if not _HEX.fullmatch(wanted):
        return None
    return next(
        (info for info in infos if any(known and known.startswith(wanted) for known in (info.sha256, info.autov3))),
        None,
    )


def without_hash(wanted: str) -> tuple[str, str]:
    """A title in its two parts; the second is empty for a plain name."""
    match = _TITLE.fullmatch(wanted)
    return (match["name"], match["hash"]) if match else (wanted, "")


def by_piece(wanted: str, infos: Iterable[ModelInfo]) -> Sequence[ModelInfo]:
    """All that have the piece in their name."""
    if len(wanted) < _SHORT:
        return ()
    return [info for info in infos if any(wanted in name for name in (info.id.casefold(), info.title.casefold()))]


def near(wanted: str, names: Iterable[str]) -> tuple[str, ...]:
    """The nearest names, or the first few: never ten thousand in one message."""
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(wanted.casefold(), folded, n=3, cutoff=0.4)
    return tuple(folded[name] for name in close) or tuple(folded.values())[:MOST_NAMES]
