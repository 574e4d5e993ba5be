"""Gathering: ask holders of a key, keep their answers, ask more when some fail, until enough.

What is the same for every protocol in which any t + 1 of the holders will do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Generic, Self, TypeVar

from keyserver.model.identifiers import NodeId
from keyserver.model.keys import KeyRecord
from keyserver.sessions.core import (
    Context,
    DeniedError,
    Refusal,
    StaleError,
    UnavailableError,
)
from keyserver.sessions.refusals import FOR_NOW, consensus_refused, may_become_final
from keyserver.sessions.rounds import Round

M = TypeVar("M")

ROUND_S = 5.0
"""How long a round may take (engine design, section 16)."""

ASK_MORE_S = 2.0
"""When holders that were not asked at first are asked as well."""

CHAIN_WAIT_S = 25.0
"""Added to the first round where holders may wait for their own view of the chain."""


@dataclass(frozen=True, slots=True)
class Gathering(Generic[M]):
    """Who is asked, who can still be asked, and what came back."""

    required: int
    faulty: int
    holders: int
    """How many are known to have shares, connected or not."""
    round: Round[M]
    more: tuple[NodeId, ...]
    refusals: Mapping[NodeId, Refusal] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def of(
        cls,
        ctx: Context,
        record: KeyRecord,
        holders: tuple[NodeId, ...],
        without: frozenset[NodeId],
    ) -> "Gathering[M]":
        """Choose whom to ask at once: t + 1 + f, and nobody who was caught unless needed.

        `holders` come in the order in which they are to be asked. Raises UnavailableError if too
        few of them are connected.
        """
        reachable = [node for node in holders if node in ctx.connected and node not in without]
        required = record.required_nodes
        if len(reachable) < required:
            raise UnavailableError("too few holders are connected", "ConsensusUnreachable")
        faulty = ctx.quorums(len(record.committee)).faulty
        trusted = [node for node in reachable if node not in ctx.avoided]
        if len(trusted) < required:
            trusted += [node for node in reachable if node in ctx.avoided]
        asked = trusted[: required + faulty]
        others = [node for node in reachable if node not in asked]
        more = tuple(sorted(others, key=lambda node: node in ctx.avoided))
        return cls(required, faulty, len(holders), Round.among(asked), more)

    @property
    def asked(self) -> tuple[NodeId, ...]:
        """Everybody who was asked so far, in canonical order."""
        return tuple(sorted(self.round.expected))

    def expects(self, sender: NodeId) -> bool:
        """Whether an answer of `sender` is open."""
        return self.round.expects(sender)

    def add(self, sender: NodeId, answer: M) -> Self:
        """Take the answer of a node that is expected to give one."""
        return replace(self, round=self.round.add(sender, answer))

    def refused(self, sender: NodeId, refusal: Refusal) -> Self:
        """Note why a node takes no part; `without` it the gathering goes on."""
        return replace(self, refusals=MappingProxyType({**self.refusals, sender: refusal}))

    def without(self, node: NodeId) -> tuple[Self, tuple[NodeId, ...]]:
        """Go on without a node that was asked; returns whom to ask in its place."""
        return replace(self, round=self.round.drop(frozenset({node}))).widened(1)

    def widened(self, count: int) -> tuple[Self, tuple[NodeId, ...]]:
        """Ask so many more, as far as there are any; returns whom."""
        asked, more = self.more[:count], self.more[count:]
        wider = replace(self.round, expected=self.round.expected | frozenset(asked))
        return replace(self, round=wider, more=more), asked

    @property
    def is_enough(self) -> bool:
        """Whether the required number of answers is there."""
        return len(self.round.answers) >= self.required

    @property
    def is_hopeless(self) -> bool:
        """Whether it will never be, and waiting would not make the reason clearer.

        Some refuse for good, but not yet so many that no t + 1 are left, an honest one among those
        who refuse: then those who have not answered may still show that it is final.
        """
        if self.round.possible >= self.required or self.more:
            return False
        return not may_become_final(
            self.refusals,
            self.round.waiting,
            nodes=self.holders,
            needed=self.required,
            faulty=self.faulty,
        )

    def failure(self) -> DeniedError | UnavailableError:
        """Why it did not come to enough (engine design, section 17).

        Final only if so many holders refuse for good that no t + 1 are left, an honest one among
        them. Else it is a matter of time if those who may still answer would be enough.
        """
        refused = consensus_refused(
            self.refusals, nodes=self.holders, needed=self.required, faulty=self.faulty
        )
        if refused is not None:
            return refused
        in_doubt = {node for node, refusal in self.refusals.items() if refusal in FOR_NOW}
        if len(self.round.answers.keys() | self.round.waiting | in_doubt) < self.required:
            return UnavailableError("too few holders can be reached", "ConsensusUnreachable")
        if Refusal.STALE in self.refusals.values():
            return StaleError("holders have another version", "ConsensusTemporaryUnreachable")
        return UnavailableError("too few holders answered", "ConsensusTemporaryUnreachable")
