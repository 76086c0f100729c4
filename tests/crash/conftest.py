"""A data folder with an empty, migrated database, copied because that is quicker than migrating anew for every test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.engine import open_database

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "signet.db"
    open_database(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def data(template: Path) -> Iterator[Path]:
    """In memory where that can be had: a killed process loses nothing that it wrote, wherever that lies."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        shutil.copy(template, Path(folder) / "signet.db")
        yield Path(folder)
