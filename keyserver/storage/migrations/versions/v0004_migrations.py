"""The tables of migrations of key server sets on chain."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "planned_starts",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("contract", sa.LargeBinary(), nullable=False),
        sa.Column("migration_id", sa.LargeBinary(), nullable=False),
        sa.Column("current_set", sa.LargeBinary(), nullable=False),
        sa.Column("new_set", sa.LargeBinary(), nullable=False),
        sa.Column("block", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "contract"),
    )
    op.create_table(
        "joined_migrations",
        sa.Column("chain_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("contract", sa.LargeBinary(), nullable=False),
        sa.Column("migration_id", sa.LargeBinary(), nullable=False),
        sa.Column("target_set", sa.LargeBinary(), nullable=False),
        sa.Column("accepted_block", sa.BigInteger(), nullable=False),
        sa.Column("succeeded_block", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("chain_id", "contract", "migration_id"),
    )
