"""An audit's folder: plan.json, measurements.jsonl that grows by a line a picture, result.json and report.html."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from backend.errors import Conflict, InvalidParameter, NotFound
from backend.types import Shape
from safety.bias.plan import AuditPlan, AuditResult, Failure, Measurement

_IDENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_Kind = TypeVar("_Kind", bound=Shape)


class AuditFolder:
    """Below `root` (data/audits). What was appended survives the process; a line cut short by a crash is dropped."""

    def __init__(self, root: Path, ident: str) -> None:
        if not _IDENT.fullmatch(ident):
            raise NotFound("audit", ident)
        self.path = root / ident

    def create(self, plan: AuditPlan) -> None:
        """Raises Conflict if there is such an audit already."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.path.mkdir()
        except FileExistsError as error:
            raise Conflict(f"There is an audit {plan.id} already.", "Resume it, or start another one.") from error
        self._write("plan.json", plan.model_dump_json(indent=1))

    def plan(self) -> AuditPlan:
        """Raises NotFound, or InvalidParameter if the file was damaged."""
        return self._read("plan.json", AuditPlan)

    def result(self) -> AuditResult:
        """Raises NotFound, or InvalidParameter if the file was damaged."""
        return self._read("result.json", AuditResult)

    def append(self, one: Measurement | Failure) -> None:
        name = "measurements.jsonl" if isinstance(one, Measurement) else "failures.jsonl"
        with (self.path / name).open("a+b") as file:
            if file.tell():  # a line that a crash cut short must not swallow the next one
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(one.model_dump_json().encode() + b"\n")

    def measurements(self) -> tuple[Measurement, ...]:
        """Each picture once: the latest of its place and seed."""
        lines = self._lines("measurements.jsonl", Measurement)
        return tuple({(one.variant, one.identity, one.prompt, one.seed): one for one in lines}.values())

    def failures(self) -> tuple[Failure, ...]:
        return tuple(self._lines("failures.jsonl", Failure))

    def forget_failures(self) -> None:
        """So that what failed is tried again."""
        (self.path / "failures.jsonl").unlink(missing_ok=True)

    def stamp(self) -> tuple[int, ...]:
        """Changes whenever a picture, a failure or a result was written."""
        return tuple(_stamp(self.path / name) for name in ("measurements.jsonl", "failures.jsonl", "result.json"))

    def write_result(self, result: AuditResult) -> Path:
        return self._write("result.json", result.model_dump_json(indent=1))

    def write_report(self, html: str) -> Path:
        return self._write("report.html", html)

    def _write(self, name: str, text: str) -> Path:
        path, part = self.path / name, self.path / f".{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(path)
        return path

    def _read(self, name: str, kind: type[_Kind]) -> _Kind:
        try:
            return kind.model_validate_json((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise NotFound("audit", self.path.name) from error
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            hint = "Start a new audit."
            raise InvalidParameter("audit", f"{name} of the audit {self.path.name} cannot be read.", hint) from error

    def _lines(self, name: str, kind: type[_Kind]) -> list[_Kind]:
        try:
            text = (self.path / name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        made = []
        for line in text.splitlines():
            try:
                made.append(kind.model_validate(json.loads(line)))
            except (json.JSONDecodeError, ValidationError):
                continue
        return made


def _stamp(path: Path) -> int:
    try:
        found = path.stat()
    except OSError:
        return 0
    return hash((found.st_mtime_ns, found.st_size))


def audits(root: Path) -> tuple[str, ...]:
    """The ids of the audits below `root`, newest first where ids sort by time."""
    found = root.glob("*/plan.json") if root.is_dir() else ()
    return tuple(sorted((path.parent.name for path in found), reverse=True))
