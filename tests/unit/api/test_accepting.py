"""Room for connections, and how they end."""

import asyncio
import resource
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import structlog

from keyserver.api import accepting
from keyserver.api.accepting import OpenConnections, Place, connection_limit


@dataclass
class Fake:
    """A connection that takes down what it is told."""

    is_waiting: bool = True
    told: list[str] = field(default_factory=list)

    def finish(self) -> None:
        self.told.append("finish")

    def abort(self) -> None:
        self.told.append("abort")


def opened(connections: OpenConnections, *fakes: Fake) -> list[Place]:
    places = [Place(fake) for fake in fakes]
    for place in places:
        connections.add(place)
    return places


def test_the_longest_silent_makes_room() -> None:
    connections = OpenConnections(3)
    assert connections.make_room()
    first, second, third = Fake(), Fake(), Fake()
    places = opened(connections, first, second, third)
    connections.heard_of(places[0])
    assert connections.make_room()
    assert (first.told, second.told, third.told) == ([], ["abort"], [])
    assert len(connections) == 2
    assert connections.make_room()
    assert second.told == ["abort"]


def test_who_is_busy_stays() -> None:
    connections = OpenConnections(2)
    busy, waiting = Fake(is_waiting=False), Fake()
    opened(connections, busy, waiting)
    assert connections.make_room()
    assert waiting.told == ["abort"]
    opened(connections, Fake(is_waiting=False))
    assert not connections.make_room()
    assert busy.told == []


def test_what_is_gone_is_not_heard_of() -> None:
    connections = OpenConnections(2)
    (place,) = opened(connections, Fake())
    connections.remove(place)
    connections.remove(place)
    connections.heard_of(place)
    assert len(connections) == 0


async def test_the_end_waits_for_who_is_busy() -> None:
    connections = OpenConnections(3)
    busy = Fake(is_waiting=False)
    (place,) = opened(connections, busy)
    ending = asyncio.ensure_future(connections.finish(60))
    while not busy.told:
        await asyncio.sleep(0)
    assert busy.told == ["finish"]
    connections.remove(place)
    await ending
    assert busy.told == ["finish"]
    await connections.finish(0)  # nobody is there


async def test_the_end_does_not_wait_for_ever() -> None:
    connections = OpenConnections(3)
    busy = Fake(is_waiting=False)
    opened(connections, busy)
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as logs:
        await connections.finish(0)
    assert busy.told == ["finish", "abort"]
    assert logs == [{"event": "requests_cut_off", "connections": 1, "log_level": "warning"}]


@pytest.mark.parametrize(
    ("files", "limit"),
    [(resource.RLIM_INFINITY, 1000), (100_000, 1000), (1024, 256), (4, 1), (0, 1)],
)
def test_the_limit_of_open_files(monkeypatch: pytest.MonkeyPatch, files: int, limit: int) -> None:
    stub = SimpleNamespace(
        RLIM_INFINITY=resource.RLIM_INFINITY,
        RLIMIT_NOFILE=resource.RLIMIT_NOFILE,
        getrlimit=lambda _: (files, files),
    )
    monkeypatch.setattr(accepting, "resource", stub)
    assert connection_limit(1000) == limit


def test_a_place_that_is_being_left() -> None:
    place = Place()
    assert place.is_waiting
    place.finish()  # nothing has begun yet
    place.abort()
