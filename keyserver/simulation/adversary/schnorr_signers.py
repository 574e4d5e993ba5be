"""Holders that cheat an honest coordinator of a Schnorr signature (engine design, section 11)."""

from dataclasses import replace
from typing import Any

from keyserver.crypto.curve import Scalar
from keyserver.model.identifiers import Hash32
from keyserver.sessions.core import Refusal
from keyserver.sessions.frost_signing.messages import NonceCommitments, SignatureShare
from keyserver.sessions.frost_signing.phases import AwaitingSignatureShares
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
    while_in,
    with_bytes,
    with_field,
)

B = Behaviour
FORMS = (Protocol.SCHNORR, Protocol.FROST)


def _share(value: Scalar, *, package: Hash32 | None = None) -> Lie:
    """A share that is wrong by `value`, signed for a package: the one that it answers by default"""

    @while_in(AwaitingSignatureShares)
    def lie(place: Place, message: SignatureShare) -> SignatureShare:
        waiting: AwaitingSignatureShares = place.coordinator_phase
        named, other = package or waiting.package_hash, message.value + value
        signed = waiting.signing.share_digest(place.ctx.me, named, other)
        return SignatureShare(other, place.signer.sign(signed))

    return lie


def _hiding(message: NonceCommitments) -> bytes:
    return message.hiding.compressed


def _binding(message: NonceCommitments) -> bytes:
    return message.binding.compressed


def refusals(message: str, row: Any) -> tuple[Row, ...]:
    """Every reason for which a node may say that it takes no part."""
    return (
        *(
            row(kind_of(code), f"it refuses: {code.name}", Tells(message, Refusing(code)))
            for code in Refusal
        ),
        row(B.LIED_REQUEST, "it refuses for no known reason", Tells(message, Refusing(999))),
    )


def by_itself(row: Any) -> tuple[Row, ...]:
    """What is the same for signers of all kinds."""
    return (
        row(B.REPLAY, "what it said in an earlier session", Replays(), left_out=False),
        row(B.NONCE, "randomness of before", Acts(floods.with_old_randomness), left_out=False),
        row(
            B.FALSE_ACCUSATION,
            "evidence that convicts nobody",
            Acts(floods.accuse_wrongly),
            left_out=False,
        ),
        row(
            B.FLOOD,
            "messages of sessions that do not exist",
            Acts(floods.STRAY_MESSAGES),
            left_out=False,
        ),
        row(B.FLOOD, "sessions opened and left alone", Acts(floods.OPENINGS), left_out=False),
        row(B.FLOOD, "questions about everything", Acts(floods.QUESTIONS), left_out=False),
    )


def oversized(row: Any, *messages: str) -> tuple[Row, ...]:
    """Messages that are too long, in each of these."""
    lies = (*floods.OVERSIZED.items(), ("garbage", garbage))
    return tuple(
        row(B.OVERSIZED, f"a {message} with {what}", Tells(message, lie))
        for message in messages
        for what, lie in lies
    )


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
        row(B.SILENT, "no part", Tells("NonceCommitments", silent)),
        row(B.SILENT, "no share", Tells("SignatureShare", silent)),
        row(B.CRASH, "ends before its NonceCommitments", Crashes("NonceCommitments")),
        row(B.CRASH, "ends before its SignatureShare", Crashes("SignatureShare")),
        row(
            B.BAD_PARTIAL,
            "another share",
            Tells("SignatureShare", _share(Scalar(1))),
            provable=True,
        ),
        row(
            B.BAD_PARTIAL,
            "another share, unsigned",
            Tells("SignatureShare", with_field("value", lambda value: value + Scalar(1))),
        ),
        row(
            B.EQUIVOCATION,
            "a share signed for another package",
            Tells("SignatureShare", _share(Scalar(0), package=Hash32(b"\x11" * 32))),
        ),
        row(
            B.BAD_POINT,
            "commitments off the curve",
            Tells("NonceCommitments", with_bytes(_hiding, OFF_CURVE)),
        ),
        row(
            B.BAD_POINT,
            "the identity as commitment",
            Tells("NonceCommitments", with_bytes(_binding, IDENTITY)),
        ),
        row(B.BAD_PROOF, "unsigned commitments", Tells("NonceCommitments", unsigned)),
        row(B.BAD_PROOF, "an unsigned share", Tells("SignatureShare", unsigned)),
        row(
            B.NONCE,
            "another commitment than it signed",
            Tells("NonceCommitments", with_field("binding", lambda _: OTHER_POINT)),
        ),
        row(B.NONCE, "a withheld share, with a refusal", Tells("SignatureShare", Refusing(6))),
        row(
            B.FALSE_ACCUSATION,
            "it calls an honest package wrong",
            Tells("SignatureShare", Refusing(Refusal.BAD)),
        ),
        row(B.STALE_ACL, "its chain still denies what is permitted", Acts(floods.as_denied)),
        row(B.STALE_ACL, "its chain says nothing", Acts(floods.as_unavailable)),
        *by_itself(row),
        *oversized(row, "NonceCommitments", "SignatureShare"),
        *refusals("NonceCommitments", row),
        row(
            B.NONCE,
            "commitments to the same nonce twice",
            Tells("NonceCommitments", _same_twice),
        ),
    )


def _same_twice(place: Place, message: NonceCommitments) -> NonceCommitments:
    """Unsigned, as its signer does not know what it signs by then."""
    return replace(message, binding=message.hiding)


ROWS: tuple[Row, ...] = tuple(row for protocol in FORMS for row in _rows(protocol))
