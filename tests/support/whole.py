"""The whole studio with its engine and the model that ships: what is asked goes all the way to a sealed picture."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import images
from backend.types import Job, Pixels, Principal, Record, VerifyReport
from webui.compose import Services, open_services
from webui.options import read_settings

SIDE = 128
SECONDS = 120


@dataclass(frozen=True)
class Made:
    """One picture: its job, its record and the bytes of its file."""

    job: Job
    record: Record
    file: bytes

    @property
    def pixels(self) -> Pixels:
        return shown(self.file)


@dataclass(frozen=True)
class Whole:
    """`plain` are the fields that every request begins with."""

    services: Services
    plain: dict[str, Any]

    def make(self, **fields: Any) -> Made:
        service = self.services.service
        job = service.wait(service.submit({**self.plain, **fields}, self.services.principal).id, SECONDS)
        assert job.state == "done", job.problem
        (record,) = service.of_job(job.id)
        return Made(job, record, service.file(record.id, Principal()).read_bytes())

    def put(self, file: bytes) -> str:
        """Brings a picture as an input; gives its id."""
        return self.services.service.library.put(file).id

    def input(self, picture: str) -> bytes:
        return self.services.service.library.input(picture).path.read_bytes()

    def verify(self, made: Made) -> VerifyReport:
        return self.services.service.verify(made.file)


@contextmanager
def open_whole(data: Path, **plain: Any) -> Iterator[Whole]:
    """A studio of its own in the folder `data`."""
    with open_services(read_settings(data=data, offline=True), principal_source="cli") as services:
        yield Whole(services, plain)


def shown(file: bytes) -> Pixels:
    return images.decode(file, max_pixels=1 << 22).pixels
