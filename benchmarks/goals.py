"""The goals for the CPU, each measured in a process of its own, in one table that says which hold.

Every figure is a ratio of two things done in turns in one run, its range in brackets, and comes after a check that the
result is right; a check that fails leaves its goal without a figure. Any goal that does not hold ends with status 1.
Run with: python3 launch.py bench goals, or python -m benchmarks.goals C1 C4 for some of them, --full for longer runs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from backend.settings import ROOT
from benchmarks._goals import Verdict, not_measured

# The trust goal first, then the quick ones.
SECTIONS: Mapping[str, tuple[str, str]] = {
    "C3": ("compositions", "a picture does not depend on its company"),
    "C2": ("solvers", "updates of sixteen rows"),
    "C1": ("engine", "wall per step"),
    "C13": ("lora", "change of the set of LoRAs"),
    "C17": ("identity", "identity of a model"),
    "C12": ("real_size", "switching and loading"),
    "C4": ("merging", "throughput of eight users"),
}
_QUIET = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
_ANSWER = "verdicts: "


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("goals", nargs="*", choices=[*SECTIONS, []], metavar="GOAL")
    parser.add_argument("--full", action="store_true", help="everything that the single benchmarks measure")
    parser.add_argument("--section", choices=list(SECTIONS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.section:
        return _section(asked.section, short=not asked.full)
    before, started = _load(), time.monotonic()
    wanted = [goal for goal in SECTIONS if goal in asked.goals or not asked.goals]
    found = [verdict for goal in wanted for verdict in _measured(goal, full=asked.full)]
    print(f"\n{_machine()}")
    print(f"load before {before}, after {_load()}; {time.monotonic() - started:.0f} s\n")
    for verdict in found:
        print(verdict.line())
    return int(any(verdict.missed for verdict in found))


def _section(goal: str, *, short: bool) -> int:
    verdicts = importlib.import_module(f"benchmarks.{SECTIONS[goal][0]}").verdicts(short=short)
    print(_ANSWER + json.dumps([verdict.as_json() for verdict in verdicts]))
    return 0


def _measured(goal: str, *, full: bool) -> Iterator[Verdict]:
    """In a process of its own: nobody's threads and memory are in anybody's way."""
    name, what = SECTIONS[goal]
    print(f"== {goal}: {what} ({name})", flush=True)
    command = [sys.executable, "-m", "benchmarks.goals", "--section", goal, *(["--full"] if full else [])]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **_QUIET}, capture_output=True, text=True, check=False)
    said = done.stdout.splitlines()
    for line in said:
        if not line.startswith(_ANSWER):
            print(line, flush=True)
    answers = [line.removeprefix(_ANSWER) for line in said if line.startswith(_ANSWER)]
    if not answers:
        errors = done.stderr.strip().splitlines()
        print("\n".join(errors[-15:]), flush=True)
        reason = errors[-1] if errors else f"the process ended with status {done.returncode}"
        yield (
            Verdict(goal, what, "", "", False, reason)
            if reason.startswith("gate")
            else not_measured(goal, what, reason)
        )
    for fields in json.loads(answers[0]) if answers else ():
        yield Verdict(**fields)


def _machine() -> str:
    names = ("torch", "diffusers", "transformers", "safetensors")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{_processor()}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}"


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


if __name__ == "__main__":
    sys.exit(main())
