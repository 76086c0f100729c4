"""What Alembic runs: migrations on the connection it was handed, within its transaction."""

from __future__ import annotations

from typing import Any

from alembic import context

from db import search
from db.tables import metadata


def ours(thing: Any, name: str | None, kind: str, reflected: bool, compared: Any) -> bool:
    """False for the search index, which is made at every start and not by migrations."""
    return not (reflected and compared is None and search.belongs(name or "", kind))


connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("Migrations run when the database is opened (db.engine.open_database).")
context.configure(
    connection=connection,
    target_metadata=metadata,
    include_object=ours,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
