"""Transactions of a database: what is the same whether it is a file or a server."""

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine

T = TypeVar("T")

Transaction = Callable[[Connection], T]
"""What is done in one transaction. It may run in a thread of its own: it uses the connection, its
arguments and nothing that others change meanwhile."""

POOL_SIZE: Final = 3
"""Connections that are kept open."""


class Access(Protocol):
    """An open database (`SqliteAccess`, `PostgresAccess`)."""

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine."""
        ...

    @property
    def truncation_due(self) -> bool:
        """Whether the last `forget_erased` found a reader in its way."""
        ...

    async def start(self) -> None:
        """Make sure that no other process writes; not called for reading only."""
        ...

    async def read(self, work: Transaction[T]) -> T:
        """Run `work` on one state of the database; it changes nothing."""
        ...

    async def write(self, work: Transaction[T]) -> T:
        """Run `work` after the writers before it, durably; an exception undoes it."""
        ...

    async def forget_erased(self) -> None:
        """After secrets were erased: let nothing of them stay beside the tables."""
        ...

    async def close(self) -> None:
        """Wait for what is under way, then release everything."""
        ...
