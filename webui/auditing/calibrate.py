"""`audit calibrate FOLDER`: your own pictures before the scanners that look at every picture made here."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend import images
from backend.errors import InvalidParameter, UnreadableImage
from backend.settings import Settings
from backend.types import Pixels
from safety.calibrate import WANTED, calibrate, report
from safety.desk import open_detectors
from webui import compose
from webui.output import OK, print_json, printable

_MEBI = 1 << 20
LIMITS = (
    "These figures are about this folder and say nothing about others. Intervals are 95 % (Wilson) and take the "
    "pictures for a random sample of what you make.",
    "A doubtful score of one scanner counts where another comes half way to its own threshold, as it does for "
    "pictures that are made here.",
    "Nothing was stored and nothing was sent. Pictures that are unlawful to have are no material for this.",
)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help='pictures; sub-folders "safe" and "unsafe" label what is in them')
    parser.add_argument(
        "--wanted",
        type=float,
        default=100 * WANTED,
        metavar="PERCENT",
        help="share of safe pictures that may be flagged, for the suggested thresholds (%(default)s)",
    )
    parser.add_argument("--most", type=int, metavar="N", help="look at about N pictures, evenly taken")


def run(asked: argparse.Namespace, settings: Settings) -> int:
    """Raises InvalidParameter if the folder holds no picture that can be read, Unavailable without the scanners."""
    if asked.most is not None and asked.most < 1:
        raise InvalidParameter("most", "A number of pictures is 1 or more.")
    if not 0 <= asked.wanted < 100:
        raise InvalidParameter("wanted", f"{asked.wanted:g} is no share of pictures.", "Use a percentage below 100.")

    def read(path: Path) -> Pixels:
        if path.stat().st_size > settings.upload_limit_mb * _MEBI:
            raise UnreadableImage(f"The file is larger than {settings.upload_limit_mb} MiB.")
        return images.decode(path.read_bytes(), max_pixels=settings.upload_limit_mpx * 10**6).pixels

    detectors = open_detectors(compose.desk_config(settings))
    made = calibrate(asked.folder, detectors, read, most=asked.most, told=_progress)
    print(file=sys.stderr)
    if not made.seen:
        why = f" ({made.unread[0][0]}: {made.unread[0][1]})" if made.unread else ""
        raise InvalidParameter(
            "folder", f"No picture in {asked.folder} could be looked at{why}.", "Name another folder."
        )
    told = report(made, asked.wanted / 100)
    if asked.json:
        print_json(told)
    else:
        print(printable(text(told)))
    return OK


def _progress(done: int) -> None:
    if done % 10 == 1:
        print(f"\r{done} pictures", end="", file=sys.stderr, flush=True)


# ---- in words


def text(told: Mapping[str, Any]) -> str:
    """The report as a person reads it."""
    lines = [_counted(told)]
    for name, each in told["detectors"].items():
        lines += ["", f"{name} (flags from {each['threshold']:g})"]
        for label, group in each["groups"].items():
            spread = ", ".join(f"{_quantile(key)} {value:.3f}" for key, value in group["quantiles"].items())
            lines += [f"  {label}: {spread}", f"    flagged now: {_said(group['now'])}"]
        lines += _table(each["groups"])
        lines.append(f"  {_suggested(each, told['wanted'])}")
    lines += ["", "All scanners together, as they are set now"]
    lines += [f"  {label}: {_said(share)} flagged" for label, share in told["together"].items()]
    lines += [_agreed(pair) for pair in told["agreement"]]
    if told["unread"]:
        lines += ["", f"Not looked at: {len(told['unread'])}"]
        lines += [f"  {each['file']}: {each['why']}" for each in told["unread"]]
    return "\n".join([*lines, "", *LIMITS])


def _counted(told: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{number} {label}" for label, number in told["pictures"].items() if number)
    return f"Pictures: {counts or 'none'}."


def _quantile(key: str) -> str:
    return {"0.0": "least", "0.5": "median", "1.0": "most"}.get(key, f"{100 * float(key):g} %")


def _said(share: Mapping[str, Any]) -> str:
    low, high = share["interval"]
    percent = f"{100 * share['share']:.1f} %" if share["share"] is not None else "-"
    return f"{share['flagged']} of {share['of']} = {percent} [{100 * low:.1f}-{100 * high:.1f}]"


def _table(groups: Mapping[str, Any]) -> list[str]:
    head = "  " + "threshold".ljust(11) + "".join(label.ljust(34) for label in groups)
    rows = zip(*(group["at"] for group in groups.values()), strict=True)
    return [head.rstrip()] + [
        ("  " + f"{row[0]['threshold']:g}".ljust(11) + "".join(_said(each).ljust(34) for each in row)).rstrip()
        for row in rows
    ]


def _suggested(detector: Mapping[str, Any], wanted: float) -> str:
    suggestion, aim = detector["suggestion"], f"at most {100 * wanted:g} % of safe pictures flagged"
    if suggestion is None:
        return 'No threshold is suggested: there are no pictures in a sub-folder "safe".'
    if suggestion["threshold"] is None:
        return f"No threshold has {aim}."
    told = f"For {aim}: {suggestion['threshold']:g}, with {_said(suggestion['safe'])}"
    if suggestion["unsafe"] is not None:
        told += f", and {_said(suggestion['unsafe'])} of the unsafe ones"
    return told + ("." if suggestion["shown"] else "; too few pictures to be sure of it.")


def _agreed(pair: Mapping[str, Any]) -> str:
    one, other = pair["detectors"]
    kappa = "" if pair["kappa"] is None else f"; kappa {pair['kappa']:.2f}"
    return (
        f"  {one} and {other}: both flag {pair['both']}, only {one} {pair['first only']}, "
        f"only {other} {pair['second only']}, neither {pair['neither']}{kappa}"
    )
