"""Checkpoints without pickle: tensors and a JSON note in one safetensors file, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from training import progress
from training.errors import BadInput, MissingFile, cannot_write

SPARE = 2**20  # bytes left free beside a checkpoint


def stamp(model: Path) -> str:
    """Eight digits of an exported model's text tower and denoiser: what was learned for one is stale for another. The
    autoencoder may change, its latents do not."""
    digest = hashlib.sha256()
    for part in ("text_encoder", "unet"):
        for file in sorted((model / part).glob("*.safetensors")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """Writes tensors and a JSON note as one safetensors file, whole or not at all; CannotWrite leaves the old file.

    The note also names the geometry of the stage that is under way.
    """
    watch = progress.current()
    known = {"geometry": watch.geometry} if watch is not None else {}
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    draft = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        needed = sum(value.numel() * value.element_size() for value in whole.values()) + SPARE
        if shutil.disk_usage(path.parent).free < needed:  # better than to find out half-way
            raise OSError(28, f"{needed / 2**20:.0f} MiB are needed")
        save_file(whole, draft, metadata={"facts": json.dumps({**known, **facts})})
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        raise cannot_write(path, error) from error
    finally:
        draft.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and note of a checkpoint. MissingFile if it is not there, BadInput if it is damaged."""
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
        return tensors, _facts(file)


def facts_of(path: Path) -> dict[str, Any]:
    """The note alone, without reading the tensors; errors as `load`."""
    with _opened(path) as file:
        return _facts(file)


def _opened(path: Path) -> Any:
    if not path.exists():
        raise MissingFile(f"{path} is missing. Run the stage that makes it first (training/README.md lists them).")
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        why = str(error).splitlines()[0]
        text = f"{path} is damaged or cut short ({why}). Put back a whole copy, or delete it and run its stage again."
        raise BadInput(text) from error


def _facts(file: Any) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((file.metadata() or {}).get("facts", "{}"))
    return facts


def check_fits(path: Path, module: nn.Module, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """BadInput unless the checkpoint's module has the names and shapes of `module`."""
    theirs = {name: tuple(value.shape) for name, value in part(tensors, "module").items()}
    ours = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    if theirs == ours:
        return
    name = next((name for name in ours if theirs.get(name) != ours[name]), "") or next(
        iter(theirs.keys() - ours.keys())
    )
    there, here = (str(shapes.get(name, "absent")) for shapes in (theirs, ours))
    kind = f'of another geometry ("{facts.get("geometry", "small")}")' if theirs else "no checkpoint of a training"
    raise BadInput(
        f"{path} is {kind}: {name} is {there} there and {here} here. "
        "Choose the --geometry it was made with, or another --work folder; nothing was overwritten."
    )


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries below `prefix.`, without it."""
    return {name.removeprefix(prefix + "."): value for name, value in tensors.items() if name.startswith(prefix + ".")}
