"""Trust: the audit log with its texts, reviews of pictures, and how each picture may be shown."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)

INSPECTED = {
    "sqlite": ("json_extract(passport, '$.handling')", "json_extract(passport, '$.inspection.state')"),
    "postgresql": ("passport ->> 'handling'", "passport -> 'inspection' ->> 'state'"),
}
"""Where the Passport of a row says how it may be shown, and what its inspection came to."""

GUARDS = {
    "sqlite": (
        """CREATE TRIGGER audit_entries_stay BEFORE UPDATE ON audit_entries
        BEGIN SELECT RAISE(ABORT, 'entries of the audit log are never changed'); END""",
        """CREATE TRIGGER audit_entries_remain BEFORE DELETE ON audit_entries
        BEGIN SELECT RAISE(ABORT, 'entries of the audit log are never removed'); END""",
        """CREATE TRIGGER audit_entries_follow BEFORE INSERT ON audit_entries
        WHEN NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit_entries)
        BEGIN SELECT RAISE(ABORT, 'an entry of the audit log follows the last one'); END""",
        """CREATE TRIGGER audit_texts_stay BEFORE UPDATE ON audit_texts
        BEGIN SELECT RAISE(ABORT, 'texts of the audit log are erased, never changed'); END""",
    ),
    "postgresql": (
        """CREATE FUNCTION audit_forbidden() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'entries of the audit log are never changed or removed'; END $$""",
        """CREATE FUNCTION audit_follows() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN
            IF NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM audit_entries) THEN
                RAISE EXCEPTION 'an entry of the audit log follows the last one';
            END IF;
            RETURN NEW;
        END $$""",
        """CREATE TRIGGER audit_entries_stay BEFORE UPDATE OR DELETE ON audit_entries
        FOR EACH ROW EXECUTE FUNCTION audit_forbidden()""",
        """CREATE TRIGGER audit_entries_remain BEFORE TRUNCATE ON audit_entries
        FOR EACH STATEMENT EXECUTE FUNCTION audit_forbidden()""",
        """CREATE TRIGGER audit_entries_follow BEFORE INSERT ON audit_entries
        FOR EACH ROW EXECUTE FUNCTION audit_follows()""",
        """CREATE TRIGGER audit_texts_stay BEFORE UPDATE ON audit_texts
        FOR EACH ROW EXECUTE FUNCTION audit_forbidden()""",
    ),
}
"""They hold back mistakes of ours, not somebody who has the file: against that there is the chain."""


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("seq", KEY, autoincrement=False, nullable=False),
        sa.Column("body", Text(), nullable=False),
        sa.Column("prev_hash", Text(), nullable=False),
        sa.Column("hash", Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_entries"),
    )
    op.create_table(
        "audit_texts",
        sa.Column("seq", KEY, autoincrement=False, nullable=False),
        sa.Column("name", Text(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["seq"], ["audit_entries.seq"], name="fk_audit_texts_seq"),
        sa.PrimaryKeyConstraint("seq", "name", name="pk_audit_texts"),
    )
    op.create_table(
        "reviews",
        sa.Column("seq", KEY, nullable=False),
        sa.Column("record_id", Text(), nullable=False),
        sa.Column("decision", Text(), nullable=False),
        sa.Column("who", Text(), nullable=False),
        sa.Column("decided", TIME, nullable=False),
        sa.Column("note", Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_reviews"),
        sa.UniqueConstraint("record_id", name="uq_reviews_record_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reviews_decision", "reviews", ["decision"])
    op.add_column("records", sa.Column("handling", Text(), nullable=False, server_default="withhold"))
    dialect = op.get_bind().dialect.name
    handling, state = INSPECTED[dialect]
    op.execute(
        f"UPDATE records SET handling = CASE WHEN coalesce({handling}, 'show') <> 'show' THEN {handling} "  # noqa: S608
        f"WHEN {state} = 'flagged' THEN 'blur' ELSE 'show' END"
    )
    op.create_index("ix_records_handling_seq", "records", ["handling", "seq"])
    for guard in GUARDS[dialect]:
        op.execute(guard)
