"""`audit verify`, `export`, `erase` and `retain`: the audit log from the command line, also beside a running studio."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from backend.errors import InvalidParameter, Unavailable
from backend.settings import Settings
from backend.types import Principal
from db.audits import SqlAuditLog
from db.engine import open_database
from db.history import SqlHistory
from safety.anchors import AnchorFile
from safety.audit_check import check_links
from safety.audit_log import Chain, audit_keys
from safety.keys import FILE, open_keys
from safety.policy_store import PolicyDesk
from webui.output import FAILED, OK, print_json, printable

FORMAT = "signet-audit-log-1"
_BY_HAND = Principal(source="cli")
_STILL = "Copies of the database (data/backups), exports and the history itself are not changed by this."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Of the verb that the parser was made for (its default for `action`)."""
    match parser.get_default("action"):
        case "verify":
            parser.add_argument(
                "--witness", action="append", default=[], metavar="N:HASH", help="a head that was noted elsewhere"
            )
            parser.add_argument("--file", type=Path, metavar="FILE", help="check an export instead of the database")
        case "export":
            parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a new file, JSON lines")
            parser.add_argument(
                "--public", action="store_true", help="hashes, times and events only: nothing about persons"
            )
        case "erase":
            parser.add_argument("--principal", metavar="ID", help="texts that this person wrote")
            parser.add_argument("--job", metavar="ID", help="texts of this job")
            parser.add_argument("--record", metavar="ID", help="texts about this picture")
            parser.add_argument("--before", metavar="DATE", help="texts of entries before this day (UTC)")
        case "retain":
            parser.add_argument("--days", type=int, required=True, metavar="N", help="keep texts for so many days")


def run(asked: argparse.Namespace, settings: Settings) -> int:
    """0 if it was done and, for `verify`, the log is whole; 1 if not."""
    if asked.action == "verify" and asked.file:
        return _verify_file(asked, settings)
    with _open(settings) as log:
        match asked.action:
            case "verify":
                return _verify(log, asked, settings)
            case "export":
                return _export(log, asked)
            case "retain":
                if asked.days < 0:
                    raise InvalidParameter("days", "A number of days is 0 or more.")
                return _erase(log, asked, {"before": datetime.now(UTC) - timedelta(days=asked.days)})
            case _:
                named = {"principal": asked.principal, "job": asked.job, "record": asked.record}
                return _erase(log, asked, {**named, "before": asked.before and _day(asked.before)})


def policy_glance(settings: Settings) -> tuple[bool, str]:
    """Whether the policy file can be believed, and what is in force."""
    desk = PolicyDesk(settings.policy_file)
    problem = desk.problem()
    return not problem, problem or f"{desk.current().id} is in force"


def glance(settings: Settings) -> tuple[bool, str]:
    """For `doctor`: whether the newest anchor fits the log, in words. Reads two rows; without a database it makes none.

    Raises a SignetError where the database or the keys cannot be read.
    """
    file = settings.data / "signet.db"
    if settings.database_url is None and not file.exists():
        return True, "none yet; made at the first start"
    with _open(settings) as log:
        head = log.head()
        if not log.tail_holds():
            return False, "its end was cut off or changed; run: python3 launch.py audit verify"
    return True, f"{head.partition(':')[0] or 'no'} entries; the newest anchor fits"


@contextmanager
def _open(settings: Settings) -> Iterator[SqlAuditLog]:
    """The log, without making keys: a log cannot be checked with others than its own."""
    if not (settings.keys / FILE).is_file():
        detail = (
            f"There are no keys in {settings.keys}, and without its keys a log can be neither checked nor continued."
        )
        raise Unavailable(detail, "Start the studio once, or put the keys back in their place.")
    keys = audit_keys(open_keys(settings.keys))
    with ExitStack() as stack:
        database = stack.enter_context(open_database(settings.database))
        history = SqlHistory(database)
        anchors = AnchorFile(settings.data / "audit" / "anchors.jsonl", keys)
        yield SqlAuditLog(database, Chain(keys), anchors, witnesses=history.audit_heads)


def _verify(log: SqlAuditLog, asked: argparse.Namespace, settings: Settings) -> int:
    report = dict(log.verified(asked.witness))
    desk = PolicyDesk(settings.data / "policy.toml")
    remarks = list(report["remarks"])
    if desk.digest() != report["policy"] and report["fault"] is None:
        remarks.append("The policy in force is not the one that was put on record last.")
    return _told({**report, "remarks": remarks}, asked)


def _told(report: Mapping[str, Any], asked: argparse.Namespace) -> int:
    if asked.json:
        print_json(report)
    else:
        lines = [report["summary"], *(f"Remark: {remark}" for remark in report["remarks"])]
        print(printable("\n".join([*lines, *(f"Not shown: {limit}" for limit in report["limits"])])))
    return OK if report["whole"] else FAILED


def _export(log: SqlAuditLog, asked: argparse.Namespace) -> int:
    form = "public" if asked.public else "full"
    if asked.out.exists():
        raise InvalidParameter("out", f"{asked.out} is there already.", "Name a new file.")
    log.append("export", _BY_HAND, {"what": "audit log", "form": form})
    count = _write(asked.out, _lines(log, form))
    if asked.json:
        print_json({"file": str(asked.out), "form": form, "entries": count, "head": log.head()})
    else:
        print(printable(f"{count} entries written to {asked.out} ({form})."))
    return OK


def _lines(log: SqlAuditLog, form: str) -> Iterator[Mapping[str, Any]]:
    """A line about the export, then one for each entry."""
    yield {"format": FORMAT, "form": form, "made": datetime.now(UTC).isoformat(timespec="seconds"), "head": log.head()}
    for entry in log.exported():
        yield entry if form == "full" else _public(entry)


def _public(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    said = json.loads(entry["body"])
    links = {name: entry[name] for name in ("number", "previous", "hash")}
    return {**links, "time": said["time"], "event": said["event"]}


def _write(path: Path, lines: Iterable[Mapping[str, Any]]) -> int:
    """A file for the owner alone; whole or not there. Returns the number of entries."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            count = -1
            for line in lines:
                file.write(json.dumps(line, separators=(",", ":")) + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        detail = f"The export cannot be written to {path}: {error.strerror}."
        raise Unavailable(detail, "Name another place with --out.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return count


def _verify_file(asked: argparse.Namespace, settings: Settings) -> int:
    """Check an export: with the key if it is a full one, else only that its hashes follow one another."""
    try:
        with asked.file.open(encoding="ascii") as file:
            header, *entries = (json.loads(line) for line in file)
        full = {"full": True, "public": False}[header["form"]]
        if header["format"] != FORMAT:
            raise ValueError(header["format"])
        links = [(entry["number"], entry["previous"], entry["hash"]) for entry in entries]
        bodies = [entry["body"] for entry in entries] if full else []
        texts = [text for entry in entries for text in _texts(entry)] if full else []
    except OSError as error:
        raise InvalidParameter("file", f"{asked.file} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidParameter("file", f"{asked.file} is no export of an audit log, or it is damaged.") from error
    witnesses = [*filter(None, [header.get("head")]), *asked.witness]
    if full:
        keys = audit_keys(open_keys(settings.keys))
        rows = [(at, body, before, own) for (at, before, own), body in zip(links, bodies, strict=True)]
        return _told(Chain(keys).check(rows, texts, witnesses).plain(), asked)
    fault = check_links(links, witnesses)
    back = sum(one["time"] > other["time"] for one, other in pairwise(entries))
    return _told(
        {
            "whole": fault is None,
            "summary": f"The export is broken: {fault.detail}." if fault else f"{len(links)} hashes that follow.",
            "entries": len(links),
            "head": header.get("head", ""),
            "fault": fault and asdict(fault),
            "remarks": [f"{back} entries are dated before the one before them."] if back else [],
            "limits": ["A public export holds no entries, so it cannot be checked that the hashes are theirs."],
        },
        asked,
    )


def _texts(entry: Mapping[str, Any]) -> Iterator[tuple[int, str, bytes, bytes | None]]:
    for name, kept in sorted(entry["texts"].items()):
        text = None if kept["text"] is None else bytes.fromhex(kept["text"])
        yield entry["number"], name, bytes.fromhex(kept["salt"]), text


def _erase(log: SqlAuditLog, asked: argparse.Namespace, rule: Mapping[str, Any]) -> int:
    erased = log.erase(_BY_HAND, **rule)
    if asked.json:
        print_json(asdict(erased))
    else:
        print(f"{erased.texts} texts of {erased.entries} entries erased; the entries stay.")
        print(_STILL, file=sys.stderr)
    return OK


def _day(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidParameter("before", f'"{text[:40]}" is no date.', "Write it as 2026-11-20.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
