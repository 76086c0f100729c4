"""Safetensors files to modules without a second copy: built empty, then given their tensors one by one.

Read rather than mapped: a mapped file that is replaced while it is in use takes the whole process down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import Tensor

from backend.errors import UnreadableModel
from backend.models import formats

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip

# Attention of autoencoders saved by diffusers before 0.18 (the published SD 1.5 folders are).
_OLD_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}

Rename = Callable[[str], str | None]


def under(prefix: str, *, strip: bool = True) -> Rename:
    """Take the tensors whose names begin with `prefix`, and with `strip` leave it away."""

    def rename(name: str) -> str | None:
        if not name.startswith(prefix):
            return None
        return name.removeprefix(prefix) if strip else name

    return rename


def read(path: Path, device: torch.device, dtype: torch.dtype | None, rename: Rename = str) -> dict[str, Tensor]:
    """The tensors that `rename` gives a name, on `device`, floating ones as `dtype` (None: as in the file).

    Raises UnreadableModel. At no time is more in memory than the result and one tensor of the file.
    """
    header = formats.read_header(path)
    try:
        with safe_open(path, framework="pt"):
            pass  # the library's own checks of the whole header: no gaps, no overlaps
    except (SafetensorError, OSError) as error:
        raise UnreadableModel(path.name, f"The file is damaged ({str(error)[:100]}).", "Download it again.") from error
    chosen = [(entry["data_offsets"], new, entry) for key, entry in header.items() if (new := rename(key)) is not None]
    # What is converted or copied on passes through one buffer: new memory is what costs most here.
    passing = torch.empty(max((end - begin for (begin, end), _, _ in chosen), default=0), dtype=torch.uint8)
    tensors: dict[str, Tensor] = {}
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        for (begin, end), name, entry in sorted(chosen, key=lambda one: (one[0], one[1])):
            kept = DTYPES[entry["dtype"]]
            wanted = dtype if dtype is not None and kept.is_floating_point else kept
            stays = device.type == "cpu" and wanted == kept
            buffer = torch.empty(end - begin, dtype=torch.uint8) if stays else passing[: end - begin]
            file.seek(start + begin)
            if file.readinto(buffer.numpy().data) != end - begin:
                raise UnreadableModel(path.name, "The file is cut off.", "Download it again.")
            tensor = buffer.view(kept).reshape(entry["shape"])
            # A GPU converts faster than the CPU does on the way to it.
            tensors[name] = tensor.to(device).to(wanted) if device.type == "cuda" else tensor.to(device, wanted)
    return tensors


def read_folder(
    folder: Path, device: torch.device, dtype: torch.dtype | None, rename: Rename = str
) -> dict[str, Tensor]:
    """The tensors of one part of a diffusers folder, in one file or in shards."""
    return {name: tensor for file in weight_files(folder) for name, tensor in read(file, device, dtype, rename).items()}


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The shards an index names, else the plain file, else a variant such as ".fp16". Raises UnreadableModel."""
    index = next(iter(sorted(folder.glob("*.safetensors.index.json"))), None)
    if index is not None:
        shards = formats.read_json(index).get("weight_map", {})
        names = sorted({str(name) for name in shards.values()}) if isinstance(shards, dict) else []
        if not names or any(Path(name).name != name or not (folder / name).is_file() for name in names):
            raise UnreadableModel(folder.parent.name, f"Files named in {folder.name}/{index.name} are missing.")
        return tuple(folder / name for name in names)
    files = sorted(folder.glob("*.safetensors"), key=lambda file: (file.name.count("."), file.name))
    if not files:
        raise UnreadableModel(folder.parent.name, f"{folder.name}/ has no .safetensors weights.")
    return (files[0],)


def assemble(name: str, what: str, make: Callable[[], Any], convert: Callable[[Any], Mapping[str, Tensor]]) -> Any:
    """A module made by `make` without weights, given those that `convert(module)` returns; ready to run.

    Raises UnreadableModel if weights are missing; what is left over (the last layer of SD 2's text encoder) is ignored.
    """
    with init_empty_weights(include_buffers=False):
        module = make()
    tensors = convert(module)
    missing, _ = module.load_state_dict(tensors, strict=False, assign=True)
    if missing:
        detail = f"{len(missing)} weights of the {what} are missing, for example {missing[0]}."
        raise UnreadableModel(name, detail, "Copy or download the model again.")
    device = next(iter(tensors.values())).device
    for buffer in module.buffers():
        buffer.data = buffer.data.to(device)
    return module.eval().requires_grad_(False)


def modern(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of an autoencoder in a diffusers folder under today's names."""
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".attentions." in name:
            for old, new in _OLD_ATTENTION.items():
                name = name.replace(old, new)
        out[name] = tensor
    return out


def with_text_prefix(tensors: Mapping[str, Tensor], module: Any) -> dict[str, Tensor]:
    """CLIP's tensors under the names the installed transformers uses: with or without "text_model." in front."""
    wanted = set(module.state_dict())
    plain = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
    return {f"text_model.{name}" if f"text_model.{name}" in wanted else name: plain[name] for name in plain}


def size_of(modules: Iterable[Any]) -> int:
    """Bytes of weights."""
    tensors = [tensor for module in modules for tensor in module.state_dict().values()]
    return sum(math.prod(tensor.shape) * tensor.element_size() for tensor in tensors)
