"""What a safetensors file says about itself: kohya's `ss_*` fields and ModelSpec 1.0.1. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from backend.models.texts import json_value, phrases, plain

MOST_TAGS = 40
MOST_FIELDS = 100
SHOWN = 1000
"""Characters of one field that are kept."""
# Long tables and pictures, which nobody reads as text.
_LEFT_OUT = frozenset(
    {
        "ss_tag_frequency",
        "ss_bucket_info",
        "ss_datasets",
        "ss_dataset_dirs",
        "ss_reg_dataset_dirs",
        "modelspec.thumbnail",
    }
)
_HASH = re.compile(r"(?:0x)?([0-9a-f]{12,64})")
_TRAINED = 4
"""Tags that stand for trigger words where a file names none."""


@dataclass(frozen=True, slots=True)
class Spec:
    """`alias` is the name its maker gave a LoRA (ss_output_name), which A1111 takes in prompts too."""

    title: str = ""
    alias: str = ""
    author: str = ""
    licence: str = ""
    description: str = ""
    base_model: str = ""
    triggers: tuple[str, ...] = ()
    tags: tuple[tuple[str, int], ...] = ()
    autov3: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_spec(metadata: Mapping[str, str]) -> Spec:
    """From the `__metadata__` of a safetensors header, whatever is in it."""

    def said(*names: str, limit: int = 200) -> str:
        return next((text for name in names if (text := plain(metadata.get(name), limit))), "")

    tags = _tags(metadata.get("ss_tag_frequency", ""))
    phrase = phrases(metadata.get("modelspec.trigger_phrase"))
    found = _HASH.fullmatch(metadata.get("sshs_model_hash", "").strip().lower())
    return Spec(
        title=said("modelspec.title"),
        alias=said("ss_output_name"),
        author=said("modelspec.author"),
        licence=said("modelspec.license"),
        description=said("modelspec.description", "modelspec.usage_hint", "ss_training_comment", limit=4000),
        base_model=said("ss_sd_model_name", "modelspec.architecture", "ss_base_model_version"),
        triggers=phrase or tuple(tag for tag, _ in tags[:_TRAINED]),
        tags=tags,
        autov3=found[1][:12] if found else None,
        metadata={
            plain(key, 80): plain(text, SHOWN)
            for key, text in list(metadata.items())[:MOST_FIELDS]
            if key not in _LEFT_OUT and plain(key, 80)
        },
    )


def _tags(text: str) -> tuple[tuple[str, int], ...]:
    """The most frequent tags of all data sets: {"10_name": {"tag": 12}}."""
    value = json_value(text) if text else None
    counts: Counter[str] = Counter()
    for tags in value.values() if isinstance(value, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int) and 0 < count < 10**9 and (name := plain(tag, 120)):
                counts[name] += count
    return tuple(counts.most_common(MOST_TAGS))
