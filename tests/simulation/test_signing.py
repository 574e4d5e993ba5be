"""Nodes that sign on bad days: nonces and presignatures answer once, whatever comes back.

Plans made from seeds are played in `test_scenarios.py`; more of them:
`keyserver simulate --scenario "signatures and backups" --seeds 1000`.
"""

import asyncio
from contextlib import ExitStack

import pytest

from keyserver.model.identifiers import ZERO_HASH, Hash32
from keyserver.model.requests import OnChainAddress, SigningScheme, SignMessage
from keyserver.sessions.core import Refusal
from keyserver.sessions.messages import Refuse
from keyserver.simulation.cluster import CONTRACT, Cluster
from keyserver.simulation.liars import at, in_cluster
from keyserver.simulation.loop import run_virtual
from keyserver.simulation.runner import run_one
from keyserver.simulation.scenarios.plan import Ask, Crash, Partition, Plan, Restored
from keyserver.simulation.scenarios.registry import SCENARIOS
from tests.simulation.planted.search import BUGS
from tests.support.key_life import AUTHOR, KEY_ID

ON_CHAIN = OnChainAddress(CONTRACT, AUTHOR)
SIGN = SignMessage(KEY_ID, Hash32(b"\x4d" * 32), SigningScheme.ECDSA)
SCENARIO = SCENARIOS["signatures"]

ASKED = ((0, "ecdsa"), (1, "frost"), (0, "ecdsa"), (2, "schnorr"), (3, "ecdsa"), (0, "ecdsa"))
ASKS = tuple(Ask(0.5 + 0.7 * at, node, what) for at, (node, what) in enumerate(ASKED))

DAYS: dict[str, tuple[object, ...]] = {
    "nothing goes wrong": (),
    "a signer starts anew": (Crash(1.3, 1, 0.2), Crash(3.2, 2, 0.2)),
    "a signer comes back with an old disk": (Restored(1.6, 1, 0.3), Restored(3.1, 2, 0.3)),
    "all of them do at once": tuple(Crash(2.1, node, 0.1) for node in range(4)),
    "a part is cut off": (Partition(1.2, (0, 1), 3.0),),
    "shares are renewed": (Ask(1.4, 3, "refresh"), Ask(3.4, 0, "refresh")),
}


@pytest.mark.parametrize("day", DAYS)
def test_nothing_is_used_twice(day: str) -> None:
    finding = run_one(SCENARIO, 1, Plan(4, 1, None, (*ASKS, *DAYS[day])))
    assert finding is None, finding


FOUND = {
    "nonces": ("a nonce is used in two sessions", "a part is cut off"),
    "stock": ("a presignature is asked for twice", "nothing goes wrong"),
    "permission to sign": ("a key is used for somebody without permission", "nothing goes wrong"),
    "pool in memory": ("a presignature outlives its process", "a signer starts anew"),
}
"""Planted bugs, as what they show, and where."""


@pytest.mark.parametrize("name", FOUND)
def test_a_planted_bug_is_found(name: str) -> None:
    invariant, day = FOUND[name]
    with ExitStack() as stack:
        BUGS[name].plant(stack)
        finding = run_one(SCENARIO, 1, Plan(4, 1, None, (*ASKS, *DAYS[day])))
    assert finding is not None
    assert finding.invariant == invariant


@pytest.mark.parametrize("message", ["EcdsaPart", "PresignAccept"])
def test_one_node_that_speaks_of_a_later_version_stops_nobody(message: str) -> None:
    """What it says is no reason to look for that version unless more say so than may lie."""

    async def scenario() -> None:
        async with Cluster(5, seed=3) as cluster:
            first, liar, *others = cluster.nodes
            await first.api.generate_server_key(KEY_ID, 1, ON_CHAIN)
            await asyncio.sleep(1)
            in_cluster(cluster, liar, at(message, lambda *_: Refuse(Refusal.STALE)))
            for node in (first, *others) * 3:
                async with asyncio.timeout(1.0):  # messages take up to 20 ms
                    await node.api.sign(SIGN, ON_CHAIN)

    run_virtual(scenario())


def test_a_node_that_is_behind_looks_for_the_version_in_force() -> None:
    async def scenario() -> None:
        async with Cluster(4, seed=3) as cluster:
            behind, other, *_ = cluster.nodes
            current = cluster.sets.snapshot.current
            cluster.successions.targets[ZERO_HASH] = current
            await other.api.generate_server_key(KEY_ID, 1, ON_CHAIN)
            await asyncio.sleep(1)
            backup = behind.disk.platter.state
            assert other.redistributions is not None
            await other.redistributions.redistribute(KEY_ID, ZERO_HASH, current)
            await asyncio.sleep(1)
            behind.disk.state = backup  # while it runs: it does not know that it is behind
            await behind.api.sign(SIGN, ON_CHAIN)
            state = await behind.store.load(KEY_ID)
            assert state.active is not None
            assert state.active.record.version == 2

    run_virtual(scenario())
