"""How many keys are moved at the same time: as many as the nodes digest while clients are asking.

Moving keys and answering clients share the processors, disks and connections of all nodes. Sessions
that take longer the more of them there are wait for each other, and clients wait with them. So
while clients ask the number follows how long a session takes, as TCP Vegas (Brakmo and Peterson,
1995) has the window of a connection follow its round-trip times: of `width` sessions that take
`mean` seconds, where one alone takes `least`, about `width * (1 - least / mean)` only wait.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from keyserver.sessions.core import SessionKind

FEW_WAIT: Final = 0.5
"""If no more than this wait, one more is let in at a time."""

MANY_WAIT: Final = 1.0
"""If more than this wait, as many fewer."""

WIDEST: Final = 64
"""The most at a time, also while nobody asks (engine design, section 14.4, step 3)."""

QUIET_S: Final = 10.0
"""After so long without a client's session nobody asks."""


class Pace:
    """Lets sessions that move keys begin; finds out by their length how many at a time."""

    def __init__(self, clock: Callable[[], float], client_seen: Callable[[], float]) -> None:
        """`clock`: seconds that never go back; `client_seen`: when one of a client last began."""
        self._clock = clock
        self._client_seen = client_seen
        self._width = 1
        self._least = 0.0
        self._round: list[float] = []
        self._running = 0
        self._ended = asyncio.Event()

    @property
    def width(self) -> int:
        """How many may run at a time now."""
        return WIDEST if self._is_quiet else self._width

    @property
    def _is_quiet(self) -> bool:
        return self._clock() - self._client_seen() > QUIET_S

    @asynccontextmanager
    async def place_for(self, kind: SessionKind) -> AsyncIterator[None]:
        """Wait for a place, and keep it for the length of the block; others go on at once.

        What fails says nothing about how busy the nodes are, and is not counted.
        """
        if kind is not SessionKind.REDISTRIBUTION:
            yield
            return
        while self._running >= self.width:
            self._ended.clear()
            await self._ended.wait()
        self._running += 1
        began = self._clock()
        try:
            yield
            self._took(self._clock() - began)
        finally:
            self._running -= 1
            self._ended.set()

    def _took(self, seconds: float) -> None:
        """One more has ended; when as many have as run at a time, think again."""
        if self._is_quiet:
            self._width = 1  # when clients come back, begin with few
            self._round.clear()
            return
        alone = self._width == 1 or not self._least
        self._least = seconds if alone else min(self._least, seconds)
        self._round.append(seconds)
        if len(self._round) < self._width:
            return
        mean = sum(self._round) / len(self._round)
        self._round.clear()
        waiting = self._width * (1 - self._least / mean) if mean else 0.0
        if waiting <= FEW_WAIT:
            self._width = min(self._width + 1, WIDEST)
        elif waiting > MANY_WAIT:
            self._width = max(self._width - round(waiting), 1)
