"""The audit log: is every kind of tampering noticed, what does an entry cost, and how long does a whole check take?

Tampering is done to the rows of a chain as somebody could who has the database and not the key, and once (`remade`)
as somebody who has the key too, against the witnesses.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from backend.types import Principal
from benchmarks.trust import Options, Section, share
from db.audits import SqlAuditLog
from db.engine import open_database
from db.tables import audit_entries, audit_texts
from safety.anchors import AnchorFile
from safety.audit_log import Chain
from safety.commitments import Row, TextRow, head_of

KEY = bytes(range(32))
MOST_MS, MOST_SECONDS, MUTATIONS, ENTRIES = 2.0, 5.0, 10_000, 100_000
_NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Kept:
    """A log as it lies in the database, and the heads that were written down elsewhere."""

    rows: tuple[Row, ...]
    texts: tuple[TextRow, ...]
    witnesses: tuple[str, ...]

    def whole(self) -> bool:
        return Chain([KEY]).check(self.rows, sorted(self.texts, key=lambda text: text[:2]), self.witnesses).whole


def made(count: int, every: int = 10, key: bytes = KEY) -> Kept:
    """A log of `count` entries with texts, half of them kept, a witness for every `every` of them."""
    chain, rows, texts = Chain([key]), [], []
    last: tuple[int, str] | None = None
    for number in range(1, count + 1):
        who = Principal(f"user-{number % 3}", frozenset({"user"}), "api")
        facts = {"job": f"job-{number}", "action": "note", "score": 0.25, "reasons": [{"category": "violence"}]}
        said = {"prompt": f"a red cat number {number}", "negative": "blurry"}
        keep = number % 2 == 0
        link = chain.link(last, _NOON + timedelta(seconds=number), who, "verdict", facts, said, keep_texts=keep)
        last = (link.number, link.hash)
        rows.append(link.row)
        texts.extend(link.texts)
    heads = tuple(head_of(row[0], row[3]) for row in rows[every - 1 :: every])
    return Kept(tuple(rows), tuple(texts), heads)


def _other(text: str, draw: random.Random) -> str:
    """One character changed."""
    at = draw.randrange(len(text))
    new = draw.choice([char for char in '0123456789abcdefXYZ{}:," ' if char != text[at]])
    return text[:at] + new + text[at + 1 :]


def _flipped(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]


def _column(place: int) -> Callable[[Kept, random.Random], Kept]:
    def change(log: Kept, draw: random.Random) -> Kept:
        at = draw.randrange(len(log.rows))
        row = list(log.rows[at])
        row[place] = _other(str(row[place]), draw)
        return _with_rows(log, [*log.rows[:at], tuple(row), *log.rows[at + 1 :]])  # type: ignore[list-item]

    return change


def _with_rows(log: Kept, rows: list[Row]) -> Kept:
    return Kept(tuple(sorted(rows, key=lambda row: row[0])), log.texts, log.witnesses)


def _renumbered(log: Kept, draw: random.Random) -> Kept:
    at = draw.randrange(len(log.rows))
    number, *rest = log.rows[at]
    free = draw.choice([0, number + len(log.rows), 10**9])
    return _with_rows(log, [*log.rows[:at], (free, *rest), *log.rows[at + 1 :]])  # type: ignore[list-item]


def _swapped(log: Kept, draw: random.Random) -> Kept:
    one, other = draw.sample(range(len(log.rows)), 2)
    rows = list(log.rows)
    rows[one], rows[other] = (rows[one][0], *rows[other][1:]), (rows[other][0], *rows[one][1:])
    return _with_rows(log, rows)


def _inserted(log: Kept, draw: random.Random) -> Kept:
    """A copy of an entry, or one with a made-up hash, with all later ones moved on."""
    at, source = draw.randrange(len(log.rows) + 1), draw.choice(log.rows)
    before = log.rows[at - 1][3] if at else "0" * 64
    forged = draw.choice([source[1:], (source[1], before, draw.randbytes(32).hex())])
    after = [(row[0] + 1, *row[1:]) for row in log.rows[at:]]
    return _with_rows(log, [*log.rows[:at], (at + 1, *forged), *after])  # type: ignore[list-item]


def _removed(log: Kept, draw: random.Random) -> Kept:
    """An entry gone, with its texts, the later ones as they were or moved up."""
    at = draw.randrange(len(log.rows) - 1)
    step = draw.choice([0, 1])
    after = [(row[0] - step, *row[1:]) for row in log.rows[at + 1 :]]
    gone = log.rows[at][0]
    rows = _with_rows(log, [*log.rows[:at], *after])  # type: ignore[list-item]
    return Kept(rows.rows, tuple(text for text in log.texts if text[0] != gone), log.witnesses)


def _cut_off(log: Kept, draw: random.Random) -> Kept:
    """The end gone, from somewhere before the last witness, with its texts."""
    left = draw.randrange(int(log.witnesses[-1].partition(":")[0]))
    return Kept(log.rows[:left], tuple(text for text in log.texts if text[0] <= left), log.witnesses)


def _remade(log: Kept, draw: random.Random) -> Kept:
    """Written anew with the right key, as the owner could: only the witnesses know better."""
    fresh = made(len(log.rows))  # other salts, so other hashes
    return Kept(fresh.rows, fresh.texts, log.witnesses)


def _text(log: Kept, draw: random.Random) -> Kept:
    """A text changed, put where none was kept, or taken away; its salt changed; the whole row gone or one added."""
    at = draw.randrange(len(log.texts))
    number, name, salt, text = log.texts[at]
    other = [
        (number, name, salt, _flipped(text, draw) if text else b"made up"),
        (number, name, salt, None if text else b"a red cat"),
        (number, name, _flipped(salt, draw), text),
        None,
        (number, "note", salt, b"never written"),
    ][draw.randrange(5)]
    keep = [*log.texts[:at], *log.texts[at + (other is None or other[1] == name) :]]
    return Kept(log.rows, tuple(keep if other is None else [*keep, other]), log.witnesses)


TAMPERING: Mapping[str, Callable[[Kept, random.Random], Kept]] = MappingProxyType(
    {
        "a byte of an entry": _column(1),
        "a byte of the hash before": _column(2),
        "a byte of a hash": _column(3),
        "another number": _renumbered,
        "two entries swapped": _swapped,
        "an entry inserted": _inserted,
        "an entry removed": _removed,
        "the end cut off before a witness": _cut_off,
        "a text or its salt": _text,
        "all made anew, with the key": _remade,
    }
)


def missed(count: int, seed: int = 0, entries: int = 60) -> Mapping[str, tuple[int, int]]:
    """For each kind of tampering: how often it was not noticed, and how often it was tried, `count` times in all."""
    log, draw = made(entries), random.Random(seed)
    if not log.whole():
        raise AssertionError("the untouched log does not verify")
    found = {kind: [0, 0] for kind in TAMPERING}
    kinds = list(TAMPERING)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        tampered = TAMPERING[kind](log, draw)
        if (tampered.rows, sorted(tampered.texts)) == (log.rows, sorted(log.texts)):
            continue
        found[kind][0] += tampered.whole()
        found[kind][1] += 1
    return {kind: (unseen, tried) for kind, (unseen, tried) in found.items()}


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of one entry with two texts: of the processor, by the clock (mean and 99th percentile)."""

    processor: float
    clock: float
    slowest: float


def appended(folder: Path, count: int) -> Cost:
    """What an entry costs, forced to the disk of `folder`."""
    with open_database(f"sqlite:///{folder / 'signet.db'}") as database:
        anchors = AnchorFile(folder / "audit" / "anchors.jsonl", [KEY])
        log = SqlAuditLog(database, Chain([KEY]), anchors, keep_texts=True)
        taken, worked = [], time.process_time()
        for number in range(count):
            start = time.perf_counter()
            log.append("verdict", Principal(), {"job": str(number)}, {"prompt": "a red cat", "negative": "blurry"})
            taken.append(1000 * (time.perf_counter() - start))
        worked = time.process_time() - worked
    return Cost(1000 * worked / count, sum(taken) / count, sorted(taken)[int(0.99 * (count - 1))])


def verified(folder: Path, count: int) -> tuple[float, float]:
    """Seconds of a whole check of `count` entries with two texts each, from SQLite: of the processor, by the clock."""
    log = made(count, every=64)
    with open_database(f"sqlite:///{folder / 'large.db'}") as database:
        with database.writing() as connection:
            names = ("seq", "body", "prev_hash", "hash")
            connection.execute(audit_entries.insert(), [dict(zip(names, row, strict=True)) for row in log.rows])
            names = ("seq", "name", "salt", "text")
            connection.execute(audit_texts.insert(), [dict(zip(names, row, strict=True)) for row in log.texts])
        book = SqlAuditLog(database, Chain([KEY]), AnchorFile(folder / "none.jsonl", [KEY]))
        start, worked = time.perf_counter(), time.process_time()
        report = book.verified(log.witnesses)
        taken, worked = time.perf_counter() - start, time.process_time() - worked
    if not report["whole"]:
        raise AssertionError(report["summary"])
    return worked, taken


def section(options: Options) -> Section:
    tries, entries, writes = (500, 2_000, 50) if options.quick else (MUTATIONS, ENTRIES, 2_000)
    found = missed(tries, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        cost = appended(Path(folder), writes)
        worked, taken = verified(Path(folder), entries)
    unseen, tried = (sum(column) for column in zip(*found.values(), strict=True))
    rows = [(f"noticed: {kind}", share(count - lost, count), "all") for kind, (lost, count) in found.items()]
    rows += [
        ("noticed: everything", share(tried - unseen, tried), "all"),
        ("one entry, processor time", f"{cost.processor:.2f} ms, n = {writes}", f"{MOST_MS} ms"),
        (
            "one entry, by the clock, forced to this disk",
            f"{cost.clock:.2f} ms (99 % within {cost.slowest:.1f} ms)",
            "measured only",
        ),
        (f"check of {entries} entries, processor time", f"{worked:.2f} s", f"{MOST_SECONDS} s for {ENTRIES}"),
        (f"check of {entries} entries, by the clock", f"{taken:.2f} s", "measured only"),
    ]
    # Promises hold for processor time, which a busy machine and a slow disk leave alone.
    held = unseen == 0 and cost.processor <= MOST_MS and worked <= MOST_SECONDS
    limits = (
        "Tampering is done by a program that draws kinds and places at random, on a log of 60 entries with a witness "
        "for every tenth.",
        "An end that is cut off after the last witness is not noticed, nor an entry that was false when written.",
    )
    data = {"missed": unseen, "tried": tried, "append": asdict(cost), "verify_s": worked, "verify_clock_s": taken}
    return Section("Audit log", ("what", "measured", "promised"), tuple(rows), limits, held, data)
