"""How many sessions that move keys go on at a time, and what sessions of clients notice of it."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from keyserver.engine.pace import BEARABLE, LEAST, LONGEST_REST_S, QUIET_S, WIDEST, Pace
from keyserver.engine.session_table import LiveSession
from keyserver.model.identifiers import KeyId, SessionId
from keyserver.sessions.core import Completed, Failed, SessionKind, UnavailableError
from keyserver.sessions.runner import Role
from keyserver.simulation.clock import VirtualClock
from keyserver.simulation.loop import run_virtual
from tests.support.set_changes import NODES

MOVING = SessionKind.REDISTRIBUTION
MOVE_S = 0.1


@dataclass
class Network:
    """Each key that is moved makes sessions of clients longer by a part of what they take."""

    burden: float
    """By how much: 1 for twice as long with one key at a time."""
    ask_s: float = 0.01
    """How long a session of a client takes while no key is moved."""
    clock: VirtualClock = field(default_factory=VirtualClock)
    pace: Pace = field(init=False)
    running: int = 0
    most: int = 0
    done: int = 0
    slowdowns: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pace = Pace(self.clock)

    async def move(self) -> None:
        async with self.pace.place_for(MOVING):
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(MOVE_S)
            self.running -= 1
            self.done += 1

    async def move_for(self, seconds: float) -> int:
        """How many keys are moved while there are always more; all have ended then."""
        before, self.most = self.done, 0
        self.slowdowns.clear()
        movers = [asyncio.create_task(self._move_on()) for _ in range(WIDEST + 8)]
        await asyncio.sleep(seconds)
        for mover in movers:
            mover.cancel()
        await asyncio.gather(*movers, return_exceptions=True)
        self.running = 0
        return self.done - before

    async def _move_on(self) -> None:
        while True:
            await self.move()

    async def ask(self, kind: SessionKind = SessionKind.RETRIEVAL) -> None:
        key = SessionId(bytes(32)), Role.COORDINATOR
        subject = kind, KeyId(bytes(32))
        session = LiveSession(key, NODES[0], self.clock.monotonic(), subject)
        slowdown = 1 + self.burden * self.running
        await asyncio.sleep(self.ask_s * slowdown)
        self.slowdowns.append(slowdown)
        self.pace.note_end(session, Completed(None))

    @asynccontextmanager
    async def asked(self, per_second: float = 50.0) -> AsyncIterator[None]:
        """Clients ask, one after the other, as long as the block lasts."""

        async def go_on() -> None:
            while True:
                await self.ask()
                await asyncio.sleep(1 / per_second)

        clients = asyncio.create_task(go_on())
        await asyncio.sleep(1.0)  # what is usual is known
        try:
            yield
        finally:
            clients.cancel()


def run(play: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await play()

    run_virtual(main())


def test_what_clients_ask_for_waits_for_nothing() -> None:
    async def play() -> None:
        network = Network(1)
        async with network.asked():
            moving = asyncio.create_task(network.move())
            await asyncio.sleep(MOVE_S / 2)
            for kind in SessionKind:
                if kind is not MOVING:
                    async with network.pace.place_for(kind):
                        assert network.running == 1
            await moving

    run(play)


def test_while_nobody_asks_as_many_as_may_be() -> None:
    async def play() -> None:
        network = Network(1)
        assert await network.move_for(5.0) >= WIDEST * (5.0 / MOVE_S - 1)
        assert network.most == WIDEST

    run(play)


def test_clients_that_have_gone_are_not_waited_for() -> None:
    async def play() -> None:
        network = Network(1)
        async with network.asked():
            assert network.pace.width == 1
        await asyncio.sleep(QUIET_S - 1)
        assert network.pace.width == 1
        await asyncio.sleep(2)
        assert network.pace.width == WIDEST

    run(play)


def test_clients_that_come_find_few_under_way_before_long() -> None:
    async def play() -> None:
        network = Network(0.1)
        moving = asyncio.create_task(network.move_for(20.0))
        await asyncio.sleep(5.0)
        assert network.running == WIDEST
        await network.ask()
        await asyncio.sleep(2 * MOVE_S)
        assert network.running == 1
        await moving

    run(play)


@pytest.mark.parametrize(("burden", "least", "most"), [(0.1, 2, 6), (0.02, 12, 26), (0.3, 1, 3)])
def test_as_many_as_clients_can_bear(burden: float, least: int, most: int) -> None:
    async def play() -> None:
        network = Network(burden)
        async with network.asked():
            await network.move_for(20.0)  # to find out
            moved = await network.move_for(20.0)
            assert least <= network.most <= most
            assert moved >= least * 20.0 / MOVE_S * 0.8
            assert 1.15 < statistics.mean(network.slowdowns) < 1.1 * BEARABLE

    run(play)


def test_where_one_is_too_much_there_are_rests() -> None:
    async def play() -> None:
        network = Network(4.0)
        async with network.asked():
            await network.move_for(30.0)
            moved = await network.move_for(30.0)
            assert network.most == 1
            assert LEAST <= network.pace.width < 0.5
            assert 30.0 / MOVE_S * LEAST * 0.8 <= moved <= 30.0 / MOVE_S * 0.5

    run(play)


def test_however_slow_it_goes_on() -> None:
    async def play() -> None:
        network = Network(50.0)
        async with network.asked():
            assert await network.move_for(30.0) >= 30.0 / (MOVE_S + LONGEST_REST_S) - 5
            assert network.most == 1

    run(play)


def test_every_change_begins_with_one() -> None:
    async def play() -> None:
        network = Network(0.02)
        async with network.asked():
            await network.move_for(20.0)
            assert network.pace.width > 10
            await asyncio.sleep(1.0)
            assert network.pace.width == 1

    run(play)


def test_a_load_that_grows_by_itself_is_usual_before_long() -> None:
    """The rests, in which nothing is moved, show that it is not the change that makes it so."""

    async def play() -> None:
        network = Network(0.1)
        async with network.asked():
            await network.move_for(10.0)
            many = await network.move_for(10.0)
            network.ask_s *= 2
            await network.move_for(20.0)
            assert await network.move_for(10.0) > 0.6 * many

    run(play)


def test_sessions_that_fail_are_no_measure() -> None:
    async def play() -> None:
        network = Network(1)
        async with network.asked():
            pass
        moving = asyncio.create_task(network.move())
        await asyncio.sleep(MOVE_S / 2)
        subject = SessionKind.GENERATION, KeyId(bytes(32))
        for began in (0.0, 0.1):
            session = LiveSession(
                (SessionId(bytes(32)), Role.PARTICIPANT), NODES[1], began, subject
            )
            network.pace.note_end(session, Failed(UnavailableError("it takes for ever")))
        assert network.pace.width == 1
        await moving

    run(play)


def test_what_fails_or_gives_up_waiting_gives_its_place_back() -> None:
    async def play() -> None:
        network = Network(1)
        async with network.asked():
            with pytest.raises(UnavailableError):
                async with network.pace.place_for(MOVING):
                    raise UnavailableError("it fails at once")
            first, second, third = (asyncio.create_task(network.move()) for _ in range(3))
            await asyncio.sleep(MOVE_S / 2)
            second.cancel()
            await asyncio.gather(first, third)
            assert second.cancelled()
            assert (network.done, network.most) == (2, 1)

    run(play)


def test_sessions_of_nodes_among_themselves_are_no_clients() -> None:
    async def play() -> None:
        network = Network(1)
        for kind in (MOVING, SessionKind.SHARE_ADDITION, SessionKind.SET_CHANGE):
            await network.ask(kind)
        assert network.pace.width == WIDEST

    run(play)
