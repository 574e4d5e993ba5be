"""What a process does for its node, and what clients meet, as seal and lease change."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from keyserver.api.ports import Availability
from keyserver.app import roles
from keyserver.app.parts import Part
from keyserver.app.process_view import OperatorsProcess
from keyserver.app.roles import RETRY_S, Roles
from keyserver.crypto.curve import SecretScalar
from keyserver.errors import StorageError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import SealedError, StandbyError
from tests.support.manual_clock import ManualClock

ME = NodeId.of(SecretScalar.from_int(5).public())
OPEN = "open"


class FakeVault:
    def __init__(self, *, is_open: bool, opens_itself: bool) -> None:
        self.is_open = is_open
        self.opens_itself = opens_itself
        self.boxes = self.node_secret = "secret"
        self.open_now = asyncio.Event()

    def status(self) -> Any:
        return SimpleNamespace(opens_itself=self.opens_itself)

    async def opened(self) -> None:
        await self.open_now.wait()


class FakeReplica:
    def __init__(self) -> None:
        self.is_active = True
        self.changed = asyncio.Event()

    async def looked(self) -> None:
        return

    async def until(self, active: bool) -> None:
        while self.is_active is not active:
            await self.changed.wait()

    def turn(self, *, active: bool) -> None:
        self.is_active = active
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class Doors:
    """What clients meet, by name."""

    def open(self, node: object) -> Any:
        return OPEN

    def closed(self, availability: Availability) -> Any:
        return availability.value


class World:
    """One process, whose node is a single part."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, is_open: bool, opens_itself: bool):
        self.vault = FakeVault(is_open=is_open, opens_itself=opens_itself)
        self.replica, self.clock = FakeReplica(), ManualClock()
        self.database_is_away = False
        self.fails = asyncio.Event()
        """The part."""
        self.ends = asyncio.Event()
        self.ends.set()
        self.told: list[str] = []
        monkeypatch.setattr(roles, "open_store", self._read)
        monkeypatch.setattr(roles, "compose", lambda *_, **__: SimpleNamespace(chain=None))
        monkeypatch.setattr(roles, "OperatorView", lambda *_: SimpleNamespace())
        monkeypatch.setattr(roles, "parts_of", self._parts)
        monkeypatch.setattr(
            roles, "SqlSetChangeStore", lambda _: SimpleNamespace(completed=self._read)
        )
        monkeypatch.setattr(roles, "compose_follower", lambda *_, **__: None)
        monkeypatch.setattr(Roles, "_tell_ready", self._ready)
        given: Any = SimpleNamespace(config=None)
        fakes: Any = self.vault, self.replica, Doors(), self.clock
        vault, replica, doors, clock = fakes
        self.roles = Roles(
            given,
            None,
            ME,
            database=given,
            vault=vault,
            replica=replica,
            doors=doors,
            clock=clock,
            random=given,
            urls={},
            announce=self._announce,
            warnings=(),
        )

    @property
    def clients(self) -> Any:
        return self.roles.clients.app

    def _announce(self, facts: Mapping[str, object]) -> None:
        self.told.append(str(facts["state"]))

    async def _read(self, *_: object) -> Sequence[object]:
        if self.database_is_away:
            raise StorageError("away")
        return ()

    async def _ready(self, *_: object) -> None:
        self.told.append("ready")

    def _parts(self, _: object) -> list[Part]:
        return [Part("fragile", self._part)]

    async def _part(self) -> None:
        try:
            await self.fails.wait()
        finally:
            await self.ends.wait()
        self.fails.clear()
        raise StorageError("torn")

    async def troubles(self) -> list[str]:
        """What operators are told."""
        unused: Any = None
        process = OperatorsProcess(self.roles, unused, unused)
        return [trouble.code for trouble in await process.troubles()]

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)


@asynccontextmanager
async def running(
    monkeypatch: pytest.MonkeyPatch, *, is_open: bool = True, opens_itself: bool = False
) -> AsyncIterator[tuple[World, asyncio.Task[None]]]:
    world = World(monkeypatch, is_open=is_open, opens_itself=opens_itself)
    task = asyncio.create_task(world.roles.run())
    await world.settle()
    try:
        yield world, task
    finally:
        world.ends.set()
        task.cancel()
        await asyncio.wait([task])


async def test_clients_meet_no_node_whose_parts_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as (world, task):
        assert (world.clients, world.told) == (OPEN, ["ready"])
        world.fails.set()
        await world.settle()
        assert world.clients == Availability.STANDBY.value
        assert world.roles.view is None
        assert world.roles.problem == "torn"
        with pytest.raises(StandbyError, match="could not be started: torn"):
            _ = world.roles.node
        world.clock.advance(RETRY_S)
        await world.settle()
        assert (world.clients, world.told) == (OPEN, ["ready", "ready"])
        assert not task.done()


async def test_clients_are_turned_away_before_anything_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(monkeypatch) as (world, _):
        world.ends.clear()
        world.replica.turn(active=False)
        await world.settle()
        assert (world.clients, world.told) == (Availability.STANDBY.value, ["ready"])
        world.ends.set()
        await world.settle()
        assert world.told == ["ready", "standby"]
        world.replica.turn(active=True)
        await world.settle()
        assert (world.clients, world.told[-1]) == (OPEN, "ready")


async def test_a_process_on_standby_has_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as (world, _):
        world.fails.set()
        await world.settle()
        assert await world.troubles() == ["not_started"]
        world.replica.turn(active=False)
        world.clock.advance(RETRY_S)
        await world.settle()
        assert world.told[-1] == "standby"
        assert await world.troubles() == ["standby"]


async def test_a_node_that_is_to_be_sealed_opens_to_nobody_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(monkeypatch) as (world, _):
        world.roles.refuse_clients()
        world.replica.turn(active=False)
        await world.settle()
        world.replica.turn(active=True)
        await world.settle()
        assert world.told == ["ready", "standby", "ready"]
        assert world.clients == Availability.SEALED.value


async def test_collected_shares_outlive_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(monkeypatch, is_open=False) as (world, task):
        assert (world.clients, world.told) == (Availability.SEALED.value, ["sealed"])
        with pytest.raises(SealedError):
            _ = world.roles.node
        world.database_is_away = True
        world.replica.turn(active=False)
        await world.settle()
        world.replica.turn(active=True)
        await world.settle()
        assert not task.done()
        world.database_is_away = False
        world.vault.is_open = True
        world.clock.advance(RETRY_S)
        await world.settle()
        assert (world.clients, world.told[-1]) == (OPEN, "ready")


@pytest.mark.parametrize("is_open", [True, False])
async def test_what_opens_by_itself_is_started_anew(
    monkeypatch: pytest.MonkeyPatch, is_open: bool
) -> None:
    async with running(monkeypatch, is_open=is_open, opens_itself=True) as (world, task):
        world.database_is_away = True
        world.replica.turn(active=False)
        await world.settle()
        world.replica.turn(active=True)
        await world.settle()
        with pytest.raises(StorageError, match="away"):
            await asyncio.wait_for(task, 1)
