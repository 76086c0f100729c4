"""The tables, the same on SQLite and PostgreSQL.

Whole shapes (Passport, GenerationRequest) are kept as JSON; what is filtered or sorted by has a plain column beside.
`seq` grows with every insert and is the order of everything: unlike a time of day, it never goes back.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB


class UtcTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite drops time zones, so the zone is taken off on the way in and put back on the way out.

    A value without a zone is taken to be UTC.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else utc(value)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else utc(value)


def utc(moment: datetime) -> datetime:
    """The same moment in UTC; a moment without a zone is UTC already."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


KEY = BigInteger().with_variant(Integer(), "sqlite")
DOCUMENT = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

jobs = Table(
    "jobs",
    metadata,
    Column("seq", KEY, primary_key=True),
    Column("id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("principal_id", Text, nullable=False),
    Column("principal_roles", DOCUMENT, nullable=False),
    Column("principal_source", Text, nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("updated", UtcTime, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("images", Integer, nullable=False),
    Column("request", DOCUMENT, nullable=False),
    Column("verdict", DOCUMENT, nullable=False),
    Column("problem", DOCUMENT),
    UniqueConstraint("id"),
    Index(None, "state", "seq"),
    Index(None, "principal_id", "seq"),
    sqlite_autoincrement=True,
)

# A picture outlives the journal entry it came from, so job_id is no foreign key.
records = Table(
    "records",
    metadata,
    Column("seq", KEY, primary_key=True),
    Column("id", Text, nullable=False),
    Column("job_id", Text, nullable=False),
    Column("idx", Integer, nullable=False),
    Column("created", UtcTime, nullable=False),
    Column("model", Text, nullable=False),
    Column("sampler", Text, nullable=False),
    Column("rating", SmallInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("mark_id", BigInteger, nullable=False),
    Column("path", Text, nullable=False),
    Column("thumbnail_path", Text),
    Column("prompt", Text, nullable=False),
    Column("negative", Text, nullable=False),
    Column("tags", DOCUMENT, nullable=False),
    Column("infotext", Text, nullable=False),
    Column("passport", DOCUMENT, nullable=False),
    # How it may be shown now. The default is the strictest, for a row that somebody else might write.
    Column("handling", Text, nullable=False, server_default="withhold"),
    CheckConstraint("rating BETWEEN 0 AND 5", name="rating"),
    UniqueConstraint("id"),
    UniqueConstraint("job_id", "idx"),
    UniqueConstraint("sha256"),
    UniqueConstraint("mark_id"),
    Index(None, "created", "seq"),
    Index(None, "model", "seq"),
    Index(None, "sampler", "seq"),
    Index(None, "rating", "seq"),
    Index(None, "handling", "seq"),
    sqlite_autoincrement=True,
)

intents = Table(
    "intents",
    metadata,
    Column("seq", KEY, primary_key=True),
    Column("id", Text, nullable=False),
    Column("record", DOCUMENT, nullable=False),
    UniqueConstraint("id"),
    sqlite_autoincrement=True,
)

# The newest decision about a picture; earlier ones are in the audit log.
reviews = Table(
    "reviews",
    metadata,
    Column("seq", KEY, primary_key=True),
    Column("record_id", Text, nullable=False),
    Column("decision", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("decided", UtcTime, nullable=False),
    Column("note", Text, nullable=False),
    UniqueConstraint("record_id"),
    Index(None, "decision"),
    sqlite_autoincrement=True,
)

# What pictures show, as a vector of int8 in the space of one version of the towers; all zeros where a picture cannot be
# read. Only of pictures that are shown, and never longer there than the picture.
vectors = Table(
    "vectors",
    metadata,
    Column("seq", KEY, ForeignKey("records.seq", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("version", Text, nullable=False),
    Column("vector", LargeBinary, nullable=False),
    Index(None, "version", "seq"),
)

# Rows are added one after the other and never changed; triggers, made by the migration, see to it. What an entry says
# is in `body` alone, so that no column beside it could say something else.
audit_entries = Table(
    "audit_entries",
    metadata,
    Column("seq", KEY, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
)

# Texts of entries, with their salts: they may be erased, never changed. `text` is UTF-8, empty where only the
# commitment in the entry is kept.
audit_texts = Table(
    "audit_texts",
    metadata,
    Column("seq", KEY, ForeignKey("audit_entries.seq"), primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("text", LargeBinary),
)
