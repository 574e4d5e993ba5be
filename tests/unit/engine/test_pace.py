"""How many sessions that move keys go on at a time, in a network that does so many at once."""

import asyncio
from dataclasses import dataclass, field

import pytest

from keyserver.engine.pace import QUIET_S, WIDEST, Pace
from keyserver.sessions.core import SessionKind, UnavailableError
from keyserver.simulation.loop import run_virtual

MOVING = SessionKind.REDISTRIBUTION


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Network:
    """Does `abreast` sessions at a time, each in `seconds`; the others wait for a place in it."""

    abreast: int
    seconds: float = 0.1
    clients_ask: bool = True
    seen: float = 0.0
    running: int = 0
    most: int = 0
    done: int = 0
    pace: Pace = field(init=False)
    places: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.pace = Pace(now, self.client_seen)
        self.places = asyncio.Semaphore(self.abreast)

    def client_seen(self) -> float:
        return now() if self.clients_ask else self.seen

    async def move(self) -> None:
        async with self.pace.place_for(MOVING):
            self.running += 1
            self.most = max(self.most, self.running)
            try:
                async with self.places:
                    await asyncio.sleep(self.seconds)
            finally:
                self.running -= 1
                self.done += 1

    async def move_many(self, keys: int) -> float:
        """How long it takes."""
        began, self.most = now(), 0
        await asyncio.gather(*(self.move() for _ in range(keys)))
        return now() - began


def test_what_clients_ask_for_waits_for_nothing() -> None:
    async def main() -> None:
        network = Network(1)
        moving = asyncio.create_task(network.move())
        await asyncio.sleep(network.seconds / 2)
        for kind in SessionKind:
            if kind is not MOVING:
                async with network.pace.place_for(kind):
                    assert network.running == 1
        await moving

    run_virtual(main())


def test_it_begins_with_one_while_clients_ask() -> None:
    async def main() -> None:
        network = Network(8)
        await network.move_many(1)
        assert network.most == 1
        moving = [asyncio.create_task(network.move()) for _ in range(10)]
        await asyncio.sleep(network.seconds / 2)
        assert network.running == network.pace.width == 2
        await asyncio.gather(*moving)

    run_virtual(main())


@pytest.mark.parametrize("abreast", [1, 2, 5, 20])
def test_there_are_about_as_many_as_the_network_does_at_a_time(abreast: int) -> None:
    async def main() -> None:
        network = Network(abreast)
        await network.move_many(40 * abreast)  # to find out
        took = await network.move_many(40 * abreast)
        assert abreast <= network.most <= abreast + 2
        at_best = 40 * network.seconds
        assert took < 1.5 * at_best, "they wait, but nothing lies idle for long"

    run_virtual(main())


def test_when_everything_takes_longer_it_begins_anew() -> None:
    """A node that is slow, a network that is: not all waiting is for each other."""

    async def main() -> None:
        network = Network(20)
        await network.move_many(400)
        network.seconds = 3.0
        await network.move_many(400)
        assert network.pace.width >= 15

    run_virtual(main())


def test_while_nobody_asks_as_many_as_may_be() -> None:
    async def main() -> None:
        network = Network(2, clients_ask=False)
        await asyncio.sleep(QUIET_S + 1)
        await network.move_many(3 * WIDEST)
        assert network.most == WIDEST
        network.clients_ask = True
        await network.move_many(50)
        assert network.most <= 4

    run_virtual(main())


def test_a_client_of_late_still_counts() -> None:
    async def main() -> None:
        network = Network(2, clients_ask=False)
        network.seen = now()
        assert network.pace.width == 1
        await asyncio.sleep(QUIET_S)
        assert network.pace.width == 1
        await asyncio.sleep(0.1)
        assert network.pace.width == WIDEST

    run_virtual(main())


def test_what_fails_gives_its_place_back_and_counts_for_nothing() -> None:
    async def main() -> None:
        network = Network(4)

        async def fail() -> None:
            async with network.pace.place_for(MOVING):
                raise UnavailableError("it fails at once")

        for _ in range(10):
            with pytest.raises(UnavailableError):
                await fail()
        assert network.pace.width == 1
        await network.move()
        assert network.pace.width == 2

    run_virtual(main())


def test_who_gives_up_waiting_takes_no_place() -> None:
    async def main() -> None:
        network = Network(1)
        first, second, third = (asyncio.create_task(network.move()) for _ in range(3))
        await asyncio.sleep(network.seconds / 2)
        second.cancel()
        await asyncio.gather(first, third)
        assert second.cancelled()
        assert (network.done, network.most) == (2, 1)

    run_virtual(main())


def test_sessions_that_take_no_time_at_all() -> None:
    async def main() -> None:
        network = Network(64, seconds=0.0)
        await network.move_many(3000)
        assert network.pace.width == WIDEST

    run_virtual(main())
