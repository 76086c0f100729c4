"""What stands in a folder survives a power cut only when the folder itself was forced to the disk."""

from __future__ import annotations

import os
from pathlib import Path


def force_folder(folder: Path) -> None:
    """fsync of a folder, so that a file renamed into it stays renamed. Windows has nothing of the kind."""
    if os.name != "posix":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
