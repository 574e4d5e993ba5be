"""What a liar does by itself: floods, false accusations, a chain that it sees alone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from keyserver.engine.links import (
    Accusation,
    DigestRequest,
    Entered,
    KeysRequest,
    Subject,
    SubjectKind,
    pack_link,
)
from keyserver.model.identifiers import Address, Hash32, KeyId, SessionId, Signature
from keyserver.model.requests import GenerateServerKey, OnChainAddress, Request
from keyserver.sessions.core import SessionKind, Verdict
from keyserver.sessions.identity import session_id
from keyserver.sessions.sharing.messages import Commit, Propose, ShareParams
from keyserver.sessions.wire import HEADER_SIZE, pack
from keyserver.simulation.liars import Lie, Place

if TYPE_CHECKING:
    from keyserver.simulation.cluster import Cluster, SimulatedNode

Act = Callable[["Cluster", "SimulatedNode"], Awaitable[None]]

FLOOD_S = 2.0
"""How long a flood lasts."""


def _flood(burst: int, message: Callable[["Cluster", "SimulatedNode", int], bytes]) -> Act:
    """Send `burst` messages to everybody at once, again and again."""

    async def act(cluster: "Cluster", node: "SimulatedNode") -> None:
        async def pour() -> None:
            count = 0
            loop = asyncio.get_running_loop()
            end = loop.time() + FLOOD_S
            while loop.time() < end and node.is_up:
                for _ in range(burst):
                    count += 1
                    for other in cluster.nodes:
                        cluster.network.inject(node.id, other.id, message(cluster, node, count))
                await asyncio.sleep(0.25)

        task = asyncio.ensure_future(pour())
        task.add_done_callback(lambda done: done.cancelled() or done.result())

    return act


def _stray(_: "Cluster", __: "SimulatedNode", count: int) -> bytes:
    sid = SessionId(count.to_bytes(32, "big"))
    return pack(sid, Commit(Signature(bytes(65))))


def _opening(cluster: "Cluster", node: "SimulatedNode", count: int) -> bytes:
    """A new session that is what it says it is, about a key of its own."""
    nodes = cluster.sets.snapshot.current
    operation = GenerateServerKey(KeyId(count.to_bytes(32, "big")), 0)
    request = Request.of(operation, OnChainAddress(Address(bytes(20)), Address(bytes(20))))
    nonce = cluster.network.boot_nonce(node.id)
    assert nonce is not None, "the node is up"
    counter = 2**32 + count
    sid = session_id(SessionKind.GENERATION, node.id, nonce, counter, request.hash)
    params = ShareParams(
        SessionKind.GENERATION,
        sid,
        operation.key_id,
        Address(bytes(20)),
        0,
        1,
        type(nodes.id)(bytes(32)),
        nodes.id,
        nodes.committee,
        (),
        request.hash,
    )
    return pack(sid, Propose(SessionKind.GENERATION, counter, request, params, ()))


def _question(_: "Cluster", __: "SimulatedNode", count: int) -> bytes:
    wanted = tuple(KeyId((64 * count + i).to_bytes(32, "big")) for i in range(64))
    return pack_link(KeysRequest(count, wanted) if count % 2 else DigestRequest(count))


def _vote(_: "Cluster", __: "SimulatedNode", count: int) -> bytes:
    subject = Subject(SubjectKind.RECORD, KeyId(count.to_bytes(32, "big")), 1)
    return pack_link(Entered(0, subject, 1, Hash32(bytes(32)), Signature(bytes(65))))


STRAY_MESSAGES = _flood(60, _stray)
"""Messages of sessions that do not exist."""

OPENINGS = _flood(40, _opening)
"""Sessions that are opened and left alone."""

VOTES = _flood(60, _vote)
"""Votes on subjects that nobody else knows."""

QUESTIONS = _flood(20, _question)
"""Questions about everything."""


async def accuse_wrongly(cluster: "Cluster", node: "SimulatedNode") -> None:
    """Show evidence that convicts nobody, to everybody."""
    for evidence in (b"", b"TKSE\x01\x01" + bytes(200), b"TKSE\x01\x06" + b"\x01" * 500):
        for other in cluster.nodes:
            cluster.network.inject(node.id, other.id, pack_link(Accusation(0, evidence)))


def as_denied(_: "Cluster", node: "SimulatedNode") -> Awaitable[None]:
    """The node's own chain says no to what it allows."""
    return _with_verdict(node, Verdict.DENIED)


def as_unavailable(_: "Cluster", node: "SimulatedNode") -> Awaitable[None]:
    """The node's own chain says nothing."""
    return _with_verdict(node, Verdict.UNAVAILABLE)


async def permitted_only_here(cluster: "Cluster", _: "SimulatedNode") -> None:
    """The permission was taken back; only the liars have not noticed."""
    for other in cluster.nodes:
        if not cluster.network.is_corrupt(other.id):
            await _with_verdict(other, Verdict.DENIED)


async def _with_verdict(node: "SimulatedNode", verdict: Verdict) -> None:
    node.access.verdict = lambda _request, _who: verdict


async def with_old_randomness(_: "Cluster", node: "SimulatedNode") -> None:
    """The node comes back from a snapshot of its memory: it draws what it has drawn before."""
    await node.crash()
    node._boots -= 1
    node.boot()


def oversized(place: Place, message: object) -> bytes:
    """A message as long as its type allows nobody: a megabyte behind its end."""
    assert hasattr(message, "TYPE")
    return pack(place.ctx.sid, message) + bytes(2**20)  # type: ignore[arg-type]


def counting_too_far(place: Place, message: object) -> bytes:
    """A list that claims to have 2^32 - 1 items."""
    return pack(place.ctx.sid, message)[:HEADER_SIZE] + b"\xff" * 200  # type: ignore[arg-type]


OVERSIZED: dict[str, Lie] = {"a megabyte too long": oversized, "endless lists": counting_too_far}
