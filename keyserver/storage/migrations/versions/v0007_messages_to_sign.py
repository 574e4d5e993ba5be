"""Which message a task is about: one account may have several signed by one key at a time."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

OPEN_TASK = sa.text("state IN ('pending', 'running', 'answered', 'held')")
NO_MESSAGE = {"sqlite": "x'" + "00" * 32 + "'", "postgresql": "'\\x" + "00" * 32 + "'::bytea"}
"""32 zero bytes as each database writes them."""


def upgrade() -> None:
    """Add the column, and let it tell open tasks apart."""
    none = sa.text(NO_MESSAGE[op.get_bind().dialect.name])
    op.add_column(
        "tasks", sa.Column("message", sa.LargeBinary(), nullable=False, server_default=none)
    )
    op.drop_index("one_open_task", "tasks")
    op.create_index(
        "one_open_task",
        "tasks",
        ["chain_id", "contract", "kind", "key_id", "requester", "message"],
        unique=True,
        sqlite_where=OPEN_TASK,
        postgresql_where=OPEN_TASK,
    )
