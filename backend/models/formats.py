"""What a model file is, told from its first bytes and its safetensors header: no weights are read, no code is run.

Guards every model file before a library opens it: pickles are refused, headers capped, offsets must lie in the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.errors import UnreadableModel

MAX_HEADER = 8 << 20
MAX_TENSORS = 20_000
MAX_SIDES = 8
"""Of one tensor."""
DTYPE_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")

_CONVERT = "Convert it to .safetensors on a machine you trust, or download the .safetensors version."

# The first key that is present names the family (LDM names, as in the original checkpoints).
_SINGLE_FILE_FAMILIES = (
    ("conditioner.embedders.1.model.ln_final.weight", "sdxl"),
    ("conditioner.embedders.0.model.ln_final.weight", "sdxl-refiner"),
    ("cond_stage_model.model.ln_final.weight", "sd2"),
    ("cond_stage_model.transformer.text_model.final_layer_norm.weight", "sd1"),
)

# model_index.json may name these and nothing else: diffusers imports what it finds there.
_ALLOWED_PARTS: Mapping[str, frozenset[str]] = {
    "diffusers": frozenset(
        {
            "UNet2DConditionModel", "AutoencoderKL", "DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler",
            "EulerAncestralDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "LCMScheduler",
            "LMSDiscreteScheduler", "DDPMScheduler", "HeunDiscreteScheduler",
        }
    ),
    "transformers": frozenset(
        {"CLIPTextModel", "CLIPTokenizer", "CLIPTokenizerFast", "CLIPImageProcessor", "CLIPFeatureExtractor"}
    ),
    "stable_diffusion": frozenset({"StableDiffusionSafetyChecker"}),
}  # fmt: skip


def read_header(path: Path, name: str | None = None) -> dict[str, Any]:
    """The checked header of a safetensors file: {tensor name: {dtype, shape, data_offsets}}, without `__metadata__`.

    `name` is what a user is told the file is called. Raises UnreadableModel for a pickle, a truncated or renamed file,
    and any header that does not fit the file.
    """
    name, size = name or path.name, path.stat().st_size
    with path.open("rb") as file:
        start = file.read(9)
        # The length of a sound header may begin with the same bytes as a pickle; the brace after it tells them apart.
        if start[8:] != b"{" and start.startswith((b"PK", b"\x80")):
            raise UnreadableModel(name, "The file is a pickle, which could run code when opened.", _CONVERT)
        length = int.from_bytes(start[:8], "little")
        if start[8:] != b"{" or not 2 <= length <= MAX_HEADER or 8 + length > size:
            raise UnreadableModel(
                name, "The file is not in safetensors format, or it is cut off.", "Download it again."
            )
        raw = start[8:] + file.read(length - 1)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UnreadableModel(name, "The safetensors header is damaged.", "Download the file again.") from error
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise UnreadableModel(name, "The safetensors header is not a plausible list of tensors.")
    header.pop("__metadata__", None)
    for key, entry in header.items():
        _check_entry(name, key, entry, size - 8 - length)
    return header


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


def single_file_family(path: Path) -> str:
    """The family, "sd1" or "sd2". Raises UnreadableModel for other architectures, naming what it looks like."""
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise UnreadableModel(
            path.name, f"{path.suffix} files are pickles, which could run code when opened.", _CONVERT
        )
    header = read_header(path)
    family = next((family for key, family in _SINGLE_FILE_FAMILIES if key in header), None)
    if family is None:
        looks = "a LoRA" if any("lora" in key for key in header) else "no checkpoint of a known kind"
        raise UnreadableModel(path.name, f"The file looks like {looks}.", "SD 1.x and SD 2.x checkpoints can be used.")
    if family not in ("sd1", "sd2"):
        raise UnreadableModel(path.name, f"This is an {family.upper()} checkpoint, which this version cannot run yet.")
    return family


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
    if index.get("_class_name") != "StableDiffusionPipeline":
        kind = str(index.get("_class_name"))[:60]
        raise UnreadableModel(
            folder.name, f"The folder holds a {kind}; this version runs StableDiffusionPipeline models."
        )
    for part, value in index.items():
        if part.startswith("_") or value == [None, None] or isinstance(value, bool | int | float | str | None):
            continue
        library, name = (str(item) for item in (*value, "", "")[:2])
        if name not in _ALLOWED_PARTS.get(library, ()):
            raise UnreadableModel(
                folder.name, f"model_index.json asks for {library}.{name}, which is not allowed here."
            )
    if any(folder.rglob("*.py")):
        raise UnreadableModel(folder.name, "The folder contains Python files, which are never run.", "Remove them.")
    for part in ("unet", "vae", "text_encoder"):
        weights = sorted((folder / part).glob("*.safetensors"))
        if not weights:
            raise UnreadableModel(folder.name, f"{part}/ has no .safetensors weights.", _CONVERT)
        for file in weights:
            read_header(file, f"{folder.name}/{part}/{file.name}")
    return index
