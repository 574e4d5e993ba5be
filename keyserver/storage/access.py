"""Transactions of a database: what is the same whether it is a file or a server."""

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine

from keyserver.errors import StorageError

T = TypeVar("T")

Transaction = Callable[[Connection], T]
"""What is done in one transaction. It may run in a thread of its own, and again from its beginning
after a conflict with another one: it uses the connection, its arguments and nothing that others
change meanwhile, and changes nothing but what it returns."""

POOL_SIZE: Final = 3
"""Connections that are kept open."""


class FenceLostError(StorageError):
    """This process does not act for the node (any more); nothing was written."""

    code = "STANDBY"


class Fence(Protocol):
    """Keeps processes that do not act for the node from writing what only the acting one may."""

    def check(self, connection: Connection) -> None:
        """Begin a transaction that no change of hands can overtake.

        Raises `FenceLostError` if this process does not act.
        """
        ...


class Access(Protocol):
    """An open database (`SqliteAccess`, `PostgresAccess`)."""

    is_shared: bool
    """Whether several processes may write to it."""

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine."""
        ...

    @property
    def truncation_due(self) -> bool:
        """Whether the last `forget_erased` found a reader in its way."""
        ...

    async def migrate(self, work: Transaction[None]) -> None:
        """Run `work`, which changes tables, while no other process does that."""
        ...

    async def read(self, work: Transaction[T]) -> T:
        """Run `work` on one state of the database; it changes nothing."""
        ...

    async def write(self, work: Transaction[T]) -> T:
        """Run `work` after the writers before it, durably; an exception undoes it."""
        ...

    async def write_shared(self, work: Transaction[T]) -> T:
        """The same for what any process may write, after such writers of other processes."""
        ...

    async def forget_erased(self) -> None:
        """After secrets were erased: let nothing of them stay beside the tables."""
        ...

    async def close(self) -> None:
        """Wait for what is under way, then release everything."""
        ...
