"""Turn four npm packages of openly licensed art into one picture array and one list of records.

`pictures.npy` holds uint8 (N, S, S, 4), S 128 or 256: colours already multiplied by alpha, then alpha. A picture on
a background b is therefore `colour + b * (1 - alpha)`. `records.json` holds one `Record` per picture. Both appear when
they are complete; until then a draft lies beside them, from which an interrupted stage goes on.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import signal
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from training import progress
from training.errors import BadInput, MissingFile, cannot_write

SIZE = 128
PATIENCE = 300  # seconds for npm to fetch a package
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


class WrongPackage(BadInput):
    """A package is missing, damaged or not the version this recipe was written for."""


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
        _fetch(package, path)
    with _reading(path):
        archive = tarfile.open(path)  # noqa: SIM115  (read member by member until the stage ends)
        manifest = json.loads(_read(archive, "package/package.json"))
        found = f"{manifest['name']}@{manifest['version']}"
    if found != package:
        raise WrongPackage(f"{path} holds {found}, this recipe needs {package}. Remove the file: it is fetched again.")
    return archive


def _fetch(package: str, path: Path) -> None:
    """Fetches a package whole or not at all."""
    how = f"Fetch it where there is a network (npm pack {package}) and put {path.name} into {path.parent}."
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as draft:
        command = ["npm", "pack", package, "--silent", "--fetch-retries=1"]
        try:
            subprocess.run(command, cwd=draft, check=True, capture_output=True, text=True, timeout=PATIENCE)
        except FileNotFoundError as error:
            raise WrongPackage(f"{package} is missing, and there is no npm to fetch it. {how}") from error
        except subprocess.TimeoutExpired as error:
            raise WrongPackage(f"{package} is missing, and npm did not fetch it in {PATIENCE} s. {how}") from error
        except subprocess.CalledProcessError as error:
            said = next((line for line in str(error.stderr).splitlines() if line.strip()), "it did not say why")
            raise WrongPackage(
                f"{package} is missing, and npm cannot fetch it ({said.strip()[:160]}). {how}"
            ) from error
        fetched = next(Path(draft).glob("*.tgz"), None)
        if fetched is None:
            raise WrongPackage(f"{package} is missing, and npm left no archive of it. {how}")
        fetched.replace(path)


@contextmanager
def _reading(path: object) -> Iterator[None]:
    """What a damaged archive raises, in words."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, KeyError, ValueError, OSError) as error:
        raise WrongPackage(f"{path} is no whole package ({error}). Remove the file: it is fetched again.") from error


def _read(archive: tarfile.TarFile, member: str) -> bytes:
    handle = archive.extractfile(member)
    if handle is None:
        raise KeyError(f"no file {member}")
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


def render(source: bytes, size: int = SIZE) -> NDArray[np.uint8]:
    """One SVG or WebP file to premultiplied uint8 (size, size, 4)."""
    if source[:4] == b"RIFF":
        image = Image.open(io.BytesIO(source)).convert("RGBA")
    else:
        png = resvg_py.svg_to_bytes(svg_string=source.decode(), width=2 * size, height=2 * size, skip_system_fonts=True)
        image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    image = image.convert("RGBa").resize((size, size), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.uint8)


def collect(tarballs: Path) -> tuple[list[Record], list[bytes]]:
    """Every picture that has a label, in the order style by style, code by code."""
    named = obtain(PACKAGES["labels"], tarballs)
    with _reading(named.name):
        labels = read_labels(json.loads(_read(named, "package/en/data.json")))
    records: list[Record] = []
    sources: list[bytes] = []
    for style in STYLES:
        seen: set[str] = set()
        archive = obtain(PACKAGES[style], tarballs)
        with _reading(archive.name):
            found = sorted(art(style, archive))
        for code, source in found:
            if code in labels and code not in seen:
                seen.add(code)
                records.append(Record(**{**asdict(labels[code]), "style": style}))
                sources.append(source)
        print(f"data: {len(seen)} pictures in style {style}", flush=True)
    return records, sources


def prepare(work: Path, tarballs: Path, *, processes: int = 2, size: int = SIZE, resume: bool = False) -> None:
    """Render everything into `work/pictures.npy` and `work/records.json`, sides of `size` pixels.

    With `resume` what is complete is left as it is, and a draft goes on where it was interrupted.
    """
    if resume and (work / "pictures.npy").exists():
        pictures, _ = load(work, size=size)
        print(f"data: {len(pictures)} pictures are there already", flush=True)
        return
    records, sources = collect(tarballs)
    try:
        work.mkdir(parents=True, exist_ok=True)
        if _rendered(work, records, sources, processes, size, resume):
            save_records(records, work)
            (work / "pictures.draft.npy").replace(work / "pictures.npy")
            (work / "pictures.draft.json").unlink()
    except OSError as error:
        raise cannot_write(work / "pictures.npy", error) from error


def _rendered(work: Path, records: list[Record], sources: list[bytes], processes: int, size: int, resume: bool) -> bool:
    """Renders into the draft; whether it is complete."""
    draft, note = work / "pictures.draft.npy", work / "pictures.draft.json"
    shape = (len(records), size, size, 4)
    stamp = hashlib.sha256(repr((shape, [(record.code, record.style) for record in records])).encode()).hexdigest()
    done = _done(note, stamp) if resume and draft.exists() else 0
    if not done:
        note.unlink(missing_ok=True)
        try:
            np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=shape).flush()
            if hasattr(os, "posix_fallocate"):  # a hole that cannot be filled later would kill the process
                with draft.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, draft.stat().st_size)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
    pictures = np.lib.format.open_memmap(draft, mode="r+")
    with multiprocessing.Pool(processes, _obey) as pool:
        for picture in pool.imap(partial(render, size=size), sources[done:], chunksize=32):
            pictures[done] = picture
            done += 1
            stop = progress.stopped()
            if stop or done % 1000 == 0 or done == len(sources):
                pictures.flush()
                note.write_text(json.dumps({"stamp": stamp, "done": done}), encoding="utf-8")
                print(f"data: rendered {done} of {len(records)}", flush=True)
            if stop:
                break
    return done == len(sources)


def _obey() -> None:
    """Workers leave Ctrl-C to their parent and end when it says so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _done(note: Path, stamp: str) -> int:
    """How many pictures of a draft are rendered; none if it is a draft of something else."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        return int(known["done"]) if known["stamp"] == stamp else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def save_records(records: list[Record], work: Path) -> None:
    """Write `records.json`, whole or not at all."""
    draft = work / "records.draft.json"
    text = json.dumps([asdict(record) for record in records], ensure_ascii=False)
    draft.write_text(text, encoding="utf-8")
    draft.replace(work / "records.json")


def load(work: Path, *, size: int | None = None) -> tuple[NDArray[np.uint8], list[Record]]:
    """The picture array (memory-mapped) and its records.

    MissingFile if there are none, BadInput if they are damaged or, where `size` is given, of another size.
    """
    for name in ("records.json", "pictures.npy"):
        if not (work / name).exists():
            raise MissingFile(f"{work / name} is missing. Run: python -m training data --work {work}")
    try:
        rows = json.loads((work / "records.json").read_text(encoding="utf-8"))
        records = [Record(**{**row, "tags": tuple(row["tags"])}) for row in rows]
        pictures = np.load(work / "pictures.npy", mmap_mode="r", allow_pickle=False)
    except (ValueError, TypeError, KeyError) as error:
        why = str(error).splitlines()[0]
        text = f"The pictures in {work} are damaged ({why}). Run: python -m training data --restart --work {work}"
        raise BadInput(text) from error
    if len(pictures) != len(records):
        text = f"{work} holds {len(pictures)} pictures and {len(records)} records. Run: python -m training data"
        raise BadInput(f"{text} --restart --work {work}")
    if size is not None and pictures.shape[1] != size:
        text = f"The pictures in {work} are {pictures.shape[1]} pixels wide, this geometry needs {size}."
        raise BadInput(f"{text} Choose the other --geometry or another --work folder; nothing was overwritten.")
    return pictures, records
