"""Members that cheat an honest coordinator of a generation."""

from dataclasses import replace
from typing import Any

from keyserver.model.identifiers import Hash32
from keyserver.model.requests import Proof
from keyserver.sessions.core import Refusal
from keyserver.sessions.sharing.messages import Investigate
from keyserver.simulation.adversary import dealing, floods
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
from keyserver.simulation.liars import garbage, silent, unsigned, with_bytes, with_field

B = Behaviour

IDENTITY = bytes(33)
OFF_CURVE = b"\x02" + b"\xff" * 32
OFF_CURVE_RAW = b"\x01" * 64
IDENTITY_RAW = bytes(64)


def _row(
    behaviour: Behaviour,
    name: str,
    deed: Deed,
    *,
    provable: bool = False,
    left_out: bool = True,
    least_threshold: int = 0,
) -> Row:
    return Row(
        behaviour,
        Protocol.GENERATION,
        Part.MEMBER,
        name,
        deed,
        Must.COMPLETES,
        provable,
        left_out,
        least_threshold,
    )


def _constant(message: Any) -> bytes:
    raw: bytes = message.commitments[0].raw64
    return raw


def _one_time(message: Any) -> bytes:
    compressed: bytes = message.one_time.compressed
    return compressed


def _everybody(_: int) -> bool:
    return True


def _kind_of(code: Refusal) -> Behaviour:
    """TEMPORARY is what a node says that sees another node set."""
    return B.LIED_SET if code is Refusal.TEMPORARY else B.LIED_REQUEST


_PROVABLE = (
    _row(B.WRONG_SHARE, "a false share for one", Tells("Deal", dealing.false_share_for_one)),
    _row(
        B.WRONG_SHARE,
        "false shares for all",
        Tells("Deal", dealing.false_shares(_everybody)),
    ),
    _row(B.WRONG_SHARE, "zeros and values above the order", Tells("Deal", dealing.no_scalars)),
    _row(
        B.EQUIVOCATION,
        "shares of two polynomials, to every other node",
        Tells("Deal", dealing.two_polynomials),
    ),
    _row(
        B.DEGREE,
        "a shorter polynomial with the right number of commitments",
        Tells("Deal", dealing.padded_degree),
        least_threshold=1,
    ),
    _row(
        B.FALSE_ACCUSATION,
        "an accusation without cause",
        Tells("Ok", dealing.false_complaint),
    ),
    _row(
        B.FALSE_ACCUSATION,
        "an accusation without proof",
        Tells("Ok", dealing.unproven_complaint),
    ),
)

_LEFT_OUT = (
    _row(
        B.BAD_PROOF,
        "a constant that is not its own, signed for all",
        Tells("Deal", dealing.rogue_constant),
        provable=True,
    ),
    *(
        _row(B.SILENT, f"no {name}", Tells(name, silent))
        for name in ("Accept", "Deal", "Ok", "Ready")
    ),
    *(
        _row(B.CRASH, f"ends before its {name}", Crashes(name))
        for name in ("Accept", "Deal", "Ok", "Ready")
    ),
    _row(
        B.WRONG_SHARE,
        "a share signed wrongly, for one",
        Tells("Deal", dealing.badly_signed_share_for_one),
    ),
    _row(
        B.WRONG_SHARE,
        "shares signed wrongly, for all",
        Tells("Deal", dealing.badly_signed_shares(_everybody)),
    ),
    _row(
        B.WRONG_SHARE,
        "too few shares",
        Tells("Deal", with_field("shares", lambda shares: shares[1:])),
    ),
    _row(B.EQUIVOCATION, "a READY for another record", Tells("Ready", dealing.ready_for_another)),
    _row(
        B.DEGREE,
        "a polynomial too short",
        Tells("Deal", dealing.other_degree(-1)),
        provable=True,
        least_threshold=1,
    ),
    _row(B.DEGREE, "a polynomial too long", Tells("Deal", dealing.other_degree(1)), provable=True),
    _row(
        B.BAD_POINT,
        "a one-time key off the curve",
        Tells("Accept", with_bytes(_one_time, OFF_CURVE)),
    ),
    _row(
        B.BAD_POINT,
        "the identity as one-time key",
        Tells("Accept", with_bytes(_one_time, IDENTITY)),
    ),
    _row(
        B.BAD_POINT,
        "a constant off the curve",
        Tells("Deal", with_bytes(_constant, OFF_CURVE_RAW)),
    ),
    _row(
        B.BAD_POINT,
        "the identity as constant",
        Tells("Deal", with_bytes(_constant, IDENTITY_RAW)),
    ),
    _row(B.REPLAY, "what it said in an earlier session", Replays()),
    _row(B.BAD_PROOF, "an unsigned ACCEPT", Tells("Accept", unsigned)),
    _row(
        B.BAD_PROOF,
        "no proof of its one-time key",
        Tells("Accept", with_field("proof", lambda _: Proof(bytes(64)))),
    ),
    _row(B.BAD_PROOF, "a one-time key of another", Tells("Accept", dealing.foreign_key)),
    _row(
        B.BAD_PROOF,
        "no proof of possession",
        Tells("Deal", with_field("possession", lambda _: b"")),
    ),
    _row(B.BAD_PROOF, "a constant that is not its own", Tells("Deal", dealing.stolen_constant)),
    _row(B.BAD_PROOF, "an unsigned READY", Tells("Ready", unsigned)),
    _row(
        B.FALSE_ACCUSATION,
        "an accusation of what was not signed",
        Tells("Ok", dealing.unsigned_complaint),
    ),
    _row(
        B.FALSE_ACCUSATION,
        "an accusation with other commitments",
        Tells("Ok", dealing.altered_complaint),
    ),
    _row(
        B.FALSE_ACCUSATION,
        "an accusation of nobody",
        Tells("Ok", dealing.complaint_about_nobody),
    ),
    _row(
        B.FALSE_ACCUSATION,
        "an investigation without cause",
        Tells("Ok", lambda _place, _message: Investigate()),
    ),
    _row(
        B.FALSE_ACCUSATION,
        "an OK for something else",
        Tells("Ok", with_field("transcript", lambda _: Hash32(bytes(32)))),
    ),
    *(
        _row(B.OVERSIZED, f"a {name} with {what}", Tells(name, lie))
        for name in ("Accept", "Deal", "Ready")
        for what, lie in floods.OVERSIZED.items()
    ),
    *(
        _row(B.OVERSIZED, f"garbage for {name}", Tells(name, garbage))
        for name in ("Accept", "Deal", "Ok", "Ready")
    ),
    _row(B.STALE_ACL, "its chain denies what is pending", Acts(floods.as_denied)),
    _row(B.STALE_ACL, "its chain does not show what is pending", Acts(floods.as_unavailable)),
    *(
        _row(_kind_of(code), f"it refuses: {code.name}", Tells("Accept", Refusing(code)))
        for code in Refusal
    ),
    _row(B.LIED_REQUEST, "it refuses for no known reason", Tells("Accept", Refusing(999))),
    *(
        _row(B.LIED_REQUEST, f"it takes its {name} back", Tells(name, Refusing(Refusal.DENIED)))
        for name in ("Deal", "Ok", "Ready")
    ),
)

_STILL_HOLDERS = (
    _row(B.SILENT, "no COMMIT", Tells("Commit", silent), left_out=False),
    _row(B.CRASH, "ends before its Commit", Crashes("Commit"), left_out=False),
    _row(
        B.EQUIVOCATION,
        "a COMMIT to nothing after READY",
        Tells("Commit", dealing.commit_to_another),
        left_out=False,
    ),
    _row(B.BAD_PROOF, "an unsigned COMMIT", Tells("Commit", unsigned), left_out=False),
    _row(B.OVERSIZED, "garbage for Commit", Tells("Commit", garbage), left_out=False),
    _row(
        B.NONCE,
        "one-time keys and polynomials of before",
        Acts(floods.with_old_randomness),
        left_out=False,
    ),
)

ROWS: tuple[Row, ...] = (
    *(replace(row, provable=True) for row in _PROVABLE),
    *_LEFT_OUT,
    *_STILL_HOLDERS,
    _row(
        B.FLOOD,
        "messages of sessions that do not exist",
        Acts(floods.STRAY_MESSAGES),
        left_out=False,
    ),
    _row(B.FLOOD, "sessions opened and left alone", Acts(floods.OPENINGS), left_out=False),
    _row(B.FLOOD, "questions about everything", Acts(floods.QUESTIONS), left_out=False),
)
