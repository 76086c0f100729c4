"""`audit table`: every claim about trust, measured in this run and printed as the tables of docs/safety.md."""

from __future__ import annotations

import argparse
import importlib
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from backend.errors import InvalidParameter
from backend.version import NAME, VERSION
from benchmarks.trust import Options, Section
from webui.output import FAILED, OK, print_json

if TYPE_CHECKING:
    from backend.settings import Settings

SECTIONS = ("prompts", "inspection", "marks", "latent", "credentials", "log", "bias")
"""Modules of benchmarks.trust, in the order of the road."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prompts",
        type=Path,
        metavar="DIR",
        help="folder with the public text data that training/filter names; without it recall is not measured",
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="PART", help=f"some of: {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="the smallest samples that still mean something")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another draw of the random parts")


def run(asked: argparse.Namespace, settings: Settings) -> int:
    """0 if everything that was promised held, 1 if something did not."""
    if asked.prompts is not None and not asked.prompts.is_dir():
        raise InvalidParameter("prompts", f"{asked.prompts} is not a folder.", "Name the folder with the text data.")
    options = Options(asked.prompts, asked.quick, asked.seed)
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    where = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    if not asked.json:
        print(f"# The trust table of {NAME} {VERSION}\n\nMeasured on {when}, {where}.\n")
    found: list[Section] = []
    for section in _measured(asked.only or SECTIONS, options):
        found.append(section)
        if not asked.json:
            print(section.markdown(), flush=True)
    if asked.json:
        print_json({"app": VERSION, "date": when, "machine": where, "sections": [asdict(each) for each in found]})
    broken = [each.title for each in found if each.held is False]
    if broken:
        print(f"Not held: {'; '.join(broken)}.", file=sys.stderr)
    return FAILED if broken else OK


def _measured(names: Iterable[str], options: Options) -> Iterable[Section]:
    for name in names:
        print(f"measuring: {name} …", file=sys.stderr, flush=True)
        module = importlib.import_module(f"benchmarks.trust.{name}")
        made: Section | Sequence[Section] = module.section(options)
        yield from [made] if isinstance(made, Section) else made
