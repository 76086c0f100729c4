"""Pictures of the history by what they show: each gets a vector, and a search is a cosine to all of them.

A covered picture has no vector, is found by nothing here and may not be asked with: what it shows is what it is covered
for. Vectors of another version of the towers are worked out anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backend import images
from backend.errors import InvalidParameter, NotFound, SignetError, Unavailable, UnreadableImage
from backend.nearest import UNITS, WIDTH, Table, cursor_of, place_of, quantised
from backend.storage import Storage
from backend.towers import Floats, Towers
from backend.trust import Covered
from backend.types import HistoryQuery, Record

_LOG = logging.getLogger(__name__)
_FEW = 5000
"""New vectors up to this number are read one by one; more, and the whole table is read anew."""


class VectorStore(Protocol):
    """Where vectors are kept, by the key of their picture. Only pictures that are shown have one."""

    def missing(self, version: str, before: int | None = None, limit: int = 100) -> Sequence[tuple[int, Record]]:
        """(key, picture) without a vector of this version, newest first, below `before`."""
        ...

    def count(self, version: str) -> tuple[int, int]:
        """Shown pictures, and those of them with a vector."""
        ...

    def put(self, seq: int, version: str, vector: bytes) -> None: ...

    def drop_covered(self) -> None:
        """Forget the vectors of pictures that were covered since."""
        ...

    def key(self, record_id: str) -> int | None: ...

    def keys(self, query: HistoryQuery, version: str) -> Sequence[int]:
        """Keys of pictures with a vector that fit words and filters, oldest first."""
        ...

    def read(self, version: str, keys: Sequence[int] | None = None) -> Iterable[tuple[int, bytes]]: ...

    def records(self, keys: Sequence[int]) -> Mapping[int, Record]:
        """By key, those that are shown."""
        ...


@dataclass(frozen=True, slots=True)
class Nearest:
    """Pictures, nearest first, with their cosines. `waiting` pictures have not been looked at yet."""

    records: tuple[Record, ...]
    scores: tuple[float, ...]
    next: str | None
    waiting: int


class Meanings(Protocol):
    """What the faces ask. `there` says whether there is any such search."""

    @property
    def there(self) -> bool: ...

    def nearest(self, query: HistoryQuery, *, meaning: str = "", like: Record | None = None) -> Nearest:
        """A page of the pictures that fit `query`, nearest to the words or the picture first.

        Raises InvalidParameter, Unavailable, or Covered for a picture that may not be asked with.
        """
        ...

    def wake(self) -> None:
        """There may be something new to look at."""
        ...


class NoMeanings:
    """A studio without towers."""

    there = False

    def nearest(self, query: HistoryQuery, *, meaning: str = "", like: Record | None = None) -> Nearest:
        raise Unavailable("This studio does not search by meaning.", "Search by words.")

    def wake(self) -> None:
        pass


class MeaningDesk:
    """Implements Meanings. `start` begins a thread that looks at new pictures while the studio is idle."""

    there = True

    def __init__(self, store: VectorStore, open_towers: Callable[[], Towers], storage: Storage) -> None:
        self._store, self._open, self._storage = store, open_towers, storage
        self._lock = threading.Lock()
        self._towers: Towers | None = None
        self._table = Table.empty()
        self._awake, self._closing = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    # ---- asking

    def nearest(self, query: HistoryQuery, *, meaning: str = "", like: Record | None = None) -> Nearest:
        if bool(meaning.strip()) == bool(like):
            raise InvalidParameter("meaning", "Ask with words or with a picture.", "Give one of: meaning, like.")
        below = place_of(query.before) if query.before else None
        towers = self._opened()
        asked = towers.of_text(meaning) if like is None else self._of(like, towers)
        own = self._store.key(like.id) if like else None
        keys = [key for key in self._store.keys(query, towers.version) if key != own]
        table = self._current(keys, towers.version)
        found = table.ranked(quantised(asked), keys, query.limit + 1, below)
        page = found[: query.limit]
        shown = self._store.records([key for _, key in page])
        pairs = [(shown[key], score / UNITS) for score, key in page if key in shown]
        total, there = self._store.count(towers.version)
        self.wake()
        following = cursor_of(*page[-1]) if len(found) > len(page) else None
        records, scores = tuple(record for record, _ in pairs), tuple(score for _, score in pairs)
        return Nearest(records, scores, following, total - there)

    def _opened(self) -> Towers:
        with self._lock:
            self._towers = self._towers or self._open()
            return self._towers

    def _of(self, record: Record, towers: Towers) -> Floats:
        """The vector of a picture that is shown, kept or worked out now."""
        if record.handling != "show":
            raise Covered(record)
        key = self._store.key(record.id)
        if key is None:
            raise NotFound("picture", record.id)
        kept = dict(self._store.read(towers.version, [key])).get(key)
        vector = kept if kept is not None else self._look(key, record, towers)
        if not any(vector):
            raise UnreadableImage("What this picture shows cannot be read.")
        return np.frombuffer(vector, dtype=np.int8).astype(np.float32)

    def _current(self, keys: Sequence[int], version: str) -> Table:
        """The table with all of `keys` in it: what is new is read, and all of it when much is."""
        with self._lock:
            lacking = np.setdiff1d(np.array(keys, dtype=np.int64), self._table.keys, assume_unique=True)
            if len(lacking) > _FEW:
                self._table = Table.of(self._store.read(version))
            elif len(lacking):
                self._table = self._table.joined(Table.of(self._store.read(version, lacking.tolist())))
            return self._table

    # ---- looking

    def start(self, idle: Callable[[], bool], *, every: float = 60.0, pause: float = 0.5) -> None:
        """Look at pictures without a vector whenever `idle` says that nothing else is to do."""
        self._thread = threading.Thread(target=self._run, args=(idle, every, pause), name="meaning", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._awake.set()

    def close(self) -> None:
        """Stop after the picture at hand."""
        self._closing.set()
        self._awake.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def _run(self, idle: Callable[[], bool], every: float, pause: float) -> None:
        while not self._closing.is_set():
            self._awake.clear()
            try:
                self.catch_up(idle, pause)
            except Unavailable as error:
                _LOG.warning("no search by meaning: %s", error)
                return
            except SignetError as error:
                _LOG.info("looking at pictures: %s", error)
            except Exception:  # noqa: BLE001 - the edge of a thread: a strange picture must not end the search
                _LOG.exception("looking at pictures")
            self._awake.wait(every)

    def catch_up(self, idle: Callable[[], bool] = lambda: True, pause: float = 0.0) -> None:
        """Give every picture that is shown a vector, newest first. Waits while it is not idle."""
        towers = self._opened()
        self._store.drop_covered()
        before: int | None = None
        while waiting := self._store.missing(towers.version, before):
            for key, record in waiting:
                while not self._closing.is_set() and not idle():
                    self._closing.wait(max(pause, 0.01))
                if self._closing.is_set():
                    return
                try:
                    self._look(key, record, towers)
                except (NotFound, OSError) as error:
                    _LOG.info("picture %s cannot be looked at now: %s", record.id, error)
                before = key

    def _look(self, key: int, record: Record, towers: Towers) -> bytes:
        """Works out a picture's vector and keeps it; zeros for a picture that cannot be read."""
        small = record.thumbnail_path if record.passport.handling == "show" else None  # else it is a veil
        data = self._storage.path(small or record.path).read_bytes()
        try:
            vector = quantised(towers.of_picture(images.decode(data, max_pixels=1 << 28).pixels)).tobytes()
        except UnreadableImage:
            vector = bytes(WIDTH)
        self._store.put(key, towers.version, vector)
        return vector
