"""The tiny models on disk, made once per run of the tests. Import the fixture `shelf` where it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from backend.models.catalog import Catalog
from backend.models.loader import LoadedModel, load
from backend.types import ModelInfo
from tests.support import tiny

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Shelf:
    """A folder with "one" and "two" (SD 1.x folders, other weights), "file" (one file, the weights of "one"),
    "wide" and "wide-file" (SD 2.x), and "velocity" (SD 2.x folder that predicts v)."""

    folder: Path

    @property
    def catalog(self) -> Catalog:
        return Catalog((), (self.folder,))

    def info(self, name: str) -> ModelInfo:
        return self.catalog.find(name)

    def model(self, name: str) -> LoadedModel:
        return load(self.info(name), CPU, torch.float32)

    def stock(self, name: str) -> StableDiffusionPipeline:
        """The same folder as anybody would open it with diffusers."""
        pipe = StableDiffusionPipeline.from_pretrained(self.folder / name, local_files_only=True, safety_checker=None)
        pipe.set_progress_bar_config(disable=True)
        return pipe


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    folder = tmp_path_factory.mktemp("checkpoints")
    one, wide = tiny.pipeline("sd1"), tiny.pipeline("sd2", seed=2)
    tiny.save_folder(one, folder / "one")
    tiny.save_folder(tiny.pipeline("sd1", seed=1), folder / "two")
    tiny.save_file_with_config(one, folder / "file.safetensors")
    tiny.save_folder(wide, folder / "wide")
    tiny.save_file_with_config(wide, folder / "wide-file.safetensors")
    tiny.save_folder(tiny.pipeline("sd2", seed=3, velocity=True), folder / "velocity")
    return Shelf(folder)
