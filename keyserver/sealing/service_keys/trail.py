"""Writes down what is done with owners and credentials, before it is done."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from keyserver.errors import KeyServerError, StorageError
from keyserver.sealing.ports import AuditLog, AuditOutcome, Caller

Details = Mapping[str, str | int | bool | None]


class Trail:
    """The audit log, for changes: none happens that cannot be written down."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    @asynccontextmanager
    async def of(self, action: str, caller: Caller, details: Details) -> AsyncIterator[None]:
        """Write an entry, then let it happen; if it does not, a second entry says so.

        Raises `AuditUnavailableError` before anything is done.
        """
        told: dict[str, str | int | bool | None] = {"principal": caller.principal, **details}
        await self._audit.record(action, AuditOutcome.OK, caller.actor, told)
        try:
            yield
        except KeyServerError as error:
            is_trouble = isinstance(error, StorageError)
            outcome = AuditOutcome.ERROR if is_trouble else AuditOutcome.REFUSED
            code = error.code if error.code.isupper() else "STORAGE_UNAVAILABLE"
            await self._audit.record(action, outcome, caller.actor, {**told, "code": code})
            raise
