"""Tables of counts and of reference shares, and how both are read from CSV. Pure: text in, values out."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.errors import InvalidParameter
from safety.bias.intervals import Floats

ABSTENTIONS = frozenset({"abstain", "abstained", "abstention", "unknown", "unsure"})
"""Categories that mean "the labeller did not say"."""
_MOST_COUNT = 10**9
_MOST_PROMPTS, _MOST_CATEGORIES = 20_000, 200
_SHARE_COLUMNS = ("share", "shares", "proportion", "probability", "percent", "percentage", "count", "counts")


@dataclass(frozen=True, slots=True)
class Counts:
    """What was seen: `table` (prompts, categories) and `abstained` (prompts,), whole numbers."""

    prompts: tuple[str, ...]
    categories: tuple[str, ...]
    table: NDArray[np.int64]
    abstained: NDArray[np.int64]

    def with_categories(self, more: Sequence[str]) -> Counts:
        """The same table with columns of zeros for categories that it lacks."""
        new = tuple(name for name in dict.fromkeys(more) if name not in self.categories)
        zeros = np.zeros((len(self.prompts), len(new)), np.int64)
        return Counts(self.prompts, self.categories + new, np.hstack([self.table, zeros]), self.abstained)


@dataclass(frozen=True, slots=True)
class Reference:
    """What the shares are held against: category -> share for each prompt, "" standing for every other prompt.

    `about` says where it comes from and of what year.
    """

    name: str
    shares: Mapping[str, Mapping[str, float]]
    about: str = ""

    def of(self, prompt: str, categories: Sequence[str]) -> Floats | None:
        """Its shares in the order of `categories`, None where it says nothing about the prompt."""
        if not self.shares:
            return np.full(len(categories), 1 / len(categories))
        known = self.shares.get(prompt, self.shares.get(""))
        return None if known is None else np.array([known.get(name, 0.0) for name in categories])

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for row in self.shares.values() for name in row))


UNIFORM = Reference("uniform", MappingProxyType({}), "every category equally often; a yardstick, not a goal")


def counts_of(rows: Sequence[tuple[str, str, int]], categories: Sequence[str] = ()) -> Counts:
    """Rows of (prompt, category, count) as a table, in order of appearance; rows of the same two are added up."""
    prompts = {name: place for place, name in enumerate(dict.fromkeys(prompt for prompt, _, _ in rows))}
    named = dict.fromkeys([*categories, *(name for _, name, _ in rows if name.casefold() not in ABSTENTIONS)])
    columns = {name: place for place, name in enumerate(named)}
    table = np.zeros((len(prompts), len(columns)), np.int64)
    abstained = np.zeros(len(prompts), np.int64)
    for prompt, category, count in rows:
        if category.casefold() in ABSTENTIONS:
            abstained[prompts[prompt]] += count
        else:
            table[prompts[prompt], columns[category]] += count
    return Counts(tuple(prompts), tuple(columns), table, abstained)


def read_counts(text: str, name: str = "counts") -> Counts:
    """A CSV with the columns prompt, category and count (any order, any case, others ignored).

    Raises InvalidParameter that names the line and the column.
    """
    rows: list[tuple[str, str, int]] = []
    for line, row in _rows(text, name, ("prompt", "category", "count")):
        prompt, category, given = (row[column].strip() for column in ("prompt", "category", "count"))
        for column, value in (("prompt", prompt), ("category", category)):
            if not value:
                raise _wrong(name, line, column, "is empty")
        if not (given.isascii() and given.isdigit()) or len(given) > 10 or int(given) > _MOST_COUNT:
            raise _wrong(name, line, "count", f'is "{given[:40]}"', f"Use a whole number from 0 to {_MOST_COUNT:,}.")
        rows.append((prompt, category, int(given)))
    if not rows:
        raise InvalidParameter(name, f"{name}: there are no rows below the header.")
    made = counts_of(rows)
    if len(made.prompts) > _MOST_PROMPTS or len(made.categories) > _MOST_CATEGORIES:
        detail = f"{name}: {len(made.prompts)} prompts and {len(made.categories)} categories are too many."
        raise InvalidParameter(name, detail, f"At most {_MOST_PROMPTS} prompts and {_MOST_CATEGORIES} categories.")
    return made


def read_reference(text: str, name: str = "reference", about: str = "") -> Reference:
    """A CSV with category and one of share, percent or count; with a column prompt the shares are of that prompt alone
    ("" or "*": of every prompt without its own). Shares are divided by their sum.

    Raises InvalidParameter that names the line and the column.
    """
    header = text.partition("\n")[0].casefold()
    column = next((known for known in _SHARE_COLUMNS if re.search(rf"\b{known}\b", header)), "share")
    found: dict[str, dict[str, float]] = {}
    lines: dict[str, int] = {}
    for line, row in _rows(text, name, ("category", column)):
        prompt, category = row.get("prompt", "").strip(), row["category"].strip()
        prompt = "" if prompt == "*" else prompt
        if not category:
            raise _wrong(name, line, "category", "is empty")
        if category.casefold() in ABSTENTIONS:
            continue
        of_prompt = found.setdefault(prompt, {})
        of_prompt[category] = of_prompt.get(category, 0.0) + _share(row[column], name, line, column)
        lines[prompt] = line
    if not found:
        raise InvalidParameter(name, f"{name}: there are no rows below the header.")
    for prompt, shares in found.items():
        total, whole = sum(shares.values()), 100.0 if column.startswith("percent") else 1.0
        if not column.startswith("count") and abs(total - whole) > 0.02 * whole:
            what = f'of "{prompt[:40]}" ' if prompt else ""
            raise _wrong(name, lines[prompt], column, f"{what}sums to {total:g}", f"Its shares must sum to {whole:g}.")
        if total <= 0:
            raise _wrong(name, lines[prompt], column, "sums to 0")
        found[prompt] = {category: share / total for category, share in shares.items()}
    return Reference(name, found, about)


def _share(given: str, name: str, line: int, column: str) -> float:
    try:
        value = float(given.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise _wrong(name, line, column, f'is "{given.strip()[:40]}"', "Use a number that is not negative.")
    return value


def _rows(text: str, name: str, needed: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """(line number, column -> value) of every row that is not blank."""
    reader = _reader(text, name)
    try:
        header = _folded(next(reader, []))
        missing = [column for column in needed if column not in header]
        if missing:
            detail = f"{name}, line 1: the column {' and '.join(missing)} is missing."
            raise InvalidParameter(name, detail, f"The first line must name the columns {', '.join(needed)}.")
        for column in needed:
            if header.count(column) > 1:
                raise InvalidParameter(name, f"{name}, line 1: there are two columns {column}.")
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            named = dict(zip(header, row, strict=False))
            short = [column for column in needed if column not in named]
            if short:
                raise _wrong(name, reader.line_num, short[0], "is missing", "Quote values that hold a comma.")
            yield reader.line_num, named
    except csv.Error as error:
        raise InvalidParameter(name, f"{name}, line {reader.line_num}: not a CSV file ({error}).") from error


def _reader(text: str, name: str) -> Any:
    if "\0" in text:
        raise InvalidParameter(name, f"{name}: this is not a text file.", "Use a CSV file in UTF-8.")
    body = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    first = body.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    return csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, strict=True)


def _folded(header: Sequence[str]) -> list[str]:
    return [cell.strip().casefold() for cell in header]


def _wrong(name: str, line: int, column: str, what: str, hint: str | None = None) -> InvalidParameter:
    return InvalidParameter(name, f"{name}, line {line}: the column {column} {what}.", hint)


def read_confusion(text: str, name: str = "confusion") -> dict[str, dict[str, int]]:
    """A CSV with the columns known, said and count: what the labeller said of pictures whose category is known."""
    made: dict[str, dict[str, int]] = {}
    for line, row in _rows(text, name, ("known", "said", "count")):
        known, said, given = (row[column].strip() for column in ("known", "said", "count"))
        if not (given.isascii() and given.isdigit()) or len(given) > 10:
            raise _wrong(name, line, "count", f'is "{given[:40]}"', "Use a whole number.")
        row_of = made.setdefault(known, {})
        row_of[said] = row_of.get(said, 0) + int(given)
    return made
