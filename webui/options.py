"""Settings, catalogue and log, for verbs that need no more. Light: the port is checked before anything heavy."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backend.errors import BadRequest, Problem, Unavailable
from backend.inputs import InputStore
from backend.library import LibraryDesk
from backend.models.catalog import Catalog
from backend.models.hashes import Hasher
from backend.models.roots import OWN_FOLDERS
from backend.settings import ROOT, Settings

STARTER = ROOT / "models" / "starter"
"""The model that the checkout brings along."""


CONTROLS = ("starter-edges", "starter-scribble")
SINGLE = ("loras", "embeddings", "starter-lcm", "starter-upscaler")
"""Folders of models that are a file each."""


def shipped(models: Path) -> tuple[Path, ...]:
    """What lies in `models` beside the checkpoint: controls, then single files in order."""
    controls = (models / name for name in CONTROLS)
    files = (file for folder in SINGLE for file in sorted((models / folder).glob("*.safetensors")))
    return (*(folder for folder in controls if folder.is_dir()), *files)


BUNDLED = (STARTER, *shipped(ROOT / "models"))
"""What the project brings along: a checkpoint and what was made for it."""


def read_settings(**given: Any) -> Settings:
    """The settings in force; `given` are the command line's, None meaning not given. Raises BadRequest."""
    chosen = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**chosen)
    except ValueError as error:  # pydantic's and the TOML reader's are both of this kind
        name, why = "config.toml", str(error)
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            name, why = ".".join(map(str, first["loc"])), first["msg"]
        hint = "See docs/settings.md, config.toml in the data folder, and the SIGNET_* environment variables."
        detail = f'The setting "{name}" cannot be used: {why}.'
        raise BadRequest(Problem("invalid-setting", "A setting cannot be used", detail, 422, name, hint)) from error


def open_catalog(settings: Settings, hasher: Hasher | None = None) -> Catalog:
    """The models on disk: the starter, the data folder's, and the folders named in the settings."""
    return Catalog(BUNDLED, settings.model_folders, own=settings.data / "models", hasher=hasher)


def open_library(settings: Settings, hasher: Hasher | None = None) -> LibraryDesk:
    """What people bring along and refer to, with the catalogue of models."""
    make_folders(settings)
    inputs = InputStore(settings.inputs, settings.inputs_limit_mb << 20, settings.upload_limit_mpx * 1_000_000)
    return LibraryDesk(settings, open_catalog(settings, hasher), inputs)


def _model_folders(settings: Settings) -> tuple[Path, ...]:
    return tuple(settings.data / "models" / name for name in OWN_FOLDERS.values())


def make_folders(settings: Settings) -> None:
    try:
        for folder in (settings.data, settings.data / "logs", *_model_folders(settings)):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        detail = f"The data folder {settings.data} cannot be used: {error.strerror} ({error.filename})."
        raise Unavailable(detail, "Name another one with --data.") from error


@contextmanager
def open_log(settings: Settings) -> Iterator[None]:
    """Inside the block everything logged goes to data/logs/signet.log: four files of 2 MB at most."""
    make_folders(settings)
    handler = RotatingFileHandler(settings.data / "logs" / "signet.log", maxBytes=2_000_000, backupCount=3, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    logging.getLogger("alembic").setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
