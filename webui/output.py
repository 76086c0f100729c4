"""What the verbs print: JSON for programs, safe text for terminals, and the exit statuses."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from backend.errors import Problem

OK, FAILED, BAD_INPUT = 0, 1, 2


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))  # in ASCII, which every terminal and every pipe can take


def printable(text: str) -> str:
    """Text of strangers without control characters, which a terminal would obey."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def show_problem(problem: Problem, as_json: bool = False, about: str = "") -> None:
    """The problem for people on stderr, and with --json for programs on stdout."""
    print(f"error: {printable(about + problem.sentence())}", file=sys.stderr)
    if as_json:
        print_json({"error": asdict(problem)})
