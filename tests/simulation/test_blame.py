"""A liar in a cluster: named everywhere, with evidence, and chosen last from then on."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.engine.blame import AVOIDED_S
from keyserver.model.identifiers import Address, KeyId, NodeId
from keyserver.model.keys import CertifiedRecord
from keyserver.model.requests import OnChainAddress, OnChainPublic
from keyserver.sessions.core import UnavailableError
from keyserver.sessions.evidence import decode_evidence, judge
from keyserver.simulation import liars
from keyserver.simulation.adversary import dealing, retrieval_holders
from keyserver.simulation.cluster import CONTRACT, Cluster, SimulatedNode
from keyserver.simulation.liars import Lie, at
from keyserver.simulation.loop import run_virtual
from keyserver.simulation.network import Network
from tests.simulation.story import Story

AUTHOR = Address(b"\xa1" * 20)
LIAR = 2

DEALING: dict[str, Lie] = {
    "a false share": at("Deal", dealing.false_shares(frozenset({0}).__contains__)),
    "a polynomial too long": at("Deal", dealing.other_degree(1)),
    "a false complaint": at("Ok", dealing.false_complaint),
}


class Lying:
    """A cluster of four with one liar, and what its nodes know about it."""

    def __init__(self, cluster: Cluster, lie: Lie) -> None:
        self.cluster = cluster
        self.liar = cluster.nodes[LIAR]
        self.honest = [node for node in cluster.nodes if node is not self.liar]
        liars.in_cluster(cluster, self.liar, lie)

    async def generate(self, key: int) -> CertifiedRecord:
        credential = OnChainAddress(CONTRACT, AUTHOR)
        node = self.honest[0]
        return await node.api.generate_server_key(KeyId(bytes([key]) * 32), 1, credential)

    async def check_named(self) -> None:
        """Every honest node avoids the liar and can prove why; nobody else is named."""
        await asyncio.sleep(1)
        for node in self.honest:
            assert node.recorder.culprits == {self.liar.id}
            assert blame(node).avoided == {self.liar.id}
            for offence in blame(node).offences:
                record = await blame(node).record(offence.evidence)
                assert record is not None
                assert judge(decode_evidence(record)).culprit == self.liar.id


def blame(node: SimulatedNode) -> Any:
    catalogue: Any = node.api._catalogue
    return catalogue.blame


def play(lie: Lie, scenario: Callable[[Lying], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with Cluster(4, seed=7) as cluster:
            await scenario(Lying(cluster, lie))

    run_virtual(main())


def holders(record: CertifiedRecord) -> set[NodeId]:
    return {entry.node for entry in record.certificate.holding.signatures}


@pytest.mark.parametrize("name", DEALING)
def test_a_dealer_is_named_everywhere_and_left_out_next_time(name: str) -> None:
    async def scenario(lying: Lying) -> None:
        first = await lying.generate(1)
        assert lying.liar.id not in holders(first)
        await lying.check_named()
        lying.cluster.network.redeem(lying.liar.id)
        second = await lying.generate(2)
        assert holders(second) == {node.id for node in lying.honest}, "it was not asked to deal"
        assert lying.liar.id in second.record.nodes, "it is a member all the same"
        await asyncio.sleep(AVOIDED_S)
        third = await lying.generate(3)
        assert lying.liar.id in holders(third), "a day is over"

    play(DEALING[name], scenario)


def test_a_restart_forgets_nothing() -> None:
    async def scenario(lying: Lying) -> None:
        await lying.generate(1)
        await lying.check_named()
        for node in lying.honest:
            await node.crash()
            node.boot()
        await asyncio.sleep(1)
        assert all(blame(node).avoided == {lying.liar.id} for node in lying.honest)
        lying.cluster.network.redeem(lying.liar.id)
        assert lying.liar.id not in holders(await lying.generate(2))

    play(DEALING["a false share"], scenario)


def test_a_node_that_was_away_is_told() -> None:
    async def scenario(lying: Lying) -> None:
        away = lying.honest[2]
        for node in (*lying.honest[:2], lying.liar):
            lying.cluster.network.cut(away.id, node.id)
        with pytest.raises(UnavailableError):
            await lying.generate(1)
        lying.cluster.network.heal()
        await lying.generate(2)
        await away.crash()
        away.disk.state = type(away.disk.state)()
        away.boot()
        await asyncio.sleep(1)
        assert blame(away).avoided == {lying.liar.id}

    play(DEALING["a false share"], scenario)


def test_a_holder_with_a_wrong_part_is_named_and_asked_last() -> None:
    async def scenario(lying: Lying) -> None:
        story = Story(lying.cluster, 1)
        await story.generate()
        await story.store()
        liars.in_cluster(
            lying.cluster,
            lying.liar,
            at("Partial", retrieval_holders.signed_with("point", liars.OTHER_POINT)),
        )
        requester = OnChainPublic(CONTRACT, SecretScalar.from_int(9).public())
        for _ in range(12):
            await lying.honest[0].api.retrieve_shadow(story.key_id, requester)
            if blame(lying.honest[0]).avoided:
                break
        await lying.check_named()
        asked = _asked(lying.cluster.network, lying.liar.id)
        lying.cluster.network.redeem(lying.liar.id)
        for _ in range(5):
            result = await lying.honest[0].api.retrieve_shadow(story.key_id, requester)
            assert lying.liar.id not in result.nodes
        assert asked == [], "there were enough others"

    play(liars.honest, scenario)


def _asked(network: Network, node: NodeId) -> list[bytes]:
    """The requests for parts that reach a node from now on."""
    seen: list[bytes] = []
    listener: Any = network._listeners[node]
    deliver = listener.on_message

    def on_message(peer: NodeId, message: bytes) -> bool:
        if message[:2] == b"\x04\x01":
            seen.append(message)
        accepted: bool = deliver(peer, message)
        return accepted

    listener.on_message = on_message
    return seen


def test_if_there_are_not_enough_others_it_is_asked() -> None:
    async def scenario(lying: Lying) -> None:
        story = Story(lying.cluster, 2)
        liars.in_cluster(lying.cluster, lying.liar, liars.honest)
        await story.generate()
        await story.store()
        liars.in_cluster(
            lying.cluster,
            lying.liar,
            at("Partial", retrieval_holders.signed_with("point", liars.OTHER_POINT)),
        )
        requester = OnChainPublic(CONTRACT, SecretScalar.from_int(9).public())
        while not blame(lying.honest[0]).avoided:
            await lying.honest[0].api.retrieve_shadow(story.key_id, requester)
        await lying.check_named()
        lying.cluster.network.redeem(lying.liar.id)
        await lying.honest[2].crash()
        result = await lying.honest[0].api.retrieve_shadow(story.key_id, requester)
        assert lying.liar.id in result.nodes

    play(liars.honest, scenario)
