"""What a malicious member of a generation says (engine design, sections 7.1 to 7.5)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.dealkey import OneTimeKey, seal_value
from keyserver.crypto.dkg import Member as Receiver
from keyserver.crypto.dkg import make_deal
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.proofs import prove
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.resharing import scaled_polynomial
from keyserver.crypto.transcripts import (
    accept_digest,
    complaint_statement,
    deal_hash,
    one_time_statement,
    share_digest,
    tail_hash,
)
from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.requests import Proof
from keyserver.sessions.certificates import ready_digest, record_subject, vote_digest
from keyserver.sessions.sharing.evidence import signed_complaint
from keyserver.sessions.sharing.messages import (
    Accept,
    Accepted,
    Commit,
    Complaint,
    Deal,
    Ready,
    SealedShare,
    SignedShare,
)
from keyserver.sessions.sharing.phases import AwaitingOks, Group
from keyserver.sessions.writes import VoteKind
from keyserver.simulation.liars import OTHER_POINT, UNSIGNED, Lie, Place, while_in


def foreign_key(place: Place, message: Accept) -> Accept:
    """Announce somebody's one-time key as its own, well signed, with the proof of another."""
    signed = accept_digest(place.phase.terms.params_hash, place.ctx.me.point, OTHER_POINT)
    return replace(message, one_time=OTHER_POINT, signature=place.signer.sign(Hash32(signed)))


def accepted_by(place: Place, node: NodeId) -> Accepted:
    """An entry of START for `node` with a one-time key whose secret the liar knows."""
    known = OneTimeKey(SecretScalar.from_int(99))
    params_hash = place.group.terms.params_hash
    statement = one_time_statement(params_hash, node.point, known.public)
    proof = prove(statement, [known.secret], place.random)
    signed = Hash32(accept_digest(params_hash, node.point, known.public))
    return Accepted(node, known.public, Proof(proof), place.signer.sign(signed))


# --- deals ---------------------------------------------------------------------------------------


def _seal(
    place: Place, group: Group, dealt: bytes, receiver: Receiver, value: bytes, one_time: OneTimeKey
) -> SignedShare:
    me = place.ctx.me.point
    ciphertext = seal_value(
        value,
        session_hash=group.session_hash,
        shared=one_time.shared_with(receiver.one_time),
        sender=me,
        receiver=receiver.node,
        bound_to=dealt,
    )
    signed = share_digest(group.session_hash, me, receiver.node, dealt, ciphertext)
    return SignedShare(SealedShare(ciphertext), place.signer.sign(Hash32(signed)))


def _deal_of(
    place: Place,
    polynomial: SecretPolynomial,
    value: Callable[[int, bytes], bytes],
    padding: tuple[Point, ...] = (),
    constant: Point | None = None,
) -> Deal:
    """A deal of this polynomial, well signed; the value sealed for each receiver as told."""
    group, one_time = place.group, place.one_time
    receivers = [group.members[node] for node in group.receivers]
    made = make_deal(
        polynomial,
        receivers,
        dealer=place.ctx.me.point,
        one_time=one_time,
        session=group.session_hash,
        rng=place.random,
        possession=group.terms.before is None,
    )
    commitments = (constant or made.commitments[0], *made.commitments[1:], *padding)
    dealt = deal_hash(
        group.session_hash, place.ctx.me.point, commitments[0], made.pop, tail_hash(commitments)
    )
    shares = []
    for index, receiver in enumerate(receivers):
        share = value(index, polynomial.evaluate(receiver.x).expose())
        shares.append(_seal(place, group, dealt, receiver, share, one_time))
    return Deal(commitments, made.pop, tuple(shares))


def _random_polynomial(place: Place, change: int = 0) -> SecretPolynomial:
    """Of another degree; in a redistribution over the liar's own share, as it has to be."""
    terms = place.group.terms
    degree = max(0, terms.params.threshold + change)
    if terms.before is None:
        return SecretPolynomial.random(degree, place.random)
    own, places = place.ctx.key.share, terms.before.coordinates
    dealers = [places[node] for node in terms.params.dealers]
    assert own is not None
    return scaled_polynomial(own.value, own.x, dealers, threshold=degree, rng=place.random)


def false_shares(victims: Callable[[int], bool]) -> Lie:
    """Give the receivers at these places shares that are not on the polynomial, well signed.

    The liar's own share stays right, wherever it stands.
    """

    def deal(place: Place, _: Deal) -> Deal:
        random = SeededRandom(b"false" + place.ctx.sid + place.ctx.me)
        members = list(place.group.receivers)
        return _deal_of(
            place,
            _random_polynomial(place),
            lambda index, share: (
                SecretScalar.random(random).expose()
                if victims(index) and members[index] != place.ctx.me
                else share
            ),
        )

    return deal


def first_other(place: Place) -> int:
    """The place of the first receiver that is not the liar itself."""
    return next(i for i, node in enumerate(place.group.receivers) if node != place.ctx.me)


def false_share_for_one(place: Place, message: Deal) -> Deal:
    """A wrong share for the first other receiver only."""
    victim = first_other(place)
    made: Deal = false_shares(lambda index: index == victim)(place, message)
    return made


def two_polynomials(place: Place, _: Deal) -> Deal:
    """Every other receiver gets a share of a second polynomial, well signed."""
    second = SecretPolynomial.random(place.group.terms.params.threshold, place.ctx.random)
    group = place.group
    members = [group.members[node] for node in group.receivers]
    victims = [i for i, member in enumerate(members) if member.node != place.ctx.me.point][::2]
    return _deal_of(
        place,
        _random_polynomial(place),
        lambda index, share: (
            second.evaluate(members[index].x).expose() if index in victims else share
        ),
    )


def no_scalars(place: Place, _: Deal) -> Deal:
    """Seal zeros for the others, and values above the order."""
    return _deal_of(
        place, _random_polynomial(place), lambda index, _: b"\0\xff"[index % 2 : index % 2 + 1] * 32
    )


def other_degree(change: int) -> Lie:
    """Deal a polynomial that is longer or shorter than the threshold says."""

    def deal(place: Place, _: Deal) -> Deal:
        return _deal_of(place, _random_polynomial(place, change), lambda _, share: share)

    return deal


def padded_degree(place: Place, _: Deal) -> Deal:
    """Deal a polynomial that is too short, and commit to one coefficient more than it has."""
    return _deal_of(place, _random_polynomial(place, -1), lambda _, share: share, (OTHER_POINT,))


def badly_signed_shares(victims: Callable[[int], bool]) -> Lie:
    """Sign the shares of the receivers at these places wrongly: this convicts nobody."""

    def deal(place: Place, message: Deal) -> Deal:
        members = list(place.group.receivers)
        shares = tuple(
            replace(share, signature=UNSIGNED)
            if victims(index) and members[index] != place.ctx.me
            else share
            for index, share in enumerate(message.shares)
        )
        return replace(message, shares=shares)

    return deal


def badly_signed_share_for_one(place: Place, message: Deal) -> Deal:
    """The first other receiver's share is not signed."""
    victim = first_other(place)
    made: Deal = badly_signed_shares(lambda index: index == victim)(place, message)
    return made


def stolen_constant(_: Place, message: Deal) -> Deal:
    """Commit to a constant whose logarithm the dealer does not know."""
    return replace(message, commitments=(OTHER_POINT, *message.commitments[1:]))


def rogue_constant(place: Place, _: Deal) -> Deal:
    """The same, with every share signed as part of that deal."""
    polynomial = _random_polynomial(place)
    return _deal_of(place, polynomial, lambda _, share: share, constant=OTHER_POINT)


# --- accusations ---------------------------------------------------------------------------------


@while_in(AwaitingOks)
def false_complaint(place: Place, _: Any) -> Complaint:
    """Accuse an honest dealer, with everything in order but the fault."""
    return _complaint(place, _first_dealer(place), honest_proof=True)


@while_in(AwaitingOks)
def unproven_complaint(place: Place, _: Any) -> Complaint:
    """Accuse an honest dealer with another common point."""
    return _complaint(place, _first_dealer(place), honest_proof=False)


@while_in(AwaitingOks)
def unsigned_complaint(place: Place, _: Any) -> Complaint:
    """Accuse a dealer of what it has not signed: this convicts nobody."""
    made = _complaint(place, _first_dealer(place), honest_proof=True)
    return replace(made, signature=UNSIGNED)


@while_in(AwaitingOks)
def complaint_about_nobody(place: Place, _: Any) -> Complaint:
    """Accuse a node that is no dealer."""
    made = _complaint(place, _first_dealer(place), honest_proof=True)
    return signed_by_accuser(place, replace(made, dealer=NodeId.of(OTHER_POINT)))


@while_in(AwaitingOks)
def altered_complaint(place: Place, _: Any) -> Complaint:
    """Accuse an honest dealer with commitments that are not its own."""
    made = _complaint(place, _first_dealer(place), honest_proof=True)
    altered = replace(made, commitments=(*made.commitments[:-1], OTHER_POINT))
    return signed_by_accuser(place, altered)


def _first_dealer(place: Place) -> NodeId:
    group: Group = place.group
    return next(node for node in group.dealers if node != place.ctx.me)


def _complaint(place: Place, dealer: NodeId, *, honest_proof: bool) -> Complaint:
    group: Group = place.group
    deal: Deal = place.coordinator_phase.sharing.deals[dealer]
    share = deal.shares[group.receivers.index(place.ctx.me)]
    one_time = place.one_time
    common = one_time.reveal(group.members[dealer].one_time) if honest_proof else OTHER_POINT
    statement = complaint_statement(
        group.session_hash,
        dealer=dealer.point,
        dealer_one_time=group.members[dealer].one_time,
        accuser=place.ctx.me.point,
        accuser_one_time=one_time.public,
        common=common,
    )
    proof = Proof(prove(statement, [one_time.secret], place.random))
    unsigned = Complaint(
        dealer,
        deal.commitments,
        deal.possession,
        share.ciphertext,
        share.signature,
        common,
        proof,
        UNSIGNED,
    )
    return signed_by_accuser(place, unsigned)


def signed_by_accuser(place: Place, complaint: Complaint) -> Complaint:
    """The complaint under the liar's own signature."""
    signed = signed_complaint(place.group.session_hash, place.ctx.me, complaint)
    return replace(complaint, accuser_signature=place.signer.sign(signed))


# --- votes ---------------------------------------------------------------------------------------


def ready_for_another(place: Place, _: Ready) -> Ready:
    """Vote for a record of another node set, well signed."""
    other = replace(place.phase.record, set_id=Hash32(b"\x0f" * 32))
    signed = ready_digest(other.hash, place.phase.transcript, place.ctx.me)
    return Ready(place.signer.sign(signed))


def commit_to_another(place: Place, _: Commit) -> Commit:
    """Commit to *nothing* after a READY for the record, well signed."""
    record = place.phase.record
    subject = record_subject(record.key_id, record.version)
    signed = vote_digest(VoteKind.COMMIT, subject, 0, Hash32(bytes(32)), place.ctx.me)
    return Commit(place.signer.sign(signed))
