"""What can go wrong in a training, in words: what it was and what to do, on one line."""

from __future__ import annotations

import errno
import re
from pathlib import Path


class TrainingError(Exception):
    """An expected failure; its text is one line for the user, `status` the exit status."""

    status = 1


class BadInput(TrainingError):
    """Something given cannot be used: an option, a package, a checkpoint."""

    status = 2


class MissingFile(BadInput, FileNotFoundError):
    """A file that an earlier stage leaves is not there."""

    def __str__(self) -> str:
        return str(self.args[0])


class NotHere(BadInput):
    """A stage that this checkout lacks, or that cannot do what is asked for yet."""


class CannotWrite(TrainingError):
    """Nothing was written: the disk is full, or the folder may not be written to. What was there before still is."""


class Diverged(TrainingError):
    """The loss is no number any more."""


def cannot_write(path: Path, error: Exception) -> CannotWrite:
    """What to say about a file that could not be written; `error` comes from the system or from safetensors."""
    found = re.search(r"os error (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) else int(found[1]) if found else None
    full = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
    why = "the disk is full" if number in full else str(error).splitlines()[0] if str(error) else "the system says no"
    kept = "The file of that name is as it was." if path.exists() else "Nothing is left of it."
    return CannotWrite(f"{path} could not be written: {why}. {kept} Make room or choose another --work, then --resume.")
