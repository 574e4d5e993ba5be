"""Orders to change the node set: what they say, what is signed, how they are encoded.

Engine design, section 14.4. `set_change_rules` judges them by what a node knows itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from keyserver.crypto.hashing import keccak256, tagged_hash
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.codec import U64, CodecError, decode, encode
from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId, Signature
from keyserver.model.node_set import NodeSet

MAX_U64: Final = 2**64 - 1
"""The largest epoch, and the latest expiry."""

_ORDER_TYPE: Final = b"SetChange(bytes32 oldSetId,bytes32 newSetId,uint64 epoch,uint64 notAfter)"


@dataclass(frozen=True, slots=True)
class LegacyOrder:
    """The administrator's two signatures in the original's form; good for ever (kind 1).

    They are over `set_hash` of all nodes that take part and of the new set. Who takes part is not
    said: every node takes its own configuration for it.
    """

    new_nodes: tuple[NodeId, ...]
    old_signature: Signature = field(repr=False)
    new_signature: Signature = field(repr=False)

    def __post_init__(self) -> None:
        """Raises `ValueError` unless the nodes are distinct, ascending and at least one."""
        _check_nodes(self.new_nodes)


@dataclass(frozen=True, slots=True)
class BoundOrder:
    """The administrator's signature over `set_change_digest`: for one change, once (kind 2)."""

    old_set_id: Hash32
    """`NodeSet.id` of all nodes that take part: staying, joining and leaving."""
    new_nodes: tuple[NodeId, ...]
    epoch: U64
    """The number of changes completed before, and one."""
    not_after: U64
    """The last second at which it counts, unix time."""
    signature: Signature = field(repr=False)

    def __post_init__(self) -> None:
        """Raises `ValueError` for nodes that are no set, and for numbers above 64 bits."""
        _check_nodes(self.new_nodes)
        for name, number in (("epoch", self.epoch), ("not_after", self.not_after)):
            if not 0 <= number <= MAX_U64:
                raise ValueError(f"{name}: must fit 64 bits, is {number}")


@dataclass(frozen=True, slots=True)
class MigrationOrder:
    """A migration that the node set contract has started (kind 3)."""

    id: Hash32
    """The contract's name for the migration."""
    new_nodes: tuple[NodeId, ...]
    master: NodeId
    """The node that coordinates it."""

    def __post_init__(self) -> None:
        """Raises `ValueError` unless the nodes are distinct, ascending and at least one."""
        _check_nodes(self.new_nodes)


AdministratorOrder = LegacyOrder | BoundOrder
"""What an administrator signs."""

SetChangeOrder = AdministratorOrder | MigrationOrder

_KINDS: Final[dict[int, type[SetChangeOrder]]] = {1: LegacyOrder, 2: BoundOrder, 3: MigrationOrder}
_NUMBERS: Final = {kind: number for number, kind in _KINDS.items()}


def encode_order(order: SetChangeOrder) -> bytes:
    """The canonical bytes of an order: its kind, as one byte, and its fields.

    Only for orders that a node found valid: an id that is no point of the curve has no encoding.
    """
    return bytes([_NUMBERS[type(order)]]) + encode(order)


def decode_order(data: bytes) -> SetChangeOrder:
    """The order in exactly these bytes; raises `CodecError`."""
    kind = _KINDS.get(data[0]) if data else None
    if kind is None:
        raise CodecError("set change order: of no known kind")
    return decode(kind, data[1:])


def set_hash(nodes: Iterable[NodeId]) -> Hash32:
    """What the administrator signs for a set in the original's form: Keccak-256 of ascending ids.

    The order in which they are given, and repetitions, make no difference.
    """
    return Hash32(keccak256(b"".join(sorted(set(nodes)))))


def set_change_digest(
    domain: SigningDomain, *, old_set_id: Hash32, new_set_id: Hash32, epoch: int, not_after: int
) -> Hash32:
    """What the administrator signs for a bound order (EIP-712); `not_after` in unix seconds."""
    struct_hash = keccak256(
        keccak256(_ORDER_TYPE)
        + old_set_id
        + new_set_id
        + epoch.to_bytes(32, "big")
        + not_after.to_bytes(32, "big")
    )
    return Hash32(keccak256(b"\x19\x01" + domain.separator + struct_hash))


def domain_of(node_set: NodeSet) -> SigningDomain:
    """The network that orders about a set are signed for."""
    return SigningDomain(node_set.chain_id, node_set.contract)


def bound_order_digest(order: BoundOrder, domain: SigningDomain) -> Hash32:
    """The digest that the signature of a bound order must be over, in this network."""
    new = NodeSet(domain.chain_id, domain.verifying_contract, order.new_nodes)
    return set_change_digest(
        domain,
        old_set_id=order.old_set_id,
        new_set_id=new.id,
        epoch=order.epoch,
        not_after=order.not_after,
    )


@dataclass(frozen=True, slots=True)
class SetChange:
    """A change of the node set that this node found in order."""

    id: Hash32
    """`change_id`: the name of the change in all messages about it."""
    old: NodeSet
    """A: with an administrator's order all nodes that take part; with a migration the current set
    of the contract."""
    new: NodeSet
    """B."""
    is_repeat: bool = False
    """Whether it is the latest completed one, given once more: it does not count again."""

    @classmethod
    def ordered(
        cls, old: NodeSet, new: NodeSet, order_id: Hash32 = ZERO_HASH, *, is_repeat: bool = False
    ) -> "SetChange":
        """The change from `old` to `new`; `order_id`: zeros, the digest, or the migration's id."""
        packed = old.id + new.id + order_id
        return cls(Hash32(tagged_hash("tks/1/change", packed)), old, new, is_repeat)

    @property
    def leaving(self) -> tuple[NodeId, ...]:
        """Members of the old set that are not in the new one."""
        return tuple(node for node in self.old.nodes if node not in self.new)


@dataclass(frozen=True, slots=True)
class CompletedChange:
    """A change that was carried out; a node keeps all of them, in order."""

    epoch: int
    """Its number, from 1."""
    id: Hash32
    old: NodeSet
    new: NodeSet
    completed_at: int
    """Unix seconds, by this node's clock."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for an epoch below 1 and for sets of two networks."""
        if self.epoch < 1:
            raise ValueError(f"epoch: must be at least 1, is {self.epoch}")
        if domain_of(self.old) != domain_of(self.new):
            raise ValueError("old and new set must be of the same network")


def current_set(configured: NodeSet, latest: CompletedChange | None) -> NodeSet:
    """The current set of a cluster with configured nodes (engine design, section 4).

    After a change it is the target, until the configuration is another one than the change was
    ordered for.
    """
    return latest.new if latest is not None and latest.old.id == configured.id else configured


def _check_nodes(nodes: tuple[NodeId, ...]) -> None:
    if not nodes:
        raise ValueError("new_nodes: must be at least one")
    if list(nodes) != sorted(set(nodes)):
        raise ValueError("new_nodes: must be distinct and ascending")
