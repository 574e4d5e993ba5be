"""What the refusals of participants come to (engine design, section 17)."""

from collections.abc import Collection, Mapping

from keyserver.model.identifiers import NodeId
from keyserver.sessions.core import DeniedError, Refusal, UnavailableError

FOR_GOOD = frozenset({Refusal.DENIED, Refusal.POLICY})
"""A node that says so will say the same of the same request when it is repeated."""

FOR_NOW = frozenset({Refusal.TEMPORARY, Refusal.BUSY, Refusal.STALE, Refusal.EXCLUSIVE})
"""A node that says so may take part when the request is repeated."""


def consensus_refused(
    refusals: Mapping[NodeId, Refusal], *, nodes: int, needed: int, faulty: int
) -> DeniedError | UnavailableError | None:
    """The error if so many of `nodes` refuse for good that no `needed` are left; else `None`.

    Final only if an honest node is among them: `faulty` ones may refuse what everybody allows.
    """
    refusing = len(refusing_for_good(refusals))
    if nodes - refusing >= needed:
        return None
    kind = DeniedError if refusing > faulty else UnavailableError
    return kind(f"{refusing} of {nodes} nodes refuse for good", "ConsensusUnreachable")


def may_become_final(
    refusals: Mapping[NodeId, Refusal],
    waiting: Collection[NodeId],
    *,
    nodes: int,
    needed: int,
    faulty: int,
) -> bool:
    """Whether some refuse for good, and those who have not answered may still make it final."""

    def is_final(said: Mapping[NodeId, Refusal]) -> bool:
        refused = consensus_refused(said, nodes=nodes, needed=needed, faulty=faulty)
        return isinstance(refused, DeniedError)

    if not refusing_for_good(refusals) or is_final(refusals):
        return False
    return is_final({**refusals, **dict.fromkeys(waiting, Refusal.DENIED)})


def refusing_for_good(refusals: Mapping[NodeId, Refusal]) -> list[NodeId]:
    """Who refuses for good."""
    return [node for node, refusal in refusals.items() if refusal in FOR_GOOD]
