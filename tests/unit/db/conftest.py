"""A fresh database for every test: SQLite, and PostgreSQL too where SIGNET_TEST_POSTGRES names one to be emptied."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from db.engine import Database, open_database

POSTGRES = "SIGNET_TEST_POSTGRES"
KINDS = [
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.skipif(POSTGRES not in os.environ, reason=f"{POSTGRES} is not set")),
]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite file: copying it is quicker than migrating anew for every test."""
    file = tmp_path_factory.mktemp("template") / "signet.db"
    open_database(f"sqlite:///{file}").close()
    return file


def empty_postgres() -> str:
    """The URL of a PostgreSQL database of which nothing is left."""
    url = os.environ[POSTGRES]
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return url


def empty_sqlite(template: Path, folder: Path) -> str:
    shutil.copy(template, folder / "signet.db")
    return f"sqlite:///{folder / 'signet.db'}"


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> str:
    return empty_sqlite(template, tmp_path) if request.param == "sqlite" else empty_postgres()


@pytest.fixture(params=KINDS)
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Gives the URL of a database without any table."""
    return (lambda: f"sqlite:///{tmp_path / 'signet.db'}") if request.param == "sqlite" else empty_postgres


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with open_database(url) as opened:
        yield opened


@pytest.fixture
def lite(template: Path, tmp_path: Path) -> Iterator[Database]:
    """SQLite only, for what is peculiar to it."""
    with open_database(empty_sqlite(template, tmp_path)) as opened:
        yield opened
