"""Arguments of `generate` to the fields of a request. Pictures stay paths here; webui.terminal takes them in."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.errors import InvalidParameter

_PLAIN = (
    "prompt", "negative", "width", "height", "steps", "cfg", "sampler", "schedule", "seed", "count", "model", "vae",
    "clip_skip", "denoise", "resize", "styles", "tiling",
)  # fmt: skip
_SIDES = ("left", "right", "up", "down")


def fields_of(asked: argparse.Namespace) -> dict[str, Any]:
    """What was asked for on the command line, on top of what a --request file says. Raises InvalidParameter."""
    given = {name: value for name in _PLAIN if (value := getattr(asked, name)) is not None}
    if not given["prompt"]:
        del given["prompt"]  # the file may have one
    return {**_from_file(asked.request), **given, **_picture(asked), **_more(asked)}


def _from_file(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidParameter("request", f"{path} cannot be read as JSON ({error}).", "Check the file.") from error
    if not isinstance(value, dict):
        raise InvalidParameter("request", f"{path} does not hold a JSON object.", 'Begin it with "{".')
    return value


def _picture(asked: argparse.Namespace) -> dict[str, Any]:
    """The mode follows from what is given."""
    if asked.init is None:
        if asked.mask or asked.outpaint or asked.upscale:
            raise InvalidParameter("init", "There is no picture to start from.", "Name one with --init.")
        return {}
    fields: dict[str, Any] = {"mode": "img2img", "init_image": asked.init}
    if asked.mask or asked.outpaint:
        fields |= {"mode": "inpaint", "inpaint": {"mask": asked.mask} if asked.mask else {}}
    if asked.outpaint:
        fields["outpaint"] = dict(zip(_SIDES, asked.outpaint, strict=True))
    if asked.upscale:
        fields |= {"mode": "upscale", "upscale": {"upscaler": asked.upscaler or "Lanczos", "scale": asked.upscale}}
    return fields


def _more(asked: argparse.Namespace) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if asked.hires:
        fields["hires"] = {"scale": asked.hires, **({"upscaler": asked.upscaler} if asked.upscaler else {})}
    if asked.control:
        fields["control"] = [
            {"model": model, "preprocessor": preprocessor, "image": Path(file)}
            for model, preprocessor, file in asked.control
        ]
    return fields
