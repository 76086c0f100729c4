"""What a process does before it is killed: keeps pictures, removes one, recovers, or only writes a lot.

The functions run in processes of their own. `stop` is the point of the journal at which the process kills itself,
`pass_by` how often it goes past that point unharmed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from backend.errors import StorageFull
from backend.journal import Journal
from backend.storage import Storage
from db.engine import Database, open_database
from db.history import SqlHistory
from db.jobs import SqlJobs
from tests.crash.pictures import make_job, make_record, make_request, make_sealed

LIMIT = 4 * 2**20
"""The largest file, in bytes, that `keep_too_much` may write."""


class Studio:
    """Everything that lies in one data folder."""

    def __init__(self, data: Path, database: Database, reach: Callable[[str], None]) -> None:
        self.database = database
        self.jobs = SqlJobs(database)
        self.history = SqlHistory(database)
        self.storage = Storage(data / "outputs")
        self.journal = Journal(self.jobs, self.history, self.storage, reach)

    def start(self, job_id: str, count: int = 2) -> None:
        """Run the job as far as it goes: every index that is missing becomes a picture."""
        if self.jobs.get(job_id) is None:
            self.jobs.add(make_job(job_id, count=count))
        self.jobs.move(job_id, "running")
        there = {record.index for record in self.history.of_job(job_id)}
        for index in sorted(set(range(count)) - there):
            # As in life, a picture that is made again has another id and other bytes.
            number = len(list(self.history.marks())) + 1000 * os.getpid()
            sealed = make_sealed(number, index=index, request=make_request(count=count))
            self.journal.keep(sealed, job_id, last=len(there) == count - 1)
            there.add(index)


def never(_point: str) -> None:
    pass


def killer(stop: str, pass_by: int = 0) -> Callable[[str], None]:
    """A `reach` that ends the process, without any cleaning up, at its (pass_by + 1)-th visit of `stop`."""
    left = [pass_by]

    def reach(point: str) -> None:
        if point == stop:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

    return reach


@contextmanager
def studio(data: Path, reach: Callable[[str], None] = never) -> Iterator[Studio]:
    with open_database(f"sqlite:///{data / 'signet.db'}") as database:
        yield Studio(data, database, reach)


def keep(data: Path, job_id: str, stop: str, pass_by: int = 0, count: int = 2) -> None:
    with studio(data, killer(stop, pass_by)) as here:
        here.start(job_id, count)


def remove(data: Path, stop: str) -> None:
    """Remove the first picture there is."""
    with studio(data, killer(stop)) as here:
        record_id, _ = next(iter(here.history.marks()))
        here.journal.remove(record_id)


def recover(data: Path, stop: str, pass_by: int = 0) -> None:
    with studio(data, killer(stop, pass_by)) as here:
        here.journal.recover()


def keep_for_ever(data: Path, job_id: str) -> None:
    """Jobs of two pictures, one after the other, until somebody ends the process."""
    with studio(data) as here:
        number = 0
        while True:
            here.start(f"{job_id}-{number}")
            number += 1


def keep_too_much(data: Path) -> None:
    """A picture that is larger than a file may be, then one that is not. Ends with 0 if all went as it should."""
    import resource  # not on Windows

    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT))
    with studio(data) as here:
        here.jobs.add(make_job())
        here.jobs.move("job-1", "running")
        try:
            here.journal.keep(make_sealed(1, data=os.urandom(LIMIT + 1)), "job-1", last=True)
        except StorageFull:
            here.journal.keep(make_sealed(2), "job-1", last=True)
            return
    raise SystemExit("the limit was not noticed")


def write_much(data: Path, worker: int, number: int) -> None:
    """Commit `number` pictures as fast as the other workers let us."""
    with studio(data) as here:
        here.jobs.add(make_job(f"job-{worker}", count=number, state="sealing"))
        for index in range(number):
            record = make_record(worker * number + index, job_id=f"job-{worker}", index=index)
            here.history.commit(record, last=index == number - 1)
