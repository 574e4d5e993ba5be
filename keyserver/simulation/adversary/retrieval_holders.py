"""Holders that cheat an honest coordinator of a retrieval (engine design, sections 9 and 10)."""

from dataclasses import replace
from typing import Any

from keyserver.model.identifiers import Hash32
from keyserver.model.requests import Proof
from keyserver.sessions.core import Refusal
from keyserver.sessions.retrieval.messages import MaskPoint, Partial, Shadow
from keyserver.sessions.retrieval.parts import partial_digest, shadow_digest
from keyserver.sessions.retrieval.phases import AwaitingPartials, AwaitingShadows
from keyserver.simulation.adversary import floods
from keyserver.simulation.adversary.generation_members import IDENTITY, OFF_CURVE
from keyserver.simulation.adversary.rows import (
    Acts,
    Behaviour,
    Crashes,
    Deed,
    Must,
    Part,
    Protocol,
    Refusing,
    Replays,
    Row,
    Tells,
)
from keyserver.simulation.adversary.storing import kind_of
from keyserver.simulation.liars import (
    OTHER_POINT,
    Lie,
    Place,
    garbage,
    silent,
    unsigned,
    with_bytes,
    with_field,
)

B = Behaviour

SHADOW_PROTOCOLS = (Protocol.SHADOW_LEGACY, Protocol.SHADOW_BOUND, Protocol.SHADOW_CONTRACT)


def signed_with(name: str, value: Any) -> Lie:
    """Another field under the own signature, as long as the coordinator's session lives."""

    def lie(place: Place, message: Partial) -> Partial:
        match place.coordinator_phase:
            case (
                AwaitingPartials(subject=subject)
                | AwaitingShadows(before=AwaitingPartials(subject=subject))
            ):
                told = replace(message, **{name: value})
                signed = partial_digest(place.ctx, subject, place.ctx.me, told)
                return replace(told, signature=place.signer.sign(signed))
            case _:
                return message

    return lie


def wrong_shadow(place: Place, message: Shadow) -> Shadow:
    """A ciphertext of anything, well signed: only the requester can notice."""
    other = replace(message, sealed=type(message.sealed)(bytes(145)))
    digest = shadow_digest(place.ctx.sid, place.ctx.me, other)
    return replace(other, signature=place.signer.sign(digest))


def _point(message: Partial) -> bytes:
    return message.point.compressed


def _rows(protocol: Protocol) -> tuple[Row, ...]:
    def row(
        behaviour: Behaviour,
        name: str,
        deed: Deed,
        must: Must = Must.COMPLETES,
        *,
        provable: bool = False,
        left_out: bool = True,
    ) -> Row:
        return Row(behaviour, protocol, Part.MEMBER, name, deed, must, provable, left_out)

    return (
        row(B.SILENT, "no part", Tells("Partial", silent)),
        row(B.CRASH, "ends before its Partial", Crashes("Partial")),
        row(
            B.BAD_PARTIAL,
            "another point",
            Tells("Partial", signed_with("point", OTHER_POINT)),
            provable=True,
        ),
        row(
            B.BAD_PARTIAL,
            "another point, unsigned",
            Tells("Partial", with_field("point", lambda _: OTHER_POINT)),
        ),
        row(B.BAD_POINT, "a part off the curve", Tells("Partial", with_bytes(_point, OFF_CURVE))),
        row(B.BAD_POINT, "the identity as part", Tells("Partial", with_bytes(_point, IDENTITY))),
        row(B.REPLAY, "what it said in an earlier session", Replays()),
        row(
            B.BAD_PROOF,
            "another proof",
            Tells("Partial", signed_with("proof", Proof(b"\x01" * 64))),
            provable=True,
        ),
        row(B.BAD_PROOF, "an unsigned part", Tells("Partial", unsigned)),
        row(
            B.FLOOD,
            "messages of sessions that do not exist",
            Acts(floods.STRAY_MESSAGES),
            left_out=False,
        ),
        row(
            B.FALSE_ACCUSATION,
            "evidence that convicts nobody",
            Acts(floods.accuse_wrongly),
            left_out=False,
        ),
        row(B.FLOOD, "sessions opened and left alone", Acts(floods.OPENINGS), left_out=False),
        row(B.FLOOD, "questions about everything", Acts(floods.QUESTIONS), left_out=False),
        *(
            row(B.OVERSIZED, f"a Partial with {what}", Tells("Partial", lie))
            for what, lie in (*floods.OVERSIZED.items(), ("garbage", garbage))
        ),
        row(B.STALE_ACL, "its chain still denies what is permitted", Acts(floods.as_denied)),
        row(B.STALE_ACL, "its chain says nothing", Acts(floods.as_unavailable)),
        *(
            row(
                kind_of(code),
                f"it refuses: {code.name}",
                Tells("Partial", Refusing(code)),
            )
            for code in Refusal
        ),
        row(B.LIED_REQUEST, "it refuses for no known reason", Tells("Partial", Refusing(999))),
        *(_shadow_rows(row) if protocol in SHADOW_PROTOCOLS else _plain_rows(row)),
    )


def _plain_rows(row: Any) -> tuple[Row, ...]:
    return (
        row(
            B.BAD_POINT,
            "a mask where none belongs",
            Tells("Partial", signed_with("mask", MaskPoint(OTHER_POINT.compressed))),
            provable=True,
        ),
        row(B.NONCE, "randomness of before", Acts(floods.with_old_randomness), left_out=False),
    )


def _shadow_rows(row: Any) -> tuple[Row, ...]:
    return (
        row(B.SILENT, "no shadow", Tells("Shadow", silent)),
        row(B.CRASH, "ends before its Shadow", Crashes("Shadow")),
        row(
            B.BAD_POINT,
            "a mask that is no point",
            Tells("Partial", signed_with("mask", MaskPoint(b"\x05" * 33))),
            provable=True,
        ),
        row(
            B.BAD_POINT,
            "the identity as mask",
            Tells("Partial", signed_with("mask", MaskPoint(IDENTITY))),
            provable=True,
        ),
        row(
            B.BAD_PARTIAL,
            "another mask",
            Tells("Partial", signed_with("mask", MaskPoint(OTHER_POINT.compressed))),
            provable=True,
        ),
        row(
            B.EQUIVOCATION,
            "a shadow for another selection",
            Tells("Shadow", with_field("select_hash", lambda _: Hash32(bytes(32)))),
        ),
        row(
            B.NONCE,
            "the mask of a session before",
            Acts(floods.with_old_randomness),
            left_out=False,
        ),
        row(
            B.NONCE,
            "a shadow that is not its mask",
            Tells("Shadow", wrong_shadow),
            Must.NOTICED,
            left_out=False,
        ),
        row(B.NONCE, "a withheld shadow, with a refusal", Tells("Shadow", Refusing(6))),
        row(B.BAD_PROOF, "an unsigned shadow", Tells("Shadow", unsigned)),
        row(B.OVERSIZED, "garbage for Shadow", Tells("Shadow", garbage)),
        row(
            B.FALSE_ACCUSATION,
            "it calls an honest selection wrong",
            Tells("Shadow", Refusing(Refusal.BAD)),
        ),
    )


ROWS: tuple[Row, ...] = tuple(
    row for protocol in (Protocol.PLAIN, *SHADOW_PROTOCOLS) for row in _rows(protocol)
)
