from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, text

from backend.errors import Conflict, InvalidParameter, StorageFull
from backend.types import Principal
from db.audits import SqlAuditLog
from db.engine import Database, open_database
from db.history import SqlHistory
from db.tables import audit_entries
from safety.anchors import AnchorFile
from safety.audit_log import Chain
from tests.crash.pictures import make_sealed

KEY = bytes(range(32))
OWNER = Principal()
BOB = Principal("bob", frozenset({"user"}), "api")


def open_log(database: Database, folder: Path, **changes: object) -> SqlAuditLog:
    anchors = AnchorFile(folder / "audit" / "anchors.jsonl", [KEY], every=10)
    return SqlAuditLog(database, Chain([KEY]), anchors, **changes)  # type: ignore[arg-type]


@pytest.fixture
def log(database: Database, tmp_path: Path) -> SqlAuditLog:
    return open_log(database, tmp_path, keep_texts=True)


def test_entries_come_back_newest_first_with_their_texts(log: SqlAuditLog) -> None:
    for number in range(5):
        log.append("verdict", BOB, {"job": f"job-{number}"}, {"prompt": f"cat {number}\0", "negative": ""})
    page = log.page(limit=2)
    assert [entry["seq"] for entry in page["entries"]] == [5, 4] and page["next"] == 4
    assert page["entries"][0]["texts"] == {"prompt": {"state": "kept", "text": "cat 4\0"}}
    assert (page["entries"][0]["who"], page["entries"][0]["source"]) == ("bob", "api")
    assert [entry["seq"] for entry in log.page(before=2)["entries"]] == [1] and log.page(before=2)["next"] is None
    assert page["head"] == log.head() and log.head().startswith("5:")
    with pytest.raises(InvalidParameter):
        log.page(limit=0)


def test_an_empty_log_has_no_head_and_is_whole(log: SqlAuditLog) -> None:
    assert log.head() == "" and log.page()["entries"] == []
    assert log.verified()["whole"] and log.tail_holds()


def test_texts_are_not_kept_unless_asked_for(database: Database, tmp_path: Path) -> None:
    log = open_log(database, tmp_path)
    log.append("verdict", BOB, {}, {"prompt": "Zebrafinch"})
    assert log.page()["entries"][0]["texts"] == {"prompt": {"state": "commitment", "text": None}}
    assert log.verified()["sealed"] == 1
    assert "Zebrafinch" not in json.dumps(list(log.exported()))


def test_entries_are_never_changed_removed_or_put_in_between(database: Database, log: SqlAuditLog) -> None:
    for _ in range(3):
        log.append("start", OWNER, {}, {"note": "a"})
    statements = (
        "UPDATE audit_entries SET body = '{}' WHERE seq = 2",
        "DELETE FROM audit_entries WHERE seq = 3",
        "DELETE FROM audit_entries",
        "UPDATE audit_texts SET name = 'other'",
        "INSERT INTO audit_entries (seq, body, prev_hash, hash) VALUES (9, '{}', '', '')",
    )
    for statement in statements:
        with pytest.raises(Exception, match=r"audit log|already"), database.writing() as connection:
            connection.execute(text(statement))
    if database.sqlite:
        with pytest.raises(Conflict), database.writing() as connection:
            connection.execute(text("REPLACE INTO audit_entries (seq, body, prev_hash, hash) VALUES (2, '{}', '', '')"))
    assert log.verified()["whole"]


def _unguarded(database: Database) -> None:
    with database.writing() as connection:
        for name in ("stay", "remain", "follow"):
            connection.execute(text(f"DROP TRIGGER IF EXISTS audit_entries_{name}"))
        connection.execute(text("DROP TRIGGER IF EXISTS audit_texts_stay"))


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE audit_entries SET body = replace(body, 'job-3', 'job-8') WHERE seq = 4", "changed"),
        ("UPDATE audit_entries SET body = x'ff00ff' WHERE seq = 4", "changed"),
        ("UPDATE audit_entries SET hash = 17 WHERE seq = 4", "changed"),
        ("DELETE FROM audit_texts; DELETE FROM audit_entries WHERE seq = 4", "gap"),
        ("DELETE FROM audit_texts WHERE seq > 8; DELETE FROM audit_entries WHERE seq > 8", "cut-off"),
        ("UPDATE audit_texts SET text = 'a text and no bytes' WHERE seq = 3", "text-changed"),
        ("UPDATE audit_texts SET salt = zeroblob(32) WHERE seq = 3", "text-changed"),
        ("DELETE FROM audit_texts WHERE seq = 3", "text-missing"),
    ],
)
def test_somebody_with_the_file_leaves_a_trace(lite: Database, tmp_path: Path, statement: str, kind: str) -> None:
    log = open_log(lite, tmp_path, keep_texts=True)
    for number in range(12):
        log.append("verdict", BOB, {"job": f"job-{number}"}, {"prompt": "a cat"})
    assert log.verified()["whole"] and log.tail_holds()
    _unguarded(lite)
    with lite.writing() as connection:
        for part in statement.split(";"):
            connection.execute(text(part))
    report = log.verified()
    assert not report["whole"] and report["fault"]["kind"] == kind
    assert log.tail_holds() == (kind != "cut-off")


def test_a_silenced_anchor_and_a_passport_that_knows_better_are_noticed(lite: Database, tmp_path: Path) -> None:
    history = SqlHistory(lite)
    log = open_log(lite, tmp_path, witnesses=history.audit_heads)
    heads = [log.append("verdict", BOB, {}) for _ in range(12)]
    sealed = make_sealed(1)
    passport = sealed.passport.model_copy(update={"audit_head": heads[11]})
    from backend.journal import record_of

    record = record_of(sealed, "job-1").model_copy(update={"passport": passport})
    history.commit(record, last=False)
    assert list(history.audit_heads()) == [heads[11]] and log.verified()["witnessed"] == 12
    _unguarded(lite)
    with lite.writing() as connection:
        connection.execute(audit_entries.delete().where(audit_entries.c.seq > 10))
    assert log.tail_holds() and log.verified()["fault"]["kind"] == "cut-off"
    anchors = tmp_path / "audit" / "anchors.jsonl"
    anchors.write_bytes(b"x" + anchors.read_bytes()[1:])
    history.delete(record.id)
    assert log.verified()["fault"]["kind"] == "anchors"


def test_erasing_takes_texts_and_salts_away_and_the_chain_still_holds(log: SqlAuditLog) -> None:
    for number in range(6):
        who = BOB if number % 2 else OWNER
        log.append("verdict", who, {"job": f"job-{number}"}, {"prompt": f"words of {who.id}", "negative": "n"})
    erased = log.erase(OWNER, principal="bob")
    assert (erased.entries, erased.texts) == (3, 6) and erased.head == log.head()
    assert log.erase(OWNER, principal="bob").texts == 0
    entries = {entry["seq"]: entry for entry in log.page()["entries"]}
    assert entries[7]["event"] == "erase" and entries[7]["facts"]["principal"] == "bob"
    assert entries[2]["texts"]["prompt"] == {"state": "erased", "text": None}
    assert entries[1]["texts"]["prompt"]["text"] == "words of owner"
    report = log.verified()
    assert report["whole"] and report["erased"] == 6 and report["kept"] == 6
    assert log.erase(OWNER, job="job-0").texts == 2
    assert log.erase(OWNER, before=datetime.now(UTC) + timedelta(days=1)).texts == 4
    assert log.verified()["whole"]
    with pytest.raises(InvalidParameter):
        log.erase(OWNER)


def test_erased_words_are_gone_from_the_files_too(lite: Database, tmp_path: Path) -> None:
    log = open_log(lite, tmp_path, keep_texts=True)
    for number in range(40):
        log.append("verdict", BOB, {}, {"prompt": f"Zebrafinch {number} " + "x" * 3000})
    log.erase(OWNER, principal="bob")
    lite.engine.dispose()
    for file in tmp_path.glob("signet.db*"):
        assert b"Zebrafinch" not in file.read_bytes(), file.name


def test_what_is_old_by_the_log_is_erased_whatever_the_clock_did(database: Database, tmp_path: Path) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    moments = iter([now - timedelta(days=40), now - timedelta(days=5), now - timedelta(days=35), now])
    log = open_log(database, tmp_path, keep_texts=True, clock=lambda: next(moments))
    for _ in range(3):
        log.append("verdict", BOB, {}, {"prompt": "words"})
    assert log.erase(OWNER, before=now - timedelta(days=30)).texts == 2
    assert log.verified()["whole"] and log.verified()["kept"] == 1


def test_eight_threads_write_one_unbroken_chain(log: SqlAuditLog) -> None:
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            for number in range(15):
                log.append("verdict", Principal(name), {"n": number}, {"prompt": name})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(f"user-{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = log.verified()
    assert not failures and report["whole"] and report["entries"] == 120


def _write_from_a_process(url: str, folder: Path, name: str, count: int) -> None:
    with open_database(url) as database, open_log(database, folder) as log:
        for number in range(count):
            log.append("verdict", Principal(name), {"n": number})


def test_processes_write_one_unbroken_chain(url: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [
        context.Process(target=_write_from_a_process, args=(url, tmp_path, f"process-{number}", 20))
        for number in range(3)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    with open_database(url) as database:
        report = open_log(database, tmp_path).verified()
    assert report["whole"] and report["entries"] == 60 and report["witnessed"] == 60


def test_a_full_disk_is_told_and_leaves_no_half_entry(lite: Database, tmp_path: Path) -> None:
    log = open_log(lite, tmp_path, keep_texts=True)
    log.append("start", OWNER, {})
    head, room = log.head(), {"pages": 1}
    limit = "PRAGMA max_page_count={pages}"
    event.listen(lite.engine, "checkout", lambda raw, entry, proxy: raw.execute(limit.format_map(room)).close())
    with pytest.raises(StorageFull):
        log.append("verdict", BOB, {}, {"prompt": "word " * 20_000})
    assert log.head() == head and log.verified()["whole"]
    room["pages"] = 1_000_000
    log.append("verdict", BOB, {}, {"prompt": "word " * 20_000})
    assert log.verified()["entries"] == 2


def _die_after_an_entry(url: str, folder: Path) -> None:
    with open_database(url) as database:
        open_log(database, folder).append("verdict", BOB, {"job": "never queued"}, {"prompt": "x"})
        os._exit(9)


def test_a_studio_killed_right_after_an_entry_leaves_a_whole_log_and_no_job(lite: Database, tmp_path: Path) -> None:
    url = str(lite.engine.url)
    dying = multiprocessing.get_context("spawn").Process(target=_die_after_an_entry, args=(url, tmp_path))
    dying.start()
    dying.join(60)
    assert dying.exitcode == 9
    log = open_log(lite, tmp_path)
    assert log.page()["entries"][0]["facts"] == {"job": "never queued"}
    log.append("start", OWNER, {})
    assert log.verified()["whole"] and log.verified()["entries"] == 2


def test_the_head_is_anchored_at_the_start_meanwhile_and_at_the_end(database: Database, tmp_path: Path) -> None:
    log = open_log(database, tmp_path)
    log.append("start", OWNER, {})
    log.watch(seconds=0.02)
    log.append("verdict", BOB, {})
    for _ in range(200):
        if log.verified()["witnessed"] == 2:
            break
        threading.Event().wait(0.02)
    assert log.verified()["witnessed"] == 2
    log.append("stop", OWNER, {})
    log.close()
    assert log.verified()["witnessed"] == 3


def test_a_file_that_cannot_be_decoded_is_a_fault_and_no_crash(lite: Database, tmp_path: Path) -> None:
    log = open_log(lite, tmp_path)
    for _ in range(3):
        log.append("start", OWNER, {})
    file = Path(str(lite.engine.url.database))
    _unguarded(lite)
    lite.engine.dispose()
    with sqlite3.connect(file) as raw:
        raw.execute("UPDATE audit_entries SET body = CAST(x'7bff7d' AS TEXT) WHERE seq = 2")
    raw.close()
    assert log.verified()["fault"]["number"] == 2
