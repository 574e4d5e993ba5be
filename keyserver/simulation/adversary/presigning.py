"""Cheats while presignatures are made, by signers and coordinators (engine design, 12.2)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keyserver.crypto.curve import Scalar
from keyserver.model.identifiers import Hash32
from keyserver.model.requests import Proof
from keyserver.sessions.ecdsa_presigning.messages import (
    PresignAccept,
    PresignDeal,
    PresignDeals,
    PresignInvestigate,
    PresignPropose,
    ProductPart,
)
from keyserver.sessions.ecdsa_presigning.phases import AwaitingProducts
from keyserver.sessions.ecdsa_presigning.terms import product_digest
from keyserver.simulation.adversary.generation_coordinators import half
from keyserver.simulation.adversary.generation_members import (
    IDENTITY,
    IDENTITY_RAW,
    OFF_CURVE,
    OFF_CURVE_RAW,
)
from keyserver.simulation.adversary.presigning_deals import junk, wrong_numbers
from keyserver.simulation.adversary.rows import (
    Behaviour,
    Crashes,
    Deed,
    Must,
    Part,
    Protocol,
    Refusing,
    Row,
    Tells,
)
from keyserver.simulation.adversary.schnorr_coordinators import led
from keyserver.simulation.adversary.schnorr_signers import by_itself, oversized, refusals
from keyserver.simulation.liars import (
    OTHER_POINT,
    Lie,
    Place,
    silent,
    to_some,
    unsigned,
    while_in,
    with_bytes,
    with_field,
)

B = Behaviour
ANSWERS = ("PresignAccept", "PresignDeal", "PresignAgreed", "ProductPart", "PresignatureKept")
ORDERS = ("PresignPropose", "PresignStart", "PresignDeals", "AllAgreed", "Presigned")


def in_round(number: int, lie: Lie) -> Lie:
    """Of the messages that come twice, lie in one."""
    return lambda place, message: lie(place, message) if message.number == number else message


# --- signers -------------------------------------------------------------------------------------


def _product(change: Callable[[ProductPart], ProductPart]) -> Lie:
    """Another part of the product, well signed."""

    @while_in(AwaitingProducts)
    def lie(place: Place, message: ProductPart) -> ProductPart:
        other, me = change(message), place.ctx.me
        presig_id = place.coordinator_phase.presigning.presig_id
        signed = product_digest(presig_id, me, other.value, other.proof)
        return replace(other, signature=place.signer.sign(signed))

    return lie


def _commitments(change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Lie:
    return with_field("commitments", lambda lists: (change(lists[0]), *lists[1:]))


def _one_time(message: PresignAccept) -> bytes:
    return message.one_time.compressed


def _dealt_point(message: PresignDeal) -> bytes:
    return message.commitments[0][0].raw64


def _investigates(_: Place, message: Any) -> PresignInvestigate:
    return PresignInvestigate(message.number)


def _member(
    behaviour: Behaviour,
    name: str,
    deed: Deed,
    must: Must = Must.COMPLETES,
    *,
    provable: bool = False,
    left_out: bool = True,
) -> Row:
    return Row(
        behaviour,
        Protocol.PRESIGNING,
        Part.MEMBER,
        name,
        deed,
        must,
        provable,
        left_out,
        least_threshold=1,
    )


MEMBERS: tuple[Row, ...] = (
    *(_member(B.SILENT, f"no {name}", Tells(name, silent)) for name in ANSWERS),
    *(_member(B.CRASH, f"ends before its {name}", Crashes(name)) for name in ANSWERS),
    *(
        _member(kind, f"{what} in round {number}", Tells("PresignDeal", lie(number)), provable=True)
        for number in (1, 2)
        for kind, what, lie in (
            (B.WRONG_SHARE, "wrong numbers for one signer", wrong_numbers),
            (B.WRONG_SHARE, "numbers that do not open", junk),
        )
    ),
    *(
        _member(kind, f"{what} in round {number}", Tells("PresignDeal", in_round(number, lie)))
        for number in (1, 2)
        for kind, what, lie in (
            (B.DEGREE, "a longer polynomial", _commitments(lambda one: (*one, one[0]))),
            (B.DEGREE, "a shorter polynomial", _commitments(lambda one: one[1:])),
            (B.DEGREE, "no polynomial", with_field("commitments", lambda _: ())),
            (B.BAD_POINT, "a point off the curve", with_bytes(_dealt_point, OFF_CURVE_RAW)),
            (B.BAD_POINT, "the identity", with_bytes(_dealt_point, IDENTITY_RAW)),
            (
                B.BAD_PROOF,
                "unsigned numbers",
                with_field(
                    "values",
                    lambda values: tuple(
                        replace(one, signature=type(one.signature)(bytes(65))) for one in values
                    ),
                ),
            ),
            (B.WRONG_SHARE, "numbers for too few", with_field("values", lambda all_: all_[1:])),
            (
                B.EQUIVOCATION,
                "another deal than it signs",
                _commitments(
                    lambda one: (one[-1], *one[1:-1], one[0]) if len(one) > 1 else (OTHER_POINT,)
                ),
            ),
        )
    ),
    *(
        _member(kind, f"{what} in round {number}", Tells("PresignAgreed", in_round(number, lie)))
        for number in (1, 2)
        for kind, what, lie in (
            (B.BAD_PROOF, "an unsigned transcript", unsigned),
            (B.FALSE_ACCUSATION, "it calls right numbers wrong", _investigates),
        )
    ),
    _member(
        B.BAD_POINT,
        "a one-time key off the curve",
        Tells("PresignAccept", with_bytes(_one_time, OFF_CURVE)),
    ),
    _member(
        B.BAD_POINT,
        "the identity as one-time key",
        Tells("PresignAccept", with_bytes(_one_time, IDENTITY)),
    ),
    _member(
        B.BAD_PROOF,
        "a one-time key without proof",
        Tells("PresignAccept", with_field("proof", lambda _: Proof(bytes(64)))),
    ),
    _member(B.BAD_PROOF, "an unsigned one-time key", Tells("PresignAccept", unsigned)),
    _member(
        B.BAD_PARTIAL,
        "another part of the product",
        Tells("ProductPart", _product(lambda part: replace(part, value=part.value + Scalar(1)))),
        provable=True,
    ),
    _member(
        B.BAD_PARTIAL,
        "another part of the product, unsigned",
        Tells("ProductPart", with_field("value", lambda value: value + Scalar(1))),
    ),
    _member(B.BAD_PROOF, "an unsigned part of the product", Tells("ProductPart", unsigned)),
    _member(B.NONCE, "it withholds its part of the product", Tells("ProductPart", Refusing(6))),
    *by_itself(_member),
    *oversized(_member, *ANSWERS[:4]),
    *refusals("PresignAccept", _member),
)


# --- coordinators --------------------------------------------------------------------------------


def _signers(change: Callable[[Place, tuple[Any, ...]], tuple[Any, ...]]) -> Lie:
    return lambda place, message: replace(message, signers=change(place, message.signers))


def _larger(place: Place, signers: tuple[Any, ...]) -> tuple[Any, ...]:
    """One member more, if there is one."""
    others = [node for node in place.ctx.node_set.nodes if node not in signers]
    return tuple(sorted((*signers, *others[:1])))


def _accepted(change: Callable[[Place, tuple[Any, ...]], tuple[Any, ...]]) -> Lie:
    return lambda place, message: replace(message, accepted=change(place, message.accepted))


def _other_key_of(others: bool) -> Callable[[Place, tuple[Any, ...]], tuple[Any, ...]]:
    """The receiver's one-time key is another one, or those of all others are."""

    def change(place: Place, accepted: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(
            replace(one, one_time=OTHER_POINT) if (one.node != place.to) is others else one
            for one in accepted
        )

    return change


def _first_sum(change: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Lie:
    return with_field("sums", lambda lists: (change(lists[0]), *lists[1:]))


def _sum_point(message: PresignDeals) -> bytes:
    return message.sums[0][0].compressed


def _swapped(_: Place, message: PresignDeals) -> PresignDeals:
    """What one signer has dealt is said to be another's."""
    return replace(message, deals=message.deals[::-1])


def _propose_for(change: Callable[[PresignPropose], PresignPropose]) -> Lie:
    return lambda _, message: change(message)


def _leader(
    behaviour: Behaviour, name: str, deed: Deed, must: Must = Must.REFUSED, **how: Any
) -> Row:
    return Row(
        behaviour, Protocol.PRESIGNING, Part.COORDINATOR, name, deed, must, least_threshold=1, **how
    )


_OTHER_SUM = _first_sum(lambda one: (OTHER_POINT, *one[1:]))

COORDINATORS: tuple[Row, ...] = (
    *led("PresignPropose", _leader),
    *(_leader(B.SILENT, f"no {name}", Tells(name, silent)) for name in ORDERS[1:]),
    *(_leader(B.CRASH, f"ends before its {name}", Crashes(name)) for name in ORDERS[1:]),
    _leader(
        B.LIED_REQUEST,
        "another record",
        Tells("PresignPropose", with_field("record_hash", lambda _: Hash32(bytes(32)))),
    ),
    _leader(B.LIED_SET, "a larger group", Tells("PresignPropose", _signers(_larger))),
    _leader(
        B.LIED_SET, "a group out of order", Tells("PresignPropose", _signers(lambda _, s: s[::-1]))
    ),
    _leader(
        B.LIED_SET,
        "one of them twice",
        Tells("PresignPropose", _signers(lambda _, s: (*s[:-1], s[0]))),
    ),
    _leader(B.LIED_SET, "too few of them", Tells("PresignPropose", _signers(lambda _, s: s[:-1]))),
    _leader(
        B.LIED_SET,
        "a group without the receiver",
        Tells(
            "PresignPropose", _signers(lambda place, s: tuple(one for one in s if one != place.to))
        ),
    ),
    _leader(B.WRONG_SHARE, "what one has dealt is another's", Tells("PresignDeals", _swapped)),
    _leader(
        B.WRONG_SHARE,
        "too few deals",
        Tells("PresignDeals", with_field("deals", lambda deals: deals[1:])),
    ),
    _leader(
        B.BAD_PARTIAL,
        "another product",
        Tells("Presigned", with_field("product", lambda product: product + Scalar(1))),
    ),
    _leader(
        B.NONCE,
        "one-time keys of its own for all others",
        Tells("PresignStart", _accepted(_other_key_of(True))),
    ),
    _leader(
        B.NONCE,
        "another one-time key for the receiver",
        Tells("PresignStart", _accepted(_other_key_of(False))),
    ),
    _leader(
        B.BAD_POINT, "a sum off the curve", Tells("PresignDeals", with_bytes(_sum_point, OFF_CURVE))
    ),
    _leader(
        B.BAD_POINT, "the identity as sum", Tells("PresignDeals", with_bytes(_sum_point, IDENTITY))
    ),
    *(
        row
        for number in (1, 2)
        for row in (
            _leader(
                B.EQUIVOCATION,
                f"other sums for half of them in round {number}",
                Tells("PresignDeals", to_some(half, in_round(number, _OTHER_SUM))),
                Must.DECIDED,
            ),
            _leader(
                B.WRONG_SHARE,
                f"other sums in round {number}",
                Tells("PresignDeals", in_round(number, _OTHER_SUM)),
            ),
            _leader(
                B.DEGREE,
                f"longer sums in round {number}",
                Tells(
                    "PresignDeals", in_round(number, _first_sum(lambda one: (*one, OTHER_POINT)))
                ),
            ),
            _leader(
                B.DEGREE,
                f"shorter sums in round {number}",
                Tells("PresignDeals", in_round(number, _first_sum(lambda one: one[:-1]))),
            ),
            _leader(
                B.BAD_PROOF,
                f"signatures of nobody in round {number}",
                Tells(
                    "AllAgreed",
                    in_round(
                        number,
                        with_field(
                            "signatures", lambda all_: tuple(type(one)(bytes(65)) for one in all_)
                        ),
                    ),
                ),
            ),
            _leader(
                B.BAD_PROOF,
                f"too few signatures in round {number}",
                Tells(
                    "AllAgreed", in_round(number, with_field("signatures", lambda all_: all_[1:]))
                ),
            ),
        )
    ),
    _leader(
        B.BAD_PROOF,
        "one-time keys without proof",
        Tells(
            "PresignStart",
            _accepted(lambda _, all_: tuple(replace(one, proof=Proof(bytes(64))) for one in all_)),
        ),
    ),
    *oversized(_leader, *ORDERS),
)

ROWS: tuple[Row, ...] = (*MEMBERS, *COORDINATORS)
