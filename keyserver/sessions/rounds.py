"""A round: one message from each of a known set of peers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Generic, Self, TypeVar

from keyserver.model.identifiers import NodeId

M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Round(Generic[M]):
    """Who is asked, who has answered what, and who will not answer any more."""

    expected: frozenset[NodeId]
    answers: Mapping[NodeId, M] = field(default_factory=lambda: MappingProxyType({}))
    gone: frozenset[NodeId] = frozenset()

    @classmethod
    def among(cls, nodes: Iterable[NodeId]) -> "Round[M]":
        """A round in which nobody has answered yet."""
        return cls(frozenset(nodes))

    def expects(self, sender: NodeId) -> bool:
        """Whether an answer of `sender` is open; any other is late, double or uncalled for."""
        return sender in self.expected and sender not in self.gone and sender not in self.answers

    def add(self, sender: NodeId, answer: M) -> Self:
        """Take the answer of a node that is expected to give one."""
        return type(self)(
            self.expected, MappingProxyType({**self.answers, sender: answer}), self.gone
        )

    def drop(self, nodes: frozenset[NodeId]) -> Self:
        """Expect nothing more from these nodes; the answers they have given stay."""
        return replace(self, gone=self.gone | (nodes & self.waiting))

    @property
    def waiting(self) -> frozenset[NodeId]:
        """Who has neither answered nor gone."""
        return self.expected - self.answers.keys() - self.gone

    @property
    def possible(self) -> int:
        """How many answers there can still be in all."""
        return len(self.answers) + len(self.waiting)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to wait for."""
        return not self.waiting

    def in_order(self) -> list[tuple[NodeId, M]]:
        """The answers in canonical order of the nodes."""
        return sorted(self.answers.items())
