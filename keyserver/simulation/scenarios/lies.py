"""What liars of a plan do, by name: the rows of the adversary matrix."""

from collections.abc import Sequence
from typing import Any

from keyserver.simulation.adversary import (
    generation_coordinators,
    generation_members,
    retrieval_coordinators,
    retrieval_holders,
    storing,
)
from keyserver.simulation.adversary.rows import Part, Row, Tells, TellsOnLinks
from keyserver.simulation.cluster import Cluster, SimulatedNode
from keyserver.simulation.liars import Lie, LinkLie, LinkPlace, honest, in_cluster

_ROWS: tuple[Row, ...] = (
    *generation_members.ROWS,
    *generation_coordinators.ROWS,
    *storing.MEMBERS,
    *storing.COORDINATORS,
    *retrieval_holders.ROWS,
    *retrieval_coordinators.ROWS,
)

LIES: dict[str, Row] = {
    f"{row.protocol.value}, {row.part.value}: {row.name}": row
    for row in _ROWS
    if isinstance(row.deed, Tells | TellsOnLinks)
}
"""Lies by the name they have in plans."""

MEMBER_LIES = sorted(name for name, row in LIES.items() if row.part is Part.MEMBER)
LEADING_LIES = sorted(name for name, row in LIES.items() if row.part is Part.COORDINATOR)


def make_liar(cluster: Cluster, node: SimulatedNode, names: tuple[str, ...]) -> None:
    """Make a node tell the first of these lies that changes what it is about to say."""
    deeds = [LIES[name].deed for name in names]
    lies = [deed.lie for deed in deeds if isinstance(deed, Tells)]
    told: list[Any] = [_on_link(deed) for deed in deeds if isinstance(deed, TellsOnLinks)]
    in_cluster(cluster, node, _first_of(lies), _first_of(told) if told else honest)


def _on_link(deed: TellsOnLinks) -> LinkLie:
    def lie(place: LinkPlace, message: Any) -> Any:
        return deed.told(place, message) if type(message).__name__ == deed.message else message

    return lie


def _first_of(lies: Sequence[Lie] | Sequence[LinkLie]) -> Any:
    def lie(place: Any, message: Any) -> Any:
        for one in lies:
            told = one(place, message)
            if told is not message:
                return told
        return message

    return lie
