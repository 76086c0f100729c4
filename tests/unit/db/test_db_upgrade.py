"""A data folder of an earlier version opens in this one, with everything in it, and a copy of before is kept."""

from __future__ import annotations

import json
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import event, text

from backend.errors import SignetError, StorageFull
from backend.types import HistoryQuery, Record
from db import backup, schema, search
from db.engine import Database, _connectable, open_database
from db.history import SqlHistory, _row
from db.jobs import SqlJobs
from db.reviews import SqlReviews
from db.tables import intents, jobs, records
from tests.crash.pictures import make_job, make_record


def first_version(url: str, made: list[Record]) -> None:
    """A database as 0001 left it: its tables, and rows that know nothing of what came later."""
    database = Database(_connectable(url))
    with database.writing() as connection:
        command.upgrade(schema.config(connection), "0001")
        search.heal(connection)
        for record in made:
            row = _row(record)
            del row["handling"]
            passport = {name: value for name, value in row["passport"].items() if name not in _LATER}
            names = [column.name for column in records.c if column.name not in ("seq", "handling")]
            held = {**row, "passport": json.dumps(passport), "tags": json.dumps(row["tags"])}
            held = {name: str(held[name]) if name == "created" else held[name] for name in names}
            places = ", ".join(f":{name}" for name in names)
            connection.execute(text(f"INSERT INTO records ({', '.join(names)}) VALUES ({places})"), held)
        connection.execute(intents.insert().values(id="rec-9", record=make_record(9).model_dump(mode="json")))
        job = make_job()
        reasons = [{"category": "violence", "span": "red", "layer": "words"}]
        verdict = {"action": "note", "policy": "standard", "reasons": reasons}
        connection.execute(
            jobs.insert().values(
                id=job.id,
                state="interrupted",
                principal_id="owner",
                principal_roles=["owner"],
                principal_source="ui",
                created=job.created,
                updated=job.updated,
                attempt=1,
                images=0,
                request=job.request.model_dump(mode="json"),
                verdict=verdict,
                problem=None,
            )
        )
    database.close()


_LATER = ("handling", "reasons", "audit_head", "latent_mark")


def flagged(number: int) -> Record:
    record = make_record(number)
    inspection = record.passport.inspection.model_copy(update={"state": "flagged"})
    return record.model_copy(update={"passport": record.passport.model_copy(update={"inspection": inspection})})


def test_everything_of_an_earlier_version_is_there_afterwards(fresh: Callable[[], str]) -> None:
    url = fresh()
    made = [make_record(1), flagged(2), make_record(3)]
    first_version(url, made)
    with open_database(url) as opened:
        history, jobs_there = SqlHistory(opened), SqlJobs(opened)
        assert list(reversed(history.page(HistoryQuery()).records)) == made
        assert [record.id for record in history.page(HistoryQuery(text="cat", handling="blur")).records] == [made[1].id]
        assert [record.id for record in SqlReviews(opened).waiting().records] == [made[1].id]
        assert len(history.intents()) == 1
        job = jobs_there.get("job-1")
        assert job is not None and job.verdict.flagged == "blur" and job.verdict.reasons[0].field == "prompt"
        history.commit(make_record(4), last=False)
        assert list(history.audit_heads()) == []
    with open_database(url) as again:
        assert len(SqlHistory(again).page(HistoryQuery()).records) == 4


def test_a_copy_of_before_is_kept_and_is_itself_a_database(tmp_path: Path) -> None:
    file = tmp_path / "signet.db"
    first_version(f"sqlite:///{file}", [make_record(1)])
    open_database(f"sqlite:///{file}").close()
    (copy,) = backup.copies(file)
    assert copy.parent == tmp_path / "backups" and copy.name.startswith("signet-0001-")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600 and sorted(copy.parent.iterdir()) == [copy]
    with sqlite3.connect(copy) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        assert raw.execute("SELECT id FROM records").fetchall() == [("rec-000001",)]
    raw.close()
    restored = tmp_path / "other" / "signet.db"
    restored.parent.mkdir()
    restored.write_bytes(copy.read_bytes())
    with open_database(f"sqlite:///{restored}") as opened:
        assert SqlHistory(opened).get("rec-000001") == make_record(1)


def test_nothing_is_copied_when_nothing_changes(tmp_path: Path) -> None:
    file = tmp_path / "signet.db"
    for _ in range(2):
        open_database(f"sqlite:///{file}").close()
    assert backup.copies(file) == ()


def test_the_three_newest_copies_stay(tmp_path: Path) -> None:
    file = tmp_path / "signet.db"
    with open_database(f"sqlite:///{file}") as opened:
        made = []
        for number in range(5):
            SqlHistory(opened).commit(make_record(number), last=False)
            made.append(backup.copy(file, "0002"))
        assert backup.copies(file) == tuple(made[-3:])
    with sqlite3.connect(made[-1]) as raw:
        assert raw.execute("SELECT count(*) FROM records").fetchone() == (5,)
    raw.close()


def test_without_a_copy_nothing_is_changed(tmp_path: Path) -> None:
    file = tmp_path / "signet.db"
    first_version(f"sqlite:///{file}", [make_record(1)])
    (tmp_path / "backups").write_text("in the way")
    with pytest.raises(SignetError) as caught:
        open_database(f"sqlite:///{file}")
    assert caught.value.problem.code == "database-not-copied"
    (tmp_path / "backups").unlink()
    open_database(f"sqlite:///{file}").close()
    assert len(backup.copies(file)) == 1


def test_a_full_disk_stops_the_copy_and_leaves_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "signet.db"
    first_version(f"sqlite:///{file}", [make_record(1)])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(backup, "_force", full)
        with pytest.raises(StorageFull):
            open_database(f"sqlite:///{file}")
    assert list((tmp_path / "backups").iterdir()) == []
    with sqlite3.connect(file) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
    raw.close()


def test_an_upgrade_that_is_cut_off_leaves_the_old_version(tmp_path: Path) -> None:
    file = tmp_path / "signet.db"
    first_version(f"sqlite:///{file}", [make_record(1)])
    database = Database(_connectable(f"sqlite:///{file}"))

    def stop(connection: object, cursor: object, statement: str, *_: object) -> None:
        if "CREATE TRIGGER audit_texts_stay" in statement:
            raise RuntimeError("the power went")

    event.listen(database.engine, "before_cursor_execute", stop)
    with pytest.raises(RuntimeError), database.writing() as connection:
        schema.migrate(connection)
    database.close()
    with sqlite3.connect(file) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    raw.close()
    assert not tables & {"audit_entries", "audit_texts", "reviews"}
    open_database(f"sqlite:///{file}").close()
