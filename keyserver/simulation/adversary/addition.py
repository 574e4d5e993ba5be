"""Cheats where a late node gets its share from donors (engine design, section 14.1)."""

from keyserver.sessions.core import Refusal
from keyserver.simulation.adversary import floods, share_additions
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
from keyserver.simulation.liars import garbage, silent, unsigned, with_bytes

B = Behaviour


def _donor(
    behaviour: Behaviour,
    name: str,
    deed: Deed,
    *,
    provable: bool = False,
    least_threshold: int = 1,
) -> Row:
    return Row(
        behaviour,
        Protocol.ADDITION,
        Part.MEMBER,
        name,
        deed,
        Must.COMPLETES,
        provable,
        least_threshold=least_threshold,
    )


DONORS: tuple[Row, ...] = (
    *(_donor(B.SILENT, f"no {name}", Tells(name, silent)) for name in ("AddAccept", "AddMask")),
    _donor(B.SILENT, "no AddBlinded", Tells("AddBlinded", silent), least_threshold=0),
    *(
        _donor(B.CRASH, f"ends before its {name}", Crashes(name))
        for name in ("AddAccept", "AddMask", "AddBlinded")
    ),
    _donor(
        B.WRONG_SHARE,
        "values that are not on its mask",
        Tells("AddMask", share_additions.false_values),
        provable=True,
    ),
    _donor(
        B.WRONG_SHARE,
        "zeros and values above the order",
        Tells("AddMask", share_additions.no_scalars),
        provable=True,
    ),
    _donor(
        B.WRONG_SHARE,
        "a share that is not its own",
        Tells("AddBlinded", share_additions.false_share),
        provable=True,
    ),
    _donor(
        B.WRONG_SHARE,
        "a share that does not open",
        Tells("AddBlinded", share_additions.share_that_does_not_open),
        provable=True,
    ),
    _donor(
        B.WRONG_SHARE,
        "values that it has not signed",
        Tells("AddMask", share_additions.unsigned_values),
    ),
    _donor(
        B.WRONG_SHARE,
        "too few values",
        Tells("AddMask", share_additions.too_few_values),
    ),
    _donor(
        B.EQUIVOCATION,
        "a share for other masks than it was given",
        Tells("AddBlinded", share_additions.false_share_for_other_masks),
    ),
    _donor(
        B.DEGREE,
        "a mask too short",
        Tells("AddMask", share_additions.mask_of_degree(-1)),
        provable=True,
        least_threshold=2,
    ),
    _donor(
        B.DEGREE,
        "a mask too long",
        Tells("AddMask", share_additions.mask_of_degree(1)),
        provable=True,
    ),
    _donor(
        B.DEGREE,
        "a mask that is not zero where it must be",
        Tells("AddMask", share_additions.mask_that_is_not_zero),
        provable=True,
    ),
    _donor(
        B.BAD_POINT,
        "a one-time key off the curve",
        Tells("AddAccept", with_bytes(lambda m: m.one_time.compressed, OFF_CURVE)),
    ),
    _donor(
        B.BAD_POINT,
        "the identity as one-time key",
        Tells("AddAccept", with_bytes(lambda m: m.one_time.compressed, IDENTITY)),
    ),
    _donor(B.BAD_PROOF, "an unsigned AddAccept", Tells("AddAccept", unsigned)),
    _donor(
        B.BAD_PROOF, "a one-time key of somebody", Tells("AddAccept", share_additions.foreign_key)
    ),
    _donor(
        B.FALSE_ACCUSATION, "doubts without end", Tells("AddBlinded", share_additions.endless_doubt)
    ),
    _donor(
        B.NONCE,
        "randomness of before",
        Acts(floods.with_old_randomness),
        least_threshold=0,
    ),
    *(
        _donor(B.OVERSIZED, f"garbage for {name}", Tells(name, garbage))
        for name in ("AddAccept", "AddMask", "AddBlinded")
    ),
    *(
        _donor(B.OVERSIZED, f"an AddMask with {what}", Tells("AddMask", lie))
        for what, lie in floods.OVERSIZED.items()
    ),
    *(
        _donor(kind_of(code), f"it refuses: {code.name}", Tells("AddAccept", Refusing(code)))
        for code in Refusal
    ),
    _donor(B.REPLAY, "what it said in an earlier session", Replays()),
    _donor(
        B.FALSE_ACCUSATION,
        "evidence that convicts nobody",
        Acts(floods.accuse_wrongly),
        least_threshold=0,
    ),
    _donor(B.FLOOD, "questions about everything", Acts(floods.QUESTIONS), least_threshold=0),
)

_KINDS = {
    "is a donor itself": B.LIED_SET,
    "asks too few donors": B.LIED_SET,
    "tells each donor another set": B.EQUIVOCATION,
    "names another record": B.LIED_REQUEST,
    "knows the others' one-time keys": B.NONCE,
    "changes its own one-time key": B.NONCE,
    "changes the receiver's one-time key": B.NONCE,
    "starts without a donor": B.LIED_SET,
    "leaves out a mask": B.WRONG_SHARE,
    "gives one mask twice": B.WRONG_SHARE,
    "gives one mask under two names": B.WRONG_SHARE,
    "makes a mask in another's name": B.BAD_PROOF,
    "gives a value sealed for another": B.WRONG_SHARE,
    "tells other sums": B.EQUIVOCATION,
    "tells sums that are not zero": B.DEGREE,
    "tells sums of a higher degree": B.DEGREE,
}


def _late(behaviour: Behaviour, name: str, deed: Deed, must: Must = Must.REFUSED) -> Row:
    return Row(behaviour, Protocol.ADDITION, Part.COORDINATOR, name, deed, must, least_threshold=1)


LATE: tuple[Row, ...] = (
    *(
        _late(_KINDS[name], name, Tells(message, lie))
        for name, (message, lie) in share_additions.LATE.items()
    ),
    *(
        _late(B.SILENT, f"no {name}", Tells(name, silent))
        for name in ("AddPropose", "AddStart", "AddMasks")
    ),
    *(
        _late(B.CRASH, f"ends before its {name}", Crashes(name))
        for name in ("AddPropose", "AddStart", "AddMasks")
    ),
    *(
        _late(B.OVERSIZED, f"garbage for {name}", Tells(name, garbage))
        for name in ("AddPropose", "AddStart", "AddMasks")
    ),
    _late(
        B.BAD_POINT,
        "an AddStart with a key off the curve",
        Tells("AddStart", with_bytes(lambda m: m.accepted[0].one_time.compressed, OFF_CURVE)),
    ),
    _late(
        B.FALSE_ACCUSATION,
        "evidence that convicts nobody",
        Acts(floods.accuse_wrongly),
        Must.DECIDED,
    ),
    _late(B.FLOOD, "questions about everything", Acts(floods.QUESTIONS), Must.DECIDED),
)

ROWS = (*DONORS, *LATE)
