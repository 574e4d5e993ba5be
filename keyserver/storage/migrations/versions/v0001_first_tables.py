"""The first tables: seal, keys, votes, tasks, outbox, blocks read."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# A step keeps its own definitions: it must not change when the schema does.
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPEN_TASK = sa.text("state IN ('pending', 'running', 'answered', 'held')")


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "document_candidates",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("record_hash", sa.LargeBinary(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
    )
    op.create_table(
        "document_keys",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("certified", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
    )
    op.create_table(
        "key_records",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("record_hash", sa.LargeBinary(), nullable=False),
        sa.Column("certified", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
    )
    op.create_table(
        "key_shares",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("record_hash", sa.LargeBinary(), nullable=False),
        sa.Column("share_box", sa.LargeBinary(), nullable=False),
        sa.Column("share_term", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "version"),
    )
    op.create_table(
        "open_records",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("record_hash", sa.LargeBinary(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("transcript", sa.LargeBinary(), nullable=False),
        sa.Column("holding", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("key_id", "version", "record_hash"),
    )
    op.create_table(
        "read_blocks",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "number"),
    )
    op.create_table(
        "seal",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name="seal_is_one_row"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "seal_keyring",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("box", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("id = 1", name="seal_keyring_is_one_row"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "skipped_attempts",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "attempt"),
    )
    op.create_table(
        "skipped_versions",
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("decision", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "version"),
    )
    op.create_table(
        "tasks",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("contract", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.LargeBinary(), nullable=False),
        sa.Column("requester", sa.LargeBinary(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("first_block", sa.BigInteger(), nullable=False),
        sa.Column("first_hash", sa.LargeBinary(), nullable=False),
        sa.Column("first_log", sa.Integer(), nullable=True),
        sa.Column("last_block", sa.BigInteger(), nullable=False),
        sa.Column("last_hash", sa.LargeBinary(), nullable=False),
        sa.Column("last_log", sa.Integer(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_block", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("closed_block", sa.BigInteger(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "one_open_task",
        "tasks",
        ["chain_id", "contract", "kind", "key_id", "requester"],
        unique=True,
        sqlite_where=OPEN_TASK,
        postgresql_where=OPEN_TASK,
    )
    op.create_index(
        "tasks_by_state", "tasks", ["chain_id", "state", "next_attempt_block"], unique=False
    )
    op.create_index("tasks_of_key", "tasks", ["chain_id", "key_id"], unique=False)
    op.create_table(
        "votes",
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("evidence", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "round", "kind"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("task_id", ROW_ID, nullable=False),
        sa.Column("epoch_contract", sa.LargeBinary(), nullable=False),
        sa.Column("epoch_change", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("sender", sa.LargeBinary(), nullable=False),
        sa.Column("variant", sa.LargeBinary(), nullable=False),
        sa.Column("contract", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("is_error", sa.Boolean(), nullable=False),
        sa.Column("bound_to_epoch", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.LargeBinary(), nullable=False),
        sa.Column("mined", sa.LargeBinary(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="outbox_task"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "task_id",
            "epoch_contract",
            "epoch_change",
            "method",
            "sender",
            "variant",
            name="one_answer",
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_by_sender", "outbox", ["chain_id", "sender", "state"], unique=False)
