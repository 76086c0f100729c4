"""A1111 and those that write as it does: Forge, reForge, SD.Next, and ourselves."""

from __future__ import annotations

import re

from backend import infotext
from backend.dialects.found import Found, object_of
from backend.images import PARAMETERS, Decoded

KNOWN = frozenset((*infotext.FIELD_ORDER, *infotext.LAST_FIELDS)) | {
    "Distilled CFG Scale", "CFG Rescale", "CFG interval", "Eta", "Sigma churn", "Sigma tmin", "Sigma tmax",
    "Sigma noise", "First pass size", "Signet bucket",
}  # fmt: skip
"""Every name this package gives a meaning to; the rest is kept as unknown."""
_SPELLINGS = {
    "CFG rescale": "CFG Rescale",
    "CFG rescale phi": "CFG Rescale",
    "Eta DDIM": "Eta",
    "Clip-skip": "Clip skip",
    "CLIP skip": "Clip skip",
}
"""Forge's and SD.Next's own names for what A1111 calls otherwise."""
_FORGE = re.compile(r"f[0-9]+\.")
_REFORGE = re.compile(r"f1\.")


def read(decoded: Decoded) -> Found | None:
    """The "parameters" text wherever it was stored. None if there is none, or if it shows no parameters.

    A PNG chunk of that name without parameters is a prompt all the same; a comment in Exif may be anybody's.
    """
    for text in (decoded.text, decoded.texts.get(PARAMETERS), decoded.texts.get("postprocessing")):
        if text and object_of(text) is None and (found := from_text(text)):
            return found
    chunk = decoded.texts.get(PARAMETERS, "").strip()
    return None if not chunk or chunk.startswith("{") else from_text(chunk, sure=True)


def from_text(text: str, *, program: str = "", sure: bool = False) -> Found | None:
    """The same for a text from anywhere, such as the clipboard. With `sure` a text without parameters is a prompt."""
    read_text = infotext.read(text)
    if not read_text.parameters and not sure:
        return None
    fields = {_SPELLINGS.get(name, name): value for name, value in read_text.parameters.items()}
    if "Sampler" in fields and "Schedule type" not in fields:
        sampler, schedule = infotext.split_sampler(fields["Sampler"])
        if schedule != "Automatic":
            fields |= {"Sampler": sampler, "Schedule type": schedule}
    return Found(
        program=program or _program(fields),
        prompt=read_text.prompt,
        negative=read_text.negative,
        parameters={name: value for name, value in fields.items() if name in KNOWN},
        unknown={name: value for name, value in fields.items() if name not in KNOWN},
        raw=text,
    )


def _program(fields: dict[str, str]) -> str:
    version, app = fields.get("Version", ""), fields.get("App", "")
    if app.casefold() in ("sd.next", "sdnext", "sd-next"):
        return "SD.Next"
    if version.startswith("Signet"):
        return "Signet"
    if version.startswith("Fooocus"):
        return "Fooocus"
    if _REFORGE.match(version):
        return "reForge"
    return "Forge" if _FORGE.match(version) else "A1111"
