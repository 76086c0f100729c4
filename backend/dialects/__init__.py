"""What other programs write about their pictures, read into A1111's words: one module for each program.

Everything here is untrusted text. Reading never raises, ends in bounded time and throws nothing away.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backend.dialects import a1111, comfyui, fooocus, invokeai, novelai, swarmui
from backend.dialects.fields import Fields, fields_of
from backend.dialects.found import Found, cleaned
from backend.dialects.stealth import stealth_text
from backend.images import Decoded
from backend.imagetext import TEXT_LIMIT

__all__ = ["Fields", "Found", "fields_of", "read", "read_text"]


def read(decoded: Decoded) -> Found | None:
    """How the picture was made, by the first program that recognises its own writing; None if none does.

    A file may carry several accounts. Those that name their program come first, then A1111's text (which ComfyUI's
    users often add to the graph because it says the same in fewer words), then graphs, then text hidden in the alpha.
    """
    accounts = (cleaned(found) for reader in _READERS if (found := reader(decoded)))
    return next((found for found in accounts if found.prompt or found.negative or found.parameters), None)


def read_text(text: str) -> Found | None:
    """The same for pasted text, a graph or other JSON included; without any parameters it is a prompt.

    None for a blank text.
    """
    pasted = text.strip()[:TEXT_LIMIT]
    if not pasted:
        return None
    names = ["parameters", "prompt", "workflow"]
    names += ["invokeai_metadata"] if '"positive_prompt"' in pasted else []
    blank = np.full((1, 1, 3), 255, dtype=np.uint8)
    found = read(Decoded(blank, "text/plain", pasted, texts=dict.fromkeys(names, pasted)))
    plain = found or a1111.from_text(pasted, sure=True)
    return None if plain is None else cleaned(plain)


def _hidden(decoded: Decoded) -> Found | None:
    text = stealth_text(decoded.alpha)
    return a1111.from_text(text) if text else None


_READERS: tuple[Callable[[Decoded], Found | None], ...] = (
    swarmui.read, fooocus.read, invokeai.read, novelai.read, a1111.read, comfyui.read, _hidden,
)  # fmt: skip
