"""Lies: what a malicious node puts in place of a message it owes.

A liar runs the honest code and alters what leaves it, with everything it knows at hand: its phase,
its keys, its node key. A `Lie` serves a `Delivery` as well as a simulated `Cluster`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from keyserver.crypto.curve import Point, SecretScalar, mul_base
from keyserver.crypto.dealkey import OneTimeKey, seal_value
from keyserver.crypto.dkg import Member as Receiver
from keyserver.crypto.dkg import make_deal
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.proofs import prove
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.transcripts import (
    accept_digest,
    complaint_statement,
    deal_hash,
    one_time_statement,
    share_digest,
    tail_hash,
)
from keyserver.model.identifiers import Hash32, NodeId, SessionId, Signature
from keyserver.model.requests import Proof
from keyserver.sessions.core import Context, Signer
from keyserver.sessions.registry import MESSAGE_TABLE
from keyserver.sessions.retrieval.messages import MaskPoint, Partial, Select, Shadow
from keyserver.sessions.retrieval.parts import partial_digest, select_hash, shadow_digest
from keyserver.sessions.retrieval.phases import AwaitingPartials
from keyserver.sessions.runner import Role, Runner
from keyserver.sessions.sharing.evidence import signed_complaint
from keyserver.sessions.sharing.messages import (
    Accept,
    Accepted,
    Complaint,
    Deal,
    SealedShare,
    SignedShare,
    Start,
)
from keyserver.sessions.sharing.phases import Group
from keyserver.sessions.wire import LINK_TYPES, message_type, pack
from tests.support.delivery import Delivery, Tamper

if TYPE_CHECKING:
    from keyserver.simulation.cluster import Cluster, SimulatedNode

OTHER_POINT: Point = mul_base(SecretScalar.from_int(77))
UNSIGNED = Signature(bytes(65))
_RANDOM = SeededRandom(b"liar")


@dataclass(frozen=True)
class Place:
    """Where a lie is told."""

    ctx: Context
    phase: Any
    to: NodeId
    coordinator_phase: Any
    """What the coordinator would tell whoever investigates."""

    @property
    def signer(self) -> Signer:
        return self.ctx.signer


Lie = Callable[[Place, Any], Any]
"""(where, the honest message) → another one, raw bytes, or `None` for silence."""


def honest(_: Place, message: Any) -> Any:
    return message


def at(name: str, lie: Lie) -> Lie:
    """Lie with messages of one type only."""
    return lambda place, message: lie(place, message) if type(message).__name__ == name else message


def to_some(targets: frozenset[NodeId], lie: Lie) -> Lie:
    """Lie to these nodes only."""
    return lambda place, message: lie(place, message) if place.to in targets else message


def silent(_: Place, __: Any) -> None:
    return None


def garbage(place: Place, message: Any) -> bytes:
    """The header of a message, and nothing that parses behind it."""
    return pack(place.ctx.sid, message)[:34] + b"\xff" * 70


def with_field(name: str, value: Callable[[Any], Any]) -> Lie:
    """Change one field, leaving signatures as they were."""
    return lambda _, message: replace(message, **{name: value(getattr(message, name))})


def unsigned(_: Place, message: Any) -> Any:
    return replace(message, signature=UNSIGNED)


# --- a dealer ----------------------------------------------------------------------------------


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
    place: Place, polynomial: SecretPolynomial, value: Callable[[int, bytes], bytes]
) -> Deal:
    """A deal of this polynomial, well signed; the value sealed for each receiver as told."""
    group, one_time = place.phase.group, place.phase.one_time
    receivers = list(group.members.values())
    made = make_deal(
        polynomial,
        receivers,
        dealer=place.ctx.me.point,
        one_time=one_time,
        session=group.session_hash,
        rng=_RANDOM,
    )
    shares = []
    for index, receiver in enumerate(receivers):
        share = value(index, polynomial.evaluate(receiver.x).expose())
        shares.append(_seal(place, group, made.deal_hash, receiver, share, one_time))
    return Deal(made.commitments, made.pop, tuple(shares))


def false_shares(victims: frozenset[int]) -> Lie:
    """Give the receivers at these places shares that are not on the polynomial, well signed."""

    def deal(place: Place, _: Deal) -> Deal:
        polynomial = SecretPolynomial.random(place.phase.group.terms.params.threshold, _RANDOM)
        return _deal_of(
            place,
            polynomial,
            lambda index, share: (
                SecretScalar.random(_RANDOM).expose() if index in victims else share
            ),
        )

    return deal


def zero_share(place: Place, _: Deal) -> Deal:
    """Seal zeros and a value above the order."""
    polynomial = SecretPolynomial.random(place.phase.group.terms.params.threshold, _RANDOM)
    return _deal_of(place, polynomial, lambda index, _: b"\0\xff"[index % 2 : index % 2 + 1] * 32)


def other_degree(change: int) -> Lie:
    """Deal a polynomial that is longer or shorter than the threshold says."""

    def deal(place: Place, _: Deal) -> Deal:
        degree = max(0, place.phase.group.terms.params.threshold + change)
        return _deal_of(place, SecretPolynomial.random(degree, _RANDOM), lambda _, share: share)

    return deal


def false_possession(place: Place, _: Deal) -> Deal:
    """A deal that is signed as it must be, with a proof of something else."""
    group, one_time = place.phase.group, place.phase.one_time
    polynomial = SecretPolynomial.random(group.terms.params.threshold, _RANDOM)
    commitments, proof = polynomial.commit(), b"\x01" * 64
    tail = tail_hash(commitments)
    dealt = deal_hash(group.session_hash, place.ctx.me.point, commitments[0], proof, tail)
    shares = tuple(
        _seal(place, group, dealt, receiver, polynomial.evaluate(receiver.x).expose(), one_time)
        for receiver in group.members.values()
    )
    return Deal(commitments, proof, shares)


def badly_signed_shares(victims: frozenset[int]) -> Lie:
    """Sign the shares of the receivers at these places wrongly: this convicts nobody."""

    def deal(_: Place, message: Deal) -> Deal:
        shares = tuple(
            replace(share, signature=UNSIGNED) if index in victims else share
            for index, share in enumerate(message.shares)
        )
        return replace(message, shares=shares)

    return deal


def stolen_constant(_: Place, message: Deal) -> Deal:
    """Commit to a constant whose logarithm the dealer does not know."""
    return replace(message, commitments=(OTHER_POINT, *message.commitments[1:]))


def false_complaint(place: Place, _: Any) -> Complaint:
    """Accuse an honest dealer, with everything in order but the fault."""
    group = place.phase.group
    dealer = next(node for node in group.members if node != place.ctx.me)
    return _complaint(place, group, dealer, honest_proof=True)


def unproven_complaint(place: Place, _: Any) -> Complaint:
    """Accuse an honest dealer with another common point."""
    group = place.phase.group
    dealer = next(node for node in group.members if node != place.ctx.me)
    return _complaint(place, group, dealer, honest_proof=False)


def _complaint(place: Place, group: Group, dealer: NodeId, *, honest_proof: bool) -> Complaint:
    deal: Deal = place.coordinator_phase.sharing.deals[dealer]
    share = deal.shares[list(group.members).index(place.ctx.me)]
    one_time = place.phase.one_time
    common = one_time.reveal(group.members[dealer].one_time) if honest_proof else OTHER_POINT
    statement = complaint_statement(
        group.session_hash,
        dealer=dealer.point,
        dealer_one_time=group.members[dealer].one_time,
        accuser=place.ctx.me.point,
        accuser_one_time=one_time.public,
        common=common,
    )
    proof = Proof(prove(statement, [one_time.secret], _RANDOM))
    made = Complaint(
        dealer,
        deal.commitments,
        deal.possession,
        share.ciphertext,
        share.signature,
        common,
        proof,
        UNSIGNED,
    )
    signed = signed_complaint(group.session_hash, place.ctx.me, made)
    return replace(made, accuser_signature=place.signer.sign(signed))


# --- a coordinator -----------------------------------------------------------------------------


def one_key_substituted(place: Place, message: Start) -> Start:
    """Replace another node's one-time key by one whose secret the coordinator knows."""
    entries = list(message.accepted)
    index = next(i for i, entry in enumerate(entries) if entry.node not in (place.to, place.ctx.me))
    entries[index] = _accepted_by(place, entries[index].node)
    return Start(tuple(entries))


def _accepted_by(place: Place, node: NodeId) -> Accepted:
    known = OneTimeKey(SecretScalar.from_int(99))
    params_hash = place.phase.group.terms.params_hash
    proof = prove(
        one_time_statement(params_hash, node.point, known.public), [known.secret], _RANDOM
    )
    signed = Hash32(accept_digest(params_hash, node.point, known.public))
    return Accepted(node, known.public, Proof(proof), place.signer.sign(signed))


def replayed_accept(earlier: Accept) -> Lie:
    """Answer with the ACCEPT of another session."""
    return lambda _, __: earlier


# --- a holder ----------------------------------------------------------------------------------


def _signed_partial(place: Place, partial: Partial) -> Partial:
    phase = place.coordinator_phase
    subject = phase.subject if isinstance(phase, AwaitingPartials) else phase.before.subject
    signed = partial_digest(place.ctx, subject, place.ctx.me, partial)
    return replace(partial, signature=place.signer.sign(signed))


def wrong_partial(place: Place, message: Partial) -> Partial:
    """Another point under the own signature."""
    return _signed_partial(place, replace(message, point=OTHER_POINT))


def wrong_proof(place: Place, message: Partial) -> Partial:
    """A proof of something else under the own signature."""
    return _signed_partial(place, replace(message, proof=Proof(b"\x01" * 64)))


def signed_with(name: str, value: Any) -> Lie:
    """Another field under the own signature."""
    return lambda place, message: _signed_partial(place, replace(message, **{name: value}))


def wrong_mask(place: Place, message: Partial) -> Partial:
    """A mask that is no point, under the own signature."""
    return _signed_partial(place, replace(message, mask=MaskPoint(b"\x05" * 33)))


def wrong_shadow(place: Place, message: Shadow) -> Shadow:
    """A ciphertext of anything, well signed: only the requester can notice."""
    other = replace(message, sealed=type(message.sealed)(bytes(145)))
    return replace(
        other, signature=place.signer.sign(shadow_digest(place.ctx.sid, place.ctx.me, other))
    )


def selecting(change: Callable[[Place, tuple[Any, ...]], tuple[Any, ...]]) -> Lie:
    """Another selection, well signed by the coordinator."""

    def select(place: Place, message: Select) -> Select:
        partials = change(place, message.partials)
        named = select_hash(place.ctx.sid, partials)
        return Select(partials, place.signer.sign(named))

    return select


# --- where lies are told -----------------------------------------------------------------------


def over_delivery(net: Delivery, lies: Mapping[NodeId, Lie]) -> Tamper:
    """Lies for `Delivery.tamper`; a liar lies to its own other role as well."""

    def tamper(sender: NodeId, to: NodeId, message: Any) -> Any:
        if sender not in lies:
            return message
        runner = net.runners[sender, _role_of(message)]
        coordinator = net.runners[runner.ctx.coordinator, Role.COORDINATOR]
        return lies[sender](Place(runner.ctx, runner.phase, to, coordinator.phase), message)

    return tamper


def in_cluster(cluster: "Cluster", node: "SimulatedNode", lie: Lie) -> None:
    """Make a simulated node a liar; what it sends to itself stays honest."""

    def tamper(sender: NodeId, to: NodeId, data: bytes) -> bytes | None:
        if message_type(data) in LINK_TYPES:
            return data
        sid, message = MESSAGE_TABLE.unpack(data)
        runner = _runner(node, sid, _role_of(message))
        if runner is None:
            return data
        coordinator = _runner(cluster.node(runner.ctx.coordinator), sid, Role.COORDINATOR)
        phase = None if coordinator is None else coordinator.phase
        told = lie(Place(runner.ctx, runner.phase, to, phase), message)
        return told if told is None or isinstance(told, bytes) else pack(sid, told)

    cluster.network.corrupt(node.id, tamper)


def _role_of(message: Any) -> Role:
    return Role.PARTICIPANT if message.TO_COORDINATOR else Role.COORDINATOR


def _runner(node: "SimulatedNode", sid: SessionId, role: Role) -> Runner | None:
    session = node.api._driver._table.get((sid, role))
    return None if session is None else session.runner
