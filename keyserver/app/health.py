"""Whether a node can serve, and why not: pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keyserver.api.facts import Trouble
from keyserver.model.identifiers import NodeId
from keyserver.model.node_set import NodeSetSnapshot
from keyserver.model.quorums import Quorums


@dataclass(frozen=True, slots=True)
class Condition:
    """What readiness depends on."""

    me: NodeId
    snapshot: NodeSetSnapshot
    connected: frozenset[NodeId]
    """Peers with a connection."""
    max_faulty: int | None
    chain_problem: str | None
    """Why the chain is not to be trusted; `None`: it is, or none is needed."""
    database_problem: str | None
    """Why the database cannot be read."""


def troubles_of(condition: Condition) -> tuple[Trouble, ...]:
    """Why a node in this condition cannot serve; empty when it can."""
    found = []
    if condition.database_problem is not None:
        found.append(Trouble("database", condition.database_problem))
    if condition.chain_problem is not None:
        found.append(Trouble("chain", condition.chain_problem))
    snapshot = condition.snapshot
    if snapshot.stale:
        found.append(Trouble("node_set_stale", "the node set could not be read lately"))
    if condition.me not in snapshot.current:
        found.append(Trouble("isolated", "this node is not in the current node set"))
    else:
        found += _too_few(condition)
    return tuple(found)


def _too_few(condition: Condition) -> list[Trouble]:
    nodes = frozenset(condition.snapshot.current.nodes)
    needed = Quorums.of(len(nodes), condition.max_faulty).agreement
    reached = len((condition.connected & nodes) | {condition.me})
    if reached >= needed:
        return []
    text = f"{reached} of {len(nodes)} nodes are reached, this one included; {needed} are needed"
    return [Trouble("no_quorum", text)]


def warnings_of(
    *,
    configuration: Sequence[Trouble],
    contract_problems: Mapping[str, str],
    balance: int | None,
    least_balance: int,
) -> tuple[Trouble, ...]:
    """What does not stop the node from serving, but wants the operator's attention."""
    found = [
        Trouble("contract_missing", f"{option}: {problem}")
        for option, problem in sorted(contract_problems.items())
    ]
    if balance is not None and balance < least_balance:
        text = f"the node's account holds {balance} wei, less than min_balance ({least_balance})"
        found.append(Trouble("balance_low", text))
    return (*found, *configuration)
