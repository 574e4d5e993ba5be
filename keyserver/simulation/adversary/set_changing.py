"""Cheats in the session around a change of the node set (engine design, section 14.4).

Members lie to an honest master of a migration, which goes on without them. A coordinator lies with
an administrator's order in its hands; afterwards an honest node has the same order carried out.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.keys import NodeSignature
from keyserver.model.requests import ChangeSet, NodeCredential, Request
from keyserver.model.set_change import BoundOrder, decode_order, encode_order
from keyserver.sessions.core import Refusal
from keyserver.sessions.identity import session_id
from keyserver.sessions.set_change.history import history_digest
from keyserver.sessions.set_change.messages import (
    ChangeDone,
    ChangeFrozen,
    ChangePropose,
    PastChange,
)
from keyserver.sessions.wire import pack
from keyserver.simulation.adversary import floods
from keyserver.simulation.adversary.generation_coordinators import unsigned_all
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
from keyserver.simulation.liars import (
    OTHER_POINT,
    UNSIGNED,
    Lie,
    Place,
    garbage,
    silent,
    unsigned,
    with_field,
)

B = Behaviour
OTHER: Final = Hash32(b"\x0f" * 32)

ANSWERS: Final = ("ChangeAccept", "ChangeFrozen", "ChangeExecuted")
ORDERS: Final = ("ChangePropose", "ChangeFreeze", "ChangeDone")


# --- members -------------------------------------------------------------------------------------


def _other_past(place: Place) -> tuple[PastChange, ...]:
    """A change that never was."""
    nodes = place.ctx.node_set.nodes
    return (PastChange(1, OTHER, nodes, nodes[1:]),)


def tell_another_past(place: Place, _: ChangeFrozen) -> ChangeFrozen:
    """Vouch for a change that never was."""
    past = _other_past(place)
    digest = history_digest(place.phase.change.id, past, place.ctx.me)
    return ChangeFrozen(past, place.signer.sign(digest))


def _member(behaviour: Behaviour, name: str, deed: Deed) -> Row:
    return Row(
        behaviour,
        Protocol.SET_CHANGE,
        Part.MEMBER,
        name,
        deed,
        Must.COMPLETES,
        left_out=False,
    )


def _reason(code: Refusal) -> Behaviour:
    return B.LIED_SET if code is Refusal.STALE else B.LIED_REQUEST


MEMBERS: tuple[Row, ...] = (
    *(_member(B.SILENT, f"no {name}", Tells(name, silent)) for name in ANSWERS),
    *(_member(B.CRASH, f"ends before its {name}", Crashes(name)) for name in ANSWERS),
    _member(B.EQUIVOCATION, "another past", Tells("ChangeFrozen", tell_another_past)),
    _member(B.REPLAY, "what it said in an earlier session", Replays()),
    _member(B.BAD_PROOF, "an unsigned past", Tells("ChangeFrozen", unsigned)),
    _member(
        B.BAD_PROOF,
        "a past that it has not signed",
        Tells("ChangeFrozen", lambda place, m: replace(m, past=_other_past(place))),
    ),
    *(
        _member(B.OVERSIZED, f"a {name} with {what}", Tells(name, lie))
        for name in ANSWERS
        for what, lie in (*floods.OVERSIZED.items(), ("garbage", garbage))
    ),
    _member(
        B.LIED_REQUEST,
        "it may lose keys",
        Tells("ChangeAccept", with_field("may_lose_keys", lambda _: 1)),
    ),
    _member(
        B.LIED_REQUEST,
        "neither yes nor no",
        Tells("ChangeAccept", with_field("may_lose_keys", lambda _: 7)),
    ),
    *(
        _member(_reason(code), f"it refuses: {code.name}", Tells("ChangeAccept", Refusing(code)))
        for code in Refusal
    ),
    _member(B.LIED_REQUEST, "it refuses for no known reason", Tells("ChangeAccept", Refusing(999))),
    *(
        _member(
            B.LIED_REQUEST, f"it takes its {name} back", Tells(name, Refusing(Refusal.TEMPORARY))
        )
        for name in ANSWERS[1:]
    ),
    _member(B.FALSE_ACCUSATION, "evidence that convicts nobody", Acts(floods.accuse_wrongly)),
    _member(B.FLOOD, "questions about everything", Acts(floods.QUESTIONS)),
    _member(B.FLOOD, "messages of sessions that do not exist", Acts(floods.STRAY_MESSAGES)),
    _member(B.FLOOD, "sessions opened and left alone", Acts(floods.OPENINGS)),
)


# --- coordinators --------------------------------------------------------------------------------


def ordering(change: Callable[[Any], Any], *, renamed: bool = False) -> Lie:
    """Propose another order, with everything that follows from it; or call the change otherwise.

    A migration's order is not the liar's to change: it is on the chain.
    """

    def propose(place: Place, message: ChangePropose) -> Any:
        ctx, operation = place.ctx, message.request.operation()
        assert isinstance(operation, ChangeSet)
        given = decode_order(operation.order)
        if not isinstance(given, BoundOrder):
            return message
        order = encode_order(change(given))
        name = OTHER if renamed else operation.change_id
        request = Request.of(ChangeSet(name, order), NodeCredential())
        sid = session_id(ctx.kind, ctx.me, ctx.boot_nonce, ctx.counter, request.hash)
        return pack(sid, replace(message, request=request))

    return propose


def _itself(order: Any) -> Any:
    return order


def _done(**change: Callable[[Place, Any], Any]) -> Lie:
    def lie(place: Place, message: ChangeDone) -> ChangeDone:
        told = {name: new(place, getattr(message, name)) for name, new in change.items()}
        return replace(message, **told)

    return lie


def _left(place: Place, _: Any) -> tuple[KeyId, ...]:
    """Every key that is to be told: those of the matrix."""
    return (KeyId(b"\x01" * 32),)


def _to_first_only(place: Place, message: Any) -> Any:
    return message if place.to == min(place.ctx.node_set.nodes) else None


def _strangers(_: Place, vouchers: tuple[NodeSignature, ...]) -> tuple[NodeSignature, ...]:
    return tuple(NodeSignature(NodeId.of(OTHER_POINT), each.signature) for each in vouchers)


def _leader(behaviour: Behaviour, name: str, deed: Deed, must: Must = Must.DECIDED) -> Row:
    return Row(behaviour, Protocol.SET_CHANGE, Part.COORDINATOR, name, deed, must)


_PROPOSALS: tuple[tuple[Behaviour, str, Lie], ...] = (
    (
        B.LIED_SET,
        "an order for a smaller set",
        ordering(lambda order: replace(order, new_nodes=order.new_nodes[1:])),
    ),
    (
        B.LIED_SET,
        "an order about other nodes",
        ordering(lambda order: replace(order, old_set_id=OTHER)),
    ),
    (
        B.REPLAY,
        "an order for another epoch",
        ordering(lambda order: replace(order, epoch=order.epoch + 1)),
    ),
    (
        B.LIED_REQUEST,
        "an order that has expired",
        ordering(lambda order: replace(order, not_after=1)),
    ),
    (
        B.BAD_PROOF,
        "an order that nobody has signed",
        ordering(lambda order: replace(order, signature=UNSIGNED)),
    ),
    (B.LIED_REQUEST, "another name for the change", ordering(_itself, renamed=True)),
    (B.LIED_REQUEST, "another request", with_field("counter", lambda counter: counter + 1)),
)


def _longer(place: Place, past: tuple[PastChange, ...]) -> tuple[PastChange, ...]:
    """One change more than there was: its own past a node believes without proof."""
    nodes = place.ctx.node_set.nodes
    return (*past, PastChange(len(past) + 1, OTHER, nodes, nodes[1:]))


_ENDINGS: tuple[tuple[Behaviour, str, Lie], ...] = (
    (B.LIED_REQUEST, "a past that never was", _done(past=_longer)),
    (
        B.BAD_PROOF,
        "a past that nobody has signed",
        _done(past=_longer, vouchers=lambda _, vouchers: unsigned_all(vouchers)),
    ),
    (B.BAD_PROOF, "a past of nobody", _done(past=_longer, vouchers=lambda _, __: ())),
    (B.LIED_SET, "a past signed by strangers", _done(past=_longer, vouchers=_strangers)),
    (B.LIED_REQUEST, "no past", _done(past=lambda _, __: ())),
)

COORDINATORS: tuple[Row, ...] = (
    *(_leader(B.SILENT, f"no {name}", Tells(name, silent), Must.REFUSED) for name in ORDERS),
    *(_leader(B.CRASH, f"ends before its {name}", Crashes(name)) for name in ORDERS),
    *(
        _leader(behaviour, name, Tells("ChangePropose", lie), Must.REFUSED)
        for behaviour, name, lie in _PROPOSALS
    ),
    *(
        _leader(behaviour, name, Tells("ChangeDone", lie), Must.REFUSED)
        for behaviour, name, lie in _ENDINGS
    ),
    _leader(B.LIED_REQUEST, "keys are left behind", Tells("ChangeDone", _done(left=_left))),
    *(
        _leader(B.EQUIVOCATION, f"{name} to one node only", Tells(name, _to_first_only))
        for name in ORDERS
    ),
    *(
        _leader(B.OVERSIZED, f"a {name} with {what}", Tells(name, lie), Must.REFUSED)
        for name in ("ChangePropose", "ChangeDone")
        for what, lie in (*floods.OVERSIZED.items(), ("garbage", garbage))
    ),
    _leader(B.FALSE_ACCUSATION, "evidence that convicts nobody", Acts(floods.accuse_wrongly)),
    _leader(B.FLOOD, "sessions opened and left alone", Acts(floods.OPENINGS)),
)

ROWS: tuple[Row, ...] = (*MEMBERS, *COORDINATORS)
