"""What malicious nodes say in a share addition (engine design, section 14.1)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from keyserver.crypto.curve import GENERATOR, Point, Scalar, SecretScalar, add
from keyserver.crypto.dealkey import OneTimeKey, seal_value
from keyserver.crypto.dkg import Member
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.proofs import prove
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.share_addition import blinded_hash, mask_hash, random_mask
from keyserver.crypto.transcripts import (
    accept_digest,
    one_time_statement,
    session_hash,
    share_digest,
)
from keyserver.crypto.vss import sum_commitments
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.requests import Proof
from keyserver.sessions.share_addition.messages import (
    AddAccept,
    AddBlinded,
    AddCommitments,
    AddInvestigate,
    AddMask,
    AddMasks,
    AddPropose,
    AddStart,
    RelayedMask,
)
from keyserver.sessions.share_addition.phases import AwaitingBlinded, Group
from keyserver.sessions.sharing.messages import Accepted, SealedShare, SignedShare
from keyserver.simulation.liars import OTHER_POINT, UNSIGNED, Lie, Place, while_in

KNOWN = OneTimeKey(SecretScalar.from_int(99))
"""A one-time key whose secret the liar knows, whoever it announces it for."""


def _random(place: Place) -> SeededRandom:
    """The same at every repetition of this place: runs are replayed."""
    return SeededRandom(b"liar" + place.ctx.sid + place.ctx.me)


# --- donors --------------------------------------------------------------------------------------


def foreign_key(place: Place, message: AddAccept) -> AddAccept:
    """Announce somebody's one-time key as its own, well signed, with the proof of another."""
    signed = accept_digest(place.phase.terms.params_hash, place.ctx.me.point, OTHER_POINT)
    return replace(message, one_time=OTHER_POINT, signature=place.signer.sign(Hash32(signed)))


def _mask_of(
    place: Place,
    polynomial: SecretPolynomial,
    value: Callable[[int, bytes], bytes] = lambda _, value: value,
) -> AddMask:
    """A mask of this polynomial, well signed; the value sealed for each donor as told."""
    group, one_time, me = place.phase.group, place.phase.one_time, place.ctx.me.point
    commitments = polynomial.commit()
    named = mask_hash(group.session_hash, me, commitments)
    values = [
        _signed_value(
            place,
            group,
            donor,
            named,
            value(index, polynomial.evaluate(donor.x).expose()),
            one_time,
        )
        for index, donor in enumerate(group.donors)
    ]
    return AddMask(commitments, tuple(values))


def _signed_value(
    place: Place, group: Group, donor: Member, named: bytes, value: bytes, one_time: OneTimeKey
) -> SignedShare:
    me = place.ctx.me.point
    ciphertext = seal_value(
        value,
        session_hash=group.session_hash,
        shared=one_time.shared_with(donor.one_time),
        sender=me,
        receiver=donor.node,
        bound_to=named,
    )
    signed = share_digest(group.session_hash, me, donor.node, named, ciphertext)
    return SignedShare(SealedShare(ciphertext), place.signer.sign(Hash32(signed)))


def mask_that_is_not_zero(place: Place, _: AddMask) -> AddMask:
    """Mask with any polynomial, well signed: the late node's share would be wrong."""
    threshold = place.phase.group.terms.record.threshold
    return _mask_of(place, SecretPolynomial.random(threshold, _random(place)))


def mask_of_degree(change: int) -> Lie:
    """A mask that is zero where it must be, of another degree than the threshold."""

    def mask(place: Place, _: AddMask) -> AddMask:
        terms = place.phase.group.terms
        degree = terms.record.threshold + change
        if degree == 0:
            return _mask_of(place, SecretPolynomial.random(0, _random(place)))
        return _mask_of(place, random_mask(degree, terms.x, _random(place)))

    return mask


def false_values(place: Place, _: AddMask) -> AddMask:
    """Give the other donors values that are not on the mask, well signed."""
    terms, random = place.phase.group.terms, _random(place)
    own = terms.donors.index(place.ctx.me)
    polynomial = random_mask(terms.record.threshold, terms.x, random)
    return _mask_of(
        place,
        polynomial,
        lambda index, value: value if index == own else SecretScalar.random(random).expose(),
    )


def no_scalars(place: Place, _: AddMask) -> AddMask:
    """Seal zeros for the other donors, and values above the order."""
    terms = place.phase.group.terms
    own = terms.donors.index(place.ctx.me)
    return _mask_of(
        place,
        random_mask(terms.record.threshold, terms.x, _random(place)),
        lambda index, value: value if index == own else b"\0\xff"[index % 2 : index % 2 + 1] * 32,
    )


def unsigned_values(_: Place, message: AddMask) -> AddMask:
    """Sign no value: this convicts nobody."""
    return replace(
        message, values=tuple(replace(value, signature=UNSIGNED) for value in message.values)
    )


def unsigned_mask_that_is_not_zero(place: Place, message: AddMask) -> AddMask:
    """A wrong mask without signatures: it is refused, and convicts nobody."""
    return unsigned_values(place, mask_that_is_not_zero(place, message))


def too_few_values(_: Place, message: AddMask) -> AddMask:
    """Leave a donor out."""
    return replace(message, values=message.values[1:])


def _blinded(place: Place, sums: tuple[Point, ...], bound_to_sums: tuple[Point, ...]) -> AddBlinded:
    """A value that the liar's share does not give, well signed."""
    late, me = place.coordinator_phase, place.ctx.me.point
    group = late.group
    sealed = seal_value(
        SecretScalar.random(_random(place)).expose(),
        session_hash=group.session_hash,
        shared=late.one_time.shared_with(group.members[place.ctx.me].one_time),
        sender=me,
        receiver=group.late.node,
        bound_to=blinded_hash(group.session_hash, me, sums),
        number=2,
    )
    bound_to = blinded_hash(group.session_hash, me, bound_to_sums)
    return _signed_blinded(place, group, bound_to, sealed)


def _signed_blinded(place: Place, group: Group, bound_to: bytes, sealed: bytes) -> AddBlinded:
    me = place.ctx.me.point
    signed = share_digest(group.session_hash, me, group.late.node, bound_to, sealed)
    return AddBlinded(SealedShare(sealed), place.signer.sign(Hash32(signed)))


@while_in(AwaitingBlinded)
def false_share(place: Place, _: AddBlinded) -> AddBlinded:
    """Give any value, signed as the one for these masks."""
    sums = place.coordinator_phase.sums
    return _blinded(place, sums, sums)


@while_in(AwaitingBlinded)
def false_share_for_other_masks(place: Place, _: AddBlinded) -> AddBlinded:
    """Give any value, signed as one for other masks: this convicts nobody."""
    return _blinded(place, place.coordinator_phase.sums, (GENERATOR,))


@while_in(AwaitingBlinded)
def share_that_does_not_open(place: Place, _: AddBlinded) -> AddBlinded:
    """Sign 48 bytes that are no sealed value."""
    group, sums = place.coordinator_phase.group, place.coordinator_phase.sums
    bound_to = blinded_hash(group.session_hash, place.ctx.me.point, sums)
    return _signed_blinded(place, group, bound_to, b"\x5a" * 48)


def endless_doubt(_: Place, __: AddBlinded) -> AddInvestigate:
    """Ask for all commitments without cause, and leave."""
    return AddInvestigate()


# --- the late node -------------------------------------------------------------------------------


def asking_for_itself_twice(place: Place, message: AddPropose) -> AddPropose:
    """Be a donor, too."""
    others = [node for node in message.donors if node != place.to][: len(message.donors) - 2]
    return replace(message, donors=tuple(sorted((place.ctx.me, place.to, *others))))


def fewer_donors(place: Place, message: AddPropose) -> AddPropose:
    """Ask fewer than there must be."""
    left = next(node for node in message.donors if node != place.to)
    return replace(message, donors=tuple(node for node in message.donors if node != left))


def other_donors_for_each(place: Place, message: AddPropose) -> AddPropose:
    """Tell every donor another set of donors."""
    nodes = [node for node in place.phase.terms.record.nodes if node != place.ctx.me]
    first = nodes.index(place.to)
    chosen = [nodes[(first + step) % len(nodes)] for step in range(len(message.donors))]
    return replace(message, donors=tuple(sorted(chosen)))


def other_record(_: Place, message: AddPropose) -> AddPropose:
    """Name a record that nobody holds."""
    return replace(message, record_hash=Hash32(b"\x66" * 32))


def keys_of_its_own(place: Place, message: AddStart) -> AddStart:
    """Announce keys it knows for the other donors, so that it could make their masks."""
    params_hash = place.phase.group.terms.params_hash

    def entry(accepted: Accepted) -> Accepted:
        if accepted.node in {place.to, place.ctx.me}:
            return accepted
        node = accepted.node.point
        statement = one_time_statement(params_hash, node, KNOWN.public)
        proof = Proof(prove(statement, [KNOWN.secret], _random(place)))
        signed = accept_digest(params_hash, node, KNOWN.public)
        return Accepted(accepted.node, KNOWN.public, proof, place.signer.sign(Hash32(signed)))

    return AddStart(tuple(entry(accepted) for accepted in message.accepted))


def other_key_of_its_own(place: Place, message: AddStart) -> AddStart:
    """Announce another one-time key for itself to each donor than it has signed."""
    return AddStart(
        tuple(
            replace(accepted, one_time=OTHER_POINT) if accepted.node == place.ctx.me else accepted
            for accepted in message.accepted
        )
    )


def other_key_of_the_receiver(place: Place, message: AddStart) -> AddStart:
    """Announce another one-time key for a donor than it has sent."""
    return AddStart(
        tuple(
            replace(accepted, one_time=OTHER_POINT) if accepted.node == place.to else accepted
            for accepted in message.accepted
        )
    )


def without_a_donor(place: Place, message: AddStart) -> AddStart:
    """Leave a donor out at the start."""
    left = next(e.node for e in message.accepted if e.node not in {place.to, place.ctx.me})
    return AddStart(tuple(entry for entry in message.accepted if entry.node != left))


def relaying(change: Callable[[Place, tuple[RelayedMask, ...]], Sequence[RelayedMask]]) -> Lie:
    """Hand round other masks than the donors made."""

    def masks(place: Place, message: AddMasks) -> AddMasks:
        return replace(message, masks=tuple(change(place, message.masks)))

    return masks


def fewer_masks(place: Place, masks: tuple[RelayedMask, ...]) -> list[RelayedMask]:
    """Leave the first other donor's mask out."""
    left = _first_other(place, masks)
    return [mask for mask in masks if mask is not left]


def one_mask_twice(place: Place, masks: tuple[RelayedMask, ...]) -> list[RelayedMask]:
    """Put the receiver's own mask in the place of another donor's."""
    left = _first_other(place, masks)
    own = next(mask for mask in masks if mask.dealer == place.to)
    return [own if mask is left else mask for mask in masks]


def renamed_mask(place: Place, masks: tuple[RelayedMask, ...]) -> list[RelayedMask]:
    """The same under the other donor's name."""
    left = _first_other(place, masks)
    own = next(mask for mask in masks if mask.dealer == place.to)
    return [replace(own, dealer=left.dealer) if mask is left else mask for mask in masks]


def mask_of_its_own(place: Place, masks: tuple[RelayedMask, ...]) -> list[RelayedMask]:
    """Make a mask in another donor's name, signed by the liar."""
    group: Group = place.phase.group
    left, receiver = _first_other(place, masks), group.members[place.to]
    polynomial = random_mask(group.terms.record.threshold, group.terms.x, _random(place))
    named = mask_hash(group.session_hash, left.dealer.point, polynomial.commit())
    ciphertext = seal_value(
        polynomial.evaluate(receiver.x).expose(),
        session_hash=group.session_hash,
        shared=KNOWN.shared_with(receiver.one_time),
        sender=left.dealer.point,
        receiver=receiver.node,
        bound_to=named,
    )
    signed = share_digest(group.session_hash, left.dealer.point, receiver.node, named, ciphertext)
    signature: Signature = place.signer.sign(Hash32(signed))
    false = RelayedMask(left.dealer, Hash32(named), SealedShare(ciphertext), signature)
    return [false if mask is left else mask for mask in masks]


def masks_of_its_own(place: Place, message: AddMasks) -> AddMasks:
    """Make all others' masks, after keys that the liar knows were announced for them."""
    group: Group = place.phase.group
    own = {place.to, place.ctx.me}
    members = {
        node: member if node in own else replace(member, one_time=KNOWN.public)
        for node, member in group.members.items()
    }
    pairs = [(member.node, member.one_time) for member in members.values()]
    session = session_hash(group.terms.params_hash, pairs)
    receiver, terms = members[place.to], group.terms
    lists, relayed = [], []
    for dealer in terms.donors:
        if dealer == place.to:
            made = place.coordinator_phase.masks[dealer]
            lists.append(made.commitments)
            own_mask = next(mask for mask in message.masks if mask.dealer == dealer)
            named = mask_hash(session, dealer.point, made.commitments)
            relayed.append(replace(own_mask, mask_hash=Hash32(named)))
            continue
        polynomial = random_mask(terms.record.threshold, terms.x, _random(place))
        lists.append(polynomial.commit())
        named = mask_hash(session, dealer.point, lists[-1])
        sealed = seal_value(
            polynomial.evaluate(receiver.x).expose(),
            session_hash=session,
            shared=KNOWN.shared_with(receiver.one_time),
            sender=dealer.point,
            receiver=receiver.node,
            bound_to=named,
        )
        signed = share_digest(session, dealer.point, receiver.node, named, sealed)
        signature = place.signer.sign(Hash32(signed))
        relayed.append(RelayedMask(dealer, Hash32(named), SealedShare(sealed), signature))
    sums = sum_commitments(lists)
    return AddMasks(tuple(relayed), tuple(point for point in sums if point is not None))


def value_for_another(place: Place, masks: tuple[RelayedMask, ...]) -> list[RelayedMask]:
    """Hand over what a donor has sealed for somebody else."""
    left, group = _first_other(place, masks), place.phase.group
    other = next(i for i, node in enumerate(group.terms.donors) if node != place.to)
    value = place.coordinator_phase.masks[left.dealer].values[other]
    wrong = replace(left, ciphertext=value.ciphertext, signature=value.signature)
    return [wrong if mask is left else mask for mask in masks]


def _first_other(place: Place, masks: tuple[RelayedMask, ...]) -> RelayedMask:
    return next(mask for mask in masks if mask.dealer != place.to)


def other_sums(place: Place, message: AddMasks) -> AddMasks:
    """Say that the masks add up to something else, which is zero where it must be."""
    x = place.phase.group.terms.x
    shifted = _shifted(message.sums, x)
    return replace(message, sums=shifted)


def sums_that_are_not_zero(_: Place, message: AddMasks) -> AddMasks:
    """Say that the masks add up to something that is not zero at the liar's place."""
    first = add(message.sums[0], GENERATOR)
    assert first is not None
    return replace(message, sums=(first, *message.sums[1:]))


def too_many_sums(_: Place, message: AddMasks) -> AddMasks:
    """Sums of polynomials of a higher degree."""
    return replace(message, sums=(*message.sums, GENERATOR))


def _shifted(sums: tuple[Point, ...], x: Scalar) -> tuple[Point, ...]:
    """Add a polynomial that is zero at `x` and one that the liar knows."""
    known = random_mask(len(sums) - 1, x, SeededRandom(b"shift")).commit()
    moved = [add(point, other) for point, other in zip(sums, known, strict=True)]
    return tuple(point for point in moved if point is not None)


def then_other_commitments(_: Place, message: AddCommitments) -> AddCommitments:
    """Show whoever investigates other commitments than the donors made."""
    dealt = tuple(
        replace(entry, commitments=(*entry.commitments[:-1], GENERATOR)) for entry in message.dealt
    )
    return AddCommitments(dealt)


def fewer_commitments(_: Place, message: AddCommitments) -> AddCommitments:
    """Leave a donor's commitments out."""
    return AddCommitments(message.dealt[1:])


def of_both(one: Lie, other: Lie) -> Lie:
    """Tell two lies, of messages of different types."""

    def lie(place: Place, message: Any) -> Any:
        told = one(place, message)
        return other(place, message) if told is message else told

    return lie


LATE: dict[str, tuple[str, Lie]] = {
    "is a donor itself": ("AddPropose", asking_for_itself_twice),
    "asks too few donors": ("AddPropose", fewer_donors),
    "tells each donor another set": ("AddPropose", other_donors_for_each),
    "names another record": ("AddPropose", other_record),
    "knows the others' one-time keys": ("AddStart", keys_of_its_own),
    "changes its own one-time key": ("AddStart", other_key_of_its_own),
    "changes the receiver's one-time key": ("AddStart", other_key_of_the_receiver),
    "starts without a donor": ("AddStart", without_a_donor),
    "leaves out a mask": ("AddMasks", relaying(fewer_masks)),
    "gives one mask twice": ("AddMasks", relaying(one_mask_twice)),
    "gives one mask under two names": ("AddMasks", relaying(renamed_mask)),
    "makes a mask in another's name": ("AddMasks", relaying(mask_of_its_own)),
    "gives a value sealed for another": ("AddMasks", relaying(value_for_another)),
    "tells other sums": ("AddMasks", other_sums),
    "tells sums that are not zero": ("AddMasks", sums_that_are_not_zero),
    "tells sums of a higher degree": ("AddMasks", too_many_sums),
}
"""What a late node may try, by the message it lies in; donors then give it nothing."""


def told_by_late(name: str, node: NodeId | None = None) -> Lie:
    """One of these; to one node only, if it is given."""
    kind, lie = LATE[name]

    def told(place: Place, message: Any) -> Any:
        if type(message).__name__ != kind or (node is not None and place.to != node):
            return message
        return lie(place, message)

    return told
