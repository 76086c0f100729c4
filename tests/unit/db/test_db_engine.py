from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import event, inspect, select, text

from backend.errors import Busy, Conflict, SignetError, StorageFull
from backend.types import HistoryQuery
from db import schema, search
from db.engine import Database, open_database
from db.history import SqlHistory
from db.jobs import SqlJobs
from db.tables import jobs, records
from tests.crash.pictures import make_job, make_record, make_request


def test_migrations_and_tables_do_not_drift_apart(database: Database) -> None:
    with database.writing() as connection:
        command.check(schema.config(connection))


def test_opening_twice_changes_nothing(url: str) -> None:
    with open_database(url) as first:
        SqlHistory(first).commit(make_record(1), last=False)
    with open_database(url) as second:
        assert SqlHistory(second).get("rec-000001") == make_record(1)


def test_there_is_one_migration_line_and_it_ends_at_the_newest_version(database: Database) -> None:
    with database.reading() as connection:
        assert connection.scalars(text("SELECT version_num FROM alembic_version")).all() == ["0003"]
        assert {"jobs", "records", "intents", "reviews", "audit_entries", "audit_texts"} <= set(
            inspect(connection).get_table_names()
        )


def test_a_database_of_a_newer_version_is_refused_in_plain_words(url: str) -> None:
    with open_database(url) as opened, opened.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SignetError, match="newer Signet"):
        open_database(url)


def test_every_sqlite_connection_has_the_promised_settings(lite: Database) -> None:
    with lite.reading() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "trusted_schema")
        }
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
        "trusted_schema": 0,
    }


def test_a_file_that_is_no_database_is_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "signet.db").write_bytes(b"this is not a database" * 1000)
    with pytest.raises(SignetError) as caught:
        open_database(f"sqlite:///{tmp_path / 'signet.db'}")
    assert caught.value.problem.code == "database-damaged"


def test_a_broken_page_is_noticed_at_start(tmp_path: Path) -> None:
    file = tmp_path / "signet.db"
    with open_database(f"sqlite:///{file}") as opened:
        for number in range(40):
            SqlHistory(opened).commit(make_record(number), last=False)
    whole = bytearray(file.read_bytes())
    with sqlite3.connect(file) as raw:
        page = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'records'").fetchone()[0]
        size = raw.execute("PRAGMA page_size").fetchone()[0]
    raw.close()
    whole[(page - 1) * size : page * size] = b"\xa5" * size
    file.write_bytes(whole)
    with pytest.raises(SignetError) as caught:
        open_database(f"sqlite:///{file}")
    assert caught.value.problem.code == "database-damaged"


def test_a_failed_block_leaves_nothing(database: Database) -> None:
    history = SqlHistory(database)
    with pytest.raises(RuntimeError), database.writing() as connection:
        connection.execute(jobs.delete())
        connection.execute(text("INSERT INTO intents (id, record) VALUES ('x', '{}')"))
        raise RuntimeError
    assert history.intents() == ()


def test_two_writers_queue_instead_of_dead_locking(lite: Database) -> None:
    SqlJobs(lite).add(make_job())
    failures: list[BaseException] = []

    def raise_attempt() -> None:
        try:
            for _ in range(20):
                with lite.writing() as connection:
                    attempt = connection.execute(select(jobs.c.attempt)).scalar_one()
                    connection.execute(jobs.update().values(attempt=attempt + 1))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=raise_attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    job = SqlJobs(lite).get("job-1")
    assert not failures and job is not None and job.attempt == 80


def test_a_writer_that_waits_too_long_is_told_so(lite: Database) -> None:
    with lite.writing(), pytest.raises(Busy):
        event.listen(lite.engine, "checkout", lambda raw, entry, proxy: raw.execute("PRAGMA busy_timeout=1"))
        SqlJobs(lite).add(make_job())


def test_a_full_disk_is_storage_full_and_the_database_goes_on_afterwards(lite: Database) -> None:
    history = SqlHistory(lite)
    room = {"pages": 1}
    limit = "PRAGMA max_page_count={pages}"
    event.listen(lite.engine, "checkout", lambda raw, entry, proxy: raw.execute(limit.format_map(room)).close())
    long = make_request("word " * 5000)
    with pytest.raises(StorageFull):
        history.intend(make_record(1, request=long))
    with pytest.raises(StorageFull):
        history.commit(make_record(1, request=long), last=False)
    assert history.intents() == () and history.get("rec-000001") is None
    room["pages"] = 1_000_000
    history.commit(make_record(1, request=long), last=False)
    assert history.get("rec-000001") is not None


def test_what_is_there_already_is_a_conflict(database: Database) -> None:
    SqlJobs(database).add(make_job())
    with pytest.raises(Conflict):
        SqlJobs(database).add(make_job())
    SqlHistory(database).commit(make_record(1, job_id="job-1"), last=False)
    with pytest.raises(Conflict):
        SqlHistory(database).commit(make_record(2, job_id="job-1"), last=False)
    assert SqlHistory(database).get("rec-000002") is None


def test_an_index_that_does_not_fit_the_table_is_filled_again_at_start(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'signet.db'}"
    with open_database(url) as opened:
        for number in range(3):
            SqlHistory(opened).commit(make_record(number, request=make_request("a blue dog")), last=False)
        with opened.writing() as connection:
            connection.execute(records.delete().where(records.c.id == "rec-000001"))
    with open_database(url) as opened:
        assert len(SqlHistory(opened).page(HistoryQuery(text="blue")).records) == 2
        with opened.writing() as connection:
            connection.exec_driver_sql("INSERT INTO records_fts (records_fts, rank) VALUES ('integrity-check', 1)")
            assert not search.heal(connection)


def test_commits_and_deletes_keep_index_and_table_together(lite: Database) -> None:
    history = SqlHistory(lite)
    for number in range(4):
        history.commit(make_record(number), last=False)
        history.commit(make_record(number), last=False)
    history.delete("rec-000003")
    history.rate("rec-000002", 3)
    history.commit(make_record(3), last=False)
    with lite.writing() as connection:
        connection.exec_driver_sql("INSERT INTO records_fts (records_fts, rank) VALUES ('integrity-check', 1)")
        assert not search.heal(connection)
