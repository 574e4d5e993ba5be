"""Speaking with nodes one request at a time, through one of the two HTTP interfaces."""

from collections.abc import Callable

from keyserver.client.doors import Door, DoorKind
from keyserver.client.errors import NodeNotTrustedError
from keyserver.client.node_http import HttpAnswer, Transport
from keyserver.client.original_door import OriginalDoor
from keyserver.client.v1_door import ABOUT, NodeFacts, V1Door, read_facts, v1_refusal
from keyserver.client.wallet import Wallet
from keyserver.crypto.randomness import RandomSource
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import NodeId
from keyserver.model.requests import ClientOperation


class Conversation:
    """Sends operations of one account; knows the network that signatures are for."""

    def __init__(
        self,
        transport: Transport,
        wallet: Wallet,
        kind: DoorKind,
        *,
        domain: SigningDomain | None,
        rng: RandomSource,
        unix_time: Callable[[], float],
    ) -> None:
        """`domain`: the network's, where it is known; else what the first node says counts."""
        self.kind = kind
        self._transport = transport
        self._wallet = wallet
        self._domain = domain
        self._rng = rng
        self._unix_time = unix_time
        self._checked: set[str] = set()

    async def ask(
        self, node: str, operation: ClientOperation, exclude: frozenset[NodeId] = frozenset()
    ) -> tuple[Door, HttpAnswer]:
        """Send an operation with a new credential; returns the answer and what reads it.

        Raises what is wrong with an answer of another status than 200.
        """
        door = await self.door(node)
        answer = await self._transport.exchange(node, door.request(operation, exclude))
        if answer.status != 200:
            raise door.refusal(answer)
        return door, answer

    async def about(self, node: str) -> NodeFacts:
        """What a node says about itself; only of nodes with `/v1`."""
        return await about_node(self._transport, node)

    async def domain(self, node: str) -> SigningDomain:
        """The network that signatures are for.

        A signature is only good in its network, so one that another network could use is not given
        away: raises `NodeNotTrustedError` if this node says it is elsewhere than the others.
        """
        if node in self._checked and self._domain is not None:
            return self._domain
        facts = await self.about(node)
        if self._domain is None:
            self._domain = facts.domain
        elif facts.domain != self._domain:
            raise NodeNotTrustedError(
                node,
                f"is in another network: {_in_words(facts.domain)}, not {_in_words(self._domain)}",
                advice="Is the address right? Nothing was signed for this node.",
            )
        self._checked.add(node)
        return self._domain

    async def door(self, node: str) -> Door:
        """What makes requests to a node and reads its answers; raises as `domain` does."""
        if self.kind is DoorKind.ORIGINAL:
            return OriginalDoor(self._wallet)
        return V1Door(self._wallet, await self.domain(node), self._rng, self._unix_time)


async def about_node(transport: Transport, node: str) -> NodeFacts:
    """Ask a node who it is, without an account."""
    answer = await transport.exchange(node, ABOUT)
    if answer.status != 200:
        raise v1_refusal(answer)
    return read_facts(answer)


def _in_words(domain: SigningDomain) -> str:
    return f"chain {domain.chain_id}, contract 0x{domain.verifying_contract.hex()}"
