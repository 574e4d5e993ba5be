"""Where a node keeps the changes of the node set that were completed."""

from collections.abc import Sequence
from typing import Protocol

from keyserver.model.set_change import CompletedChange


class SetChangeStore(Protocol):
    """The completed changes of one node, numbered by epoch from 1.

    Their number and the latest one decide which orders are valid, and what the current set of a
    cluster without a contract is (`keyserver.model.set_change.current_set`).
    """

    async def completed(self) -> Sequence[CompletedChange]:
        """All of them, the oldest first; raises `StorageError` for a row that does not parse."""
        ...

    async def keep_completed(self, changes: Sequence[CompletedChange]) -> None:
        """Make this the history, as a whole and durably: with one more, or as others vouch for it.

        Raises `ValueError` unless the epochs are 1, 2, …, and `StorageError` if the history would
        become shorter: what was completed is never forgotten.
        """
        ...


def check_numbers(changes: Sequence[CompletedChange]) -> None:
    """Raise `ValueError` unless the epochs are 1, 2, …."""
    for epoch, change in enumerate(changes, 1):
        if change.epoch != epoch:
            raise ValueError(f"epoch {change.epoch} stands where {epoch} must be")
