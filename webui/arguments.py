"""Arguments of `generate` to the fields of a request. Pictures stay paths here; webui.terminal takes them in."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.errors import BadRequest, InvalidParameter, Problem

_PLAIN = (
    "prompt", "negative", "width", "height", "steps", "cfg", "sampler", "schedule", "seed", "count", "model", "vae",
    "clip_skip", "denoise", "resize", "styles", "tiling", "format", "policy", "consent",
)  # fmt: skip
_SIDES = ("left", "right", "up", "down")
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp"})


def fields_of(asked: argparse.Namespace) -> dict[str, Any]:
    """What was asked for on the command line, on top of what a --request file says. Raises InvalidParameter."""
    others = (asked.request, asked.init, asked.batch, asked.mask, asked.outpaint, asked.upscale)
    if asked.prompt is None and not any(others):
        hint = "See: python3 launch.py generate --help"
        raise BadRequest(Problem("usage", "The command cannot be understood", "There is no PROMPT.", 400, hint=hint))
    given = {name: value for name in _PLAIN if (value := getattr(asked, name)) is not None}
    return {**_from_file(asked.request), **given, **_picture(asked), **_more(asked)}


def plan_of(asked: argparse.Namespace) -> tuple[str, Mapping[str, Any]] | None:
    """The name of the plan and its arguments; a folder makes a batch. Raises InvalidParameter."""
    if asked.batch is None:
        if asked.plan is None and asked.plan_arguments:
            raise InvalidParameter("plan", "These arguments belong to no plan.", "Name one with --plan.")
        return (asked.plan, _object("plan-arguments", asked.plan_arguments)) if asked.plan else None
    if asked.init or asked.plan not in (None, "batch"):
        raise InvalidParameter("batch", "A batch has its own pictures and is a plan by itself.", "Leave out the other.")
    try:
        pictures = sorted(path for path in asked.batch.iterdir() if path.suffix.casefold() in _PICTURES)
    except OSError as error:
        raise InvalidParameter("batch", f"{asked.batch} cannot be read: {error.strerror}.", "Name a folder.") from error
    if not pictures:
        raise InvalidParameter("batch", f"There is no PNG, JPEG or WebP file in {asked.batch}.", "Name another folder.")
    return "batch", {**_object("plan-arguments", asked.plan_arguments), "pictures": pictures}


def _object(field: str, text: str | None) -> Mapping[str, Any]:
    """A JSON object, or what the file of that name holds."""
    if not text:
        return {}
    return _parsed(field, text, "the text") if text.lstrip().startswith("{") else _from_file(Path(text), field)


def _from_file(path: Path | None, field: str = "request") -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise InvalidParameter(field, f"{path} cannot be read as JSON ({error}).", "Check the file.") from error
    return _parsed(field, text, str(path))


def _parsed(field: str, text: str, where: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(field, f"{where} cannot be read as JSON ({error}).", "Check the file.") from error
    if not isinstance(value, dict):
        raise InvalidParameter(field, f"{where} does not hold a JSON object.", 'Begin it with "{".')
    return value


def _picture(asked: argparse.Namespace) -> dict[str, Any]:
    """The mode follows from what is given."""
    if asked.init is None and asked.batch is None:
        if asked.mask or asked.outpaint or asked.upscale:
            raise InvalidParameter("init", "There is no picture to start from.", "Name one with --init.")
        return {}
    if asked.upscale and (asked.mask or asked.outpaint):
        raise InvalidParameter("upscale", "To upscale and to repaint are two things.", "Do one after the other.")
    fields: dict[str, Any] = {"mode": "img2img", **({"init_image": asked.init} if asked.init else {})}
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
