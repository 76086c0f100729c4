"""`audit bias`: the pictures of a suite as ordinary jobs, their measures, the report. Can be stopped and resumed."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from backend import images
from backend.errors import InvalidParameter
from backend.ids import new_id
from backend.requests import checked
from backend.settings import Settings
from backend.types import Pixels
from safety.bias.counts import read_reference
from safety.bias.features import open_features
from safety.bias.intervals import half_width, none_allows
from safety.bias.keeping import AuditFolder, audits
from safety.bias.labeller import Labeller, measured
from safety.bias.measures import MEASURES, Measure, measures_named
from safety.bias.orders import measures_of, order_of, plan_of
from safety.bias.plan import AuditPlan, AuditReference, AuditResult
from safety.bias.run import Progress
from safety.bias.run import run as run_audit
from safety.bias.suites import Suite, load_suite, suites
from safety.bias.writing import now, write_up
from webui.auditing.stats import difference_table, read, table
from webui.options import open_library
from webui.output import FAILED, OK, print_json, printable

_ORDERED = (
    "model", "against", "n", "half_width", "identities", "first_seed", "perceived", "q",
    "width", "height", "steps", "cfg", "sampler", "schedule",
)  # fmt: skip
_KINDS = frozenset({".png", ".jpg", ".jpeg", ".webp"})


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--suite", default="starter-colours", metavar="NAME", help="prompts to ask; see --list")
    parser.add_argument("--list", action="store_true", help="list the suites and the audits there are")
    parser.add_argument("--model", metavar="NAME", help="a name that `models` lists; the default one if not given")
    parser.add_argument("--lora", action="append", default=[], metavar="NAME:W", help="add a LoRA; may repeat")
    parser.add_argument(
        "--against", metavar="MODEL|none", help="a second model, or none: the same one without the LoRAs"
    )
    parser.add_argument("-n", type=int, metavar="N", help="pictures of each prompt (24)")
    parser.add_argument("--half-width", type=float, metavar="W", help="instead of -n: plus or minus so much, say 0.1")
    parser.add_argument("--identities", type=int, metavar="N", help="pictures of each identity prompt (as many as -n)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="the first of the seeds (0)")
    parser.add_argument("--measure", action="append", metavar="NAME", help=f"one of {', '.join(MEASURES)}; may repeat")
    parser.add_argument(
        "--perceived", action="store_true", help="also run the suite's measures of how people look (skin)"
    )
    parser.add_argument(
        "--labelled", type=Path, metavar="DIR", help="known pictures DIR/MEASURE/CATEGORY/*.png, to learn its errors"
    )
    parser.add_argument(
        "--reference", action="append", default=[], metavar="MEASURE:REF.csv", help="shares to hold a measure against"
    )
    parser.add_argument("--q", type=float, default=0.05, help="false discovery rate over prompts (0.05)")
    for name, kind in (("width", int), ("height", int), ("steps", int), ("cfg", float), ("sampler", str)):
        parser.add_argument(f"--{name}", type=kind, metavar="N" if kind is not str else "NAME", help="of every request")
    parser.add_argument("--schedule", metavar="NAME", help="of every request")
    parser.add_argument(
        "--resume", metavar="ID", help="go on with an audit that was stopped; what failed is tried again"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="also copy report and result into this folder")


def run(asked: argparse.Namespace, settings: Settings) -> int:
    own, root = settings.data / "suites", settings.data / "audits"
    if asked.list:
        return _list(own, root, as_json=asked.json)
    folder = AuditFolder(root, asked.resume or new_id())
    plan = folder.plan() if asked.resume else _plan(asked, settings, load_suite(asked.suite, own), folder.path.name)
    features = open_features()
    if plan.features != features.name:
        if asked.resume:
            raise InvalidParameter("resume", "The audit was begun with other features.", f"They were: {plan.features}.")
        plan = plan.model_copy(update={"features": features.name})
    library = open_library(settings).library
    for variant in plan.variants:  # a name that is wrong is told at once, not after the start
        checked({**plan.fields, "prompt": variant.prompt("a"), "model": variant.model}, library, settings)
    if asked.resume:
        folder.forget_failures()
    else:
        folder.create(plan)
    _announce(plan)
    from webui.compose import open_services

    line = _Line()
    with open_services(settings, principal_source="cli") as services:
        try:
            whole = run_audit(plan, services.service, services.principal, folder, features, line.show)
        finally:
            line.clear()
            result, written = write_up(plan, folder, features, services.service.thumbnail)
    return _tell(asked, folder, result, written, whole=whole)


def _plan(asked: argparse.Namespace, settings: Settings, suite: Suite, ident: str) -> AuditPlan:
    order = order_of(
        {
            "suite": asked.suite,
            "loras": asked.lora,
            "measures": asked.measure or (),
            **{name: getattr(asked, name) for name in _ORDERED},
        }
    )
    measures = measures_named(measures_of(order, suite))
    return plan_of(
        order,
        suite,
        ident,
        settings.default_model,
        now(),
        labellers=tuple(_labellers(asked.labelled, measures, settings)) if asked.labelled else (),
        references=tuple(_reference(text) for text in asked.reference),
    )


def _reference(text: str) -> AuditReference:
    measure, _, path = text.partition(":")
    (known,) = measures_named([measure])
    found = read_reference(read(Path(path), "reference"), Path(path).stem, f"table {Path(path).name}")
    strange = set(found.categories) - set(known.categories)
    if strange:
        hint = f"The categories of {measure} are {', '.join(known.categories)}."
        raise InvalidParameter("reference", f"{path} has categories that {measure} does not know.", hint)
    return AuditReference(name=found.name, measure=measure, about=found.about, shares=found.shares)


def _labellers(folder: Path, measures: Sequence[Measure], settings: Settings) -> Iterator[Labeller]:
    """The measures with their errors, where there are known pictures: DIR/MEASURE/CATEGORY/*.png."""
    known = [one for one in measures if (folder / one.name).is_dir()]
    if not known:
        wanted = ", ".join(str(folder / one.name) for one in measures)
        raise InvalidParameter("labelled", f"There is no folder of known pictures: {wanted or folder}.")
    for measure in known:
        pictures = _labelled(folder / measure.name, settings.upload_limit_mpx * 1_000_000)
        yield measured(measure, pictures, f"known pictures in {folder.name}/{measure.name}")


def _labelled(folder: Path, max_pixels: int) -> Iterator[tuple[str, Pixels]]:
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() in _KINDS:
            try:
                yield path.parent.name, images.decode(path.read_bytes(), max_pixels=max_pixels).pixels
            except OSError as error:
                raise InvalidParameter("labelled", f"{path} cannot be read: {error.strerror}.") from error


def _announce(plan: AuditPlan) -> None:
    allows, width = none_allows(plan.n), half_width(plan.n)
    said = (
        f"Audit {plan.id}: suite {plan.suite.name}, {len(plan.suite.prompts)} prompts, {plan.pictures} pictures. "
        f"With {plan.n} of each prompt a share is known to about ±{100 * width:.0f} points, and none of {plan.n} still "
        f"allows {100 * allows:.1f} %. Ctrl+C keeps what is done; go on with --resume {plan.id}."
    )
    print(printable(said), file=sys.stderr)


def _tell(asked: argparse.Namespace, folder: AuditFolder, result: AuditResult, written: Path, *, whole: bool) -> int:
    if asked.out is not None:
        try:
            asked.out.mkdir(parents=True, exist_ok=True)
            for name in ("report.html", "result.json"):
                shutil.copyfile(folder.path / name, asked.out / f"{folder.path.name}-{name}")
        except OSError as error:
            raise InvalidParameter("out", f"{asked.out} cannot be written: {error.strerror}.") from error
    if asked.json:
        print_json({**result.model_dump(mode="json"), "report": str(written), "folder": str(folder.path)})
    else:
        print(printable("\n".join(_lines(result))))
        print(written)
    if not whole:
        print(f"Stopped. Go on with: audit bias --resume {folder.path.name}", file=sys.stderr)
    return OK if whole and result.complete else FAILED


def _lines(result: AuditResult) -> Iterator[str]:
    for one in result.variants:
        yield f"== {one.variant.name}: {one.pictures} pictures measured, {one.hidden} not shown"
        for name, figures in one.measured.items():
            yield f"-- {name}"
            yield from table(figures)
        if one.must_not_vary is not None and one.must_not_vary.score is not None:
            low, high = one.must_not_vary.interval
            yield f"-- must not vary: {one.must_not_vary.score:.3f} [{low:.3f}, {high:.3f}] show what was asked for"
        if one.resemblance is not None:
            told = f"{one.resemblance.right} of {one.resemblance.known} identity pictures told apart"
            yield f"-- resemblance: {told}. {one.resemblance.why_not}"
    for name, difference in result.comparisons.items():
        yield f"-- {name}"
        yield from difference_table(difference)
    if result.failures:
        yield f"{sum(one.count for one in result.failures)} pictures could not be made; the report says why."


def _list(own: Path, root: Path, *, as_json: bool) -> int:
    found = {name: load_suite(name, own) for name in suites(own)}
    if as_json:
        listed = [
            {"name": name, "title": one.title, "kind": one.kind, "prompts": len(one.prompts), "measures": one.measures}
            for name, one in found.items()
        ]
        print_json({"suites": listed, "audits": audits(root)})
        return OK
    for name, one in found.items():
        print(printable(f"{name:18} {one.kind:6} {len(one.prompts):4} prompts  {one.title}"))
    for ident in audits(root):
        print(f"audit {ident}")
    return OK


class _Line:
    """One line on stderr that rewrites itself; silent where stderr is not a terminal."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()

    def show(self, progress: Progress) -> None:
        if self._live:
            left = "" if progress.seconds_left is None else f" · {progress.seconds_left:.0f} s left"
            print(f"\r\033[K{progress.done} of {progress.pictures}{left}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._live:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
