from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend import storage as module
from backend.errors import InvalidParameter, NotFound, StorageFull, Unavailable
from backend.storage import QUARANTINE, STEPS, Storage, lock_folder

NAME = "2026-11-20/rec-1.png"
THUMB = ".thumbs/rec-1.webp"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "outputs")


def files(storage: Storage) -> list[str]:
    return sorted(path.relative_to(storage.root).as_posix() for path in storage.root.rglob("*") if path.is_file())


def test_bytes_come_back_with_their_hash(storage: Storage) -> None:
    storage.write(NAME, b"picture")
    storage.write(THUMB, b"")
    assert storage.read(NAME) == b"picture" and storage.read(THUMB) == b""
    assert storage.sha256(NAME) == hashlib.sha256(b"picture").hexdigest()
    assert storage.exists(NAME) and files(storage) == [THUMB, NAME]
    storage.write(NAME, b"again")
    assert storage.read(NAME) == b"again"
    storage.sync(NAME)


def test_what_is_not_there_is_not_there(storage: Storage) -> None:
    assert not storage.exists(NAME) and storage.sha256(NAME) is None
    storage.delete(NAME)
    storage.trash(NAME)
    storage.restore(NAME)
    storage.purge(NAME)
    with pytest.raises(NotFound):
        storage.read(NAME)


@pytest.mark.parametrize(
    "name",
    [
        *("", "rec-1.png", "/etc/passwd", "../x.png", "2026-11-20/../x.png", "2026-11-20/../../x.png"),
        *("2026-11-20/a/b.png", "2026-11-20/A.png", "2026-11-20/rec-1.png\n", "2026-11-20/rec-1.html", "C:\\x.png"),
        *("2026-11-20\\x.png", "2026-11-20/x.png\0", "2026-11-20/x..png", ".quarantine/x.png", "keys/x.png", "~/x.png"),
        *("2026-11-20/con:x.png", "2026-11-20/" + "a" * 300 + ".png", "2026-11-20/.png"),
        *("２０２６-11-20/x.png", "2026-11-20/é.png"),
    ],
)
def test_only_our_own_names_are_touched(storage: Storage, name: str) -> None:
    for act in (storage.path, storage.read, storage.exists, storage.sha256, storage.delete, storage.trash):
        with pytest.raises(InvalidParameter):
            act(name)
    with pytest.raises(InvalidParameter):
        storage.write(name, b"x")
    with pytest.raises(InvalidParameter):
        storage.quarantine(name)


def test_a_write_tells_every_step_in_order_and_is_durable_before_it_has_its_name(storage: Storage) -> None:
    told: list[str] = []
    there: dict[str, bool] = {}

    def reach(point: str) -> None:
        told.append(point)
        there[point] = storage.exists(NAME)

    storage.write(NAME, b"x", reach=reach, name="picture")
    assert told == [f"{when} picture.{step}" for step in STEPS for when in ("before", "after")]
    assert not there["before picture.rename"] and there["after picture.rename"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_no_room_is_storage_full_and_leaves_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(module.os, call, fail)
        with pytest.raises(StorageFull):
            storage.write(NAME, b"picture")
    assert files(storage) == []
    storage.write(NAME, b"picture")
    assert storage.read(NAME) == b"picture"


def test_a_write_that_comes_in_pieces_is_whole(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(module.os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:3]))
    storage.write(NAME, b"a long picture")
    assert storage.read(NAME) == b"a long picture"


@pytest.mark.parametrize("step", [f"{when} file.{step}" for step in STEPS for when in ("before", "after")])
def test_any_other_failure_leaves_nothing_either_and_spares_what_was_there(storage: Storage, step: str) -> None:
    def reach(point: str) -> None:
        if point == step:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        storage.write(NAME, b"new", reach=reach)
    assert files(storage) == []
    storage.write(NAME, b"old")
    if step in ("before file.write", "after file.write", "before file.rename"):
        with pytest.raises(RuntimeError):
            storage.write(NAME, b"new", reach=reach)
        assert storage.read(NAME) == b"old" and files(storage) == [NAME]


def test_delete_goes_in_two_stages_and_the_first_can_be_taken_back(storage: Storage) -> None:
    storage.write(NAME, b"x")
    storage.write(THUMB, b"x")
    storage.trash(NAME)
    storage.trash(THUMB)
    assert not storage.exists(NAME) and storage.trashed() == (THUMB, NAME)
    assert storage.orphans(()) == () and storage.leftovers() == ()
    storage.restore(NAME)
    storage.purge(THUMB)
    assert files(storage) == [NAME] and storage.trashed() == ()
    storage.delete(NAME)
    assert files(storage) == []


def test_orphans_go_to_quarantine_and_do_not_replace_each_other(storage: Storage) -> None:
    storage.write(NAME, b"1")
    storage.write("2026-11-20/rec-2.png", b"2")
    storage.write(".thumbs/rec-2.webp", b"2")
    stranger = storage.root / "2026-11-20" / "Notes of mine.txt"
    stranger.write_text("keep")
    assert storage.orphans({"rec-1"}) == (".thumbs/rec-2.webp", "2026-11-20/rec-2.png")
    for _ in range(2):
        storage.quarantine("2026-11-20/rec-2.png")
        storage.write("2026-11-20/rec-2.png", b"3")
    assert [name for name in files(storage) if QUARANTINE in name] == [
        f"{QUARANTINE}/2-2026-11-20-rec-2.png",
        f"{QUARANTINE}/2026-11-20-rec-2.png",
    ]
    assert stranger.exists()


def test_leftovers_are_our_temporary_files_only(storage: Storage) -> None:
    storage.write(NAME, b"x")
    mine = storage.root / "2026-11-20" / ".rec-9.png.tmp"
    mine.write_bytes(b"half")
    (storage.root / "2026-11-20" / ".something.tmp").write_bytes(b"not ours")
    assert storage.leftovers() == (mine,)


def test_the_reserve_is_kept_free(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    assert storage.room() > 0
    storage.check_room(1)
    with pytest.raises(StorageFull):
        storage.check_room(2**62)
    with pytest.raises(StorageFull):
        Storage(tmp_path, reserve_mb=2**42).check_room(0)


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """`program` in a Python of its own, where lock_folder and `folder` are known."""
    start = "import os, signal, sys, pathlib; from backend.storage import lock_folder"
    root = Path(module.__file__).parent.parent
    command = [sys.executable, "-c", f"{start}; folder = pathlib.Path(sys.argv[1])\n{program}", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=60)


def test_a_second_server_on_a_folder_is_told_which_folder_and_who(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        with pytest.raises(Unavailable, match=f"process {os.getpid()}"), lock_folder(tmp_path):
            pass
        other = run("with lock_folder(folder): pass", tmp_path)
        assert other.returncode == 1 and str(tmp_path) in other.stderr and f"process {os.getpid()}" in other.stderr
    assert run("with lock_folder(folder): pass", tmp_path).returncode == 0


def test_the_lock_of_a_killed_server_is_free(tmp_path: Path) -> None:
    assert run("with lock_folder(folder): os.kill(os.getpid(), signal.SIGTERM)", tmp_path).returncode != 0
    with lock_folder(tmp_path):
        pass
