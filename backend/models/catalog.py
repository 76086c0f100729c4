"""What models are on disk, and why some of them cannot be used. Reads headers and configurations only; no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backend.errors import SignetError, UnknownModel, UnreadableModel
from backend.models import formats
from backend.types import ModelInfo

_NATIVE = {"sd1": 512, "sd2": 512}
_CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True, slots=True)
class Listing:
    """One scan: usable models by id, and the error of each that is not."""

    models: Mapping[str, ModelInfo]
    refused: Mapping[str, SignetError]


class Catalog:
    """Models in `bundled` (single model folders) and below `folders` (searched one level deep).

    `find` and `all` look at the disk anew, so that a model dropped into a folder is there at once; a file that has not
    changed is not read twice.
    """

    def __init__(self, bundled: tuple[Path, ...], folders: tuple[Path, ...]) -> None:
        self._bundled = bundled
        self._folders = folders
        self._seen: dict[tuple[Path, int, int], ModelInfo | SignetError] = {}

    def all(self) -> tuple[ModelInfo, ...]:
        return tuple(self._scan().models.values())

    def refused(self) -> Mapping[str, SignetError]:
        """File or folder name -> why it cannot be used."""
        return self._scan().refused

    def find(self, name: str) -> ModelInfo:
        """By id or title, in any case. Raises UnknownModel (with near names) or the reason why it cannot be used."""
        listing = self._scan()
        wanted = name.strip().casefold()
        for info in listing.models.values():
            if wanted in (info.id.casefold(), info.title.casefold()):
                return info
        for ident, error in listing.refused.items():
            if wanted in (ident.casefold(), Path(ident).stem.casefold()):
                raise error
        raise UnknownModel(name, tuple(listing.models))

    def _scan(self) -> Listing:
        models: dict[str, ModelInfo] = {}
        refused: dict[str, SignetError] = {}
        for path in self._paths():
            found = self._look(path)
            if isinstance(found, SignetError):
                refused.setdefault(path.name, found)
            else:
                models.setdefault(found.id, found)
        return Listing(models, refused)

    def _paths(self) -> Iterator[Path]:
        yield from (path for path in self._bundled if path.is_dir())
        for folder in self._folders:
            if not folder.is_dir():
                continue
            for path in sorted(folder.iterdir()):
                if path.is_dir():
                    # A folder beside X.safetensors called X is that file's configuration, not a model of its own.
                    is_model = (path / "model_index.json").is_file() and not _weights_beside(path).is_file()
                else:
                    is_model = path.suffix.lower() in (".safetensors", *formats.PICKLE_SUFFIXES)
                if is_model:
                    yield path

    def _look(self, path: Path) -> ModelInfo | SignetError:
        try:
            size, modified = _state(path)
        except OSError:  # a dangling link, or a file that is just being removed
            return UnreadableModel(path.name, "The file cannot be opened.", "Copy it again.")
        key = (path, size, modified)
        if key not in self._seen:
            found = _describe(path)
            self._seen[key] = found if isinstance(found, SignetError) else replace(found, modified_ns=modified)
        return self._seen[key]


def _state(path: Path) -> tuple[int, int]:
    """Bytes of a model's files and the newest of their times (ns): another state means another model."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    stats = [file.stat() for file in files]
    return sum(stat.st_size for stat in stats), max((stat.st_mtime_ns for stat in stats), default=0)


def config_folder(path: Path, family: str) -> Path:
    """The diffusers configuration for a single file: a folder of the same name beside it, or ours for the family."""
    beside = path.with_suffix("")
    return beside if (beside / "model_index.json").is_file() else _CONFIGS / family


def _weights_beside(folder: Path) -> Path:
    """The single file whose configuration `folder` would be. Not `with_suffix`: names like "v1.5" have dots."""
    return folder.with_name(folder.name + ".safetensors")


def _describe(path: Path) -> ModelInfo | SignetError:
    try:
        return _describe_folder(path) if path.is_dir() else _describe_file(path)
    except SignetError as error:
        return error
    except (OSError, ArithmeticError, TypeError, ValueError) as error:  # values of other kinds than they should be
        return UnreadableModel(path.name, f"Its configuration is damaged ({str(error)[:80]}).", "Copy it again.")


def _describe_folder(folder: Path) -> ModelInfo:
    formats.check_folder(folder)
    signet = formats.read_json(folder / "signet.json") if (folder / "signet.json").is_file() else {}
    weights = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    wide = formats.read_json(folder / "unet" / "config.json").get("cross_attention_dim") == 1024
    return _info(folder.name, folder, folder, "sd2" if wide else "sd1", "diffusers", weights, signet)


def _describe_file(path: Path) -> ModelInfo:
    family = formats.single_file_family(path)
    return _info(path.stem, path, config_folder(path, family), family, "single-file", path.stat().st_size, {})


def _info(
    ident: str, path: Path, config: Path, family: str, layout: Any, size: int, signet: Mapping[str, Any]
) -> ModelInfo:
    unet = formats.read_json(config / "unet" / "config.json")
    vae = formats.read_json(config / "vae" / "config.json")
    factor = 2 ** (len(vae.get("block_out_channels", (0,) * 4)) - 1)
    latent = unet.get("sample_size", 64)
    return ModelInfo(
        id=ident,
        title=str(signet.get("title", ident)),
        family=str(signet.get("family", family)),
        path=str(path),
        layout=layout,
        factor=factor,
        native_size=int(latent) * factor if isinstance(latent, int) else _NATIVE[family],
        size=size,
        licence=str(signet.get("licence", "not stated")),
        defaults=dict(signet.get("defaults", {})),
    )
