"""Comments: from `#` to the end of its line nothing is read (A1111 1.10.1, where it is an option, on by default)."""

from __future__ import annotations


def remove(text: str, *, enabled: bool = True) -> str:
    """`text` without comments. A line that begins with `#` goes altogether; the rest of other lines stays as it is."""
    if not enabled or "#" not in text:
        return text
    return "\n".join(line.partition("#")[0] for line in text.split("\n") if not line.startswith("#"))
