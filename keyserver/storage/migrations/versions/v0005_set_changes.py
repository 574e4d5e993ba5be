"""The table of completed changes of the node set."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create it."""
    op.create_table(
        "set_changes",
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("change_id", sa.LargeBinary(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("contract", sa.LargeBinary(), nullable=False),
        sa.Column("old_nodes", sa.LargeBinary(), nullable=False),
        sa.Column("new_nodes", sa.LargeBinary(), nullable=False),
        sa.Column("completed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("epoch"),
    )
