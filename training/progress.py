"""What can be seen of a training: a line that moves, a log that survives (CSV), a picture of the loss (PNG).

A stage is run under a `Watch`. Every run that is begun meanwhile reports to it (`running.begin` asks for `current()`),
and hears from it when somebody wants the stage to stop: on Ctrl-C or SIGTERM its time is up at once, so that the stage
saves and ends as it always does.
"""

from __future__ import annotations

import csv
import io
import math
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import FrameType
from typing import Any

from PIL import Image, ImageDraw
from tqdm import tqdm  # type: ignore[import-untyped]

EVERY = 2.0  # seconds between two rows of the log
SIZE = (720, 400)
LEFT, TOP, RIGHT, BOTTOM = 64, 28, 16, 34
COLOURS = ("#1f5fa8", "#c2551a", "#2f8f4e", "#8a4bab")
PALE = ("#bcd0e6", "#eccdb9", "#c0dfca", "#dccbe6")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the log: which run of the stage, its step, seconds spent, loss, smoothed loss, learning rate."""

    run: int
    step: int
    seconds: float
    loss: float
    smoothed: float
    rate: float


_HEAD = tuple(field.name for field in fields(Row))
_CURRENT: ContextVar[Watch | None] = ContextVar("watch", default=None)


def read(path: Path) -> list[Row]:
    """The rows of a log; a line that was cut short is left out, and no file is no rows."""
    rows: list[Row] = []
    if path.exists():
        for line in csv.reader(path.read_text(encoding="utf-8", errors="replace").splitlines()[1:]):
            try:
                run, step, *values = line
                seconds, loss, smoothed, rate = map(float, values)
                rows.append(Row(int(run), int(step), seconds, loss, smoothed, rate))
            except ValueError:
                continue
    return rows


def written(rows: Iterable[Row]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_HEAD)
    lines.writerows([*astuple(row)[:2], *(f"{value:.6g}" for value in astuple(row)[2:])] for row in rows)
    return text.getvalue()


def plot(rows: Sequence[Row], title: str) -> Image.Image:
    """Loss over steps: pale as measured, strong smoothed, a colour for each run.

    The axis ends at the 98th percentile: the first steps would flatten all that follows.
    """
    picture = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(picture)
    pen.text((LEFT, 7), title, fill="black", font_size=12)
    shown = [row for row in rows if math.isfinite(row.loss) and math.isfinite(row.smoothed)]
    width, height = SIZE[0] - LEFT - RIGHT, SIZE[1] - TOP - BOTTOM
    pen.rectangle((LEFT, TOP, LEFT + width, TOP + height), outline="#999999")
    if not shown:
        return picture
    values = sorted(row.loss for row in shown)
    low, high = values[0], values[min(len(values) - 1, int(0.98 * len(values)))]
    low, high = min(low, min(row.smoothed for row in shown)), max(high, low + 1e-9)
    last = max(row.step for row in shown)

    def place(step: float, loss: float) -> tuple[float, float]:
        part = (min(max(loss, low), high) - low) / max(high - low, 1e-12)
        return LEFT + width * step / max(1, last), TOP + height * (1 - part)

    for number in range(5):
        part = number / 4
        x, y = place(part * last, low + part * (high - low))
        pen.line((LEFT, y, LEFT + width, y), fill="#e6e6e6")
        pen.text((LEFT - 6, y), f"{low + part * (high - low):.4g}", fill="#444444", anchor="rm", font_size=10)
        pen.text((x, TOP + height + 6), f"{part * last:,.0f}", fill="#444444", anchor="mt", font_size=10)
    for run in sorted({row.run for row in shown}):
        mine = [row for row in shown if row.run == run]
        for values_of, colours, thick in (("loss", PALE, 1), ("smoothed", COLOURS, 2)):
            line = [place(row.step, getattr(row, values_of)) for row in mine]
            pen.line(line if len(line) > 1 else line * 2, fill=colours[run % len(colours)], width=thick)
    pen.text((LEFT + width, SIZE[1] - 4), "steps", fill="#444444", anchor="rb", font_size=10)
    return picture


class Log:
    """The reports of one run."""

    def __init__(self, watch: Watch, run: int) -> None:
        self._watch, self._run = watch, run
        self._known = False
        self._latest: Row | None = None
        self._added = -math.inf

    def resume(self, step: int) -> None:
        """Forgets what came after `step`: the run goes on from there."""
        self._known = True
        self._watch.keep(lambda row: row.run != self._run or row.step <= step)

    def tell(self, step: int, seconds: float, share: float, loss: float, smoothed: float, rate: float) -> None:
        """Called after every step."""
        if not self._known:
            self._known = True
            self._watch.keep(lambda row: row.run != self._run)
        self._latest = Row(self._run, step, seconds, loss, smoothed, rate)
        if time.monotonic() - self._added >= EVERY:
            self._add()
        self._watch.show(share, f"step {step:,} loss {smoothed:.4f}")

    def write(self) -> None:
        """Writes the log, up to the step told last, and the plot; called with every checkpoint."""
        self._add()
        self._watch.write()

    def _add(self) -> None:
        if self._latest is not None:
            self._watch.add(self._latest)
        self._latest, self._added = None, time.monotonic()


class Watch:
    """A stage under way. `stopped` is true once somebody asked it to end."""

    def __init__(self, work: Path, stage: str, *, geometry: str = "small", resume: bool = False) -> None:
        self.stage, self.geometry, self.stopped = stage, geometry, False
        self.table, self.picture = (work / "plots" / f"{stage}.{kind}" for kind in ("csv", "png"))
        self._rows = read(self.table) if resume else []
        self._runs = 0
        self._bar = tqdm(
            total=100.0, desc=stage, disable=None, leave=False, file=sys.stderr, dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f} %|{bar}| {elapsed} {postfix}",
        )  # fmt: skip

    def log(self) -> Log:
        """A log for the next run of the stage."""
        self._runs += 1
        return Log(self, self._runs - 1)

    def keep(self, wanted: Callable[[Row], bool]) -> None:
        """Leaves out the rows that are not `wanted` (a function of a row)."""
        self._rows = [row for row in self._rows if wanted(row)]

    def add(self, row: Row) -> None:
        """One more row."""
        self._rows.append(row)

    def show(self, share: float, note: str) -> None:
        """Moves the line, if there is a terminal to show it."""
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(100 * share - self._bar.n)

    def write(self) -> None:
        """Writes log and plot whole or not at all. A training does not end because its plot cannot be written."""
        if not self._rows:
            return
        last = self._rows[-1]
        title = f"{self.stage}: loss {last.smoothed:.4g} at step {last.step:,}, {last.seconds / 60:.1f} minutes"
        try:
            self.table.parent.mkdir(parents=True, exist_ok=True)
            draft = self.table.with_suffix(".draft")
            try:
                draft.write_text(written(self._rows), encoding="utf-8")
                draft.replace(self.table)
                plot(self._rows, title).save(draft, "PNG")
                draft.replace(self.picture)
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            print(f"{self.stage}: no log and no plot this time: {error}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Takes the line away and writes what is known."""
        self._bar.close()
        self.write()


def current() -> Watch | None:
    """The watch under which this code runs, if any."""
    return _CURRENT.get()


def stopped() -> bool:
    """Whether the stage was asked to end."""
    watch = current()
    return watch is not None and watch.stopped


@contextmanager
def watching(work: Path, stage: str, *, geometry: str = "small", resume: bool = False) -> Iterator[Watch]:
    """Runs a stage under a watch. The first Ctrl-C or SIGTERM asks it to save and end, a second one kills it."""
    watch = Watch(work, stage, geometry=geometry, resume=resume)
    token = _CURRENT.set(watch)
    former: dict[int, Any] = {}

    def stop(_number: int, _frame: FrameType | None) -> None:
        watch.stopped = True
        print(f"\n{stage}: stopping: saves and ends; once more to end at once", file=sys.stderr, flush=True)
        for number, handler in former.items():
            signal.signal(number, handler)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            former[number] = signal.signal(number, stop)
    except ValueError:  # not the main thread: whoever owns it decides
        former.clear()
    try:
        yield watch
    finally:
        for kind, handler in former.items():
            signal.signal(kind, handler)
        _CURRENT.reset(token)
        watch.close()
