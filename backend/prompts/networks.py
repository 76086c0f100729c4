"""Extra networks: `<lora:name:te:unet:dyn>` tags, and the same with `te=`, `unet=`, `dyn=`, `lbw=`.

Reference: A1111 1.10.1; `lbw=` (weights of the UNet's blocks) is the LoRA Block Weight extension's. Which kinds
exist and which names are known is the caller's question: a tag is only read here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.errors import InvalidParameter

# Without "<" inside, a tag that is never closed costs no more than its own length to find out.
_TAG = re.compile(r"<(\w{1,40}):([^<>]{1,1000})>")


@dataclass(frozen=True, slots=True)
class Network:
    """One tag. `kind` is in lower case ("lora", "lyco", "hypernet", ...), `text` and `unet` are multipliers.

    `dyn` limits the rank (A1111's dynamic dimension), `blocks` scales the UNet's blocks, `raw` is the tag as written.
    """

    kind: str
    name: str
    text: float
    unet: float
    dyn: int | None
    blocks: tuple[float, ...]
    raw: str


@dataclass(frozen=True, slots=True)
class Extracted:
    """A prompt with its tags taken out, and the tags in order."""

    text: str
    networks: tuple[Network, ...]


def extract(text: str) -> Extracted:
    """Take the tags out of a prompt. A tag with a value that cannot be read stays in the text."""
    read = [(found.span(), _network(found)) for found in _TAG.finditer(text)]
    kept: list[str] = []
    last = 0
    for (start, end), network in read:
        if network is not None:
            kept.append(text[last:start])
            last = end
    return Extracted("".join((*kept, text[last:])), tuple(network for _, network in read if network is not None))


def tag(name: str, weight: float = 1.0, *, kind: str = "lora") -> str:
    """The tag for a network. Raises InvalidParameter for a name or weight that could not be read back."""
    written = f"<{kind}:{name}:{repr(float(weight)).removesuffix('.0')}>"
    read = extract(written)
    if read.text or [(network.name, network.unet) for network in read.networks] != [(name, weight)]:
        detail = f'"{name[:80]}" cannot be written into a prompt.'
        raise InvalidParameter("loras", detail, "Rename the file: no <, > or : and no blanks at the ends.")
    return written


def _network(found: re.Match[str]) -> Network | None:
    name, *rest = (item.strip() for item in found.group(2).split(":"))
    named = {key.strip(): value.strip() for key, sign, value in (item.partition("=") for item in rest) if sign}
    plain = [item for item in rest if "=" not in item]
    if not name:
        return None
    try:
        text = _real(_argument("te", 0, named, plain, "1"))
        unet = _real(_argument("unet", 1, named, plain, repr(text)))
        dyn = _argument("dyn", 2, named, plain, "")
        blocks = named.get("lbw", "")
        return Network(
            kind=found.group(1).lower(),
            name=name,
            text=text,
            unet=unet,
            dyn=_whole(dyn) if dyn else None,
            blocks=tuple(_real(value) for value in blocks.split(",")) if blocks else (),
            raw=found.group(),
        )
    except ValueError:
        return None


def _argument(key: str, place: int, named: Mapping[str, str], plain: Sequence[str], default: str) -> str:
    return named.get(key, plain[place] if place < len(plain) else default)


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _whole(text: str) -> int:
    value = int(text)
    if not 0 < value <= 2**31:
        raise ValueError
    return value
