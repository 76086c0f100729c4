"""The prompt matrix: parts of a prompt between `|` in all combinations (as in A1111 1.10.1).

The first part is always there. A `|` inside brackets or braces belongs to the prompt language and separates nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.errors import InvalidParameter
from backend.types.plans import MAX_PICTURES, Argument, Draft, Fields, Plan, PlanContext, PlanKind, Sheet
from backend.version import VERSION
from extensions.builtin import arguments as read
from extensions.context import Context, Extension
from extensions.hookspecs import hookimpl

EXTENSION = Extension(
    "prompt-matrix", "Prompt matrix", VERSION, "All combinations of parts of a prompt, on one sheet.",
    frozenset({"plans"}),
)  # fmt: skip
_PROMPT = Argument(
    "prompt", "Prompt with the parts", "choice", "Parts stand between |.", "prompt", ("prompt", "negative")
)
_AT_START = Argument(
    "at_start", "Variable parts first", "flag", "Put them before the part that is always there.", False
)
_OTHER_SEEDS = Argument("other_seeds", "Another seed for each", "flag", "Picture number i takes seed + i.", False)
_JOIN = Argument("join", "Joined by", "choice", "What stands between the parts.", "comma", ("comma", "space"))
_FORM = (_PROMPT, _AT_START, _OTHER_SEEDS, _JOIN, read.LEGEND, read.MARGIN)
_JOINTS: Mapping[str, str] = {"comma": ", ", "space": " "}
_OPEN, _CLOSE = "([{<", ")]}>"
_MOST_PARTS = MAX_PICTURES.bit_length() - 1
_NONE = "—"


def parts_of(text: str) -> tuple[str, ...]:
    """What stands between the `|` outside of brackets, without blanks around it; a backslash protects a bracket."""
    parts, depth, start, protected = [], 0, 0, False
    for place, char in enumerate(text):
        if protected:
            protected = False
            continue
        protected = char == "\\"
        if char in _OPEN:
            depth += 1
        elif char in _CLOSE:
            depth = max(0, depth - 1)
        elif char == "|" and not depth:
            parts.append(text[start:place])
            start = place + 1
    return tuple(part.strip() for part in (*parts, text[start:]))


def make(fields: Fields, arguments: Mapping[str, Any], context: PlanContext) -> Plan:
    """Raises InvalidParameter."""
    read.known(arguments, _FORM)
    name = read.choice(arguments, _PROMPT)
    first, *found = parts_of(read.text(fields, name))
    rest = [part for part in found if part]
    if not rest:
        raise InvalidParameter(name, "There is nothing to combine.", "Write for example: a castle|at night|in snow.")
    if len(rest) > _MOST_PARTS:
        detail = f"{len(rest)} parts make {2 ** min(len(rest), 40):,} pictures."
        raise InvalidParameter(name, detail, f"Use at most {_MOST_PARTS} parts besides the first.")
    base = read.seeded(fields, context)
    joint, at_start = _JOINTS[read.choice(arguments, _JOIN)], read.flag(arguments, _AT_START)
    step = 1 if read.flag(arguments, _OTHER_SEEDS) else 0
    drafts = []
    for number in range(2 ** len(rest)):
        chosen = _chosen(rest, number)
        words = (*chosen, first) if at_start else (first, *chosen)
        prompt = joint.join(word for word in words if word)
        drafts.append(Draft({**base, name: prompt, "seed": _moved(base["seed"], step * number)}, _label(chosen)))
    legend, margin = read.flag(arguments, read.LEGEND), read.whole(arguments, read.MARGIN)
    return Plan(tuple(drafts), (_sheet(rest, legend=legend, margin=margin),), (len(drafts),))


def _moved(seed: Any, by: int) -> Any:
    return seed + by if isinstance(seed, int | float) else seed


def _chosen(parts: Sequence[str], number: int) -> tuple[str, ...]:
    """The parts whose bits are set; the first part is the lowest bit."""
    return tuple(part for bit, part in enumerate(parts) if number >> bit & 1)


def _label(parts: Sequence[str]) -> str:
    return ", ".join(parts) or _NONE


def _sheet(parts: Sequence[str], *, legend: bool, margin: int) -> Sheet:
    """The first half of the parts varies across, the rest down."""
    half = -(-len(parts) // 2)
    across, down = parts[:half], parts[half:]
    columns, rows = 2 ** len(across), 2 ** len(down)
    return Sheet(
        tuple(range(columns * rows)),
        columns,
        tuple(_label(_chosen(across, number)) for number in range(columns)) if legend else (),
        tuple(_label(_chosen(down, number)) for number in range(rows)) if legend and down else (),
        "",
        margin,
    )


@hookimpl
def signet_plans(context: Context) -> tuple[PlanKind, ...]:
    about = "a castle|at night|in snow makes four pictures: with neither, with one, with the other, with both."
    return (PlanKind("matrix", "Prompt matrix", about, _FORM, make),)
