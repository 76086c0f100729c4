"""The reference page docs/settings.md, made from the Settings class; a test fails when the two differ."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from backend.settings import ROOT, Settings


def settings_page() -> str:
    """docs/settings.md, made from the Settings class."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        if isinstance(default, Path):
            default = default.relative_to(ROOT).as_posix() + "/"
        shown = (
            "(empty)"
            if default in (None, ())
            else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        )
        rows.append(f"| `{name}` | {_kind(field.annotation)} | {shown} | {field.description} |")
    return _PAGE + "\n".join(rows) + "\n"


def _kind(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    text = getattr(annotation, "__name__", None) if not get_args(annotation) else str(annotation)
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "folder"}
    bare = re.sub(r"pathlib\.|, \.\.\.| \| None|[\w.]*tuple\[|\]", "", text or str(annotation))
    return ("list of " if "tuple" in str(annotation) else "") + words.get(bare, bare)


_PAGE = """# Settings

Made from `backend/settings.py` by `python3 launch.py doctor --settings`; a test fails when this page is out of date.

Defaults, then `config.toml` in the data folder, then environment variables (`SIGNET_` and the name in capitals), then
the command line. Settings are read once, at the start. Units are in the names.

| name | kind | default | meaning |
|---|---|---|---|
"""
