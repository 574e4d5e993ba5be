"""What happens to the node set of a world: its owner edits it, members start and confirm.

All of these are events of a plan. Everything in between is done by the nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from keyserver.crypto.hashing import keccak256
from keyserver.evm.abi import Function
from keyserver.model.identifiers import Address, Hash32
from keyserver.simulation.chain import GWEI, VirtualChain
from keyserver.simulation.contracts.node_set import ARTIFACT, Member, NodeSetContract
from keyserver.simulation.customers import FEE, GAS, Customer
from keyserver.simulation.mempool import Transaction
from keyserver.simulation.scenarios.plan import register

START: Final = Function.parse("startMigration(bytes32)")
CONFIRM: Final = Function.parse("confirmMigration(bytes32)")


@dataclass(frozen=True, slots=True)
class Members:
    """The nodes at these places are the set in the beginning; without this event, all."""

    at: float
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """The owner makes these nodes the new set."""

    at: float
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NewAddress:
    """The owner notes another network address of a node; the set stays."""

    at: float
    node: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """The owner cancels the migration that runs, if one does."""

    at: float


@dataclass(frozen=True, slots=True)
class ForeignStart:
    """Somebody starts a migration with the key of a node, which knows nothing of it."""

    at: float
    node: int


@dataclass(frozen=True, slots=True)
class ConfirmationsLost:
    """For a while confirmations that wait for a block are forgotten by everybody."""

    at: float
    for_s: float


@dataclass(frozen=True, slots=True)
class Refreshing:
    """All the time every key is refreshed as often as this (clusters only)."""

    at: float
    every_s: int


OWNERS_EVENTS: Final = (Edit, NewAddress, Cancel, ForeignStart, ConfirmationsLost)
SET_EVENTS: Final = (Members, Refreshing, *OWNERS_EVENTS)

register(*SET_EVENTS)


def set_of(chain: VirtualChain, contract: Address, block: int = -1) -> NodeSetContract:
    """The node set contract as of a block."""
    found = chain.blocks[block].state.contracts[contract]
    assert isinstance(found, NodeSetContract)
    return found


class Owner:
    """Edits the set of a world."""

    def __init__(
        self,
        customer: Customer,
        contract: Address,
        servers: Sequence[Member],
        first: Sequence[Address],
    ) -> None:
        """`servers`: the nodes at all places; `first`: the set that was made in the beginning."""
        self._customer = customer
        self._contract = contract
        self._servers = servers
        self._edited = list(first)

    def edit(self, places: Sequence[int], servers: Sequence[Address]) -> None:
        """Have these be the new set, by as many transactions as it takes."""
        wanted = [servers[place] for place in places if place < len(servers)]
        for server in [each for each in self._edited if each not in wanted]:
            self._call("removeKeyServer", server)
        for place, server in enumerate(servers):
            if server in wanted and server not in self._edited:
                member = self._servers[place]
                self._call("addKeyServer", member.public, member.network_address)
        self._edited = wanted

    def note_address(self, place: int, server: Address) -> None:
        """Change where a node is to be reached."""
        if server in self._edited:
            self._call("updateKeyServerAddress", server, f"127.0.0.2:{7000 + place}", once=True)

    def cancel(self, migration_id: bytes) -> None:
        """Cancel this migration; if it is over by then, so be it."""
        self._call("cancelMigration", migration_id, once=True)

    def _call(self, method: str, *arguments: object, once: bool = False) -> None:
        self._customer.wish(self._contract, ARTIFACT, method, *arguments, pays=False, once=once)


def start_by_hand(chain: VirtualChain, contract: Address, member: Address) -> None:
    """Send `startMigration` in the name of a member, as whoever has its key can."""
    migration_id = keccak256(b"by hand" + member + chain.head.hash)
    nonce = chain.head.nonce_of(member)
    name = Hash32(keccak256(b"start" + migration_id))
    chain.submit(
        Transaction(
            name, member, nonce, contract, START.encode(migration_id), GAS, FEE, 2 * GWEI, 0
        )
    )


def lose_confirmations(chain: VirtualChain) -> None:
    """Forget what waits for a block and confirms a migration."""
    for transaction in chain.pool.waiting:
        if transaction.data[:4] == CONFIRM.selector:
            chain.pool.drop(transaction.hash)
