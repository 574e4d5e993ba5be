"""Room for connections, and how they end."""

import asyncio
import resource
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import structlog

from keyserver.api import accepting
from keyserver.api.accepting import (
    THIS_MACHINE,
    OpenConnections,
    Place,
    connection_limit,
    owner_of,
)

HERE, THERE = "192.0.2.1", "192.0.2.2"


@dataclass
class Fake:
    """A connection that takes down what it is told."""

    is_waiting: bool = True
    told: list[str] = field(default_factory=list)

    def finish(self) -> None:
        self.told.append("finish")

    def abort(self) -> None:
        self.told.append("abort")


def opened(connections: OpenConnections, *fakes: Fake, owner: str = HERE) -> list[Place]:
    places = [Place(owner, fake) for fake in fakes]
    for place in places:
        connections.add(place)
    return places


@pytest.mark.parametrize("owner", [HERE, THIS_MACHINE])
def test_the_longest_silent_makes_room(owner: str) -> None:
    connections = OpenConnections(3)
    assert connections.make_room(owner)
    first, second, third = Fake(), Fake(), Fake()
    places = opened(connections, first, second, third, owner=owner)
    connections.heard_of(places[0])
    assert connections.make_room(owner)
    assert (first.told, second.told, third.told) == ([], ["abort"], [])
    assert len(connections) == 2
    assert connections.make_room(owner)
    assert second.told == ["abort"]


@pytest.mark.parametrize("owner", [HERE, THIS_MACHINE])
def test_who_is_busy_stays(owner: str) -> None:
    connections = OpenConnections(2)
    busy, waiting = Fake(is_waiting=False), Fake()
    opened(connections, busy, waiting, owner=owner)
    assert connections.make_room(owner)
    assert waiting.told == ["abort"]
    opened(connections, Fake(is_waiting=False), owner=owner)
    assert not connections.make_room(owner)
    assert busy.told == []


# --- by address -------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [HERE, THIS_MACHINE])
def test_a_flood_displaces_nobody_but_itself(owner: str) -> None:
    connections = OpenConnections(4)
    silent = Fake()
    opened(connections, silent, owner=owner)
    flood = [Fake() for _ in range(9)]
    for each in flood:
        assert connections.make_room(THERE)
        opened(connections, each, owner=THERE)
    assert silent.told == []
    assert [each.told for each in flood] == 6 * [["abort"]] + 3 * [[]]
    assert len(connections) == 4


@pytest.mark.parametrize("owner", [HERE, THIS_MACHINE])
def test_a_new_client_gets_the_place_of_a_flood(owner: str) -> None:
    connections = OpenConnections(4)
    silent, busy = Fake(), Fake(is_waiting=False)
    flood = [busy, Fake(), Fake()]
    opened(connections, silent, owner="192.0.2.3")
    opened(connections, *flood, owner=THERE)
    assert connections.make_room(owner)
    assert [each.told for each in flood] == [[], ["abort"], []]
    assert silent.told == []


def test_who_is_busy_stays_however_many_places_they_have() -> None:
    connections = OpenConnections(6)
    busy, first, second = [Fake(is_waiting=False) for _ in range(3)], Fake(), Fake()
    opened(connections, *busy, owner=THERE)
    opened(connections, first, second, owner="192.0.2.3")
    (mine,) = opened(connections, Fake())
    assert connections.make_room(HERE)  # of who has the second most
    assert first.told == ["abort"]
    opened(connections, Fake(is_waiting=False), owner="192.0.2.3")
    second.is_waiting = False
    assert connections.make_room(HERE)  # one's own
    assert mine.connection == Fake(told=["abort"])
    opened(connections, Fake(is_waiting=False))
    assert not connections.make_room(HERE)


def test_among_many_addresses_the_longest_silent_makes_room() -> None:
    connections = OpenConnections(3)
    fakes = [Fake() for _ in range(3)]
    for number, fake in enumerate(fakes):
        opened(connections, fake, owner=f"192.0.2.{number}")
    assert connections.make_room("192.0.2.9")
    assert [each.told for each in fakes] == [["abort"], [], []]


def test_half_of_the_places_are_this_machines_besides() -> None:
    """Addresses without number do not displace an operator at the machine itself."""
    connections = OpenConnections(6)
    local = [Fake() for _ in range(3)]
    opened(connections, *local, owner=THIS_MACHINE)
    for number in range(9):
        address = f"192.0.2.{number}"
        assert connections.make_room(address)
        opened(connections, Fake(), owner=address)
    assert [each.told for each in local] == [[], [], []]
    assert connections.make_room(THIS_MACHINE)
    opened(connections, Fake(), owner=THIS_MACHINE)
    assert [each.told for each in local] == [[], [], []]
    assert connections.make_room("192.0.2.10")  # with one more than half, it is like an address
    assert [each.told for each in local] == [["abort"], [], []]


def test_one_address_cannot_have_all() -> None:
    connections = OpenConnections(4, 2)
    busy = [Fake(is_waiting=False) for _ in range(2)]
    opened(connections, *busy, owner=THERE)
    assert not connections.make_room(THERE)
    assert connections.make_room(HERE)
    busy[1].is_waiting = True
    assert connections.make_room(THERE)
    assert [each.told for each in busy] == [[], ["abort"]]


@pytest.mark.parametrize(
    ("peer", "owner"),
    [
        ("", THIS_MACHINE),
        (b"\0abstract", THIS_MACHINE),
        (("127.0.0.1", 50_000), THIS_MACHINE),
        (("127.9.9.9", 50_000), THIS_MACHINE),
        (("::1", 50_000, 0, 0), THIS_MACHINE),
        (("::ffff:127.0.0.1", 50_000, 0, 0), THIS_MACHINE),
        (("192.0.2.1", 50_000), "192.0.2.1"),
        (("::ffff:192.0.2.1", 50_000, 0, 0), "192.0.2.1"),
        (("2001:db8:1:2::3", 50_000, 0, 0), "2001:db8:1:2::/64"),
    ],
)
def test_whom_a_connection_is_counted_for(peer: object, owner: str) -> None:
    assert owner_of(peer) == owner


# --- the end ----------------------------------------------------------------------------------


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
    place = Place(HERE)
    assert place.is_waiting
    place.finish()  # nothing has begun yet
    place.abort()
