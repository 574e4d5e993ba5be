"""What the coordinator of a sharing checks about deals, and what convicts who dealt wrongly."""

from keyserver.crypto.dkg import POSSESSION_PROOF_SIZE, check_possession
from keyserver.crypto.errors import InvalidProofError
from keyserver.crypto.transcripts import deal_hash, share_digest, tail_hash
from keyserver.model.identifiers import NodeId
from keyserver.sessions.conviction import is_signed, reports_of
from keyserver.sessions.core import Refusal, Refused
from keyserver.sessions.sharing.evidence import (
    constant_of,
    wrong_constants,
    wrong_degrees,
    wrong_possessions,
)
from keyserver.sessions.sharing.messages import Deal
from keyserver.sessions.sharing.phases import Group, Sharing


def check_deal(group: Group, sender: NodeId, deal: Deal) -> None:
    """Check what can be seen without opening a share; raises `Refused`."""
    redistributing = group.terms.before is not None
    proof_size = 0 if redistributing else POSSESSION_PROOF_SIZE
    if len(deal.shares) != len(group.receivers) or len(deal.possession) != proof_size:
        raise Refused(Refusal.BAD, "a deal has the wrong number of shares")
    if len(deal.commitments) != group.terms.params.threshold + 1:
        reports = reports_of(*wrong_degrees(group, sender, deal))
        raise Refused(Refusal.BAD, "a deal has the wrong number of commitments", reports=reports)
    if redistributing:
        _check_constant(group, sender, deal)
    else:
        _check_possession(group, sender, deal)


def _check_constant(group: Group, sender: NodeId, deal: Deal) -> None:
    """In a redistribution everybody knows what a dealer must deal."""
    if deal.commitments[0] != constant_of(group.terms, sender):
        reports = reports_of(*wrong_constants(group, sender, deal))
        raise Refused(Refusal.BAD, "a deal is not of the dealer's own share", reports=reports)


def _check_possession(group: Group, sender: NodeId, deal: Deal) -> None:
    try:
        check_possession(group.session_hash, sender.point, deal.commitments[0], deal.possession)
    except InvalidProofError as problem:
        reports = reports_of(*wrong_possessions(group, sender, deal))
        raise Refused(Refusal.BAD, f"deal: {problem}", reports=reports) from problem


def named_deal(group: Group, dealer: NodeId, deal: Deal, tail: bytes) -> bytes:
    """The hash that names a deal; `tail` is that of its higher commitments."""
    return deal_hash(
        group.session_hash,
        dealer.point,
        deal.commitments[0],
        deal.possession,
        tail,
    )


def unsigned_deal(sharing: Sharing, receiver: NodeId) -> NodeId | None:
    """The first dealer that has not signed its share for a receiver."""
    group = sharing.group
    place = group.receivers.index(receiver)
    for dealer, deal in sorted(sharing.deals.items()):
        share = deal.shares[place]
        named = named_deal(group, dealer, deal, tail_hash(deal.commitments))
        signed = share_digest(
            group.session_hash, dealer.point, receiver.point, named, share.ciphertext
        )
        if not is_signed(signed, share.signature, dealer):
            return dealer
    return None
