"""NovelAI: "Software: NovelAI" with the JSON of the request under "Comment", as PNG chunks or hidden in the alpha."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from backend.dialects.found import Found, known, object_of, rest, size, text_of, words
from backend.dialects.names import sampling
from backend.dialects.stealth import stealth_text
from backend.images import Decoded

_STRENGTHEN, _WEAKEN = "1.05", "0.952"
_NUMBERED = re.compile(r"(-?[0-9]{1,3}(?:\.[0-9]{1,4})?::|::)")
_USED = words("prompt uc steps sampler noise_schedule seed strength scale cfg_rescale width height")


def read(decoded: Decoded) -> Found | None:
    """Falls back to the hidden text. Braces become A1111's weights: {x} is (x:1.05), [x] is (x:0.952)."""
    if decoded.texts.get("Software", "").strip() == "NovelAI":
        return _found(decoded.texts, decoded)
    hidden = object_of(stealth_text(decoded.alpha))
    if hidden and ("Comment" in hidden or hidden.get("Software") == "NovelAI"):
        return _found({str(name): value for name, value in hidden.items()}, decoded)
    return None


def _found(outer: Mapping[str, Any], decoded: Decoded) -> Found | None:
    raw = outer.get("Comment")
    values = object_of(raw) if isinstance(raw, str) else raw
    if not isinstance(values, Mapping):
        return None
    height, width = decoded.pixels.shape[:2]
    prompt = text_of(values.get("prompt")) or text_of(outer.get("Description"))
    parameters = known(
        {
            "Steps": values.get("steps"),
            **sampling(values.get("sampler"), values.get("noise_schedule")),
            "CFG scale": values.get("scale"),
            "CFG Rescale": values.get("cfg_rescale") or None,
            "Seed": values.get("seed"),
            # Older files do not say; the picture itself does.
            "Size": size(values.get("width"), values.get("height")) or size(width, height),
            "Denoising strength": values.get("strength") if _from_picture(values) else None,
        }
    )
    others = {name: outer[name] for name in ("Title", "Source") if name in outer}
    return Found(
        program="NovelAI",
        prompt=with_weights(prompt),
        negative=with_weights(text_of(values.get("uc"))),
        parameters=parameters,
        unknown=rest(values, _USED) | known(others),
        raw=raw if isinstance(raw, str) else str(known({"Comment": raw}).get("Comment", "")),
    )


def _from_picture(values: Mapping[str, Any]) -> bool:
    # NovelAI writes its default strength for text-only pictures too; only these requests really began from a picture.
    return values.get("request_type") in ("Img2ImgRequest", "NativeInfillingRequest")


def with_weights(text: str) -> str:
    """NovelAI's weights as A1111's, "1.5::rain::" included; its round brackets mean nothing, so they become literal."""
    closers = {"}": _STRENGTHEN, "]": _WEAKEN}
    openers = {"{": "}", "[": "]"}
    pieces: list[str] = []
    waiting: list[tuple[str, int]] = []
    for char in text:
        if char in openers:
            waiting.append((openers[char], len(pieces)))
            pieces.append("\\" + char if char == "[" else char)
        elif char in closers and waiting and waiting[-1][0] == char:
            pieces[waiting.pop()[1]] = "("
            pieces.append(f":{closers[char]})")
        elif char in "()]":
            pieces.append("\\" + char)
        else:
            pieces.append(char)
    return _with_numbers("".join(pieces))


def _with_numbers(text: str) -> str:
    """ "1.5::rain:: sky" is "(rain:1.5) sky". A weight reaches to the next "::", the next weight or the end."""
    pieces: list[str] = []
    weight = ""
    for part in _NUMBERED.split(text):
        if not part.endswith("::") or (part == "::" and not weight):
            pieces.append(part)
            continue
        pieces.append(f":{weight})" if weight else "")
        weight = part[:-2]
        pieces.append("(" if weight else "")
    return "".join(pieces) + (f":{weight})" if weight else "")
