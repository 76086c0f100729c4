"""The verbs that print: what is said when a job ends badly, half-way, or at the very moment of a Ctrl+C."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend import wire
from backend.errors import BadRequest, EngineCrashed, Problem, SignetError, Unavailable, UnreadableImage
from backend.types import Job
from tests.support.studio import OWNER, Studio
from webui import terminal

Generate = Callable[..., int]


@pytest.fixture
def studio(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """What `open_services` opens: the real front desk, with a fake engine that makes every picture at once."""
    opened = Studio(data)

    @contextmanager
    def services(*_: object, **__: object) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(service=opened.service, principal=OWNER)

    monkeypatch.setattr("webui.compose.open_services", services)
    monkeypatch.setattr(terminal, "checked", lambda *_: None)  # the service checks again, with the fake catalogue
    opened.ready()
    plays(opened, monkeypatch)
    yield opened
    opened.close()


@pytest.fixture
def generate(studio: Studio) -> Generate:
    def run(*, count: int = 2, out: Path | None = None, as_json: bool = False) -> int:
        return terminal.generate(studio.service.settings, {"prompt": "x", "count": count}, out=out, as_json=as_json)

    return run


def plays(studio: Studio, monkeypatch: pytest.MonkeyPatch, made: int = 8, problem: Problem | None = None) -> None:
    """Let the engine make `made` pictures of a job at most, and end it with `problem`."""

    def submit(work: wire.Work) -> None:
        job = studio.service.job(work.job_id)
        studio.make(job, *work.indexes[:made])
        studio.end(job, problem)

    monkeypatch.setattr(studio.link, "submit", submit)


def printed(capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """(what --json printed, stderr)."""
    said = capsys.readouterr()
    return json.loads(said.out), said.err


def test_a_job_that_fails_half_way_names_the_pictures_that_were_made(
    studio: Studio, generate: Generate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plays(studio, monkeypatch, made=1, problem=EngineCrashed("It fell over.").problem)
    assert generate(as_json=True) == 1
    told, said = printed(capsys)
    (image,) = told["error"].pop("images")
    assert Path(image["path"]).read_bytes()
    assert told["error"]["code"] == "engine-crashed"
    assert said.startswith("error: It fell over.")

    assert generate() == 1
    (path,) = capsys.readouterr().out.splitlines()
    assert Path(path).is_file() and path != image["path"]


def test_the_pictures_of_a_failed_job_are_copied_too(
    studio: Studio, generate: Generate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plays(studio, monkeypatch, made=1, problem=EngineCrashed("It fell over.").problem)
    assert generate(out=tmp_path / "out") == 1
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_disk_that_fills_up_leaves_no_cut_copy_and_says_where_the_picture_is(
    generate: Generate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def write_half(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    assert generate(count=1, out=tmp_path / "out", as_json=True) == 1
    told, _ = printed(capsys)
    assert "No space left on device" in told["error"]["detail"]
    assert Path(told["error"]["images"][0]["path"]).is_file()
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_an_out_that_is_a_file_is_input_that_cannot_be_used(generate: Generate, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadRequest, match="is not a folder"):
        generate(out=tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


def test_ctrl_c_as_the_job_ends_is_not_a_conflict(
    studio: Studio, generate: Generate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wait = studio.service.wait
    interrupts = iter([KeyboardInterrupt])

    def interrupted(job_id: str, timeout: float | None = None) -> Job:
        job = wait(job_id, timeout)
        for error in interrupts:
            raise error
        return job

    monkeypatch.setattr(studio.service, "wait", interrupted)
    assert generate(count=1) == 0
    said = capsys.readouterr()
    assert Path(said.out.strip()).is_file()
    assert "error" not in said.err


@pytest.mark.parametrize(
    ("errors", "status"),
    [
        ([UnreadableImage("No picture.")], 2),
        ([Unavailable("No verifier.")], 1),
        ([Unavailable("No verifier."), UnreadableImage("No picture.")], 1),
    ],
)
def test_only_files_that_cannot_be_read_are_status_2_of_verify(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, errors: list[SignetError], status: int
) -> None:
    files = [tmp_path / str(number) for number in range(len(errors))]
    for file in files:
        file.touch()
    told = iter(errors)

    def verify(data: bytes) -> None:
        raise next(told)

    monkeypatch.setattr(studio.service, "verify", verify)
    assert terminal.verify(studio.service.settings, files, as_json=True) == status
