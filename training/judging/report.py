"""The table: what the model draws, judged; beside every figure chance, the judge's own accuracy, and the goal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any

import numpy as np
from PIL import Image

from training.judging import distances, scoring
from training.judging.asks import Ask
from training.judging.network import SIDE, Judge, pixels
from training.judging.scoring import NAMES

GOALS: Mapping[str, str] = {
    "top5": ">= 80 % at 20 steps, >= 70 % at 4",
    "colour": ">= 95 %",
    "pair": ">= 50 %",
    "synonym": ">= 60 %",
    "ratio": "<= 3",
}
NUMBERS = ("distance", "halves", "ratio", "batched", "alone")
ENOUGH = 500  # pictures a side, for 128 features: below, chance alone makes both distances large and alike
FIRSTS = ("top1", "top5")
OWN: Mapping[str, str] = {
    name: f"clean_{name}" for name in ("top1", "top5", "top1_listed", "style", "colour", "pair", "pair_strict")
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a share or a number with its interval (NaN where there is none)."""

    name: str
    text: str
    value: float
    low: float = math.nan
    high: float = math.nan
    tries: int = 0
    chance: float = math.nan
    own: float = math.nan
    goal: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All rows, how the pictures were drawn, and how good the judge itself is."""

    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    judge: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Plain values; what is not a number is None."""
        rows = [{key: None if _nan(value) else value for key, value in asdict(row).items()} for row in self.rows]
        return {"settings": dict(self.settings), "rows": rows, "judge": dict(self.judge)}


def _nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def judge_pictures(
    judge: Judge,
    asks: Sequence[Ask],
    pictures: Sequence[Image.Image],
    settings: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> tuple[Report, list[tuple[bool, str]]]:
    """The report on `pictures`, one per ask, and what the sheets say about each of them."""
    seen = pixels(pictures, SIDE)
    verdict = judge.see(seen)
    own = judge.facts["own"]
    hits = scoring.tallies(judge, verdict, asks)
    chance = scoring.tallies(judge, verdict, scoring.shuffled(asks))
    rows = [
        Row(
            name,
            NAMES[name],
            tally.share,
            *tally.interval,
            tries=tally.tries,
            chance=chance[name].share,
            own=own.get(OWN.get(name, ""), {}).get("share", math.nan),
            goal=GOALS.get(name, ""),
        )
        for name, tally in hits.items()
        if tally.tries
    ]
    listed = np.array([place for place, ask in enumerate(asks) if ask.part == "listed"], dtype=np.int64)
    if len(listed) > 1:
        rows += _whole(judge, verdict.features[listed], seen[listed.tolist()], [asks[place] for place in listed])
    rows += [Row(name, f"seconds per picture, {name}", value) for name, value in seconds.items()]
    return Report(dict(settings), tuple(rows), judge.facts), scoring.right(judge, verdict, asks)


def _whole(judge: Judge, features: Any, seen: Any, asks: Sequence[Ask]) -> list[Row]:
    """Distance to the real art and share of copies, of the listed pictures."""
    gap = distances.distance(features, judge.memory["real"].numpy())
    near = distances.copies(judge, seen)
    flags = near.flags
    asked = [judge.number(ask.concepts[0]) for ask in asks]
    same = [
        bool(flag) and int(near.concepts[row]) == asked[row] and judge.styles[int(near.styles[row])] == asks[row].style
        for row, flag in enumerate(flags)
    ]
    shares = (
        ("copies", "copies of one real picture", int(flags.sum())),
        ("copies_asked", "of these, of the one asked for", sum(same)),
    )
    own = judge.facts["own"]
    rows = [
        Row("distance", "Fréchet distance to the real art", gap.drawn, tries=gap.pictures),
        Row("halves", "the same between halves of the real art", gap.halves, tries=gap.pictures),
        Row(
            "ratio",
            "ratio of the two" if gap.pictures >= ENOUGH else "ratio (too few pictures to tell)",
            gap.ratio,
            tries=gap.pictures,
            own=own["weathered_distance"]["ratio"],
            goal=GOALS["ratio"],
        ),
    ]
    for name, text, count in shares:
        tally = scoring.Tally(count, len(asks))
        rows.append(Row(name, text, tally.share, *tally.interval, tries=tally.tries))
    return rows


def table(report: Report) -> str:
    """The report as lines of text."""
    told = report.settings
    how = f"{told['sampler']}, {told['steps']} steps, guidance {told['guidance']}"
    lines = [
        f"{told['pictures']} pictures of {told['model']}: {how}",
        "",
        f"{'':46} {'model':>8} {'95 %':>15} {'n':>6} {'chance':>8} {'real art':>9}  goal",
    ]
    for row in report.rows:
        show = _number if row.name in NUMBERS else _percent
        between = "" if _nan(row.low) else f"{_percent(row.low)} - {_percent(row.high)}"
        figures = f"{show(row.value):>8} {between:>15} {row.tries or '':>6} {show(row.chance):>8} {show(row.own):>9}"
        lines.append(f"{row.text:46} {figures}  {row.goal}".rstrip())
    return "\n".join([*lines, "", *(fill(note, 110) for note in notes(report.judge))])


def notes(facts: Mapping[str, Any]) -> list[str]:
    """How to read the table."""
    own, alike = facts["own"], facts["look_alike"]

    def both(name: str) -> str:
        shares = [_percent(own[f"{name}_{what}"]["share"]) if f"{name}_{what}" in own else "-" for what in FIRSTS]
        return " / ".join(shares)

    held = own.get("left_out_top5", {}).get("tries", 0)
    invented = _percent(own["clean_pair_false"]["share"]) if "clean_pair_false" in own else "-"
    return [
        "chance: the same pictures, judged by each other's prompts. real art: the same question asked of the real art "
        "(for the ratio, of real art moved, softened and made noisy as in the judge's training).",
        f"The judge on real art, first answer / first five: {both('clean')}; disturbed as in its training "
        f"{both('weathered')}; disturbed in a way it never met {both('unseen')}; in a style held out from its training "
        f"{both('left_out')} (n = {held}). Beside one subject alone it sees a second one, asked for, in {invented}.",
        "A copy: looked at as 16 x 16 pixels, and moved or resized a little if that helps, it lies nearer to one real "
        f"picture (distance below {alike['limit']:.2f}) than 99 % of the real pictures lie to any other (median "
        f"{alike['median']:.2f}). {_percent(alike['recognised'])} of slightly moved, resized and blurred real "
        "pictures are recognised so. There is one real picture per concept and style: a faultless answer to a listed "
        "prompt would be a copy.",
    ]


def _percent(value: float) -> str:
    return "" if math.isnan(value) else f"{100 * value:.1f} %"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"
