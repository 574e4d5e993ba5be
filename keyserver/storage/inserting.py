"""Inserts that give way to a row that is there, in both kinds of databases."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_if_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row unless one of the table's unique keys is taken; whether it was inserted."""
    # Any: what a column takes.
    if connection.dialect.name == "postgresql":
        written = postgresql.insert(table).values(row).on_conflict_do_nothing()
        return connection.execute(written).rowcount == 1
    kept = sqlite.insert(table).values(row).on_conflict_do_nothing()
    return connection.execute(kept).rowcount == 1
