"""`python3 launch.py audit VERB`: prompts, marks, the log, bias and the trust table from the command line.

Each verb is a module with `arguments(parser)` and `run(asked, settings)`, imported only when it is asked for.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING

from backend.errors import BadRequest, Problem

if TYPE_CHECKING:
    from backend.settings import Settings

VERBS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "prompt": ("prompt", "Say what admission makes of prompts, one line of JSON for each."),
        "mark": ("mark", "Look for the invisible mark in picture files (audit mark detect FILE ...)."),
        "calibrate": ("calibrate", "Show your own pictures to the detectors and see where they draw the line."),
        "verify": ("log", "Check the whole audit log, link by link."),
        "export": ("log", "Write the audit log to a file."),
        "erase": ("log", "Erase somebody's texts from the audit log; the chain stays whole."),
        "retain": ("log", "Erase the texts of old entries; the chain stays whole."),
        "bias": ("bias", "Run a bias audit of a model and write its report."),
        "stats": ("stats", "Compute the statistics of an audit from a table of prompt, category, count."),
        "table": ("table", "Measure and print the trust table: filter, marks, credentials, bias."),
    }
)
"""Verb to its module and what it does."""


def parse(given: Sequence[str]) -> tuple[argparse.Namespace, ModuleType]:
    """The arguments after `audit`, and the module that runs them. Raises BadRequest for a verb there is not."""
    if not given or given[0] in ("-h", "--help") or given[0] not in VERBS:
        listed = "\n".join(f"  {name:10} {about}" for name, (_, about) in VERBS.items())
        if given and given[0] in ("-h", "--help"):
            print(f"usage: python3 launch.py audit VERB ...\n\n{listed}")
            raise SystemExit(0)
        detail = f'There is no audit "{given[0][:40]}".' if given else "Say what to audit."
        raise BadRequest(Problem("usage", "The command cannot be understood", detail, 400, hint=f"Verbs:\n{listed}"))
    name, about = VERBS[given[0]]
    module = importlib.import_module(f"webui.auditing.{name}")
    parser = _Parser(f"launch.py audit {given[0]}", description=about)
    parser.set_defaults(action=given[0])
    from pathlib import Path

    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of models, pictures, keys and database")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    module.arguments(parser)
    return parser.parse_args(list(given[1:])), module


def run(asked: argparse.Namespace, module: ModuleType, settings: Settings) -> int:
    """The exit status of the verb."""
    status: int = module.run(asked, settings)
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        detail, hint = f"{message[:1].upper()}{message[1:]}.", f"See: python3 {self.prog} --help"
        raise BadRequest(Problem("usage", "The command cannot be understood", detail, 400, hint=hint))
