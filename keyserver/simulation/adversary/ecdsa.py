"""Cheats in ECDSA signatures (engine design, section 12.3), by signers and coordinators."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keyserver.crypto.curve import Scalar
from keyserver.model.identifiers import Hash32, Signature
from keyserver.sessions.core import Refusal
from keyserver.sessions.ecdsa_signing.messages import EcdsaPart, ShareProof
from keyserver.sessions.ecdsa_signing.phases import AwaitingParts
from keyserver.sessions.ecdsa_signing.terms import share_digest
from keyserver.simulation.adversary import floods
from keyserver.simulation.adversary.generation_coordinators import half
from keyserver.simulation.adversary.rows import (
    Acts,
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
from keyserver.simulation.adversary.schnorr_coordinators import asking_for, led, other_requests
from keyserver.simulation.adversary.schnorr_signers import by_itself, oversized, refusals
from keyserver.simulation.liars import (
    Lie,
    Place,
    silent,
    to_some,
    unsigned,
    while_in,
    with_field,
)

B = Behaviour


# --- signers -------------------------------------------------------------------------------------


def _part(change: Callable[[EcdsaPart], EcdsaPart], presig_id: Hash32 | None = None) -> Lie:
    """Another part, well signed for a presignature: the one that was asked for by default."""

    @while_in(AwaitingParts)
    def lie(place: Place, message: EcdsaPart) -> EcdsaPart:
        waiting: AwaitingParts = place.coordinator_phase
        other, named = change(message), presig_id or waiting.presignature.presig_id
        signed = share_digest(waiting.signing, named, place.ctx.me, other.value, other.proof)
        return replace(other, signature=place.signer.sign(signed))

    return lie


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
        Protocol.ECDSA,
        Part.MEMBER,
        name,
        deed,
        must,
        provable,
        left_out,
        least_threshold=1,
    )


MEMBERS: tuple[Row, ...] = (
    _member(B.SILENT, "no part", Tells("EcdsaPart", silent)),
    _member(B.CRASH, "ends before its EcdsaPart", Crashes("EcdsaPart")),
    _member(
        B.BAD_PARTIAL,
        "another part",
        Tells("EcdsaPart", _part(lambda part: replace(part, value=part.value + Scalar(1)))),
        provable=True,
    ),
    _member(
        B.BAD_PARTIAL,
        "another part, unsigned",
        Tells("EcdsaPart", with_field("value", lambda value: value + Scalar(1))),
    ),
    _member(
        B.EQUIVOCATION,
        "a part signed for another presignature",
        Tells("EcdsaPart", _part(lambda part: part, Hash32(b"\x11" * 32))),
    ),
    _member(B.BAD_PROOF, "an unsigned part", Tells("EcdsaPart", unsigned)),
    _member(
        B.BAD_PROOF,
        "another part with no proof",
        Tells(
            "EcdsaPart",
            _part(
                lambda part: EcdsaPart(
                    part.value + Scalar(2), ShareProof(b"\x01" * 128), part.signature
                )
            ),
        ),
        provable=True,
    ),
    _member(B.NONCE, "it withholds its part", Tells("EcdsaPart", Refusing(6))),
    _member(
        B.FALSE_ACCUSATION,
        "it calls an honest request wrong",
        Tells("EcdsaPart", Refusing(Refusal.BAD)),
    ),
    _member(B.STALE_ACL, "its chain still denies what is permitted", Acts(floods.as_denied)),
    _member(B.STALE_ACL, "its chain says nothing", Acts(floods.as_unavailable)),
    *by_itself(_member),
    *oversized(_member, "EcdsaPart"),
    *refusals("EcdsaPart", _member),
)


# --- coordinators --------------------------------------------------------------------------------


def _leader(
    behaviour: Behaviour, name: str, deed: Deed, must: Must = Must.REFUSED, **how: Any
) -> Row:
    return Row(
        behaviour, Protocol.ECDSA, Part.COORDINATOR, name, deed, must, least_threshold=1, **how
    )


def _each_another(place: Place, message: Any) -> bytes:
    """Digests on a line: each signer is asked for another one."""
    place_of = place.ctx.node_set.nodes.index(place.to)
    payload = (1000 + 7 * place_of).to_bytes(32, "big")
    lie: bytes = asking_for(lambda request: replace(request, payload=payload))(place, message)
    return lie


_OTHER = with_field("signature", lambda old: Signature(old[:32] + bytes(31) + b"\x05" + old[64:]))
_HIGH = with_field("signature", lambda old: Signature(old[:64] + bytes([old[64] ^ 1])))

COORDINATORS: tuple[Row, ...] = (
    *led("EcdsaRequest", _leader),
    *other_requests("EcdsaRequest", _leader),
    _leader(
        B.EQUIVOCATION, "another message for each of them", Tells("EcdsaRequest", _each_another)
    ),
    _leader(
        B.NONCE,
        "a presignature that nobody has",
        Tells("EcdsaRequest", with_field("presig_id", lambda _: Hash32(b"\x11" * 32))),
    ),
    _leader(
        B.NONCE,
        "no presignature",
        Tells("EcdsaRequest", with_field("presig_id", lambda _: Hash32(bytes(32)))),
    ),
    _leader(B.STALE_ACL, "it alone permits it", Acts(floods.permitted_only_here), Must.DENIED),
    _leader(B.SILENT, "no EcdsaSigned", Tells("EcdsaSigned", silent), Must.DECIDED),
    _leader(B.BAD_PARTIAL, "another EcdsaSigned", Tells("EcdsaSigned", _OTHER), Must.DECIDED),
    _leader(B.BAD_PROOF, "a signature with another v", Tells("EcdsaSigned", _HIGH), Must.DECIDED),
    _leader(
        B.EQUIVOCATION,
        "another EcdsaSigned for half of them",
        Tells("EcdsaSigned", to_some(half, _OTHER)),
        Must.DECIDED,
    ),
    *oversized(_leader, "EcdsaRequest"),
)

ROWS: tuple[Row, ...] = (*MEMBERS, *COORDINATORS)
