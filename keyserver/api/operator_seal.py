"""The routes of the seal on the operator listener (sealing, C6 to C10 and C18).

Status, record and shares are open: a share is its own credential. Everything else is for
administrators.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from keyserver.api.administrators import Administrators
from keyserver.api.numbers import read_number
from keyserver.api.operator_answers import (
    NO_STORE,
    BadRequestError,
    JsonBody,
    RateLimitedError,
    answering,
    read_json_body,
)
from keyserver.api.refusals import Refusals
from keyserver.api.rendering import Json, to_json
from keyserver.api.serving import client_address
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import ShareMalformedError, ShareUnknownError, ShareWrongSetError
from keyserver.sealing.handing_out import HandedShare, NewShares
from keyserver.sealing.ports import (
    Actor,
    ActorKind,
    Caller,
    ReplicaFacts,
    Scope,
    SealState,
    SealStatus,
    ShareAnswer,
)
from keyserver.sealing.rekeys import RekeyAnswer, Rekeys, RekeyStatus
from keyserver.sealing.upkeep import Upkeep
from keyserver.sealing.vault import ALREADY_UNSEALED, Vault

MOST_SHARES: Final = 16
MOST_TERM: Final = (1 << 32) - 1
_SHARE: Final = Actor(ActorKind.SHARE)
_REFUSED: Final = (ShareMalformedError, ShareWrongSetError, ShareUnknownError, BadRequestError)

ShowShare = Callable[[str, str], Awaitable[RekeyAnswer]]


@dataclass(frozen=True, slots=True)
class PeerLine:
    """Another node of the network, as this one sees it: one that is sealed looks as if dead."""

    node_id: NodeId
    is_connected: bool


@dataclass(frozen=True, slots=True)
class SealRoutes:
    """What the routes need."""

    vault: Vault
    upkeep: Upkeep
    rekeys: Rekeys
    administrators: Administrators
    refused_shares: Refusals
    replicas: Callable[[], Awaitable[Sequence[ReplicaFacts]]]
    facts: Callable[[], Mapping[str, object]]
    """Of the process: `boot_id`, `replica`, `version`, `memory`, `dev` and the like."""
    peers: Callable[[], Sequence[PeerLine]] = tuple

    async def order(self, request: Request, *, may_repeat: bool = False) -> tuple[JsonBody, Caller]:
        """Body and sender of what only an administrator may ask.

        Raises as `read_json_body` and `Administrators.admit`.
        """
        body = await read_json_body(request)
        admit = self.administrators.admit
        return body, await admit(request, body.raw, Scope.SEAL_ADMIN, may_repeat=may_repeat)

    async def plain_order(self, request: Request, *, may_repeat: bool = False) -> Caller:
        """Sender of an order without any fields; raises as `order`."""
        body, caller = await self.order(request, may_repeat=may_repeat)
        body.only()
        return caller


def seal_routes(needs: SealRoutes) -> list[Route]:
    """All routes under `/v1/seal`."""
    return [*_open_routes(needs), *_order_routes(needs), *_rekey_routes(needs)]


def _route(path: str, method: str, endpoint: Callable[[Request], Awaitable[Response]]) -> Route:
    return Route(f"/v1/seal/{path}", answering(endpoint), methods=[method])


def _answer(body: Json, status: int = 200) -> Response:
    return JSONResponse(body, status, NO_STORE)


# --- open to all ------------------------------------------------------------------------------


def _open_routes(needs: SealRoutes) -> list[Route]:
    vault, refused = needs.vault, needs.refused_shares

    async def status(request: Request) -> Response:
        found = vault.status()
        facts = {**status_facts(found), **needs.facts()}
        if not found.sealed and await needs.administrators.knows(request):
            facts |= {"term": found.term, "rewrap": needs.upkeep.progress}
        return _answer(to_json(facts))

    async def record(_: Request) -> Response:
        return _answer(to_json(vault.record()))

    async def unseal(request: Request) -> Response:
        address = client_address(request.scope)

        def admit_withdrawal() -> None:
            _limit(refused.withdrawals.note(address), "shares were taken back")

        try:
            body = (await read_json_body(request)).only("share", "withdraw")
            text = body.text("share")
            if body.switch("withdraw", default=False):
                answer = await vault.withdraw(text, admit_withdrawal)
            else:
                answer = await vault.submit(text)
        except _REFUSED as error:
            wait_s = await refused.note(address, error.code, _SHARE)
            _limit(wait_s, "shares were refused; a good one is still taken")
            raise
        if answer.reason is not None and answer.reason != ALREADY_UNSEALED:
            await refused.note(address, answer.reason.upper(), _SHARE, among=refused.repeats)
        return _answer(share_facts(answer))

    return [
        _route("status", "GET", status),
        _route("record", "GET", record),
        _route("unseal", "POST", unseal),
    ]


def _limit(wait_s: int | None, what: str) -> None:
    """Raise `RateLimitedError` if there is no room."""
    if wait_s is not None:
        raise RateLimitedError(f"too many {what}", wait_s)


def status_facts(status: SealStatus) -> dict[str, object]:
    """What anybody may know of the seal."""
    return {
        "initialised": status.state is not SealState.UNINITIALISED,
        "sealed": status.sealed,
        "state": status.state,
        "seal_id": None if status.seal_id is None else status.seal_id.hex(),
        "epoch": status.epoch,
        "node_id": None if status.node_id is None else status.node_id.hex(),
        "identifier": status.identifier,
        "progress": status.progress,
        "required": status.required,
        "shares": status.shares,
        "reason": status.reason,
        "opens_itself": status.opens_itself,
    }


def share_facts(answer: ShareAnswer) -> dict[str, Json]:
    """The answer to a share."""
    return {
        "sealed": answer.sealed,
        "accepted": answer.accepted,
        "reason": answer.reason,
        "progress": answer.progress,
        "required": answer.required,
        "members": list(answer.members),
    }


# --- orders -----------------------------------------------------------------------------------


def _order_routes(needs: SealRoutes) -> list[Route]:
    async def clear(request: Request) -> Response:
        caller = await needs.plain_order(request)
        return _answer({"dropped": await needs.vault.clear(caller.actor)})

    async def seal(request: Request) -> Response:
        caller = await needs.plain_order(request, may_repeat=True)
        is_open = needs.vault.is_open
        await needs.vault.request_seal(caller.actor)
        return _answer({"sealing": is_open}, 202)

    async def replicas(request: Request) -> Response:
        await needs.order(request)
        me, status = needs.facts().get("replica"), needs.vault.status()
        found = [
            _as_now(each, status) if each.replica_id == me else each
            for each in await needs.replicas()
        ]
        return _answer(replicas_facts(found, needs.peers()))

    async def rotate(request: Request) -> Response:
        caller = await needs.plain_order(request)
        return _answer({"term": await needs.upkeep.rotate(caller.actor)})

    async def rewrap(request: Request) -> Response:
        caller = await needs.plain_order(request)
        await needs.upkeep.rewrap(caller.actor)
        return _answer({"rewrap": to_json(needs.upkeep.progress)}, 202)

    async def retire(request: Request) -> Response:
        caller = await needs.plain_order(request)
        term = _term(request.path_params["term"])
        await needs.upkeep.retire(term, caller.actor, await needs.replicas())
        return _answer({"retired": term})

    return [
        _route("unseal", "DELETE", clear),
        _route("seal", "POST", seal),
        _route("replicas", "GET", replicas),
        _route("rotate", "POST", rotate),
        _route("rewrap", "POST", rewrap),
        _route("terms/{term}/retire", "POST", retire),
    ]


def _as_now(replica: ReplicaFacts, status: SealStatus) -> ReplicaFacts:
    """This process as it is, not as its row was when it wrote it last."""
    return replace(
        replica,
        state=status.state,
        progress=status.progress,
        required=status.required,
        epoch=status.epoch,
        term=status.term,
    )


def replicas_facts(replicas: Sequence[ReplicaFacts], peers: Sequence[PeerLine]) -> dict[str, Json]:
    """The processes of this node, and the other nodes (sealing, C9)."""
    closed = [
        each.replica_id for each in replicas if each.live and each.state is not SealState.UNSEALED
    ]
    lines: list[Json] = [
        {
            "node_id": peer.node_id.hex(),
            "state": "connected" if peer.is_connected else "unreachable",
        }
        for peer in peers
    ]
    return {"sealed": list(closed), "replicas": to_json(list(replicas)), "peers": lines}


def _term(text: str) -> int:
    term = read_number(text, 1, MOST_TERM)
    if term is None:
        raise BadRequestError(f"term: must be a number from 1 to {MOST_TERM}")
    return term


# --- rekey ------------------------------------------------------------------------------------


def _rekey_routes(needs: SealRoutes) -> list[Route]:
    rekeys = needs.rekeys

    async def start(request: Request) -> Response:
        body, caller = await needs.order(request)
        body.only("threshold", "shares", "recipients", "verify", "drop_slots")
        status = await rekeys.start(
            threshold=body.integer("threshold", 1, MOST_SHARES),
            shares=body.integer("shares", 1, MOST_SHARES),
            recipients=body.texts("recipients"),
            verify=body.switch("verify", default=True),
            actor=caller.actor,
            drop_slots=body.switch("drop_slots", default=False),
        )
        return _answer(rekey_facts(status), 201)

    async def status(request: Request) -> Response:
        await needs.order(request)
        return _answer(rekey_facts(await rekeys.status(request.path_params["rekey"])))

    async def prove(request: Request) -> Response:
        return await shown(request, rekeys.prove, "seal.rekey.share")

    async def verify(request: Request) -> Response:
        return await shown(request, rekeys.verify, "seal.rekey.verify")

    async def commit(request: Request) -> Response:
        caller = await needs.plain_order(request)
        return _answer(rekey_facts(await rekeys.commit(request.path_params["rekey"], caller.actor)))

    async def shown(request: Request, show: ShowShare, action: str) -> Response:
        body, caller = await needs.order(request)
        share = body.only("share").text("share")
        try:
            answer = await show(request.path_params["rekey"], share)
        except _REFUSED as error:
            address = client_address(request.scope)
            await needs.refused_shares.note(address, error.code, caller.actor, action=action)
            raise
        return _answer(rekey_answer(answer))

    async def cancel(request: Request) -> Response:
        caller = await needs.plain_order(request)
        await rekeys.cancel(request.path_params["rekey"], caller.actor)
        return _answer({"cancelled": True})

    return [
        _route("rekey", "POST", start),
        _route("rekey/{rekey}", "GET", status),
        _route("rekey/{rekey}", "DELETE", cancel),
        _route("rekey/{rekey}/share", "POST", prove),
        _route("rekey/{rekey}/verify", "POST", verify),
        _route("rekey/{rekey}/commit", "POST", commit),
    ]


def rekey_facts(status: RekeyStatus) -> dict[str, Any]:
    """How far a rekey is."""
    return {
        "rekey": status.rekey,
        "state": status.state,
        "progress": status.progress,
        "required": status.required,
        "expires_in_s": status.expires_in_s,
    }


def rekey_answer(answer: RekeyAnswer) -> dict[str, Any]:
    """The answer to a share of a rekey; with the last of the old ones, the new ones."""
    told = {
        **rekey_facts(answer.status),
        "accepted": answer.accepted,
        "reason": answer.reason,
    }
    if answer.new_shares is not None:
        told |= new_shares_facts(answer.new_shares)
    return told


def new_shares_facts(made: NewShares) -> dict[str, Any]:
    """A new set of shares, as its holders are to get it: shown once, and never again."""
    return {
        "seal_id": made.slot.seal_id.hex(),
        "epoch": made.slot.epoch,
        "identifier": made.slot.identifier,
        "threshold": made.slot.threshold,
        "shares": [_share_line(share) for share in made.shares],
    }


def _share_line(share: HandedShare) -> dict[str, Any]:
    if share.recipient is None:
        return {"member": share.member, "document": share.content.decode()}
    encrypted = base64.b64encode(share.content).decode()
    return {"member": share.member, "recipient": share.recipient, "age": encrypted}
