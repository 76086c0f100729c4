"""Turn four npm packages of openly licensed art into one picture array and one list of records.

`pictures.npy` holds uint8 (N, 128, 128, 4): colours already multiplied by alpha, then alpha. A picture on
a background b is therefore `colour + b * (1 - alpha)`. `records.json` holds one `Record` per picture.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

SIZE = 128
PACKAGES = {
    "3d": "@lobehub/fluent-emoji-3d@1.1.0",
    "flat": "@lobehub/fluent-emoji-flat@1.1.0",
    "cartoon": "@twemoji/svg@15.0.0",
    "classic": "@iconify-json/noto@1.2.9",
    "labels": "emojibase-data@17.0.0",
}
STYLES = ("3d", "flat", "cartoon", "classic")

FACES, PEOPLE, PARTS, NATURE, FOOD, TRAVEL, EVENTS, OBJECTS, SYMBOLS, FLAGS = range(10)
EMOTION, TIME, MAPS = 15, 58, 49
COMMON = frozenset([14, 51, 54, 55, 56, 59, 61, 62, 63, 65, 68, 70, 71, 72, 77, 78, 81])
ONE_WAY = ("left", "right", "facing", "clock", "calendar", "ABC", "text", "receipt", "keyboard", "bookmark")


class WrongPackage(Exception):
    """A package folder or archive is not the version this recipe was written for."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known about one picture."""

    code: str  # hexadecimal code points without fe0f, lower case
    label: str  # full label, with skin tone
    base: str  # label without skin tone
    tags: tuple[str, ...]
    style: str
    group: int  # -1 where emojibase names none
    subgroup: int
    tone: int  # 0 none, 1 light .. 5 dark, 6 mixed
    flips: bool  # may be mirrored without becoming untrue
    weight: float  # how often to draw it, relative to an everyday picture


def plain(code: str) -> str:
    """A code point sequence as all four packages can be matched: lower case, without fe0f, four digits or more."""
    return "-".join(part.zfill(4) for part in code.lower().split("-") if part != "fe0f")


def may_flip(label: str, group: int, subgroup: int) -> bool:
    """Whether the mirrored picture still deserves its caption."""
    readable = group in (-1, SYMBOLS, FLAGS) or subgroup in (TIME, MAPS)
    return not readable and not any(word in label for word in ONE_WAY)


def importance(group: int, subgroup: int) -> float:
    """How often a concept is drawn: everyday things three times as often as signs, flags least."""
    if group == FLAGS:
        return 0.3
    if group in (-1, PARTS):
        return 0.15
    if group == SYMBOLS:
        return 0.4
    if group in (FACES, NATURE, FOOD) or subgroup in COMMON:
        return 3.0 if subgroup != EMOTION else 1.0
    return 1.0


def read_labels(data: list[dict[str, Any]]) -> dict[str, Record]:
    """Emojibase entries to records without a style, by code; the tones of one sign share one weight."""
    found: dict[str, Record] = {}
    for entry in data:
        group, subgroup = entry.get("group", -1), entry.get("subgroup", -1)
        skins = entry.get("skins", [])
        share = importance(group, subgroup) / (1 + len(skins))
        for sign in [entry, *skins]:
            tone = sign.get("tone", 0)
            label = sign["label"].replace("’", "'")
            found[plain(sign["hexcode"])] = Record(
                code=plain(sign["hexcode"]),
                label=label,
                base=entry["label"].replace("’", "'"),
                tags=tuple(tag.replace("’", "'") for tag in entry.get("tags", [])),
                style="",
                group=group,
                subgroup=subgroup,
                tone=tone if isinstance(tone, int) else 6,
                flips=may_flip(label, group, subgroup),
                weight=round(share, 4),
            )
    return found


def obtain(package: str, folder: Path) -> tarfile.TarFile:
    """The package's archive from `folder`, fetched with `npm pack` if absent, its version checked."""
    name, version = package.rsplit("@", 1)
    path = folder / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", package, "--silent"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    archive = tarfile.open(path)  # noqa: SIM115  (read member by member until the stage ends)
    manifest = json.loads(_read(archive, "package/package.json"))
    if (manifest["name"], manifest["version"]) != (name, version):
        raise WrongPackage(f"{path.name} holds {manifest['name']}@{manifest['version']}, this recipe needs {package}.")
    return archive


def _read(archive: tarfile.TarFile, member: str) -> bytes:
    handle = archive.extractfile(member)
    if handle is None:
        raise WrongPackage(f"{archive.name!s} has no file {member}.")
    return handle.read()


def art(style: str, archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """Pairs of code and picture file (SVG text or WebP bytes) of one style."""
    if style == "classic":
        icons = json.loads(_read(archive, "package/icons.json"))["icons"]
        for code, name in json.loads(_read(archive, "package/chars.json")).items():
            if name in icons:
                body = icons[name]["body"]
                head = (
                    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
                    'viewBox="0 0 128 128">'
                )
                yield plain(code), f"{head}{body}</svg>".encode()
        return
    for member in archive.getmembers():
        path = Path(member.name)
        if path.suffix in (".svg", ".webp") and all(c in "0123456789abcdef-" for c in path.stem):
            yield plain(path.stem), _read(archive, member.name)


def render(source: bytes) -> NDArray[np.uint8]:
    """One SVG or WebP file to premultiplied uint8 (128, 128, 4)."""
    if source[:4] == b"RIFF":
        image = Image.open(io.BytesIO(source)).convert("RGBA")
    else:
        png = resvg_py.svg_to_bytes(svg_string=source.decode(), width=2 * SIZE, height=2 * SIZE, skip_system_fonts=True)
        image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    image = image.convert("RGBa").resize((SIZE, SIZE), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.uint8)


def collect(tarballs: Path) -> tuple[list[Record], list[bytes]]:
    """Every picture that has a label, in the order style by style, code by code."""
    labels = read_labels(json.loads(_read(obtain(PACKAGES["labels"], tarballs), "package/en/data.json")))
    records: list[Record] = []
    sources: list[bytes] = []
    for style in STYLES:
        seen: set[str] = set()
        for code, source in sorted(art(style, obtain(PACKAGES[style], tarballs))):
            if code in labels and code not in seen:
                seen.add(code)
                records.append(Record(**{**asdict(labels[code]), "style": style}))
                sources.append(source)
        print(f"data: {len(seen)} pictures in style {style}", flush=True)
    return records, sources


def prepare(work: Path, tarballs: Path, *, processes: int = 2) -> None:
    """Render everything into `work/pictures.npy` and `work/records.json`."""
    work.mkdir(parents=True, exist_ok=True)
    records, sources = collect(tarballs)
    shape = (len(records), SIZE, SIZE, 4)
    pictures = np.lib.format.open_memmap(work / "pictures.npy", mode="w+", dtype=np.uint8, shape=shape)
    with multiprocessing.Pool(processes) as pool:
        for done, picture in enumerate(pool.imap(render, sources, chunksize=32)):
            pictures[done] = picture
            if done % 2000 == 0:
                print(f"data: rendered {done} of {len(records)}", flush=True)
    pictures.flush()
    save_records(records, work)


def save_records(records: list[Record], work: Path) -> None:
    """Write `records.json`."""
    (work / "records.json").write_text(json.dumps([asdict(record) for record in records], ensure_ascii=False))


def load(work: Path) -> tuple[NDArray[np.uint8], list[Record]]:
    """The picture array (memory-mapped) and its records."""
    rows = json.loads((work / "records.json").read_text())
    records = [Record(**{**row, "tags": tuple(row["tags"])}) for row in rows]
    return np.load(work / "pictures.npy", mmap_mode="r"), records
