"""Orders to change a set of nodes, signed by an administrator of the tests' own."""

from collections.abc import Iterable

from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.node_set import NodeSet, static_set_contract
from keyserver.model.set_change import (
    BoundOrder,
    CompletedChange,
    LegacyOrder,
    SetChange,
    domain_of,
    set_change_digest,
    set_hash,
)
from keyserver.model.set_change_rules import AdministratorView

NOW = 1_800_000_000
ADMIN_KEY = SecretScalar.from_int(0xAD317)
ADMIN = NodeId.of(ADMIN_KEY.public())
OTHER_KEY = SecretScalar.from_int(0xBAD)
CHAIN_ID = 0
CONTRACT = static_set_contract("tests")
NODES = tuple(sorted(NodeId.of(SecretScalar.from_int(n).public()) for n in range(1, 6)))
"""Five nodes, ascending."""


def set_of(nodes: Iterable[NodeId]) -> NodeSet:
    """A set in the network of these tests."""
    return NodeSet.of(CHAIN_ID, CONTRACT, set(nodes))


ALL = set_of(NODES)


def sign(digest: Hash32, key: SecretScalar = ADMIN_KEY) -> Signature:
    return Signature(sign_digest(key, digest))


def legacy_order(
    old: NodeSet = ALL, new: Iterable[NodeId] = NODES[:3], key: SecretScalar = ADMIN_KEY
) -> LegacyOrder:
    target = tuple(sorted(new))
    return LegacyOrder(target, sign(set_hash(old.nodes), key), sign(set_hash(target), key))


def bound_order(
    old: NodeSet = ALL,
    new: Iterable[NodeId] = NODES[:3],
    *,
    epoch: int = 1,
    not_after: int = NOW + 300,
    key: SecretScalar = ADMIN_KEY,
) -> BoundOrder:
    target = set_of(new)
    digest = set_change_digest(
        domain_of(old), old_set_id=old.id, new_set_id=target.id, epoch=epoch, not_after=not_after
    )
    return BoundOrder(old.id, target.nodes, epoch, not_after, sign(digest, key))


def view(
    *completed: CompletedChange,
    configured: NodeSet = ALL,
    administrator: NodeId | None = ADMIN,
    now: int = NOW,
    strict_admin: bool = False,
    allow_repeated_change: bool = False,
) -> AdministratorView:
    return AdministratorView(
        configured, administrator, completed, now, strict_admin, allow_repeated_change
    )


def completed(change: SetChange, epoch: int = 1) -> CompletedChange:
    return CompletedChange(epoch, change.id, change.old, change.new, NOW - 100 + epoch)
