"""Vectors of what pictures show, for the search by meaning."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "vectors",
        sa.Column("seq", KEY, autoincrement=False, nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["records.seq"], name="fk_vectors_seq", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name="pk_vectors"),
    )
    op.create_index("ix_vectors_version_seq", "vectors", ["version", "seq"])
