"""What stands behind a session that failed: the surface over a scripted driver."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.change_gate import ChangeGate
from keyserver.engine.document_storing import DECIDED_WITHIN_S
from keyserver.engine.driver import Driver
from keyserver.engine.key_server import KeyServer
from keyserver.engine.ports import RecordStore
from keyserver.model.identifiers import ZERO_HASH, Address, KeyId, NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord, DocumentKey
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import OnChainAddress
from keyserver.sessions.core import (
    DeniedError,
    KeyState,
    Policy,
    PreparedRecord,
    SessionError,
    SessionKind,
    UnavailableError,
)
from keyserver.sessions.outcomes import PlainResult
from keyserver.simulation.loop import run_virtual
from tests.support.fake_cluster import certified_document, certified_record, node_of, point_of
from tests.support.key_life import AUTHOR, KEY_ID, ON_CHAIN
from tests.support.keys import nodes_of

ME = node_of(1)
SEVEN = nodes_of(7)
RECORD = certified_record(KEY_ID, AUTHOR, 0, (ME,))
DOCUMENT = DocumentKey(point_of(2), point_of(3))
OTHER_DOCUMENT = DocumentKey(point_of(4), point_of(5))


@dataclass
class ScriptedDriver:
    """Every session fails; `found` is what there is afterwards."""

    world: "World"
    error: UnavailableError
    busy: SessionKind | None = None
    me: NodeId = ME
    node_set: NodeSet = field(default_factory=lambda: NodeSet(1, Address(bytes(20)), (ME,)))
    is_admitted: bool = True
    policy: Policy = field(default_factory=Policy)
    connected: frozenset[NodeId] = frozenset({ME})
    changes: ChangeGate = field(default_factory=ChangeGate)

    def takes_part(self, kind: SessionKind, _: KeyId) -> bool:
        return self.world.failed and kind is self.busy

    def is_occupied(self, key_id: KeyId) -> bool:
        return self.takes_part(SessionKind.GENERATION, key_id)

    async def settle(self, kind: SessionKind, key_id: KeyId) -> None:
        pass

    async def execute(self, *_: Any) -> None:
        self.world.failed = True
        raise self.error


@dataclass
class World:
    """Store and catalogue: what is known before and after the session."""

    before: KeyState
    after: KeyState
    failed: bool = False

    async def load(self, _: KeyId) -> KeyState:
        return self.after if self.failed else self.before

    @dataclass(frozen=True)
    class Found:
        record: CertifiedRecord | None = None
        document: CertifiedDocumentKey | None = None
        answered: frozenset[NodeId] = frozenset()

    async def fetch(self, _: KeyId) -> "World.Found":
        return World.Found()

    def holders(self, _: KeyId) -> frozenset[NodeId]:
        return frozenset(SEVEN)


def surface(
    before: KeyState,
    after: KeyState,
    *,
    code: str = "NodeDisconnected",
    busy: SessionKind | None = None,
) -> KeyServer:
    world = World(before, after)
    driver = ScriptedDriver(world, UnavailableError("it failed", code), busy)
    store = cast(RecordStore, world)
    return KeyServer(cast(Driver, driver), store, world, SeededRandom(1))


async def generation(after: KeyState, **more: Any) -> SessionError:
    with pytest.raises(SessionError) as caught:
        await surface(KeyState(), after, **more).generate_server_key(KEY_ID, 0, ON_CHAIN)
    return caught.value


async def test_a_key_that_exists_after_all_may_be_the_one_asked_for() -> None:
    error = await generation(KeyState(active=RECORD))
    assert isinstance(error, UnavailableError)
    assert error.code == "ServerKeyAlreadyGenerated"


async def test_a_key_for_which_nodes_refused_is_another() -> None:
    error = await generation(KeyState(active=RECORD), code="ServerKeyAlreadyGenerated")
    assert isinstance(error, DeniedError)
    assert error.code == "ServerKeyAlreadyGenerated"


async def test_another_generation_is_under_way() -> None:
    prepared = PreparedRecord(RECORD.record, None, ZERO_HASH, None)
    assert (await generation(KeyState(prepared=prepared))).code == "DuplicateSessionId"
    busy = await generation(KeyState(), busy=SessionKind.GENERATION)
    assert busy.code == "DuplicateSessionId"
    assert (await generation(KeyState())).code == "NodeDisconnected"


async def storing(after: KeyState, **more: Any) -> CertifiedDocumentKey:
    api = surface(KeyState(active=RECORD), after, **more)
    return await api.store_document_key(KEY_ID, DOCUMENT, OnChainAddress(AUTHOR, AUTHOR))


async def test_what_was_stored_all_the_same_is_a_success() -> None:
    stored = certified_document(DOCUMENT)
    assert await storing(KeyState(active=RECORD, document=stored)) == stored


async def test_another_document_key_was_stored() -> None:
    other = KeyState(active=RECORD, document=certified_document(OTHER_DOCUMENT))
    with pytest.raises(DeniedError) as caught:
        await storing(other)
    assert caught.value.code == "DocumentKeyAlreadyStored"


@pytest.mark.parametrize(
    ("busy", "code"),
    [(SessionKind.STORING, "DuplicateSessionId"), (None, "NodeDisconnected")],
)
def test_another_storing_is_under_way(busy: SessionKind | None, code: str) -> None:
    """It is waited for, in case it leaves room for this one; it does not."""

    async def scenario() -> None:
        with pytest.raises(UnavailableError) as caught:
            await storing(KeyState(active=RECORD), busy=busy)
        assert caught.value.code == code
        waited_s = asyncio.get_running_loop().time()
        assert (waited_s > 0) == (busy is SessionKind.STORING)
        assert waited_s < DECIDED_WITHIN_S + 1

    run_virtual(scenario())


# --- retrieval: further attempts -----------------------------------------------------------------

HELD = certified_record(KEY_ID, AUTHOR, 2, SEVEN)
STORED = KeyState(active=HELD, document=certified_document(DOCUMENT))
PLAIN = PlainResult(point_of(6), point_of(7))


@dataclass
class FailingDriver:
    """Retrieval sessions that name who failed, as long as there is somebody to name."""

    failing: list[frozenset[NodeId]]
    me: NodeId = SEVEN[0]
    node_set: NodeSet = field(default_factory=lambda: NodeSet(1, Address(bytes(20)), SEVEN))
    is_admitted: bool = True
    policy: Policy = field(default_factory=Policy)
    connected: frozenset[NodeId] = frozenset(SEVEN)
    changes: ChangeGate = field(default_factory=ChangeGate)
    excluded: list[frozenset[NodeId]] = field(default_factory=list)

    async def execute(self, _type: Any, _operation: Any, _source: Any, target: Any) -> PlainResult:
        self.excluded.append(target.excluded)
        if self.failing:
            raise UnavailableError("they failed", failed=self.failing.pop(0))
        return PLAIN


async def retrieved(driver: FailingDriver) -> bytes:
    world = World(STORED, STORED)
    store = cast(RecordStore, world)
    api = KeyServer(cast(Driver, driver), store, world, SeededRandom(1))
    return await api.retrieve_plain(KEY_ID, ON_CHAIN)


async def test_each_attempt_goes_without_those_that_failed_before() -> None:
    driver = FailingDriver([frozenset({SEVEN[1]}), frozenset({SEVEN[2]})])
    assert len(await retrieved(driver)) == 177
    assert driver.excluded == [frozenset(), {SEVEN[1]}, {SEVEN[1], SEVEN[2]}]


@pytest.mark.parametrize(
    ("failing", "attempts"),
    [
        ([frozenset({node}) for node in SEVEN[1:4]], 3),
        ([frozenset()], 1),
        ([frozenset({SEVEN[1]}), frozenset()], 2),
        ([frozenset(SEVEN[:5])], 1),
    ],
    ids=["f + 1 attempts", "nobody to blame", "nobody new to blame", "too few left"],
)
async def test_attempts_come_to_an_end(failing: list[frozenset[NodeId]], attempts: int) -> None:
    driver = FailingDriver(failing)
    with pytest.raises(UnavailableError):
        await retrieved(driver)
    assert len(driver.excluded) == attempts
