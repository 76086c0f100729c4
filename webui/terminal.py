"""The verbs that work without a server: generate, verify, models. Each builds the rooms it needs and prints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import BadRequest, Conflict, InvalidParameter, Problem, Refused, SignetError, UnreadableImage
from backend.library import LibraryDesk
from backend.requests import checked
from backend.settings import Settings
from backend.trust import Covered
from backend.types import Event, Job, Record, VerifyReport
from webui.options import open_catalog, open_library
from webui.output import BAD_INPUT, FAILED, OK, print_json, printable, show_problem

if TYPE_CHECKING:
    from webui.compose import Services

_STILL_GOING = frozenset({"queued", "running", "sealing"})


def generate(
    settings: Settings,
    fields: Mapping[str, Any],
    *,
    out: Path | None,
    as_json: bool,
    plan: tuple[str, Mapping[str, Any]] | None = None,
    reveal: bool = False,
) -> int:
    """Submit one request, or a `plan` of many, wait for all, print where the pictures are.

    A picture that is covered is named without its place, unless `reveal` asks for it. A Path among the fields or the
    plan's arguments is a picture to bring.
    """
    library = open_library(settings)
    named = _brought(fields, library, settings)
    if plan is None:
        checked(named, library.library, settings)  # a typing error is told at once, not after the start
    _make_folder(out)
    from webui.compose import open_services

    ids: dict[str, Any]
    stop: Callable[[], object]
    with open_services(settings, principal_source="cli") as services:
        if plan is None:
            job = services.service.submit(named, services.principal)
            jobs, ids = [job], {"job_id": job.id}
            stop = partial(services.service.cancel, job.id, services.principal)
        else:
            plans = services.service.plans
            ticket = plans.submit(plan[0], named, _brought(plan[1], library, settings), services.principal)
            jobs, stop = [*ticket.jobs, *ticket.grids], partial(plans.cancel, ticket.id, services.principal)
            ids = {"plan_id": ticket.id, "job_ids": [job.id for job in jobs]}
        jobs = [_wait(services, job, stop) for job in jobs]
        records = [record for job in jobs for record in services.service.of_job(job.id)]
        images = [_image(services, record, reveal=reveal) for record in records]
    problem = next((_problem(job) for job in jobs if job.state != "done"), None)
    try:
        if out is not None:
            for image in images:
                image["path"] = image["path"] and _copy(Path(image["path"]), out)
    except SignetError as error:
        problem = problem or error.problem
    return _tell(ids, images, problem, as_json=as_json)


def _brought(value: Any, library: LibraryDesk, settings: Settings) -> Any:
    """The same fields with every file taken in and named by its id."""
    if isinstance(value, Path):
        return library.put(_read(value, settings.upload_limit_mb)).id
    if isinstance(value, Mapping):
        return {name: _brought(item, library, settings) for name, item in value.items()}
    if isinstance(value, list):
        return [_brought(item, library, settings) for item in value]
    return value


def _tell(
    ids: Mapping[str, Any], images: Sequence[Mapping[str, Any]], problem: Problem | None, *, as_json: bool
) -> int:
    """Print the pictures that were made, and the problem if not all of them were."""
    if as_json:
        whole = {**ids, "images": images}
        print_json(whole if problem is None else {"error": {**asdict(problem), "images": images}})
    else:
        for image in images:
            print(image["path"] or f"{image['record_id']} is not shown. {image['covered']}")
            print("  " + _in_words(image["passport"]), file=sys.stderr)
    if problem is None:
        return OK
    show_problem(problem)
    return BAD_INPUT if problem.status in (400, 403, 422) else FAILED


def _make_folder(out: Path | None) -> None:
    if out is None:
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InvalidParameter("out", f"{out} is not a folder.", "Name one; it need not exist.") from error
    except OSError as error:
        raise _cannot_write(out, error) from error


def _cannot_write(out: Path, error: OSError) -> SignetError:
    detail = f"The folder {out} cannot be written: {error.strerror}."
    return SignetError(Problem("not-writable", "A folder cannot be written", detail, 507, "out"))


def _copy(path: Path, out: Path) -> str:
    """Copy the sealed file into `out`, byte for byte: all of it or nothing. The name of the copy."""
    copy = out / path.name
    part = copy.with_name(f".{copy.name}.part")
    try:
        try:
            part.write_bytes(path.read_bytes())
            part.replace(copy)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(out, error) from error
    return str(copy.resolve())


def _wait(services: Services, job: Job, stop: Callable[[], object]) -> Job:
    """Follow the job to its end with a progress line; Ctrl+C stops what was asked for and waits for that."""
    line = _ProgressLine()
    service = services.service
    try:
        seen = 0
        while job.state in _STILL_GOING:
            job = service.wait(job.id, timeout=0.2)
            for event in service.events(job.id, after=seen):
                seen = event.seq
                line.show(event)
    except KeyboardInterrupt:
        line.clear()
        print("Cancelling ...", file=sys.stderr)
        with suppress(Conflict):  # it ended at the same moment: then it is what it is
            stop()
        job = service.wait(job.id, timeout=10)
    finally:
        line.clear()
    return job


class _ProgressLine:
    """One line on stderr that rewrites itself; silent where stderr is not a terminal."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()

    def show(self, event: Event) -> None:
        parts: list[str] = [event.phase]
        if event.steps:
            parts.append(f"step {event.step}/{event.steps}")
        if event.eta is not None:
            parts.append(f"{event.eta:.0f} s left")
        if event.position:
            parts.append(f"{event.position} before you")
        if event.message:
            parts.append(printable(event.message).replace("\n", " ")[:80])
        if self._live:
            print("\r\033[K" + " · ".join(parts), end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _problem(job: Job) -> Problem:
    if job.problem:
        return Problem(**job.problem)
    if job.state == "cancelled":
        return Problem("cancelled", "Cancelled", "The job was cancelled; no more pictures were made.", 409)
    return Problem(job.state, "Not finished", f"The job ended as {job.state}.", 500)


def _image(services: Services, record: Record, *, reveal: bool) -> dict[str, Any]:
    """What --json prints about one picture."""
    passport = record.passport
    try:
        path = str(services.service.file(record.id, services.principal, reveal=reveal).resolve())
        covered = ""
    except Covered as error:
        hint = "" if record.handling == "withhold" else " Run with --reveal, or look at it in the studio."
        path, covered = None, f"{error.problem.detail}{hint}"
    return {
        "path": path,
        "covered": covered,
        "sha256": passport.sha256,
        "seed": passport.seed,
        "record_id": record.id,
        "passport": passport.model_dump(mode="json"),
    }


def _in_words(passport: Mapping[str, Any]) -> str:
    mark, credential = passport["watermark"], passport["credential"]
    trust = "trusted" if credential["trusted"] else "this installation's own key, not on a trust list"
    return (
        f"seed {passport['seed']} · inspected: {passport['inspection']['state']} · marked (p = {mark['p_value']:.0e})"
        f" · signed ({trust})"
    )


def verify(settings: Settings, files: Sequence[Path], *, as_json: bool) -> int:
    """Report on every file; one that cannot be read does not keep the others from being judged."""
    from webui.compose import open_services

    reports: list[dict[str, Any]] = []
    errors: list[SignetError] = []
    with open_services(settings, principal_source="cli", working=False) as services:
        for path in files:
            try:
                report = services.service.verify(_read(path, settings.upload_limit_mb))
            except SignetError as error:
                errors.append(error)
                show_problem(error.problem, about=f"{path}: ")
                reports.append(
                    {"path": str(path), "error": {"code": error.problem.code, "detail": error.problem.detail}}
                )
                continue
            reports.append({"path": str(path), **report.model_dump(mode="json")})
            if not as_json:
                _print_report(path, report)
    if as_json:
        print_json(reports)
    if not errors:
        return OK
    return BAD_INPUT if all(isinstance(error, BadRequest | Refused) for error in errors) else FAILED


def _read(path: Path, limit_mb: int) -> bytes:
    try:
        if path.stat().st_size > limit_mb << 20:
            raise UnreadableImage(f"The file is larger than {limit_mb} MiB.", "Raise upload_limit_mb to read it.")
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"The file cannot be read: {error.strerror}.", "Check the name.") from error


def _print_report(path: Path, report: VerifyReport) -> None:
    c2pa, mark, history = report.c2pa, report.watermark, report.history
    credentials = (
        c2pa.state if c2pa.state != "valid" else f"valid, {'trusted' if c2pa.trusted else 'not on a trust list'}"
    )
    lines = [
        ("credentials", ", ".join(part for part in (credentials, c2pa.generator, *c2pa.failures) if part)),
        ("mark", f"found, p = {mark.p_value:.1e}, record {mark.record_id or 'unknown'}" if mark.found else "not found"),
        ("history", " ".join(part for part in (history.match, history.record_id) if part)),
        ("text", (report.infotext or "none").partition("\n")[0][:100]),
    ]
    print(printable(f"{path}\n  {report.summary}"))
    for name, text in lines:
        print(f"  {name:12} {printable(text)}")


def models(settings: Settings, *, as_json: bool) -> int:
    found = open_catalog(settings).all()
    if as_json:
        from dataclasses import asdict

        print_json([asdict(model) for model in found])
        return OK
    for model in found:
        side = f"{model.native_size} px"
        print(f"{model.id:24} {model.family:8} {side:8} {model.size / 2**20:7.0f} MiB  {model.licence}  {model.title}")
    return OK
