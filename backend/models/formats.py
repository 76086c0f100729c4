"""What a model file is, told from its first bytes and its safetensors header: no weights are read, no code is run.

Guards every model file before a library opens it: pickles are refused, headers capped, offsets must lie in the file.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import UnreadableModel
from backend.models.pipelines import ALLOWED_PARTS, PIPELINES
from backend.models.recognise import Facts, Shapes, recognise

MAX_HEADER = 8 << 20
MAX_TENSORS = 20_000
MAX_SIDES = 8
"""Of one tensor."""
DTYPE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
RUNNABLE_FILES = ("sd1", "sd2", "sdxl", "sdxl-refiner")
"""Families of which one file is enough."""

_CONVERT = "Convert it to .safetensors on a machine you trust, or download the .safetensors version."
# Settings that would make a library import code which a stranger chose.
_CODE = frozenset({"auto_map", "custom_pipelines", "_attn_implementation_internal"})


@dataclass(frozen=True, slots=True)
class Header:
    """`tensors` is {name: {dtype, shape, data_offsets}}, checked; `metadata` the file's own texts; `start` the byte
    at which the weights begin."""

    tensors: Mapping[str, Any]
    metadata: Mapping[str, str]
    start: int

    @property
    def shapes(self) -> Shapes:
        return {name: tuple(entry["shape"]) for name, entry in self.tensors.items()}


def read_header(path: Path, name: str | None = None) -> dict[str, Any]:
    """The checked header of a safetensors file: {tensor name: {dtype, shape, data_offsets}}, without `__metadata__`.

    `name` is what a user is told the file is called. Raises UnreadableModel for a pickle, a truncated or renamed file,
    and any header that does not fit the file.
    """
    return dict(read(path, name).tensors)


def read(path: Path, name: str | None = None) -> Header:
    """The same with the file's metadata; entries of it that are no texts are left out."""
    name = name or path.name
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise refused_pickle(path.suffix, name)
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(9)
        length = _header_length(start, size, name)
        raw = start[8:] + file.read(length - 1)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UnreadableModel(name, "The safetensors header is damaged.", "Download the file again.") from error
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise UnreadableModel(name, "The safetensors header is not a plausible list of tensors.")
    metadata = header.pop("__metadata__", None)
    room = size - 8 - length
    for key, entry in header.items():
        if not _is_sound(entry, room):
            _check_entry(name, key, entry, room)
    texts = metadata if isinstance(metadata, dict) else {}
    return Header(header, {key: text for key, text in texts.items() if isinstance(text, str)}, 8 + length)


def refused_pickle(suffix: str, name: str) -> UnreadableModel:
    return UnreadableModel(name, f"{suffix} files are pickles, which could run code when opened.", _CONVERT)


def _header_length(start: bytes, size: int, name: str) -> int:
    # The length of a sound header may begin with the same bytes as a pickle; the brace after it tells them apart.
    if start[8:] != b"{" and start.startswith((b"PK", b"\x80")):
        raise UnreadableModel(name, "The file is a pickle, which could run code when opened.", _CONVERT)
    length = int.from_bytes(start[:8], "little")
    if start[8:] != b"{" or length < 2 or 8 + length > size:
        raise UnreadableModel(name, "The file is not in safetensors format, or it is cut off.", "Download it again.")
    if length > MAX_HEADER:
        detail = f"Its header takes {length / 2**20:.1f} MiB; at most {MAX_HEADER / 2**20:.0f} MiB are read."
        raise UnreadableModel(name, detail, "Save it again without the training metadata.")
    return length


def _is_sound(entry: Any, room: int) -> bool:
    """A quick yes for a well-described tensor: a LoRA of SDXL has two thousand."""
    if type(entry) is not dict or type(entry.get("dtype")) is not str:
        return False
    shape, offsets, size = entry.get("shape"), entry.get("data_offsets"), DTYPE_BYTES.get(entry["dtype"], 0)
    if type(shape) is not list or type(offsets) is not list or len(offsets) != 2 or len(shape) > MAX_SIDES or not size:
        return False
    begin, end = offsets
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end <= room:
        return False
    for side in shape:
        if type(side) is not int or side < 0:
            return False
        size *= side
    return bool(end - begin == size)


def _check_entry(name: str, key: str, entry: Any, room: int) -> None:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(begin), int(end)]}:
            sound = len(shape) <= MAX_SIDES and all(isinstance(side, int) and side >= 0 for side in shape)
            size = DTYPE_BYTES.get(dtype, 0)
            if not sound or not size or begin < 0 or end - begin != math.prod(shape) * size:
                raise UnreadableModel(name, f'The tensor "{key[:80]}" is not described consistently.')
            if end > room:
                raise UnreadableModel(
                    name, "The file is cut off: weights are missing at its end.", "Download it again."
                )
        case _:
            raise UnreadableModel(name, f'The tensor "{key[:80]}" is not described as safetensors asks.')


def facts_of(header: Header, name: str) -> Facts:
    """What a file is. Raises UnreadableModel for one that is nothing we know."""
    facts = recognise(header.shapes, header.metadata, name)
    if facts is None:
        hint = "It can be a checkpoint, LoRA, VAE, ControlNet, adapter, embedding or upscaler in .safetensors format."
        raise UnreadableModel(name, "The file looks like no model of a known kind.", hint)
    return facts


def single_file_family(path: Path) -> str:
    """The family of a checkpoint in one file. Raises UnreadableModel for anything else, naming what it looks like."""
    facts = facts_of(read(path), path.name)
    if facts.problem:
        raise UnreadableModel(path.name, facts.problem, facts.hint)
    if facts.kind != "checkpoint":
        raise UnreadableModel(path.name, f"The file looks like {a_kind(facts.kind)}, not like a checkpoint.")
    return facts.family


def a_kind(kind: str) -> str:
    """A kind of model in words, with its article."""
    return {
        "checkpoint": "a checkpoint", "lora": "a LoRA", "vae": "a VAE", "controlnet": "a ControlNet",
        "t2i-adapter": "a T2I-Adapter", "ip-adapter": "an IP-Adapter", "embedding": "an embedding",
        "upscaler": "an upscaler",
    }.get(kind, "a part of another model")  # fmt: skip


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object from a model folder. Raises UnreadableModel."""
    name = f"{path.parent.name}/{path.name}"
    try:
        if path.stat().st_size > MAX_HEADER:
            raise UnreadableModel(name, "The file is too large for a configuration.")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableModel(
            name, "The configuration is missing or damaged.", "Copy the model folder again."
        ) from error
    if not isinstance(value, dict):
        raise UnreadableModel(name, "The configuration is not a JSON object.")
    return value


def check_folder(folder: Path) -> dict[str, Any]:
    """The model_index.json of a diffusers folder that is safe to hand to diffusers.

    Only classes on our list, no Python files, weights in safetensors with sound headers. Raises UnreadableModel.
    """
    index = read_json(folder / "model_index.json")
    kind = index.get("_class_name")
    known = PIPELINES.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise UnreadableModel(
            folder.name, f"The folder holds a {str(kind)[:60]}, which this version does not run.",
            "Pipelines that make pictures from text can be used: " + ", ".join(PIPELINES) + ".",
        )  # fmt: skip
    for part, value in index.items():
        if part.startswith("_") or value in ([None, None], None) or isinstance(value, bool | int | float | str):
            continue
        library, name = (str(item) for item in (*value, "", "")[:2])
        if name not in ALLOWED_PARTS.get(library, ()):
            raise UnreadableModel(
                folder.name, f"model_index.json asks for {library}.{name}, which is not allowed here."
            )
    _no_code(folder)
    for part in known.parts:
        check_weights(folder / part, f"{folder.name}/{part}")
    return index


def check_component(folder: Path) -> dict[str, Any]:
    """The config.json of a folder that holds one part, such as a ControlNet. Raises UnreadableModel."""
    _no_code(folder)
    check_weights(folder, folder.name)
    return read_json(folder / "config.json")


def check_weights(folder: Path, name: str) -> None:
    """Raises UnreadableModel unless all weights in `folder` are sound safetensors files, and there are some.

    A GGUF file may stand in their place: plain numbers too, read by the package gguf where it is installed.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not weights and any(_is_gguf(file) for file in folder.glob("*.gguf")):
        return
    if not weights:
        raise UnreadableModel(
            name.partition("/")[0], f"{name.partition('/')[2] or name}/ has no .safetensors weights.", _CONVERT
        )
    for file in weights:
        read(file, f"{name}/{file.name}")


def _is_gguf(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"GGUF"


def _no_code(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".py"):
                raise UnreadableModel(
                    folder.name, "The folder contains Python files, which are never run.", "Remove them."
                )
            if name == "config.json" and _CODE & set(_keys(Path(place) / name)):
                raise UnreadableModel(folder.name, f"{Path(place).name}/config.json asks for code of its own.")


def _keys(path: Path) -> tuple[str, ...]:
    """Of a configuration; none if it is damaged, which is told where it is used."""
    try:
        return tuple(read_json(path))
    except UnreadableModel:
        return ()
