"""`audit stats`: the figures of a bias audit from a table of prompt, category, count. Needs no model and no picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from backend.errors import InvalidParameter
from backend.settings import Settings
from safety.bias.comparing import compared
from safety.bias.counts import UNIFORM, Reference, read_confusion, read_counts, read_reference
from safety.bias.figures import Comparison, PromptFigures, Statistics
from safety.bias.rules import Rules
from safety.bias.statistics import statistics_of
from webui.output import OK, print_json, printable

_MOST_BYTES = 32 << 20


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("counts", type=Path, metavar="COUNTS.csv", help="columns prompt, category, count")
    parser.add_argument(
        "--reference",
        action="append",
        metavar="REF.csv|uniform",
        help="what shares are held against: columns category and share, and prompt where they differ; may repeat",
    )
    parser.add_argument("--against", type=Path, metavar="OTHER.csv", help="counts of a second run to compare with")
    parser.add_argument(
        "--confusion", type=Path, metavar="CSV", help="the labeller's errors: columns known, said, count"
    )
    parser.add_argument("--q", type=float, default=0.05, help="false discovery rate over all prompts (0.05)")
    parser.add_argument("--bootstrap", type=int, default=2000, metavar="N", help="draws behind an interval (2000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of those draws; equal seeds, equal figures")


def run(asked: argparse.Namespace, settings: Settings) -> int:
    rules = Rules(asked.q, asked.bootstrap, asked.seed)
    counts = read_counts(read(asked.counts, "counts"), str(asked.counts))
    references = _references(asked.reference or ())
    confusion = asked.confusion and read_confusion(read(asked.confusion, "confusion"), str(asked.confusion))
    found = statistics_of(counts, references, rules, confusion)
    other = None
    if asked.against:
        second = read_counts(read(asked.against, "against"), str(asked.against))
        other = compared(counts, second, (asked.counts.name, asked.against.name), rules)
    if asked.json:
        print_json({**found.model_dump(mode="json"), "comparison": other and other.model_dump(mode="json")})
        return OK
    print(printable("\n".join([*table(found), *(difference_table(other) if other else ())])))
    return OK


def read(path: Path, field: str) -> str:
    """The text of a CSV file. Raises InvalidParameter."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InvalidParameter(field, f"{path} is larger than {_MOST_BYTES >> 20} MiB.")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidParameter(field, f"{path} cannot be read: {error.strerror}.", "Check the name.") from error
    except UnicodeDecodeError as error:
        raise InvalidParameter(field, f"{path} is not text in UTF-8.", "Save it as CSV in UTF-8.") from error


def _references(given: Sequence[str]) -> tuple[Reference, ...]:
    """Those named, and the uniform one last where it was not: it is what entropies are about."""
    made = [
        UNIFORM
        if name.casefold() == "uniform"
        else read_reference(read(Path(name), "reference"), Path(name).stem, f"table {Path(name).name}")
        for name in given
    ]
    return tuple({one.name: one for one in [*made, UNIFORM]}.values())


def table(found: Statistics) -> list[str]:
    """The figures as lines for a terminal."""
    main = found.overall.references[0].name if found.overall.references else ""
    lines = [f"{'prompt':28} {'n':>6}  {'largest share, 95 %':32} {'entropy, 95 %':20} TV to {main}, adjusted p"]
    lines += [_line(one, main) for one in found.prompts]
    whole = found.overall
    lines += ["", f"prompts {whole.prompts}, pictures {whole.pictures}, abstained {whole.abstained_share:.1%}"]
    if whole.mean_entropy is not None:
        lines.append(
            f"mean entropy {whole.mean_entropy:.3f}{_span(whole.mean_entropy_interval)}; "
            f"one-sided (>= 95 %) {whole.one_sided} of {whole.measured}; "
            f"more than one category {whole.heterogeneous} of {whole.measured}"
        )
    for one in whole.references:
        lines.append(f"{one.name}: {one.differ} of {one.prompts} prompts differ at q = {found.q:g}")
    return [*lines, f"ranking: {whole.ranking}", "Definitions of every figure: --json"]


def _line(one: PromptFigures, main: str) -> str:
    name = one.prompt if len(one.prompt) <= 28 else one.prompt[:27] + "…"
    if one.shares is None or one.largest is None or one.entropy is None:
        return f"{name:28} {one.n:6}  no labelled picture"
    share = f"{one.largest[:12]} {one.shares[one.largest]:.3f}{_span(one.intervals[one.largest])}"
    held = one.references.get(main)
    distance = f"{held.total_variation:.3f}, {held.p_adjusted:.2g}{' *' if held.differs else ''}" if held else "-"
    return f"{name:28} {one.n:6}  {share:32} {f'{one.entropy:.3f}{_span(one.entropy_interval)}':20} {distance}"


def difference_table(found: Comparison) -> list[str]:
    """Two runs as lines for a terminal."""
    first, second = found.names
    lines = ["", f"{first} minus {second}: {found.differ} of {len(found.prompts)} prompts differ at q = {found.q:g}"]
    for one in found.prompts:
        shown = max(one.differences, key=lambda name: abs(one.differences[name]), default="")
        said = f"{shown[:12]} {one.differences[shown]:+.3f}{_span(one.intervals[shown])}" if shown else "not measured"
        lines.append(f"{one.prompt[:28]:28} {said:32} p {one.p_adjusted:.2g}{' *' if one.differs else ''}")
    if found.mean_entropy_difference is not None:
        lines.append(f"mean entropy {found.mean_entropy_difference:+.3f}{_span(found.mean_entropy_interval)}")
    return lines


def _span(interval: tuple[float, float] | None) -> str:
    return f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
