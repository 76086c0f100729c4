"""One picture, all or nothing: the order in which a file and its row come to be, and what a start does about the rest.

The intent is noted first, the file is put in place next, and one transaction does all that makes it a picture of the
history. Killed anywhere in between, the next start either finishes the picture or clears every trace of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial

from backend.errors import Conflict, NotFound, Problem, SignetError, StorageFull
from backend.ports import HistoryStore, JobStore
from backend.queue import MAX_ATTEMPTS
from backend.storage import STEPS, THUMBNAILS, Storage, nowhere
from backend.types import Job, Record, SealedImage

_WRITES = ("thumbnail", "picture")
ARROWS = ("sealing", "intend", *(f"{file}.{step}" for file in _WRITES for step in STEPS), "commit")
"""The steps of `Journal.keep` in order. `reach` hears "before X" and "after X" of each; tests stop there."""

RECOVERY = ("trash", "finish", "clear", "leftovers", "quarantine", "interrupt")
"""The same for `Journal.recover`; a step is passed as often as there is something to do."""

REMOVAL = ("trash", "delete", "purge")
"""The same for `Journal.remove`."""

_SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/avif": "avif"}


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a start found. `cleared` are record ids, `quarantined` paths within the outputs folder.

    `interrupted` jobs are offered again, `failed` ones were started too often, `completed` ones only lacked the word.
    """

    finished: tuple[Record, ...] = ()
    cleared: tuple[str, ...] = ()
    interrupted: tuple[Job, ...] = ()
    failed: tuple[Job, ...] = ()
    completed: tuple[Job, ...] = ()
    quarantined: tuple[str, ...] = ()


def record_of(sealed: SealedImage, job_id: str) -> Record:
    """The row a sealed picture will have. The day of its folder is the day in its Passport."""
    passport = sealed.passport
    return Record(
        id=passport.record_id,
        job_id=job_id,
        index=sealed.index,
        path=f"{passport.created:%Y-%m-%d}/{passport.record_id}.{_SUFFIXES[sealed.media_type]}",
        thumbnail_path=None if sealed.thumbnail is None else f"{THUMBNAILS}/{passport.record_id}.webp",
        passport=passport,
        infotext=sealed.infotext,
    )


class Journal:
    """Keeps pictures, removes them, and puts things right after a crash. One per data folder."""

    def __init__(
        self, jobs: JobStore, history: HistoryStore, storage: Storage, reach: Callable[[str], None] = nowhere
    ) -> None:
        self._jobs = jobs
        self._history = history
        self._storage = storage
        self._reach = reach

    def keep(self, sealed: SealedImage, job_id: str, *, last: bool) -> Record:
        """Put a sealed picture into the history; `last` says that its job is done with it.

        A picture of the same job and index that is there already is returned instead. Raises Conflict if the job was
        cancelled or otherwise ended, StorageFull if the disk is full; then nothing of the picture is left.
        """
        for present in self._history.of_job(job_id):
            if present.index == sealed.index:
                self._history.commit(present, last=last)
                return present
        record = record_of(sealed, job_id)
        if hashlib.sha256(sealed.data).hexdigest() != record.passport.sha256:
            raise ValueError(f"the bytes of picture {record.id} are not those of its passport")
        self._step("sealing", partial(self._begin, job_id))
        self._storage.check_room(len(sealed.data) + len(sealed.thumbnail or b""))
        kept = False
        try:
            self._step("intend", partial(self._history.intend, record))
            if record.thumbnail_path is not None and sealed.thumbnail is not None:
                self._storage.write(record.thumbnail_path, sealed.thumbnail, reach=self._reach, name="thumbnail")
            self._storage.write(record.path, sealed.data, reach=self._reach, name="picture")
            self._step("commit", partial(self._history.commit, record, last=last))
            kept = True
        finally:
            if not kept:
                self._undo(record)
        return record

    def remove(self, record_id: str) -> Record:
        """Delete a picture, file and row. Raises NotFound. Killed half-way, a start restores or finishes."""
        record = self._history.get(record_id)
        if record is None:
            raise NotFound("picture", record_id)
        gone = False
        try:
            self._step("trash", partial(self._each_file, record, self._storage.trash))
            self._step("delete", partial(self._history.delete, record_id))
            gone = True
        finally:
            if not gone:
                self._take_back(record)
        self._step("purge", partial(self._each_file, record, self._storage.purge))
        return record

    def recover(self) -> Recovered:
        """Put right what the last run left behind. Harmless to repeat; for the start, before anything is kept."""
        for path in self._storage.trashed():
            self._step("trash", partial(self._settle_trash, path))
        finished: list[Record] = []
        cleared: list[str] = []
        for intent in self._history.intents():
            record = self._whole(intent)
            if record is not None:
                self._step("finish", partial(self._finish, record))
                finished.append(record)
            else:
                self._step("clear", partial(self._clear, intent))
                cleared.append(intent.id)
        for leftover in self._storage.leftovers():
            self._step("leftovers", partial(leftover.unlink, missing_ok=True))
        quarantined: list[str] = []
        for path in self._storage.orphans({record_id for record_id, _ in self._history.marks()}):
            # A full disk may have no room for the folder; an orphan can wait, for nothing serves it.
            with suppress(StorageFull):
                self._step("quarantine", partial(self._storage.quarantine, path))
                quarantined.append(path)
        ended = [self._end(job) for job in self._jobs.unfinished()]
        return Recovered(
            tuple(finished),
            tuple(cleared),
            tuple(job for job in ended if job.state == "interrupted"),
            tuple(job for job in ended if job.state == "failed"),
            tuple(job for job in ended if job.state == "done"),
            tuple(quarantined),
        )

    def _step(self, arrow: str, act: Callable[[], object]) -> None:
        self._reach(f"before {arrow}")
        act()
        self._reach(f"after {arrow}")

    def _begin(self, job_id: str) -> None:
        job = self._jobs.get(job_id)
        if job is None:
            raise NotFound("job", job_id)
        if job.state == "sealing":
            return
        try:
            self._jobs.move(job_id, "sealing")
        except Conflict:
            # Two pictures of one job may be kept at the same time; the other one came first.
            moved = self._jobs.get(job_id)
            if moved is None or moved.state != "sealing":
                raise

    def _undo(self, record: Record) -> None:
        """After a failure: no trace of the picture, unless the commit did happen. What fails here, a start mends."""
        with suppress(SignetError, OSError):
            if self._history.get(record.id) is None:
                self._clear(record)

    def _take_back(self, record: Record) -> None:
        """After a failed removal: the files return, unless the row did go. What fails here, a start mends."""
        with suppress(SignetError, OSError):
            if self._history.get(record.id) is not None:
                self._each_file(record, self._storage.restore)

    def _clear(self, record: Record) -> None:
        self._each_file(record, self._storage.delete)
        self._history.forget(record.id)

    @staticmethod
    def _each_file(record: Record, act: Callable[[str], None]) -> None:
        for path in (record.thumbnail_path, record.path):
            if path is not None:
                act(path)

    def _settle_trash(self, path: str) -> None:
        """The row decides: while it is there, its file was not meant to go yet."""
        record = self._history.get(path.rpartition("/")[2].rpartition(".")[0])
        if record is not None and path in (record.path, record.thumbnail_path):
            self._storage.restore(path)
        else:
            self._storage.purge(path)

    def _whole(self, intent: Record) -> Record | None:
        """The record to finish if its file is complete and its place in the job still free, else None."""
        rivals = (there for there in self._history.of_job(intent.job_id) if there.id != intent.id)
        if any(rival.index == intent.index for rival in rivals):
            return None
        if self._storage.sha256(intent.path) != intent.passport.sha256:
            return None
        thumbnail = intent.thumbnail_path
        if thumbnail is not None and not self._storage.exists(thumbnail):
            return intent.model_copy(update={"thumbnail_path": None})
        return intent

    def _finish(self, record: Record) -> None:
        self._each_file(record, self._storage.sync)
        job = self._jobs.get(record.job_id)
        there = {present.index for present in self._history.of_job(record.job_id)} | {record.index}
        complete = job is not None and job.state in ("running", "sealing") and len(there) >= job.request.count
        self._history.commit(record, last=complete)

    def _end(self, job: Job) -> Job:
        """An unfinished job after a start: done if nothing is missing, offered again if it may, failed if not."""
        if job.state != "queued" and len(self._history.of_job(job.id)) >= job.request.count:
            return self._jobs.move(job.id, "done")
        self._reach("before interrupt")
        if job.attempt >= MAX_ATTEMPTS:
            ended = self._jobs.move(job.id, "failed", problem=asdict(_started_too_often(job)))
        else:
            ended = self._jobs.move(job.id, "interrupted")
        self._reach("after interrupt")
        return ended


def _started_too_often(job: Job) -> Problem:
    return Problem(
        "started-too-often",
        "The job stopped the engine",
        f"The studio stopped {job.attempt} times while this job ran, so it is not offered again.",
        500,
        hint="Run it again with a smaller picture or another model.",
    )
