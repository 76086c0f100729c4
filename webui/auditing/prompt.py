"""`audit prompt`: what admission makes of prompts, without a model and without keeping any of them.

One line of JSON for each prompt: `verdict` is what the profile leads to, `score` ranks prompts from 0 to 1 and is 0.5
or more where the profile does more than note, `evidence` is the text after normalisation that the gravest finding rests
on, `layer` who found it. Pictures, networks and negative prompts are not part of it; a request with them is judged by
safety.admit.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from backend.errors import InvalidParameter
from backend.settings import Settings
from safety.policy import PROFILES, ROLES, Policy
from safety.prompt_filter.reading import judged, shipped
from safety.prompt_filter.weighing import Judgement
from webui.output import OK, printable

_MOST_BYTES = 256 << 20
_WIDTH = 60


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="prompts to judge")
    parser.add_argument(
        "--file",
        metavar="FILE|-",
        help="a prompt on each line (UTF-8), or a .json list, .jsonl, .csv or .tsv with prompts under "
        '"prompt"; - reads lines from standard input',
    )
    parser.add_argument("--profile", choices=tuple(PROFILES), default="shared", help="whose policy applies (shared)")
    parser.add_argument("--role", action="append", choices=ROLES, default=[], help="the role of who asks; may repeat")


def run(asked: argparse.Namespace, settings: Settings) -> int:
    """Raises InvalidParameter for a file that cannot be used, and Unavailable without the classifier."""
    if not asked.prompts and not asked.file:
        raise InvalidParameter("file", "There is nothing to judge.", "Give prompts, or --file PROMPTS.txt.")
    policy, roles = PROFILES[asked.profile], tuple(asked.role)
    shipped()
    for prompt in (*asked.prompts, *(prompts_of(asked.file) if asked.file else ())):
        found = judged(prompt, policy, roles)
        print(json.dumps(line(prompt, found)) if asked.json else _row(prompt, found))
    if not asked.json:
        print(_footing(policy))
    return OK


def line(prompt: str, found: Judgement) -> dict[str, Any]:
    """A judgement as `audit prompt --json` prints it."""
    gravest = found.reasons[0] if found.reasons else None
    return {
        "prompt": prompt,
        "verdict": found.action,
        "score": found.score,
        "categories": [reason.category for reason in found.reasons],
        "layer": gravest.layer if gravest else "",
        "evidence": gravest.span if gravest else "",
        "reasons": [
            {"category": reason.category, "action": action, "score": reason.score, "layer": reason.layer}
            for reason, action in zip(found.reasons, found.actions, strict=True)
        ],
        **({"offers": list(found.offers)} if found.offers else {}),
    }


def prompts_of(name: str) -> tuple[str, ...]:
    """The prompts in a file, or on standard input for "-". Bytes that are not UTF-8 are replaced, empty lines left out.

    Raises InvalidParameter.
    """
    if name == "-":
        return tuple(_lines(sys.stdin.buffer.read().decode("utf-8-sig", errors="replace")))
    path = Path(name)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidParameter("file", f"{path} is larger than {_MOST_BYTES >> 20} MiB.", "Split it.")
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise InvalidParameter("file", f"{path} cannot be read: {error.strerror}.", "Check the name.") from error
    kind = path.suffix.casefold()
    if kind == ".json":
        return tuple(_items(_json(text, path), path))
    if kind in (".jsonl", ".ndjson"):
        return tuple(_items((_json(each, path) for each in _lines(text)), path))
    if kind in (".csv", ".tsv"):
        return tuple(_column(text, "\t" if kind == ".tsv" else ",", path))
    return tuple(_lines(text))


def _lines(text: str) -> Iterator[str]:
    """Not splitlines: a prompt may hold other characters that some take for the end of a line."""
    return (found for each in text.split("\n") if (found := each.rstrip("\r")).strip())


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter("file", f"{path} is not JSON: {str(error)[:80]}.", "Use a list of prompts.") from error


def _items(items: Any, path: Path) -> Iterator[str]:
    if isinstance(items, dict):
        items = items.get("prompts", [items])
    if isinstance(items, str) or not isinstance(items, Iterable):
        items = None
    for item in items if items is not None else (None,):
        prompt = item.get("prompt") if isinstance(item, dict) else item
        if not isinstance(prompt, str):
            hint = 'Each entry is a string, or an object with a "prompt".'
            raise InvalidParameter("file", f"{path} holds an entry without a prompt.", hint)
        yield prompt


def _column(text: str, delimiter: str, path: Path) -> Iterator[str]:
    csv.field_size_limit(16 << 20)
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        column = next((name for name in rows.fieldnames or () if name.strip().casefold() == "prompt"), None)
        if column is None:
            raise InvalidParameter("file", f"{path} has no column called prompt.", "Name the column in the first line.")
        yield from (row[column] for row in rows if row[column])
    except csv.Error as error:
        raise InvalidParameter("file", f"{path} is not a table: {error}.") from error


def _row(prompt: str, found: Judgement) -> str:
    text = printable(" ".join(prompt.split()))
    short = text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
    because = "; ".join(
        f"{reason.category} ({printable(reason.span)[:40]}; {reason.layer})" for reason in found.reasons
    )
    offers = "".join(f"\n{'':17}{printable(offer)}" for offer in found.offers)
    return f"{found.action:8} {found.score:.3f}  {short:{_WIDTH}}  {because}".rstrip() + offers


def _footing(policy: Policy) -> str:
    return f"Policy: {policy.id}. A score of 0.500 or more leads to more than a note."
