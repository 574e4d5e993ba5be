"""A change of the node set before it is ordered: who comes and goes, what to mind, what to sign.

Plain computation; HTTP interface, section 9, and engine design, section 14.4.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from keyserver.client.wallet import Wallet
from keyserver.errors import ConfigError
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.node_set import NodeSet
from keyserver.model.quorums import MAX_NODES, Quorums
from keyserver.model.set_change import (
    MAX_U64,
    BoundOrder,
    LegacyOrder,
    domain_of,
    set_change_digest,
    set_hash,
)


@dataclass(frozen=True)
class SetChangePlan:
    """A change from the nodes that hold the keys now to those that shall hold them."""

    present: NodeSet
    new: NodeSet

    @cached_property
    def old(self) -> NodeSet:
        """All nodes that take part: what is signed as the old set, and configured meanwhile."""
        union = {*self.present.nodes, *self.new.nodes}
        return NodeSet.of(self.new.chain_id, self.new.contract, union)

    @property
    def staying(self) -> tuple[NodeId, ...]:
        """Those that hold keys now, and after."""
        return tuple(node for node in self.new.nodes if node in self.present)

    @property
    def joining(self) -> tuple[NodeId, ...]:
        """Those that get shares for the first time."""
        return tuple(node for node in self.new.nodes if node not in self.present)

    @property
    def leaving(self) -> tuple[NodeId, ...]:
        """Those whose shares become worthless."""
        return tuple(node for node in self.present.nodes if node not in self.new)


@dataclass(frozen=True, slots=True)
class PlanWarning:
    """What an administrator should know before signing."""

    code: str
    text: str


def plan_set_change(
    domain: SigningDomain, present: Iterable[NodeId], new: Iterable[NodeId]
) -> SetChangePlan:
    """Put a plan together; raises `ConfigError` for sets that are empty or too large together."""
    named = {"present set": set(present), "new set": set(new)}
    for name, nodes in named.items():
        if not nodes:
            raise ConfigError(f"{name}: must have at least one node")
    everybody = len(set().union(*named.values()))
    if everybody > MAX_NODES:
        raise ConfigError(f"old set: {everybody} nodes would take part, at most {MAX_NODES} can")
    sets = (
        NodeSet.of(domain.chain_id, domain.verifying_contract, nodes) for nodes in named.values()
    )
    return SetChangePlan(*sets)


def warnings_of(plan: SetChangePlan, threshold: int | None = None) -> tuple[PlanWarning, ...]:
    """What to mind; `threshold` is the largest t of the keys, where it is known."""
    return (*_about_sets(plan), *(() if threshold is None else _about_keys(plan, threshold)))


def _about_sets(plan: SetChangePlan) -> list[PlanWarning]:
    present, new, leaving = len(plan.present), len(plan.new), len(plan.leaving)
    found = []
    if plan.present == plan.new:
        text = "the same nodes before and after: their shares are exchanged, nothing else changes"
        found.append(PlanWarning("same_nodes", text))
    if 2 * leaving > present:
        text = f"{leaving} of the {present} present nodes leave, more than half: is that right?"
        found.append(PlanWarning("most_leave", text))
    if Quorums.of(new).faulty == 0 and Quorums.of(present).faulty > 0:
        text = f"with {new} nodes no faulty node is tolerated; with {present} it was"
        found.append(PlanWarning("no_faults_tolerated", text))
    return found


def _about_keys(plan: SetChangePlan, threshold: int) -> list[PlanWarning]:
    needed, staying, new = threshold + 1, len(plan.staying), len(plan.new)
    if new < needed:
        text = (
            f"the new set has {new} nodes and keys with threshold {threshold} need {needed}: the "
            "change would be refused"
        )
        return [PlanWarning("too_few_nodes", text)]
    found = []
    if new == needed:
        text = f"keys with threshold {threshold} will need every node of the new set"
        found.append(PlanWarning("none_to_spare", text))
    if plan.leaving and staying < needed:
        text = (
            f"only {staying} of the nodes that hold keys stay, and {needed} are needed: keep the "
            "leaving nodes running until the change is done"
        )
        found.append(PlanWarning("leaving_are_needed", text))
    return found


# --- signing ----------------------------------------------------------------------------------


def sign_legacy_order(wallet: Wallet, plan: SetChangePlan) -> LegacyOrder:
    """The administrator's pair of signatures; good for ever, so not to be left lying about."""
    old, new = set_hash(plan.old.nodes), set_hash(plan.new.nodes)
    return LegacyOrder(plan.new.nodes, _signature(wallet, old), _signature(wallet, new))


def sign_bound_order(
    wallet: Wallet, plan: SetChangePlan, *, epoch: int, not_after: int
) -> BoundOrder:
    """The administrator's signature for this one change, until `not_after` (unix seconds).

    `epoch` is the number of changes completed before, and one. Raises `ConfigError` for numbers
    that no order can have.
    """
    if not 1 <= epoch <= MAX_U64:
        raise ConfigError(f"epoch: must be 1 to 2^64-1, is {epoch}")
    if not 0 <= not_after <= MAX_U64:
        raise ConfigError(f"not_after: must be 0 to 2^64-1, is {not_after}")
    digest = bound_digest_of(plan, epoch=epoch, not_after=not_after)
    signature = _signature(wallet, digest)
    return BoundOrder(plan.old.id, plan.new.nodes, epoch, not_after, signature)


def bound_digest_of(plan: SetChangePlan, *, epoch: int, not_after: int) -> Hash32:
    """What a bound order for this plan is a signature over."""
    return set_change_digest(
        domain_of(plan.new),
        old_set_id=plan.old.id,
        new_set_id=plan.new.id,
        epoch=epoch,
        not_after=not_after,
    )


def _signature(wallet: Wallet, digest: Hash32) -> Signature:
    return Signature(wallet.sign_digest(digest))
