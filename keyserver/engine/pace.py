"""How many keys are moved at the same time: as many as clients can bear.

Moving keys and answering clients share the processors, disks and connections of all nodes. Every
session of a client in which this node takes part is compared with how long such a session takes
while no key is moved: if they take much longer, fewer keys are moved at a time, at last one, with
rests; if not, more. While nobody asks as many as may be.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from keyserver.engine.ports import Clock
from keyserver.engine.session_table import LiveSession
from keyserver.engine.set_change_lock import OF_THE_CHANGE
from keyserver.sessions.core import Completed, Failed, SessionKind
from keyserver.sessions.runner import Role

BEARABLE: Final = 1.35
"""How many times as long as usual sessions of clients may take on average: then the slowest of a
hundred take less than twice as long."""

WIDEST: Final = 64
"""The most keys at a time (engine design, section 14.4, step 3)."""

LEAST: Final = 0.1
"""The least: one key at a time, and nine times as long a rest."""

LONGEST_REST_S: Final = 1.0

QUIET_S: Final = 10.0
"""After so long without the end of a client's session nobody asks."""

_USUAL: Final = 1 / 16
"""How much the latest session counts in what is usual."""

_RECENT: Final = 1 / 8
"""The same in how much longer they take now."""

_OUTLIER: Final = 10.0
"""A session that takes still longer counts as so many times as long."""

_GAIN: Final = 0.1
"""How fast the number follows: with the power of this."""


class Pace:
    """Lets sessions that move keys begin, as many at a time as sessions of clients can bear."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._usual_s: dict[tuple[SessionKind, Role], float] = {}
        self._slowdown = 1.0
        """How many times as long as usual sessions of clients have taken lately."""
        self._width = 1.0
        self._asked_at = -math.inf
        """When a session of a client ended last."""
        self._moved_at = -math.inf
        """When a session that moves a key ended last."""
        self._running = 0
        self._taken = 0
        """Places: of those that run, and those that rest."""
        self._freed = asyncio.Event()

    @property
    def width(self) -> float:
        """How many keys may be moved at a time now; below 1: that part of the time."""
        return WIDEST if self._is_quiet else self._width

    @property
    def _is_quiet(self) -> bool:
        return self._clock.monotonic() - self._asked_at > QUIET_S

    # --- moving -----------------------------------------------------------------------------------

    @asynccontextmanager
    async def place_for(self, kind: SessionKind) -> AsyncIterator[None]:
        """Wait for a place if a key is to be moved, and keep it for the length of the block."""
        if kind is not SessionKind.REDISTRIBUTION:
            yield
            return
        while self._taken >= max(1, int(self.width)):
            self._freed.clear()
            await self._freed.wait()
        self._taken += 1
        self._running += 1
        began = self._clock.monotonic()
        try:
            yield
        finally:
            self._running -= 1
            self._moved_at = self._clock.monotonic()
            self._rest(self._moved_at - began)

    def _rest(self, worked_s: float) -> None:
        rest_s = worked_s * (1 / self.width - 1)
        if rest_s > 0:
            self._clock.call_later(min(rest_s, LONGEST_REST_S), self._free)
        else:
            self._free()

    def _free(self) -> None:
        self._taken -= 1
        self._freed.set()

    # --- clients ----------------------------------------------------------------------------------

    def note_end(self, session: LiveSession, outcome: Completed | Failed) -> None:
        """Take note of a session's end; those that clients have asked for count."""
        kind, role = session.subject[0], session.key[1]
        if kind in OF_THE_CHANGE:
            return
        if self._is_quiet:
            self._begin_anew()
        now = self._clock.monotonic()
        self._asked_at = now
        if isinstance(outcome, Completed):
            self._compare((kind, role), session.opened_at, now - session.opened_at)

    def _compare(self, sort: tuple[SessionKind, Role], began: float, seconds: float) -> None:
        """What is usual is learned while no key is moved, and from who is faster meanwhile."""
        usual_s = self._usual_s.get(sort, 0.0)
        if usual_s == 0.0:
            self._usual_s[sort] = seconds
            return
        undisturbed = not self._running and began >= self._moved_at
        if undisturbed or seconds < usual_s:
            self._usual_s[sort] += (seconds - usual_s) * _USUAL
        if self._taken:
            self._follow(min(seconds / usual_s, _OUTLIER))
        else:
            self._begin_anew()

    def _begin_anew(self) -> None:
        """With one key at a time, whenever clients come back or nothing has been moved."""
        self._width, self._slowdown = 1.0, 1.0

    def _follow(self, ratio: float) -> None:
        self._slowdown += (ratio - self._slowdown) * _RECENT
        wider = self._width * (BEARABLE / self._slowdown) ** _GAIN
        self._width = min(max(wider, LEAST), WIDEST)
