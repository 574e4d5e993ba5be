"""Which failure is told by which error, and whether it is final (engine design, section 17).

One test per row of the table there. Final errors are published on contracts: no node alone brings
one about in a cluster of four or more, f + 1 nodes do where the table says so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from keyserver.model.identifiers import Address, KeyId
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import OnChainAddress, OnChainPublic, Operation
from keyserver.sessions.core import (
    DeniedError,
    Policy,
    Refusal,
    SessionError,
    UnavailableError,
    Verdict,
)
from keyserver.sessions.messages import Refuse
from keyserver.simulation import liars
from keyserver.simulation.cluster import CONTRACT, Cluster
from keyserver.simulation.liars import at
from keyserver.simulation.loop import run_virtual
from tests.simulation.story import Story
from tests.support.fake_cluster import point_of

NODES, THRESHOLD = 5, 1
"""f = 1: one node may lie; four are a quorum; three holders are asked for two shares."""

DOCUMENT, OTHER = (DocumentKey(point_of(n), point_of(n + 1)) for n in (21, 23))
STRANGER = Address(b"\x55" * 20)
FINAL, FOR_NOW = DeniedError, UnavailableError

Ask = Callable[["Told"], Awaitable[object]]


@dataclass
class Told:
    """A cluster, and what its first node tells whoever asks it."""

    cluster: Cluster
    story: Story

    @property
    def key_id(self) -> KeyId:
        return self.story.key_id

    def generate(self, threshold: int = THRESHOLD, node: int = 0) -> Awaitable[object]:
        credential = OnChainAddress(CONTRACT, self.story.author)
        api = self.cluster.nodes[node].api
        return api.generate_server_key(self.key_id, threshold, credential)

    def store(
        self, document: DocumentKey = DOCUMENT, author: Address | None = None, node: int = 0
    ) -> Awaitable[object]:
        credential = OnChainAddress(CONTRACT, author or self.story.author)
        return self.cluster.nodes[node].api.store_document_key(self.key_id, document, credential)

    def retrieve(self) -> Awaitable[object]:
        credential = OnChainPublic(CONTRACT, self.story.requester.public())
        return self.cluster.nodes[0].api.retrieve_shadow(self.key_id, credential)

    def look_up(self, who: Address | None = None) -> Awaitable[object]:
        return self.cluster.nodes[0].api.retrieve_server_key(self.key_id, who or self.story.author)

    async def crash(self, *which: int) -> None:
        for index in which:
            await self.cluster.nodes[index].crash()

    def refuse(self, message: str, refusal: Refusal, *which: int) -> None:
        """Have these nodes refuse instead of giving the answer they owe."""
        for index in which:
            node = self.cluster.nodes[index]
            lie = at(message, lambda _place, _message: Refuse(refusal))
            liars.in_cluster(self.cluster, node, lie)

    def deny(self, verdict: Verdict, *which: int) -> None:
        """Have the chain say this to these nodes."""
        for index in which:
            self.cluster.nodes[index].access.verdict = lambda _request, _who: verdict


def on_cluster(
    scenario: Callable[[Told], Awaitable[None]],
    *,
    nodes: int = NODES,
    quorum: int | None = None,
    threshold: int = THRESHOLD,
    prepared: bool = True,
) -> None:
    """Run a scenario; `prepared`: there is a key, and a document key under it."""

    async def run() -> None:
        services = frozenset((CONTRACT, operation) for operation in Operation)
        policy = Policy(generation_quorum=quorum, service_contracts=services)
        async with Cluster(nodes, seed=5, policy=policy) as cluster:
            await asyncio.sleep(1)
            told = Told(cluster, Story(cluster, threshold))
            if prepared:
                await told.generate(threshold)
                await told.store()
                await asyncio.sleep(1)
            await scenario(told)

    run_virtual(run())


async def check(call: Awaitable[object], kind: type[SessionError], code: str) -> None:
    with pytest.raises(SessionError) as caught:
        await call
    assert (type(caught.value), caught.value.code) == (kind, code)


# --- ops 5-9: h - d < t + 1 ----------------------------------------------------------------------


def test_holders_that_deny_leave_too_few() -> None:
    async def scenario(told: Told) -> None:
        told.deny(Verdict.DENIED, 0, 1, 2)
        assert await told.retrieve()
        told.deny(Verdict.DENIED, 3)
        await check(told.retrieve(), FINAL, "ConsensusUnreachable")

    on_cluster(scenario)


def test_one_holder_that_denies_is_not_believed_even_where_all_are_needed() -> None:
    async def scenario(told: Told) -> None:
        told.refuse("Partial", Refusal.DENIED, 4)
        await check(told.retrieve(), FOR_NOW, "ConsensusUnreachable")
        told.refuse("Partial", Refusal.POLICY, 3)
        await check(told.retrieve(), FINAL, "ConsensusUnreachable")

    on_cluster(scenario, threshold=4)


def test_a_permission_that_is_not_given_is_final_at_any_threshold() -> None:
    """The first denial does not end it before the others have denied, too."""

    async def scenario(told: Told) -> None:
        told.deny(Verdict.DENIED, *range(NODES))
        await check(told.retrieve(), FINAL, "ConsensusUnreachable")

    for threshold in range(NODES):
        on_cluster(scenario, threshold=threshold)


# --- ops 4-8: fewer than t + 1 holders connected or answering ------------------------------------


def test_too_few_holders_are_connected() -> None:
    async def scenario(told: Told) -> None:
        await told.crash(1, 2, 3, 4)
        await check(told.retrieve(), FOR_NOW, "ConsensusUnreachable")
        await check(told.look_up(), FOR_NOW, "ConsensusUnreachable")

    on_cluster(scenario)


def test_too_few_holders_answer() -> None:
    async def scenario(told: Told) -> None:
        told.refuse("Partial", Refusal.NOT_FOUND, 1, 2, 3, 4)
        await check(told.retrieve(), FOR_NOW, "ConsensusUnreachable")

    on_cluster(scenario)


# --- requester is not the author (ops 2, 4) ------------------------------------------------------


def test_strangers_neither_store_nor_look_up() -> None:
    async def scenario(told: Told) -> None:
        await told.generate()
        await check(told.store(author=STRANGER), FINAL, "AccessDenied")
        await check(told.look_up(STRANGER), FINAL, "AccessDenied")

    on_cluster(scenario, prepared=False)


# --- ops 1, 2, 3: a node of the current set not connected ----------------------------------------


def test_generation_and_storing_want_all_nodes() -> None:
    async def scenario(told: Told) -> None:
        await told.generate()
        await told.crash(4)
        await check(told.store(), FOR_NOW, "NodeDisconnected")
        other = Told(told.cluster, Story(told.cluster, THRESHOLD, key_id=KeyId(b"\x07" * 32)))
        await check(other.generate(), FOR_NOW, "NodeDisconnected")

    on_cluster(scenario, prepared=False)


def test_or_as_many_as_the_operator_wants() -> None:
    async def scenario(told: Told) -> None:
        await told.crash(4)
        await told.generate()
        await told.store()
        other = Told(told.cluster, Story(told.cluster, THRESHOLD, key_id=KeyId(b"\x07" * 32)))
        await told.crash(3)
        await check(other.generate(), FOR_NOW, "NodeDisconnected")

    on_cluster(scenario, quorum=4, prepared=False)


# --- NOT_FOUND from q_n nodes, NO_DOCUMENT from q_n holders --------------------------------------


def test_what_a_quorum_does_not_know_does_not_exist() -> None:
    async def scenario(told: Told) -> None:
        await told.crash(4)
        await check(told.look_up(), FINAL, "ServerKeyIsNotFound")
        await check(told.retrieve(), FINAL, "ServerKeyIsNotFound")
        await told.crash(3)
        await check(told.look_up(), FOR_NOW, "ConsensusTemporaryUnreachable")
        await check(told.retrieve(), FOR_NOW, "ConsensusTemporaryUnreachable")

    on_cluster(scenario, prepared=False)


def test_a_silent_node_is_not_waited_for_to_say_that_nothing_exists() -> None:
    async def scenario(told: Told) -> None:
        liars.in_cluster(told.cluster, told.cluster.nodes[4], liars.silent, liars.silent)
        begun = asyncio.get_running_loop().time()
        await check(told.look_up(), FINAL, "ServerKeyIsNotFound")
        assert asyncio.get_running_loop().time() - begun < 0.5
        liars.in_cluster(told.cluster, told.cluster.nodes[3], liars.silent, liars.silent)
        await check(told.look_up(), FOR_NOW, "ConsensusTemporaryUnreachable")

    on_cluster(scenario, prepared=False)


def test_a_document_key_that_a_quorum_does_not_know_does_not_exist() -> None:
    async def scenario(told: Told) -> None:
        await told.generate()
        await told.crash(4)
        await check(told.retrieve(), FINAL, "DocumentKeyIsNotFound")
        await told.crash(3)
        await check(told.retrieve(), FOR_NOW, "ConsensusTemporaryUnreachable")

    on_cluster(scenario, prepared=False)


# --- EXISTS with a verified certificate ----------------------------------------------------------


def test_what_exists_is_not_made_again() -> None:
    async def scenario(told: Told) -> None:
        await check(told.generate(), FINAL, "ServerKeyAlreadyGenerated")
        await check(told.store(OTHER), FINAL, "DocumentKeyAlreadyStored")

    on_cluster(scenario)


def test_that_it_exists_is_not_believed_without_a_certificate() -> None:
    async def scenario(told: Told) -> None:
        told.refuse("Accept", Refusal.EXISTS, 1, 2)
        await check(told.generate(), FOR_NOW, "ServerKeyAlreadyGenerated")

    on_cluster(scenario, prepared=False)


# --- t >= n --------------------------------------------------------------------------------------


def test_a_threshold_that_needs_more_nodes_than_there_are() -> None:
    async def scenario(told: Told) -> None:
        await check(told.generate(NODES), FINAL, "NotEnoughNodesForThreshold")

    on_cluster(scenario, prepared=False)


# --- the same id in progress ---------------------------------------------------------------------


def test_the_same_key_is_being_made() -> None:
    async def scenario(told: Told) -> None:
        first = asyncio.ensure_future(told.generate(node=1))
        await asyncio.sleep(0.05)
        await check(told.generate(), FOR_NOW, "DuplicateSessionId")
        await first

    on_cluster(scenario, prepared=False)


def test_another_document_key_is_being_stored() -> None:
    async def scenario(told: Told) -> None:
        await told.generate()
        told.refuse("StoreAck", Refusal.EXCLUSIVE, 1, 2)
        await check(told.store(), FOR_NOW, "DuplicateSessionId")

    on_cluster(scenario, prepared=False)


# --- nodes whose answer is needed say TEMPORARY --------------------------------------------------


def test_holders_that_are_in_doubt() -> None:
    async def scenario(told: Told) -> None:
        told.deny(Verdict.UNAVAILABLE, 0, 1, 2, 3)
        await check(told.retrieve(), FOR_NOW, "ConsensusTemporaryUnreachable")

    on_cluster(scenario)


# --- time-outs -----------------------------------------------------------------------------------


def test_too_few_take_part_in_making_a_key() -> None:
    async def scenario(told: Told) -> None:
        told.refuse("Accept", Refusal.TEMPORARY, 1)
        await check(told.generate(), FOR_NOW, "NodeDisconnected")

    on_cluster(scenario, prepared=False)


@pytest.mark.parametrize("message", ["StoreAck", "StoreCommit"])
def test_too_few_take_part_in_storing(message: str) -> None:
    async def scenario(told: Told) -> None:
        await told.generate()
        told.refuse(message, Refusal.TEMPORARY, 1, 2)
        await check(told.store(), FOR_NOW, "NodeDisconnected")

    on_cluster(scenario, prepared=False)


# --- f + 1 make a denial final, one node does not ------------------------------------------------


@pytest.mark.parametrize("refusal", [Refusal.DENIED, Refusal.POLICY])
@pytest.mark.parametrize(
    ("liars_", "kind"), [((4,), FOR_NOW), ((3, 4), FINAL)], ids=["one", "f + 1"]
)
def test_a_denied_generation(
    liars_: tuple[int, ...], kind: type[SessionError], refusal: Refusal
) -> None:
    async def scenario(told: Told) -> None:
        told.refuse("Accept", refusal, *liars_)
        await check(told.generate(), kind, "ConsensusUnreachable")

    on_cluster(scenario, prepared=False)


@pytest.mark.parametrize("refusal", [Refusal.DENIED, Refusal.POLICY])
def test_a_denied_storing(refusal: Refusal) -> None:
    """A quorum is left without one node; without f + 1 there is none."""

    async def scenario(told: Told) -> None:
        await told.generate()
        told.refuse("StoreAck", refusal, 3, 4)
        await check(told.store(), FINAL, "ConsensusUnreachable")

    async def one_refuses(told: Told) -> None:
        await told.generate()
        told.refuse("StoreAck", refusal, 4)
        assert await told.store()

    on_cluster(scenario, prepared=False)
    on_cluster(one_refuses, prepared=False)
