"""Whether an order to change the node set is valid in the eyes of one node.

Engine design, section 14.4, and HTTP interface, section 9. Every node judges every order for
itself, by its own configuration, history and view of the chain. Where several rules are broken,
the first one in the order of that section is told.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from keyserver.crypto.curve import recover
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.errors import KeyServerError
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from keyserver.model.set_change import (
    AdministratorOrder,
    BoundOrder,
    CompletedChange,
    LegacyOrder,
    MigrationOrder,
    SetChange,
    bound_order_digest,
    domain_of,
    set_hash,
)

SETTLED_BLOCKS: Final = 5
"""For how many blocks a node must have seen a contract's new set before it takes part."""


class Rule(StrEnum):
    """What an order may break."""

    NO_ADMINISTRATOR = "no_administrator"
    LEGACY_FORM = "legacy_form"
    UNKNOWN_NODE = "unknown_node"
    UNREADABLE_SIGNATURE = "unreadable_signature"
    WRONG_SIGNER = "wrong_signer"
    REPEATED = "repeated"
    OTHER_SET = "other_set"
    EXPIRED = "expired"
    WRONG_EPOCH = "wrong_epoch"
    STALE_VIEW = "stale_view"
    NO_MIGRATION = "no_migration"
    OTHER_MIGRATION = "other_migration"
    OTHER_TARGET = "other_target"
    OTHER_MASTER = "other_master"
    UNSETTLED = "unsettled"
    MASTER_OUTSIDE = "master_outside"


_CODES: Final = {
    Rule.NO_ADMINISTRATOR: "AccessDenied",
    Rule.LEGACY_FORM: "OperationDisabled",
    Rule.UNKNOWN_NODE: "NodeDisconnected",
    Rule.UNREADABLE_SIGNATURE: "EthKey",
    Rule.EXPIRED: "SignatureExpired",
}
"""The original's names; of a rule that is not here every node judges for itself, and what comes
of it is that they do not agree."""


class OrderRefusedError(KeyServerError):
    """An order that this node does not take part in carrying out; final for this order."""

    def __init__(self, rule: Rule, message: str) -> None:
        super().__init__(message)
        self.rule = rule
        self.code = _CODES.get(rule, "ConsensusUnreachable")


class KeysWouldBeLostError(KeyServerError):
    """A change after which some keys could never be used again; nothing was touched."""

    def __init__(self, keys: int) -> None:
        super().__init__(f"{keys} keys would be left with too few holders")
        self.keys = keys
        """How many."""


@dataclass(frozen=True, slots=True)
class AdministratorView:
    """What a node judges an administrator's order by."""

    configured: NodeSet
    """All configured nodes, and itself."""
    administrator: NodeId | None
    """`admin_public`."""
    completed: tuple[CompletedChange, ...]
    """All changes so far, the oldest first."""
    now: int
    """Unix seconds."""
    strict_admin: bool = False
    allow_repeated_change: bool = False

    @property
    def latest(self) -> CompletedChange | None:
        """The change that was completed last."""
        return self.completed[-1] if self.completed else None

    @property
    def next_epoch(self) -> int:
        """The epoch that a bound order must name."""
        return 1 if self.latest is None else self.latest.epoch + 1


@dataclass(frozen=True, slots=True)
class MigrationView:
    """What a node judges a migration by."""

    snapshot: NodeSetSnapshot
    settled: frozenset[NodeId] | None
    """The contract's new set, if this node has seen the same one for `SETTLED_BLOCKS`."""


# --- an administrator's orders ----------------------------------------------------------------


def administrator_of(order: AdministratorOrder, view: AdministratorView) -> NodeId:
    """Who may sign this kind of order here; raises `OrderRefusedError` if nobody may.

    What a node tells before it looks at sets and signatures.
    """
    if view.administrator is None:
        raise OrderRefusedError(
            Rule.NO_ADMINISTRATOR, "no administrator: [secretstore] admin_public is not set"
        )
    if view.strict_admin and isinstance(order, LegacyOrder):
        raise OrderRefusedError(
            Rule.LEGACY_FORM, "[keyserver] strict_admin: signatures of the old form count for ever"
        )
    return view.administrator


def judge_order(order: AdministratorOrder, view: AdministratorView) -> SetChange:
    """The change that an administrator orders; raises `OrderRefusedError`."""
    administrator = administrator_of(order, view)
    old = view.configured
    strangers = [node for node in order.new_nodes if node not in old]
    if strangers:
        raise OrderRefusedError(
            Rule.UNKNOWN_NODE,
            f"new_set: {strangers[0].short}.. is none of the {len(old)} configured nodes",
        )
    new = NodeSet(old.chain_id, old.contract, order.new_nodes)
    if isinstance(order, LegacyOrder):
        return _legacy(order, administrator, view, new)
    return _bound(order, administrator, view, new)


def _legacy(
    order: LegacyOrder, administrator: NodeId, view: AdministratorView, new: NodeSet
) -> SetChange:
    old = view.configured
    old_signer = _signer(set_hash(old.nodes), order.old_signature, "old set")
    new_signer = _signer(set_hash(new.nodes), order.new_signature, "new set")
    for name, signer in (("old set", old_signer), ("new set", new_signer)):
        _check_signer(name, signer, administrator)
    alike = [change for change in view.completed if (change.old, change.new) == (old, new)]
    is_repeat = bool(alike) and alike[-1] == view.latest
    if alike and not is_repeat and not view.allow_repeated_change:
        raise OrderRefusedError(
            Rule.REPEATED,
            f"this change was done already (number {alike[-1].epoch}) and another one since; to "
            "do it again set [keyserver] allow_repeated_change, or sign a bound order",
        )
    return SetChange.ordered(old, new, is_repeat=is_repeat)


def _bound(
    order: BoundOrder, administrator: NodeId, view: AdministratorView, new: NodeSet
) -> SetChange:
    old = view.configured
    digest = bound_order_digest(order, domain_of(old))
    _check_signer("order", _signer(digest, order.signature, "order"), administrator)
    if order.old_set_id != old.id:
        raise OrderRefusedError(
            Rule.OTHER_SET, "old_set_id: is of other nodes than are configured here"
        )
    if view.now > order.not_after:
        raise OrderRefusedError(
            Rule.EXPIRED, f"the order expired at {order.not_after}; it is {view.now} here"
        )
    change = SetChange.ordered(old, new, digest)
    if view.latest is not None and view.latest.id == change.id:
        return SetChange.ordered(old, new, digest, is_repeat=True)
    if order.epoch != view.next_epoch:
        raise OrderRefusedError(Rule.WRONG_EPOCH, _wrong_epoch(order, view))
    return change


def _wrong_epoch(order: BoundOrder, view: AdministratorView) -> str:
    why = f"epoch: must be {view.next_epoch}, is {order.epoch}"
    if view.latest is None or order.epoch > view.next_epoch:
        return why
    members = ", ".join(node.short for node in view.latest.new.nodes)
    return (
        f"{why}; change number {view.latest.epoch}, to the nodes {members}, was completed here: "
        "where it was not, that order has to be repeated first"
    )


def _signer(digest: Hash32, signature: Signature, name: str) -> NodeId:
    try:
        return NodeId.of(recover(digest, signature))
    except InvalidSignatureError:
        raise OrderRefusedError(
            Rule.UNREADABLE_SIGNATURE, f"{name}: the signature belongs to no key"
        ) from None


def _check_signer(name: str, signer: NodeId, administrator: NodeId) -> None:
    """Nearly every signature is somebody's: one over something else looks like a stranger's."""
    if signer != administrator:
        raise OrderRefusedError(
            Rule.WRONG_SIGNER, f"{name}: not signed by the administrator, or over something else"
        )


# --- migrations -------------------------------------------------------------------------------


def judge_migration(order: MigrationOrder, view: MigrationView) -> SetChange:
    """The change that the node set contract orders; raises `OrderRefusedError`."""
    snapshot, running = view.snapshot, view.snapshot.migration
    if snapshot.stale:
        raise OrderRefusedError(Rule.STALE_VIEW, "the chain could not be asked lately")
    if running is None:
        raise OrderRefusedError(Rule.NO_MIGRATION, "no migration is running on the contract")
    if running.id != order.id:
        raise OrderRefusedError(Rule.OTHER_MIGRATION, "another migration is running")
    if running.nodes != frozenset(order.new_nodes):
        raise OrderRefusedError(Rule.OTHER_TARGET, "new set: not that of the running migration")
    if running.master != order.master:
        raise OrderRefusedError(Rule.OTHER_MASTER, "master: not that of the running migration")
    if view.settled != running.nodes:
        raise OrderRefusedError(
            Rule.UNSETTLED,
            f"new set: not seen here on the contract for {SETTLED_BLOCKS} blocks",
        )
    if order.master not in running.nodes:
        raise OrderRefusedError(Rule.MASTER_OUTSIDE, "master: not in the new set")
    old = snapshot.current
    new = NodeSet(old.chain_id, old.contract, order.new_nodes)
    return SetChange.ordered(old, new, order.id)
