"""Check the whole audit log: the first thing that is wrong with it, and what is remarkable without being wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from safety.commitments import FIRST, Row, TextRow, commitment, digest, head_of, read_head

Kind = Literal["changed", "gap", "order", "cut-off", "rewritten", "text-changed", "text-missing", "text-extra"]

LIMITS = (
    "Entries newer than the last witness could be cut off without a trace here.",
    "Whoever has the key can write a new chain; only witnesses outside this folder, such as the Passports of pictures "
    "that were handed out, would tell.",
    "The log shows what the program wrote down, not what somebody did past it.",
)
"""What a verified chain does not show."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that is wrong: at which entry, of what kind, in words."""

    number: int
    kind: Kind
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. `witnessed` is the newest number that a witness vouches for, 0 without a witness.

    Texts are `kept`, `sealed` (their commitment and salt only) or `erased`. `policy` is the hash of the policy that was
    put on record last, None without one.
    """

    entries: int
    head: str
    fault: Fault | None
    remarks: tuple[str, ...]
    witnesses: int
    witnessed: int
    kept: int
    sealed: int
    erased: int
    policy: str | None = None

    @property
    def whole(self) -> bool:
        return self.fault is None

    @property
    def summary(self) -> str:
        """One sentence."""
        if self.fault:
            return f"The log is broken: {self.fault.detail}."
        if not self.entries:
            return "The log is empty."
        seen = f"witnessed up to {self.witnessed}" if self.witnessed else "without a witness"
        return f"{self.entries} entries, unbroken, {seen}."

    def plain(self) -> dict[str, Any]:
        """As plain JSON values, with what it does not show."""
        return {
            "whole": self.whole,
            "summary": self.summary,
            **asdict(self),
            "unwitnessed": self.entries - self.witnessed,
            "limits": list(LIMITS),
        }


@dataclass(slots=True)
class _Texts:
    """What is known about texts on the way through the chain."""

    kept: int = 0
    sealed: int = 0
    missing: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)
    erasures: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)


def check(rows: Iterable[Row], texts: Iterable[TextRow], witnesses: Iterable[str], keys: Sequence[bytes]) -> Report:
    """Walk the whole chain. `rows` by number, `texts` by number and name, `witnesses` in any order."""
    vouched, unreadable = _vouched(witnesses)
    beside, known = _Beside(texts), _Texts()
    remarks: list[str] = []
    number, previous, fault, latest, back, policy = 0, FIRST, None, "", 0, None
    for row in rows:
        fault = _broken(row, number, previous, keys) or _denied(row[0], row[3], vouched)
        if fault:
            break
        entry = json.loads(row[1])
        fault = _text_fault(entry, beside.of(row[0]), known)
        if fault:
            break
        number, previous = row[0], row[3]
        back += entry["time"] < latest
        latest = max(latest, entry["time"])
        if entry["event"] == "policy":
            policy = entry["facts"].get("sha256")
        elif entry["event"] == "erase":
            known.erasures.append((number, entry["facts"]))
    newest = max(vouched, default=0)
    if fault is None and newest > number:
        cut = f"the log ends at entry {number}, but a witness names entry {newest}: the end was cut off"
        fault = Fault(number + 1, "cut-off", cut)
    if fault is None:
        fault = _unexplained(known, beside)
    if back:
        remarks.append(f"{back} entries are dated before an earlier one: the clock was set back. Their order holds.")
    if unreadable:
        remarks.append(f"{unreadable} witnesses cannot be read and were left out.")
    if number and not newest:
        remarks.append("There is no witness, so a cut-off end would not be noticed.")
    return Report(
        number,
        head_of(number, previous),
        fault,
        tuple(remarks),
        sum(map(len, vouched.values())),
        min(newest, number),
        known.kept,
        known.sealed,
        len(known.missing),
        policy,
    )


def check_links(links: Iterable[tuple[int, str, str]], witnesses: Iterable[str]) -> Fault | None:
    """What can be checked of a public export, without the key and without the entries: that its (number, hash before,
    own hash) follow one another, and that no witness contradicts them."""
    vouched, _ = _vouched(witnesses)
    number, previous = 0, FIRST
    for at, before, own in links:
        if at != number + 1 or before != previous:
            return Fault(number + 1, "order", f"entry {at} does not follow entry {number}")
        if denied := _denied(at, own, vouched):
            return denied
        number, previous = at, own
    if (newest := max(vouched, default=0)) > number:
        return Fault(number + 1, "cut-off", f"the export ends at entry {number}, but a witness names entry {newest}")
    return None


def _broken(row: Row, number: int, previous: str, keys: Sequence[bytes]) -> Fault | None:
    """What is wrong with the row after entry `number`, whose hash is `previous`."""
    at, body, before, own = row
    due = number + 1
    if at > due:
        return Fault(due, "gap", f"entry {due} is missing; entry {at} follows entry {number}")
    if at < due:
        return Fault(at, "order", f"entry {at} stands where entry {due} belongs")
    if not any(digest(key, before, body) == own for key in keys):
        other = ", or the log was made with other keys" if due == 1 else ""
        return Fault(due, "changed", f"entry {due} was changed{other}")
    if before != previous:
        return Fault(due, "order", f"entry {due} does not follow the entry before it: something was swapped or cut")
    return None


def covers(rule: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether `rule`, as an entry of erasure holds it, is about `entry`.

    It names the last entry it is about (`through`) and any of `principal`, `job`, `record` and `before` (a moment);
    all that are named must fit, and one must be named.
    """
    facts = entry["facts"]
    fits: Mapping[str, Callable[[Any], bool]] = {
        "principal": lambda wanted: bool(entry["who"]["id"] == wanted),
        "job": lambda wanted: bool(facts.get("job") == wanted),
        "record": lambda wanted: bool(facts.get("record") == wanted),
        "before": lambda moment: bool(entry["time"] < moment),
    }
    named = [name for name in fits if name in rule]
    return bool(named) and entry["n"] <= rule["through"] and all(fits[name](rule[name]) for name in named)


def _outline(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What rules of erasure look at."""
    facts = {name: entry["facts"][name] for name in ("job", "record") if name in entry["facts"]}
    return {"n": entry["n"], "time": entry["time"], "who": entry["who"], "facts": facts}


class _Beside:
    """Texts in step with their entries."""

    def __init__(self, texts: Iterable[TextRow]) -> None:
        self._rows: Iterator[TextRow] = iter(texts)
        self._next = next(self._rows, None)

    def of(self, number: int) -> dict[str, TextRow]:
        """The texts of entry `number`, and of earlier numbers that no entry has."""
        found: dict[str, TextRow] = {}
        while self._next is not None and self._next[0] <= number:
            # A text of a number that was passed already gets a name that no entry uses.
            name = self._next[1] if self._next[0] == number else f"\0{self._next[1]}"
            found[name] = self._next
            self._next = next(self._rows, None)
        return found

    @property
    def left(self) -> TextRow | None:
        return self._next


def _text_fault(entry: Mapping[str, Any], found: Mapping[str, TextRow], known: _Texts) -> Fault | None:
    number, named = entry["n"], entry["texts"]
    if extra := [name for name in found if name not in named]:
        return Fault(
            number, "text-extra", f"a text stands beside entry {number} that it does not name: {extra[0][:40]!r}"
        )
    for name, promised in named.items():
        if name not in found:
            known.missing.append((number, name, _outline(entry)))
            continue
        _, _, salt, text = found[name]
        same = hashlib.sha256(salt).hexdigest() == promised["salt"] and (text is not None) == promised["kept"]
        if not same or (text is not None and commitment(salt, name, text) != promised["commitment"]):
            return Fault(number, "text-changed", f'the text "{name}" of entry {number} is not the one that was written')
        known.kept += text is not None
        known.sealed += text is None
    return None


def _unexplained(known: _Texts, beside: _Beside) -> Fault | None:
    """A text that is gone without an entry that says so, or one that belongs to no entry."""
    if beside.left is not None:
        return Fault(beside.left[0], "text-extra", f"a text stands beside entry {beside.left[0]}, which is not there")
    for number, name, entry in known.missing:
        if not any(number < at and covers(facts, entry) for at, facts in known.erasures):
            said = f'the text "{name}" of entry {number} is gone, and no entry says that it was erased'
            return Fault(number, "text-missing", said)
    return None


def _vouched(witnesses: Iterable[str]) -> tuple[dict[int, set[str]], int]:
    """Hashes by number, and how many witnesses could not be read."""
    vouched: dict[int, set[str]] = {}
    unreadable = 0
    for witness in witnesses:
        parts = read_head(witness)
        if parts is None:
            unreadable += 1
        else:
            vouched.setdefault(parts[0], set()).add(parts[1])
    return vouched, unreadable


def _denied(number: int, digest: str, vouched: Mapping[int, set[str]]) -> Fault | None:
    if number not in vouched or vouched[number] == {digest}:
        return None
    return Fault(number, "rewritten", f"entry {number} is not the one that a witness saw: the log was made anew")
