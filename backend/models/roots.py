"""How the folders of other programs are laid out: A1111, ComfyUI, extra_model_paths.yaml, the Hugging Face cache."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from backend.types.models import ModelKind

_LOG = logging.getLogger(__name__)
_MAX_YAML = 64 << 10

KIND_FOLDERS: Mapping[str, ModelKind] = {
    "checkpoints": "checkpoint", "stable-diffusion": "checkpoint", "unet": "checkpoint",
    "diffusion-models": "checkpoint",
    "loras": "lora", "lora": "lora", "lycoris": "lora",
    "vae": "vae",
    "controlnet": "controlnet", "t2i-adapter": "t2i-adapter", "t2i-adapters": "t2i-adapter",
    "ip-adapter": "ip-adapter", "ipadapter": "ip-adapter",
    "embeddings": "embedding",
    "upscalers": "upscaler", "upscale-models": "upscaler", "esrgan": "upscaler", "realesrgan": "upscaler",
    "swinir": "upscaler",
    "preprocessors": "preprocessor", "clip-vision": "preprocessor", "text-encoders": "preprocessor",
    "clip": "preprocessor",
}  # fmt: skip
"""Folder name (lower case, "-" for "_") -> what lies in it, for our own folders, A1111 1.10.1 and ComfyUI."""

OWN_FOLDERS: Mapping[ModelKind, str] = {
    "checkpoint": "checkpoints", "lora": "loras", "vae": "vae", "controlnet": "controlnet",
    "t2i-adapter": "t2i-adapter", "ip-adapter": "ip-adapter", "embedding": "embeddings", "upscaler": "upscalers",
    "preprocessor": "preprocessors",
}  # fmt: skip
"""Below data/models."""

Names = Callable[[Path], tuple[str, ...]]
"""Names of the folders in a folder."""


@dataclass(frozen=True, slots=True)
class Area:
    """A folder to walk. `kind` is what lies in it, None for anything. In a `strict` area only the folders of
    KIND_FOLDERS are entered. `name` replaces a name that says nothing, `label` goes before the folder's name."""

    path: Path
    root: Path
    kind: ModelKind | None = None
    strict: bool = False
    quiet: bool = False
    name: str = ""
    label: str = ""


def kind_of_folder(name: str) -> ModelKind | None:
    return KIND_FOLDERS.get(name.casefold().replace("_", "-"))


def areas_of(root: Path, names: Names) -> Iterator[Area]:
    """The areas of a root that a user has named, whatever program it belongs to."""
    if root.suffix.lower() in (".yaml", ".yml"):
        yield from _from_yaml(root)
        return
    inside = names(root)
    cache = root / "hub" if "hub" in inside else root
    repositories = [name for name in names(cache) if name.startswith("models--")]
    if repositories:
        for name in repositories:
            yield from _from_cache(cache / name, root, names)
    elif root.name.startswith("models--") and "snapshots" in inside:
        yield from _from_cache(root, root, names)
    elif "models" in inside and _holds_kinds(names(root / "models")):
        yield Area(root / "models", root, strict=True)
        for beside in ("embeddings", "extensions/sd-webui-controlnet/models"):  # A1111 keeps these elsewhere
            if (root / beside).is_dir():
                kind: ModelKind = "embedding" if beside == "embeddings" else "controlnet"
                yield Area(root / beside, root, kind)
    else:
        yield Area(root, root, strict=_holds_kinds(inside))


def _holds_kinds(names: tuple[str, ...]) -> bool:
    """Whether this is the folder of models of a program, in which other folders hold other things."""
    return any(kind_of_folder(name) == "checkpoint" and name.casefold() != "unet" for name in names)


def _from_cache(repository: Path, root: Path, names: Names) -> Iterator[Area]:
    """models--org--name: the snapshot that "main" names, or else the newest."""
    snapshots = repository / "snapshots"
    revisions = names(snapshots)
    if not revisions:
        return
    try:
        chosen = (repository / "refs" / "main").read_text(encoding="utf-8")[:80].strip()
    except (OSError, ValueError):
        chosen = ""
    if chosen not in revisions:
        chosen = max(revisions, key=lambda name: (_date(snapshots / name), name))
    _, _, rest = repository.name.partition("--")
    organisation, _, name = rest.rpartition("--")
    yield Area(snapshots / chosen, root, quiet=True, name=name, label=organisation)


def _date(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _from_yaml(path: Path) -> Iterator[Area]:
    """ComfyUI's extra_model_paths.yaml: sections with an optional base_path; one folder, several lines, or a list.

    Read as data. A file that cannot be read is logged and leaves nothing out but itself.
    """
    try:
        if path.stat().st_size > _MAX_YAML:
            raise ValueError("it is too large")
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        _LOG.warning("%s cannot be used: %s", path, str(error)[:200])
        return
    for section in (value if isinstance(value, dict) else {}).values():
        if isinstance(section, dict):
            yield from _section(section, path.parent)


def _section(section: Mapping[Any, Any], beside: Path) -> Iterator[Area]:
    base = _path(section.get("base_path"), beside)
    for key, value in section.items():
        kind = kind_of_folder(key) if isinstance(key, str) else None
        lines = value if isinstance(value, list) else str(value or "").splitlines()
        for line in lines:
            folder = _path(line, base)
            if kind and folder != base:
                yield Area(folder, folder, kind)


def _path(text: Any, base: Path) -> Path:
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        return base
    return base / Path(os.path.expandvars(text.strip())).expanduser()
