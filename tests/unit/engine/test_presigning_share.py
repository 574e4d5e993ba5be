"""A peer's presignings take their share of this node's time, and no more."""

import asyncio

import pytest

from keyserver.engine.presigning_share import BURST_S, PATIENCE_S, SHARE, PresigningShare
from keyserver.engine.session_table import MAX_PRESIGNINGS, LiveSession
from keyserver.model.identifiers import NodeId, SessionId
from keyserver.sessions.core import SessionKind
from keyserver.sessions.runner import Role
from keyserver.simulation.loop import run_virtual
from tests.support.key_life import KEY_ID
from tests.support.keys import nodes_of

ME, PEER, OTHER = nodes_of(3)


class Watch:
    """A clock in the test's hands."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def session(
    coordinator: NodeId = PEER,
    kind: SessionKind = SessionKind.PRESIGNING,
    role: Role = Role.PARTICIPANT,
) -> LiveSession:
    return LiveSession((SessionId(bytes(32)), role), coordinator, 0.0, (kind, KEY_ID))


def work(share: PresigningShare, watch: Watch, on: LiveSession, seconds: float) -> None:
    with share.cost_of(on):
        watch.now += seconds


def test_a_peer_waits_for_what_it_has_used() -> None:
    watch = Watch()
    share = PresigningShare(ME, watch)
    work(share, watch, session(), BURST_S)
    assert share.overdrawn_s(PEER) == 0
    work(share, watch, session(), 0.5)
    assert share.overdrawn_s(PEER) == pytest.approx(0.5 / SHARE - 0.5)
    assert share.overdrawn_s(OTHER) == 0, "no peer waits for another"
    watch.now += 0.5 / SHARE - 0.5
    assert share.overdrawn_s(PEER) == pytest.approx(0)
    watch.now += 1000
    work(share, watch, session(), BURST_S)
    assert share.overdrawn_s(PEER) == 0, "what was not used is not saved up either"
    work(share, watch, session(), 0.1)
    assert share.overdrawn_s(PEER) > 0


def test_an_error_costs_as_well() -> None:
    watch = Watch()
    share = PresigningShare(ME, watch)

    def fail() -> None:
        with share.cost_of(session()):
            watch.now += 2 * BURST_S
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail()
    assert share.overdrawn_s(PEER) > 0


@pytest.mark.parametrize(
    "free",
    [
        session(kind=SessionKind.ECDSA),
        session(role=Role.COORDINATOR),
        session(coordinator=ME),
    ],
    ids=["another kind", "the coordinator's part", "its own"],
)
def test_what_costs_nothing(free: LiveSession) -> None:
    watch = Watch()
    share = PresigningShare(ME, watch)
    work(share, watch, free, 100.0)
    assert share.overdrawn_s(free.coordinator) == 0


def test_a_peer_waits_but_not_for_long() -> None:
    async def main() -> None:
        watch, loop = Watch(), asyncio.get_running_loop()
        share = PresigningShare(ME, watch)
        work(share, watch, session(), BURST_S + 0.2)
        wait_s, began = share.overdrawn_s(PEER), loop.time()
        assert await share.wait(session())
        assert loop.time() - began == pytest.approx(wait_s)
        assert await share.wait(session(OTHER))
        work(share, watch, session(), PATIENCE_S)
        assert not await share.wait(session())
        assert await share.wait(session(kind=SessionKind.ECDSA)), "the rest goes on"

    run_virtual(main())


def test_this_node_has_so_many_made_at_a_time() -> None:
    async def main() -> None:
        share = PresigningShare(ME, Watch())
        running = 0
        most = 0

        async def one(kind: SessionKind) -> None:
            nonlocal running, most
            async with share.place_for(kind):
                running += 1
                most = max(most, running)
                await asyncio.sleep(1)
                running -= 1

        await asyncio.gather(*(one(SessionKind.PRESIGNING) for _ in range(20)))
        assert most == MAX_PRESIGNINGS
        most = 0
        await asyncio.gather(*(one(SessionKind.ECDSA) for _ in range(20)))
        assert most == 20

    run_virtual(main())
