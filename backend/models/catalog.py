"""What models are on disk, and why some of them cannot be used. Reads headers and configurations only; no torch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from backend.errors import Conflict, SignetError, UnknownModel, UnreadableModel
from backend.models import cards as card_tools
from backend.models import lookup
from backend.models.cards import Sort
from backend.models.describe import Look, config_folder, describe
from backend.models.fit import fits
from backend.models.folders import KINDS_IN, Folders, Place, may_hold, state
from backend.models.hashes import Hasher, Hashes
from backend.models.roots import OWN_FOLDERS
from backend.models.sidecars import Notes, save_notes
from backend.types import ModelCard, ModelInfo, ModelKind

__all__ = ["Catalog", "config_folder"]

FRESH_S = 2.0
"""Files are asked for their dates again after so long, or as soon as a directory has changed."""
_WORDS: Mapping[ModelKind, str] = {
    "checkpoint": "model", "lora": "LoRA", "vae": "VAE", "controlnet": "ControlNet", "t2i-adapter": "T2I-Adapter",
    "ip-adapter": "IP-Adapter", "embedding": "embedding", "upscaler": "upscaler", "preprocessor": "preprocessor",
}  # fmt: skip

State = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A place under the name that is its own. `state` is None if it cannot be read."""

    place: Place
    ident: str
    state: State


_Found = tuple[_Entry, ModelInfo, Look]


class Catalog:
    """Models in `bundled` (single model folders), in our own folder `own`, and in the `folders` that users name.

    Thread-safe. A model dropped into a folder is there at once; a header is read when somebody asks for models of
    a kind that may lie there, and only once as long as the file does not change.
    """

    def __init__(
        self,
        bundled: tuple[Path, ...],
        folders: tuple[Path, ...],
        *,
        own: Path | None = None,
        hasher: Hasher | None = None,
    ) -> None:
        self._folders = Folders(bundled, (*([own] if own else []), *folders))
        self._hasher = hasher or Hasher()
        self._lock = threading.RLock()
        self._places: tuple[Place, ...] = ()
        self._entries: tuple[_Entry, ...] = ()
        self._looks: dict[tuple[Path, str, State], Look] = {}
        self._scanned = -FRESH_S
        self._version = 0
        self._lists: dict[tuple[ModelKind | None, int, int], tuple[_Found, ...]] = {}

    # ---- what is there

    def all(self, kind: ModelKind | None = "checkpoint") -> tuple[ModelInfo, ...]:
        """The usable models of a kind, or of every kind (None)."""
        return tuple(info for _, info, _ in self._list(kind))

    def refused(self) -> Mapping[str, SignetError]:
        """File or folder name -> why it cannot be used, of every kind."""
        refused: dict[str, SignetError] = {}
        for entry, error in self._errors(self._scan()):
            name, label = entry.place.path.name, entry.place.folder or entry.place.root.name
            refused.setdefault(f"{label}/{name}" if name in refused else name, error)
        return refused

    def everything(self) -> Iterator[ModelInfo]:
        """The models of every kind, one by one as their headers are read: for work in the background."""
        for entry in self._scan():
            found = self._look(entry).found
            if isinstance(found, ModelInfo):
                yield found

    def version(self) -> int:
        """Grows when models, their sidecars or their hashes change: cheap, to be asked every few seconds."""
        self._scan()
        return self._version + self._hasher.generation

    def find(self, name: str, kind: ModelKind | tuple[ModelKind, ...] = "checkpoint") -> ModelInfo:
        """By id, title, file name, name without suffix, hash, the name its maker gave it, or a piece of its name that
        no other has; in any case of letters. Several kinds are one list, in which the first matters in messages only.

        Raises UnknownModel (with near names) or why it cannot be used.
        """
        return self._found(name, kind if isinstance(kind, tuple) else (kind,))[1]

    def fits(self, addition: ModelInfo, model: ModelInfo) -> str:
        """ "" if the addition can be used with the model, else the reason as a clause."""
        return fits(addition, model)

    # ---- cards

    def card(self, name: str, kind: ModelKind = "checkpoint") -> ModelCard:
        """Everything that can be said about a model. Raises as `find`."""
        entry, info, look = self._found(name, (kind,))
        return card_tools.card(entry.place, info, look.spec)

    def cards(
        self, kind: ModelKind, text: str = "", folder: str | None = None, sort: Sort = "name"
    ) -> tuple[ModelCard, ...]:
        """Cards whose texts hold every word of `text`, of one sub-folder (and those below) or of all."""
        found = (card_tools.card(entry.place, info, look.spec) for entry, info, look in self._list(kind))
        return card_tools.chosen(found, text, folder, sort)

    def save_notes(self, name: str, kind: ModelKind, notes: Notes) -> ModelCard:
        """Write the user's notes beside a model, as A1111 does.

        Raises as `find`, and Conflict, StorageFull or Unavailable.
        """
        entry, info, look = self._found(name, (kind,))
        place = entry.place
        if place.bundled:
            raise Conflict("This model is a part of Signet.", "Make a copy of it under data/models to add notes.")
        target = place.path.with_name(f"{place.stem}.json")
        if place.root == place.path or not self._folders.allowed(target.parent):
            raise Conflict("Notes are written only inside the folders named in the settings.")
        save_notes(target, notes)
        beside = place.beside | {target.name}
        return card_tools.card(replace(place, beside=beside), info, look.spec)

    def preview(self, name: str, kind: ModelKind) -> Path | None:
        """The picture beside a model; a stranger's file, to be looked at before it is sent."""
        entry, _, _ = self._found(name, (kind,))
        return card_tools.preview(entry.place)

    def hashes(self, info: ModelInfo) -> Hashes | None:
        return self._hasher.known(info)

    # ---- looking

    def _found(self, name: str, kinds: tuple[ModelKind, ...]) -> _Found:
        wanted = name.strip().casefold().replace("\\", "/")
        for again in (False, True):  # the second time every file is asked for its date
            entries = [entry for entry in self._scan(force=again) if _may_hold(entry, kinds)]
            found, error = self._called(entries, wanted, kinds)
            found = found or (None if error and again else self._by_other_names(wanted, kinds))
            if found and (again or state(found[0].place, self._folders) == found[0].state):
                return found
        if error:
            raise error
        infos = [info for _, info, _ in self._lists_of(kinds)]
        pieces = lookup.by_piece(wanted, infos)
        near = tuple(info.id for info in pieces[: lookup.MOST_NAMES]) or lookup.near(name, [info.id for info in infos])
        raise UnknownModel(name, near, _WORDS[kinds[0]], folder=OWN_FOLDERS[kinds[0]])

    def _called(
        self, entries: Sequence[_Entry], wanted: str, kinds: tuple[ModelKind, ...]
    ) -> tuple[_Found | None, SignetError | None]:
        """By the names of files, which reads the headers of none but those that are called so."""
        plain, digest = lookup.without_hash(wanted)
        error: SignetError | None = None
        for called in dict.fromkeys((wanted, plain)):
            for entry in entries:
                if called in _names(entry):
                    look = self._look(entry)
                    if isinstance(look.found, SignetError):
                        error = error or (look.found if look.news else None)
                    elif look.found.kind in kinds and (not digest or called == wanted or self._has(look.found, digest)):
                        return (entry, self._hashed(look.found), look), None
        return None, error

    def _by_other_names(self, wanted: str, kinds: tuple[ModelKind, ...]) -> _Found | None:
        plain, digest = lookup.without_hash(wanted)
        listing = self._lists_of(kinds)
        infos = [info for _, info, _ in listing]
        match = lookup.by_hash(digest or wanted, infos) or self._by_autov1(digest or wanted, infos)
        match = match or next((info for info in infos if info.title.casefold() in (wanted, plain)), None)
        match = match or next(
            (info for _, info, look in listing if look.spec.alias.casefold() in (wanted, plain) and look.spec.alias),
            None,
        )
        match = match or next((info for entry, info, _ in listing if digest and plain in _names(entry)), None)
        pieces: Sequence[ModelInfo] = () if match else lookup.by_piece(plain, infos)
        match = match or (pieces[0] if len(pieces) == 1 else None)
        return next((found for found in listing if found[1] is match), None)

    def _lists_of(self, kinds: tuple[ModelKind, ...]) -> tuple[_Found, ...]:
        return tuple(found for kind in kinds for found in self._list(kind))

    def _by_autov1(self, wanted: str, infos: Sequence[ModelInfo]) -> ModelInfo | None:
        """By the 8 digits that old pictures and ControlNet's units name."""
        known = ((info, self._hasher.known(info)) for info in infos) if len(wanted) == 8 else ()
        return next((info for info, hashes in known if hashes and hashes.autov1 == wanted), None)

    def _has(self, info: ModelInfo, digest: str) -> bool:
        known = self._hasher.known(info)
        return known is not None and known.sha256.startswith(digest)

    def _list(self, kind: ModelKind | None) -> tuple[_Found, ...]:
        with self._lock:
            entries, version, learnt = self._scan(), self._version, self._hasher.generation
        known = self._lists.get((kind, version, learnt))
        if known is None:
            known = tuple(self._usable(entries, kind))
            with self._lock:
                kept = {key: value for key, value in self._lists.items() if key[1:] == (version, learnt)}
                self._lists = {**kept, (kind, version, learnt): known}
        return known

    def _usable(self, entries: Iterable[_Entry], kind: ModelKind | None) -> Iterator[_Found]:
        for entry in entries:
            if kind is None or may_hold(entry.place, kind):
                look = self._look(entry)
                if isinstance(look.found, ModelInfo) and kind in (None, look.found.kind):
                    yield entry, self._hashed(look.found), look

    def _errors(self, entries: Iterable[_Entry]) -> Iterator[tuple[_Entry, SignetError]]:
        for entry in entries:
            look = self._look(entry)
            if isinstance(look.found, SignetError) and look.news:
                yield entry, look.found

    def _hashed(self, info: ModelInfo) -> ModelInfo:
        known = self._hasher.known(info)
        return replace(info, sha256=known.sha256, autov3=info.autov3 or known.autov3) if known else info

    def _look(self, entry: _Entry) -> Look:
        key = (entry.place.path, entry.ident, entry.state)
        with self._lock:  # for one file only: nobody waits for the reading of ten thousand
            if key not in self._looks:
                self._looks[key] = _described(entry)
            return self._looks[key]

    def _scan(self, *, force: bool = False) -> tuple[_Entry, ...]:
        with self._lock:
            now = time.monotonic()
            if not force and now - self._scanned < FRESH_S and not self._folders.changed():
                return self._entries
            places = self._folders.places()
            states = [state(place, self._folders) for place in places]
            if places is not self._places or states != [entry.state for entry in self._entries]:
                self._places, self._version = places, self._version + 1
                self._entries = tuple(map(_Entry, places, _idents(places), states))
                known = {(entry.place.path, entry.ident, entry.state) for entry in self._entries}
                self._looks = {key: look for key, look in self._looks.items() if key in known}
            self._scanned = now
            return self._entries


def _may_hold(entry: _Entry, kinds: tuple[ModelKind, ...]) -> bool:
    return any(may_hold(entry.place, kind) for kind in kinds)


def _names(entry: _Entry) -> tuple[str, ...]:
    """What a place is called exactly, in small letters; as A1111 does, also with the sub-folder."""
    place = entry.place
    names = (entry.ident, place.path.name, place.stem)
    within = (f"{place.folder}/{place.path.name}", f"{place.folder}/{place.stem}") if place.folder else ()
    return tuple(name.casefold() for name in (*names, *within))


def _described(entry: _Entry) -> Look:
    place, name = entry.place, entry.place.path.name
    if place.outside or (entry.state is None and place.is_folder):
        detail = "It is, or holds, a link that leads out of the folders named in the settings."
        return Look(UnreadableModel(name, detail, "Name the folder it leads to in the setting model_folders."))
    if entry.state is None:  # a dangling link, or a file that is just being removed
        return Look(UnreadableModel(name, "The file cannot be opened.", "Copy it again."), news=not place.quiet)
    return describe(place, entry.ident, entry.state)


def _idents(places: Iterable[Place]) -> Iterator[str]:
    """The name of each place, made unique among those of its kind by its folder; all that controls is one kind here.

    Where anything may lie the kind is known only when the file is read, so such names are kept apart from all others.
    """
    taken: dict[str, set[ModelKind | None]] = {}
    controls = KINDS_IN["controlnet"]
    for place in places:
        if place.is_pickle:  # never usable, so it takes no name from a model
            yield place.path.name
            continue
        group = "controlnet" if place.kind in controls else place.kind
        for name in _candidates(place):
            kinds = taken.setdefault(name.casefold(), set())
            if not kinds or not (group is None or group in kinds or None in kinds):
                kinds.add(group)
                yield name
                break


def _candidates(place: Place) -> Iterator[str]:
    root = place.root.name
    yield place.name
    longer = f"{place.folder or root}/{place.name}"
    yield longer
    yield f"{root}/{longer}"
    yield from (f"{longer} ({number})" for number in count(2))
