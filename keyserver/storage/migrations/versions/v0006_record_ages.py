"""Since when each record is in force here; of those that are there already, since now."""

import time

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column, and the index by which old records are found."""
    age = sa.Column("installed_at", sa.BigInteger(), nullable=False, server_default=sa.text("0"))
    op.add_column("key_records", age)
    records = sa.table("key_records", sa.column("installed_at"))
    op.execute(sa.update(records).values(installed_at=int(time.time())))
    op.create_index("key_records_by_age", "key_records", ["installed_at", "key_id"])
