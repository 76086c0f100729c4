"""The first tables: jobs, records (pictures of the history) and intents (pictures about to be written)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(astext_type=Text()), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", KEY, nullable=False),
        sa.Column("id", Text(), nullable=False),
        sa.Column("state", Text(), nullable=False),
        sa.Column("principal_id", Text(), nullable=False),
        sa.Column("principal_roles", DOCUMENT, nullable=False),
        sa.Column("principal_source", Text(), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("updated", TIME, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("request", DOCUMENT, nullable=False),
        sa.Column("verdict", DOCUMENT, nullable=False),
        sa.Column("problem", DOCUMENT, nullable=True),
        sa.PrimaryKeyConstraint("seq", name="pk_jobs"),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_state_seq", "jobs", ["state", "seq"])
    op.create_index("ix_jobs_principal_id_seq", "jobs", ["principal_id", "seq"])
    op.create_table(
        "records",
        sa.Column("seq", KEY, nullable=False),
        sa.Column("id", Text(), nullable=False),
        sa.Column("job_id", Text(), nullable=False),
        sa.Column("idx", sa.Integer(), nullable=False),
        sa.Column("created", TIME, nullable=False),
        sa.Column("model", Text(), nullable=False),
        sa.Column("sampler", Text(), nullable=False),
        sa.Column("rating", sa.SmallInteger(), nullable=False),
        sa.Column("sha256", Text(), nullable=False),
        sa.Column("mark_id", sa.BigInteger(), nullable=False),
        sa.Column("path", Text(), nullable=False),
        sa.Column("thumbnail_path", Text(), nullable=True),
        sa.Column("prompt", Text(), nullable=False),
        sa.Column("negative", Text(), nullable=False),
        sa.Column("tags", DOCUMENT, nullable=False),
        sa.Column("infotext", Text(), nullable=False),
        sa.Column("passport", DOCUMENT, nullable=False),
        sa.CheckConstraint("rating BETWEEN 0 AND 5", name="ck_records_rating"),
        sa.PrimaryKeyConstraint("seq", name="pk_records"),
        sa.UniqueConstraint("id", name="uq_records_id"),
        sa.UniqueConstraint("job_id", "idx", name="uq_records_job_id_idx"),
        sa.UniqueConstraint("sha256", name="uq_records_sha256"),
        sa.UniqueConstraint("mark_id", name="uq_records_mark_id"),
        sqlite_autoincrement=True,
    )
    for column in ("created", "model", "sampler", "rating"):
        op.create_index(f"ix_records_{column}_seq", "records", [column, "seq"])
    op.create_table(
        "intents",
        sa.Column("seq", KEY, nullable=False),
        sa.Column("id", Text(), nullable=False),
        sa.Column("record", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_intents"),
        sa.UniqueConstraint("id", name="uq_intents_id"),
        sqlite_autoincrement=True,
    )
