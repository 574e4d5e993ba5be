"""Cheats where one node makes both keys: a generation, then a storing (engine design, section 8).

The request is signed and not on a chain, so there is no chain to be behind.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keyserver.model.requests import Proof, Request
from keyserver.sessions.identity import session_id
from keyserver.sessions.sharing.messages import Propose
from keyserver.sessions.wire import pack
from keyserver.simulation.adversary import generation_coordinators, generation_members, storing
from keyserver.simulation.adversary.retrieval_coordinators import FRIEND
from keyserver.simulation.adversary.rows import (
    Behaviour,
    Must,
    Part,
    Protocol,
    Replays,
    Row,
    Tells,
)
from keyserver.simulation.liars import Lie, Place


def _proposing_for(change: Callable[[Any], Any]) -> Lie:
    """Propose under another credential, with everything that follows from it."""

    def propose(place: Place, message: Propose) -> bytes:
        ctx, credential = place.ctx, change(message.request.credential())
        request = Request.of(message.request.operation(), credential)
        sid = session_id(ctx.kind, ctx.me, ctx.boot_nonce, ctx.counter, request.hash)
        params = replace(message.params, sid=sid, request_hash=request.hash)
        return pack(sid, replace(message, request=request, params=params))

    return propose


def _unproven(credential: Any) -> Any:
    return replace(credential, proof=Proof(bytes(64)))


def _of_friend(credential: Any) -> Any:
    return replace(credential, requester=FRIEND.public())


def _is_double(row: Row) -> bool:
    """Storing rows that are the same as those of the generation before it."""
    return row.behaviour is Behaviour.FLOOD or isinstance(row.deed, Replays) or not row.message


def _both(row: Row) -> Row:
    return replace(row, protocol=Protocol.BOTH)


ROWS: tuple[Row, ...] = (
    *(
        _both(row)
        for row in (*generation_members.ROWS, *generation_coordinators.ROWS)
        if row.behaviour is not Behaviour.STALE_ACL
    ),
    *(
        replace(_both(row), name=f"{row.name}, in the storing")
        for row in (*storing.MEMBERS, *storing.COORDINATORS)
        if not _is_double(row)
    ),
    Row(
        Behaviour.BAD_PROOF,
        Protocol.BOTH,
        Part.COORDINATOR,
        "no proof of the client's signature",
        Tells("Propose", _proposing_for(_unproven)),
        Must.REFUSED,
    ),
    Row(
        Behaviour.LIED_REQUEST,
        Protocol.BOTH,
        Part.COORDINATOR,
        "in the name of somebody who has not asked",
        Tells("Propose", _proposing_for(_of_friend)),
        Must.REFUSED,
    ),
)
