"""Phases of a sharing session: exactly what is known in each.

Coordinator:  AwaitingAccepts → AwaitingDeals → AwaitingOks → AwaitingReadies → AwaitingCommits;
              in a redistribution AwaitingPromises stands in place of AwaitingAccepts, and before
              AwaitingCommits AwaitingPrepares, if another committee decides than the new one
Participant:  AwaitingVerdict → AwaitingStart → AwaitingShares → AwaitingFinalize → AwaitingCert
              → AwaitingInstalled; where a share is wrong, AwaitingCommitments and
              AwaitingFewerShares stand between AwaitingShares and AwaitingFinalize;
              in a redistribution AwaitingHandover → AwaitingShares, or AwaitingCertified for who
              leaves; who decides goes on by AwaitingPrepared → AwaitingInstalled
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from keyserver.crypto.curve import Point, Scalar
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import Holding, Member, ReceivedDeal
from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId, Signature
from keyserver.model.keys import Decision, HoldingCertificate, KeyRecord, NodeSignature
from keyserver.sessions.core import Refusal
from keyserver.sessions.rounds import Round
from keyserver.sessions.sharing.messages import Accept, Deal, Inheritance, Ok, ShareParams

NO_PLACE = Scalar(0)
"""The place of a dealer that is to hold no share."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What is agreed before the first message, by coordinator and participant alike."""

    params: ShareParams
    params_hash: Hash32
    skipped: tuple[Decision, ...]
    before: KeyRecord | None = None
    """The record whose shares are redistributed; `None` in a generation."""
    document: Hash32 = ZERO_HASH
    """Hash of the document key that is stored under the key; zeros without one."""

    @property
    def committee(self) -> tuple[NodeId, ...]:
        """Who is to hold the shares."""
        return tuple(member.node for member in self.params.committee)

    @property
    def voters(self) -> tuple[NodeId, ...]:
        """Who decides about the record."""
        return self.committee if self.before is None else self.before.nodes

    @property
    def holders_decide(self) -> bool:
        """Whether a READY counts as a vote: in the first version, and in a refresh."""
        return self.voters == self.committee

    @property
    def first_skipped(self) -> int:
        """The version that the first of the skipped decisions is about."""
        return self.params.version - len(self.skipped)


@dataclass(frozen=True, slots=True)
class Group:
    """Who takes part, after START."""

    terms: Terms
    session_hash: Hash32
    """`h1`: params and everybody's one-time key."""
    members: Mapping[NodeId, Member]
    """In a redistribution also dealers that are to hold no share; their place is 0."""
    watching: frozenset[NodeId] = frozenset()
    """Who decides without being a member (known to the coordinator only)."""

    @property
    def receivers(self) -> tuple[NodeId, ...]:
        """The members that get a share, in canonical order."""
        committee = set(self.terms.committee)
        return tuple(node for node in self.members if node in committee)

    @property
    def dealers(self) -> tuple[NodeId, ...]:
        """The members that deal, in canonical order."""
        return self.terms.params.dealers or tuple(self.members)


# --- coordinator -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AwaitingAccepts:
    """Proposed; nodes accept or refuse."""

    terms: Terms
    round: Round[Accept]
    refusals: Mapping[NodeId, Refusal]


@dataclass(frozen=True, slots=True)
class AwaitingPromises:
    """A redistribution is proposed; old and new members accept or refuse."""

    terms: Terms
    round: Round[Accept]


@dataclass(frozen=True, slots=True)
class AwaitingDeals:
    """Started; every participant deals."""

    group: Group
    round: Round[Deal]


@dataclass(frozen=True, slots=True)
class Sharing:
    """The deals in use and what follows from them; shrinks when a dealer is taken out."""

    group: Group
    deals: Mapping[NodeId, Deal]
    commitments: tuple[Point, ...]
    transcript: Hash32
    attempt: int


@dataclass(frozen=True, slots=True)
class AwaitingOks:
    """Shares are out; receivers check them."""

    sharing: Sharing
    round: Round[Ok]
    investigating: frozenset[NodeId] = frozenset()
    """Who was sent all commitments already."""


@dataclass(frozen=True, slots=True)
class AwaitingReadies:
    """The record is out; receivers store it."""

    sharing: Sharing
    record: KeyRecord
    round: Round[Signature]


@dataclass(frozen=True, slots=True)
class AwaitingPrepares:
    """The holding certificate is out; the old committee prepares the record."""

    sharing: Sharing
    record: KeyRecord
    holding: HoldingCertificate
    round: Round[Signature]


@dataclass(frozen=True, slots=True)
class AwaitingCommits:
    """The certificate is out on which nodes commit; a quorum of commitments decides."""

    sharing: Sharing
    record: KeyRecord
    holding: HoldingCertificate
    round: Round[Signature]


CoordinatorPhase = (
    AwaitingAccepts
    | AwaitingPromises
    | AwaitingDeals
    | AwaitingOks
    | AwaitingReadies
    | AwaitingPrepares
    | AwaitingCommits
)


# --- participant -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AwaitingVerdict:
    """The chain is asked whether the request is really pending."""

    terms: Terms


@dataclass(frozen=True, slots=True)
class AwaitingStart:
    """Accepted, with a one-time key of its own."""

    terms: Terms
    one_time: OneTimeKey = field(repr=False)
    accept: Accept


@dataclass(frozen=True, slots=True)
class AwaitingHandover:
    """A redistribution is accepted, with a one-time key of its own."""

    terms: Terms
    one_time: OneTimeKey = field(repr=False)
    accept: Accept
    inheritance: Inheritance | None
    """What this node would have to take over to know the key."""


@dataclass(frozen=True, slots=True)
class AwaitingShares:
    """The own deal is out, if this node is a dealer."""

    group: Group
    one_time: OneTimeKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class AwaitingCommitments:
    """Something is wrong with the shares; all commitments were asked for."""

    group: Group
    one_time: OneTimeKey = field(repr=False)
    dealers: frozenset[NodeId]
    deals: tuple[ReceivedDeal, ...]


@dataclass(frozen=True, slots=True)
class AwaitingFewerShares:
    """A dealer was complained about, or has not signed its deal: shares without it must come."""

    group: Group
    one_time: OneTimeKey = field(repr=False)
    dealers: frozenset[NodeId]


@dataclass(frozen=True, slots=True)
class AwaitingFinalize:
    """The share is right; also the place to receive shares again without a guilty dealer."""

    group: Group
    one_time: OneTimeKey = field(repr=False)
    dealers: frozenset[NodeId]
    commitments: tuple[Point, ...]
    holding: Holding = field(repr=False)


@dataclass(frozen=True, slots=True)
class AwaitingCert:
    """READY is given: the record is PREPARED on disk."""

    terms: Terms
    record: KeyRecord
    transcript: Hash32
    ready: NodeSignature
    """This node's own."""


@dataclass(frozen=True, slots=True)
class AwaitingCertified:
    """The own deal is out, of a dealer that leaves: it waits for what it has to decide about."""

    terms: Terms


@dataclass(frozen=True, slots=True)
class AwaitingPrepared:
    """The record is prepared; a quorum's certificate of that is missing."""

    terms: Terms
    record: KeyRecord
    holding: HoldingCertificate


@dataclass(frozen=True, slots=True)
class AwaitingInstalled:
    """Only the decision is missing."""

    terms: Terms
    record: KeyRecord
    holding: HoldingCertificate
    commit: NodeSignature | None
    """This node's own, if it decides."""


ParticipantPhase = (
    AwaitingVerdict
    | AwaitingStart
    | AwaitingHandover
    | AwaitingShares
    | AwaitingCommitments
    | AwaitingFewerShares
    | AwaitingFinalize
    | AwaitingCert
    | AwaitingCertified
    | AwaitingPrepared
    | AwaitingInstalled
)

Phase = CoordinatorPhase | ParticipantPhase
