"""`audit mark detect FILE ...`: what the pixels of pictures say about the marks of this installation."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import images
from backend.errors import InvalidParameter, SignetError, Unavailable, UnreadableImage
from backend.settings import Settings
from backend.types import Pixels
from db.engine import open_database
from db.history import SqlHistory
from safety.keys import FILE, open_keys
from safety.watermark import FOUND_LEVEL, LOOKS, OWN, Detection, Watermark, open_watermark
from safety.watermark.evidence import corrected
from webui.options import read_settings
from webui.output import BAD_INPUT, OK, printable, show_problem

SMALLEST_SIDE = 32
"""Half of the smallest picture that is marked: below it no mark can be told from chance."""

Known = Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Reader:
    """One mark under one key, and how many comparisons its p-value is corrected for, besides the known records."""

    mark: Watermark
    looks: int


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that is looked for in a picture."""

    readers: tuple[Reader, ...]
    keys: int
    known: Known

    @property
    def looks(self) -> int:
        return sum(reader.looks for reader in self.readers)


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", choices=["detect"], help="look for the mark in picture files")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="PNG, JPEG, WebP, AVIF, GIF, BMP or TIFF")
    parser.add_argument(
        "--key-data", type=Path, metavar="DIR", help="data folder whose keys and history count, if not the one in force"
    )


def run(asked: argparse.Namespace, settings: Settings) -> int:
    """With --json one line of JSON for each file. 0 if all were read, 2 if one could not be; the others are read."""
    if asked.key_data is not None:
        if not asked.key_data.is_dir():
            raise InvalidParameter(
                "key-data", f"{asked.key_data} is not a folder.", "Name a data folder of the studio."
            )
        settings = read_settings(data=asked.key_data.expanduser().resolve())
    bench = opened(settings)
    status = OK
    for path in asked.files:
        try:
            pixels = _read(path, settings)
        except SignetError as error:
            status = BAD_INPUT
            show_problem(error.problem, about=f"{path}: ")
            if asked.json:
                problem = {"code": error.problem.code, "detail": error.problem.detail}
                print(json.dumps({"file": str(path), "error": problem}), flush=True)
            continue
        finding = {"file": str(path), **found(pixels, bench)}
        print(json.dumps(finding) if asked.json else _in_words(finding), flush=True)
    return status


def opened(settings: Settings) -> Bench:
    """Our own methods and the one in force, under every key of the installation. Makes neither keys nor a database.

    Raises Unavailable where there are no keys: without them there is nothing to look for.
    """
    if not (settings.keys / FILE).is_file():
        detail = f"There are no keys in {settings.keys}, and a mark can only be found with its key."
        raise Unavailable(detail, "Start the studio once, or name another data folder with --key-data.")
    keys = open_keys(settings.keys).watermark_keys
    methods = dict.fromkeys((*OWN, settings.watermark))
    readers = (Reader(open_watermark(method, key), LOOKS.get(method, 1)) for key in keys for method in methods)
    return Bench(tuple(readers), len(keys), tuple(_known(settings)))


def found(pixels: Pixels, bench: Bench) -> dict[str, Any]:
    """What is said of one picture; the p-value is corrected for every reader too."""
    if min(pixels.shape[:2]) < SMALLEST_SIDE:
        return _said(None, 1.0, "Cannot test: too small.")
    best = Detection(False, 1.0, None, None, "")
    for reader in bench.readers:
        seen = reader.mark.detect(pixels, bench.known)
        best = min(best, seen, key=lambda each: each.p_value)
        if best.found and best.record_id is not None and corrected(best.p_value, len(bench.readers)) <= FOUND_LEVEL:
            break
    p_value = corrected(best.p_value, len(bench.readers))
    if not (best.found and p_value <= FOUND_LEVEL):
        return _said(None, p_value, "Not found. This does not mean that the image is not AI-made.")
    tried = f"bound; {_count(bench.keys, 'key')}, {_count(bench.looks, 'look')}, {_count(len(bench.known), 'record')}"
    whose = "" if best.record_id else " The picture it belongs to is not in the history."
    return _said(
        best,
        p_value,
        f"Mark of this installation found, p = {p_value:.1e} ({tried}). It is evidence that a holder of the key "
        f"processed the picture, not of who made it.{whose}",
    )


def _said(best: Detection | None, p_value: float, wording: str) -> dict[str, Any]:
    mark_id = best.mark_id if best else None
    return {
        "found": best is not None,
        "p_value": p_value,
        "record_id": best.record_id if best else None,
        "mark_id": f"{mark_id:012x}" if mark_id is not None else None,
        "method": best.method if best else None,
        "wording": wording,
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _in_words(finding: dict[str, Any]) -> str:
    named = f" Picture {finding['record_id']} of the history." if finding["record_id"] else ""
    return printable(f"{finding['file']}: {finding['wording']}{named}")


def _known(settings: Settings) -> Iterator[tuple[str, int]]:
    if settings.database_url is None and not (settings.data / "signet.db").exists():
        return
    with open_database(settings.database) as database:
        yield from SqlHistory(database).marks()


def _read(path: Path, settings: Settings) -> Pixels:
    try:
        if path.stat().st_size > settings.upload_limit_mb << 20:
            raise UnreadableImage(
                f"The file is larger than {settings.upload_limit_mb} MiB.", "Raise upload_limit_mb to read it."
            )
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"The file cannot be read: {error.strerror}.", "Check the name.") from error
    return images.decode(data, max_pixels=settings.upload_limit_mpx * 10**6).pixels
