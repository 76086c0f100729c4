"""Styles: named prompt and negative prompt, kept in `styles.csv` files as A1111 1.10.1 keeps them.

Columns are `name,prompt,negative_prompt`, in old files `name,text`. A `{prompt}` in a style is the place of the prompt;
without one the style follows it after a comma. Rows whose name begins with `---` only divide the list.
"""

from __future__ import annotations

import csv
import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InvalidParameter

_PLACE = "{prompt}"
_COLUMNS = ("name", "prompt", "negative_prompt")
_DIVIDER = re.compile(r"\s*-{3}")
_LONGEST = 16 * 2**20

# A spreadsheet runs a cell that begins like this as a formula. An apostrophe before it makes it text; doubling the
# apostrophes that were there keeps reading and writing inverse to each other.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_DISARMED = re.compile(r"'+[=+\-@\t\r]")


@dataclass(frozen=True, slots=True)
class Style:
    """A named addition to prompt and negative prompt."""

    name: str
    prompt: str = ""
    negative: str = ""

    @property
    def divides(self) -> bool:
        """Whether this is only a line in the list."""
        return _DIVIDER.match(self.name) is not None


def read(*paths: Path) -> tuple[Style, ...]:
    """The styles of several files in order, dividers included. Of two with the same name the later one counts.

    A file that is missing, larger than 16 MiB or not a table gives no styles; a broken row is left out.
    """
    rows = [style for path in paths for style in _rows(_text_of(path))]
    last = {style.name: style for style in rows if not style.divides}
    listed = {(style.name if not style.divides else index): style for index, style in enumerate(rows)}
    return tuple(last.get(style.name, style) for style in listed.values())


def write(path: Path, styles: Sequence[Style]) -> None:
    """Write a file in one move; what was there before stays beside it as `.bak`. Raises OSError as the disk does."""
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow(_COLUMNS)
    for style in styles:
        table.writerow([_armoured(cell) for cell in (style.name, style.prompt, style.negative)])
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _replace(path.with_name(path.name + ".bak"), path.read_bytes())
    _replace(path, out.getvalue().encode("utf-8-sig", errors="replace"))


def choose(known: Mapping[str, Style], names: Iterable[str]) -> tuple[Style, ...]:
    """The styles with these names. Raises InvalidParameter for one that nobody knows; dividers are passed over."""
    names = tuple(names)
    for name in names:
        if name not in known:
            listed = ", ".join(f'"{one}"' for one in list(known)[:10])
            hint = f"Known styles: {listed}." if listed else "No styles have been saved yet."
            raise InvalidParameter("styles", f'There is no style called "{name[:80]}".', hint)
    return tuple(known[name] for name in names if not known[name].divides)


def apply(styles: Iterable[Style], prompt: str, negative: str) -> tuple[str, str]:
    """Prompt and negative prompt with the styles in, one after the other."""
    for style in styles:
        prompt, negative = _merged(style.prompt, prompt), _merged(style.negative, negative)
    return prompt, negative


def _merged(style: str, prompt: str) -> str:
    if _PLACE in style:
        return style.replace(_PLACE, prompt)
    return ", ".join(text for text in (prompt.strip(), style.strip()) if text)


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > _LONGEST:
            return ""
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return file.read()
    except OSError:
        return ""


def _rows(text: str) -> Iterator[Style]:
    lines = _readable(csv.reader(io.StringIO(text, newline=""), skipinitialspace=True))
    header = [name.strip().lower() for name in next(lines, [])]
    for line in lines:
        row = dict(zip(header, (_plain(cell) for cell in line), strict=False))
        if name := row.get("name", "").strip():
            yield Style(name, row.get("prompt", row.get("text", "")), row.get("negative_prompt", ""))


def _readable(table: Iterator[list[str]]) -> Iterator[list[str]]:
    while True:
        try:
            yield next(table)
        except StopIteration:
            return
        except csv.Error:
            continue


def _armoured(cell: str) -> str:
    return "'" + cell if _FORMULA.match(cell) else cell


def _plain(cell: str) -> str:
    return cell[1:] if _DISARMED.match(cell) else cell


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
