"""The extensions of this studio."""

from __future__ import annotations

from extensions.builtin import batch_folder, prompt_matrix, xyz_plot
from extensions.context import Names
from extensions.manager import Manager

BUILTIN = (xyz_plot, prompt_matrix, batch_folder)


def open_extensions(names: Names) -> Manager:
    """`names` lists what requests may refer to."""
    return Manager(BUILTIN, names)
