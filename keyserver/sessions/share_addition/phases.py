"""Phases of a share addition: exactly what is known in each.

Coordinator, the late node:  AwaitingAccepts → AwaitingMasks → AwaitingBlinded
Participant, a donor:        AwaitingStart → AwaitingMasked; where a mask is wrong, then
                             AwaitingCommitments
With threshold 0 nothing is masked: AwaitingMasks and AwaitingMasked are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from keyserver.crypto.curve import MaybeSecret, Point, Scalar
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import Member
from keyserver.crypto.share_addition import ReceivedMask
from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.keys import KeyRecord
from keyserver.sessions.rounds import Round
from keyserver.sessions.share_addition.messages import AddAccept, AddMask
from keyserver.sessions.sharing.messages import Accepted


@dataclass(frozen=True, slots=True)
class Terms:
    """What an addition is about, for both sides."""

    record: KeyRecord
    late: NodeId
    donors: tuple[NodeId, ...]
    params_hash: Hash32

    @property
    def x(self) -> Scalar:
        """The late node's place."""
        return self.record.coordinates[self.late]

    @property
    def nodes(self) -> list[NodeId]:
        """Everybody who takes part, in canonical order."""
        return sorted((*self.donors, self.late))


@dataclass(frozen=True, slots=True)
class Group:
    """Who takes part, after START."""

    terms: Terms
    session_hash: Hash32
    """`h1`: terms and everybody's one-time key."""
    members: Mapping[NodeId, Member]
    """The donors and the late node."""

    @property
    def donors(self) -> list[Member]:
        """The donors in canonical order."""
        return [self.members[node] for node in self.terms.donors]

    @property
    def late(self) -> Member:
        """The late node."""
        return self.members[self.terms.late]


# --- the late node ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AwaitingAccepts:
    """Proposed; donors accept or refuse."""

    terms: Terms
    one_time: OneTimeKey = field(repr=False)
    accepted: Accepted
    """This node's own entry in START."""
    round: Round[AddAccept]


@dataclass(frozen=True, slots=True)
class AwaitingMasks:
    """Started; every donor deals a mask."""

    group: Group
    one_time: OneTimeKey = field(repr=False)
    round: Round[AddMask]


@dataclass(frozen=True, slots=True)
class AwaitingBlinded:
    """The masks are handed round; every donor gives its blinded value."""

    group: Group
    one_time: OneTimeKey = field(repr=False)
    masks: Mapping[NodeId, AddMask]
    sums: tuple[Point, ...]
    round: Round[MaybeSecret] = field(repr=False)
    investigating: frozenset[NodeId] = frozenset()
    """Who was sent all commitments already."""


CoordinatorPhase = AwaitingAccepts | AwaitingMasks | AwaitingBlinded


# --- a donor ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AwaitingStart:
    """Accepted, with a one-time key of its own."""

    terms: Terms
    one_time: OneTimeKey = field(repr=False)
    accepted: Accepted


@dataclass(frozen=True, slots=True)
class AwaitingMasked:
    """The own mask is out; those of the others must come."""

    group: Group
    one_time: OneTimeKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class AwaitingCommitments:
    """Something is wrong with the masks; all commitments were asked for."""

    group: Group
    one_time: OneTimeKey = field(repr=False)
    masks: tuple[ReceivedMask, ...]


ParticipantPhase = AwaitingStart | AwaitingMasked | AwaitingCommitments

Phase = CoordinatorPhase | ParticipantPhase
