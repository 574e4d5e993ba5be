"""Refused attempts: how many an address may make, and what the audit log hears (sealing, C6.3).

A good share or signature is never refused by a limit: whoever uses this checks first, and notes
only failures, and what changes nothing.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from math import ceil
from typing import Final

import structlog

from keyserver.sealing.errors import AuditUnavailableError
from keyserver.sealing.ports import SYSTEM, Actor, AuditLog, AuditOutcome

WINDOW_S: Final = 600.0
MOST_OF_ONE: Final = 10
"""Refusals of one address in ten minutes that are told in full."""
MOST_OF_ALL: Final = 100
"""And of all addresses together."""
SUM_S: Final = 60.0
"""How often the others are written down, as one entry."""

log = structlog.get_logger(__name__)


class RefusalTally:
    """The refusals of the last ten minutes, as far as they were told in full: at most a hundred."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._noted: deque[tuple[float, str]] = deque()

    def note(self, address: str) -> int | None:
        """Note a refusal; `None` within the limits, else in how many seconds there is room."""
        now = self._monotonic()
        while self._noted and self._noted[0][0] + WINDOW_S <= now:
            self._noted.popleft()
        own = [at for at, whose in self._noted if whose == address]
        if len(own) >= MOST_OF_ONE:
            return _seconds(own[0] + WINDOW_S - now)
        if len(self._noted) >= MOST_OF_ALL:
            return _seconds(self._noted[0][0] + WINDOW_S - now)
        self._noted.append((now, address))
        return None


class Refusals:
    """Counts the refusals of one action and writes them down: beyond the limits, summed."""

    def __init__(
        self, action: str, audit: AuditLog, monotonic: Callable[[], float], outcome: AuditOutcome
    ) -> None:
        """`action`: as sealing, C14, names it; `outcome`: `REFUSED` or `DENIED`."""
        self._action = action
        self._audit = audit
        self._outcome = outcome
        self._refused = RefusalTally(monotonic)
        self.repeats = RefusalTally(monotonic)
        """What is right but changes nothing, such as a share that is there already."""
        self.withdrawals = RefusalTally(monotonic)
        """What is right and undone again: without a limit it would fill the log."""
        self._sums: Counter[tuple[str, str]] = Counter()
        """Refusals not written down yet, by action and code."""

    async def note(
        self,
        address: str,
        code: str,
        actor: Actor,
        *,
        among: RefusalTally | None = None,
        action: str | None = None,
    ) -> int | None:
        """Note a refusal; beyond the limits, in how many seconds there is room again.

        It counts `among` the refusals or the repeats; `action` is another one than the usual.
        Raises `AuditUnavailableError`.
        """
        action = action or self._action
        wait_s = (among or self._refused).note(address)
        if wait_s is None:
            details = {"address": _shown(address), "code": code}
            await self._audit.record(action, self._outcome, actor, details)
        else:
            self._sums[action, code] += 1
        return wait_s

    async def run(self) -> None:
        """Write down what was summed, once a minute; for ever."""
        while True:
            await asyncio.sleep(SUM_S)
            await self.write_sums()

    async def write_sums(self) -> None:
        """Write down what was summed; it is kept where the log cannot be written."""
        for (action, code), count in list(self._sums.items()):
            details: dict[str, str | int] = {"code": code, "count": count}
            try:
                await self._audit.record(action, self._outcome, SYSTEM, details)
            except AuditUnavailableError as error:
                log.warning("refusals_not_written", action=action, problem=str(error))
                return
            self._sums[action, code] -= count
            if not self._sums[action, code]:
                del self._sums[action, code]


def _shown(address: str) -> str:
    """An address as the audit log takes it: of a network, its first address."""
    return address.partition("/")[0] or "unix"


def _seconds(left: float) -> int:
    return max(1, ceil(left))
