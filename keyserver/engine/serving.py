"""Answering what peers ask outside sessions: each peer's questions one after the other.

So a peer that asks without end waits for itself, and costs this node one answer at a time. The one
question that makes it read everything it has, for the digest of its catalogue, gets the same answer
again for a second; correct nodes ask it when they connect and every minute.
"""

import asyncio
from collections import deque
from dataclasses import replace
from math import inf

import structlog

from keyserver.engine.answering import Answerer
from keyserver.engine.links import Answer, Digest, DigestRequest, Request, pack_link
from keyserver.engine.ports import Transport
from keyserver.errors import StorageError
from keyserver.model.identifiers import NodeId

MAX_WAITING = 64
"""Questions of one peer that wait; more is no correct node's doing."""

DIGEST_EVERY_S = 1.0
"""How long a peer is told the same digest."""

log = structlog.get_logger()


class Serving:
    """Questions of peers, and their turn."""

    def __init__(self, answerer: Answerer, transport: Transport) -> None:
        self._answerer = answerer
        self._transport = transport
        self._waiting: dict[NodeId, deque[Request]] = {}
        """Of peers that are being served; the task ends when there is nothing left."""
        self._digests: dict[NodeId, tuple[float, Digest]] = {}
        """What each peer was told last, and when."""
        self._tasks: asyncio.TaskGroup | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Serve from now on; what was asked before is not answered."""
        self._tasks = tasks

    def put(self, peer: NodeId, question: Request) -> bool:
        """Take a question; false if the peer has too many waiting."""
        waiting = self._waiting.get(peer)
        if waiting is not None and len(waiting) >= MAX_WAITING:
            log.warning("peer_asks_too_much", peer=peer)
            return False
        if waiting is not None:
            waiting.append(question)
        elif self._tasks is not None:
            self._waiting[peer] = deque([question])
            self._tasks.create_task(self._serve(peer))
        return True

    async def _serve(self, peer: NodeId) -> None:
        waiting = self._waiting[peer]
        while waiting:
            await self._answer(peer, waiting.popleft())
        del self._waiting[peer]

    async def _answer(self, peer: NodeId, question: Request) -> None:
        try:
            answer = await self._answer_to(peer, question)
        except StorageError as problem:
            log.error("question_not_answered", peer=peer, problem=str(problem))
        else:
            self._transport.send(peer, pack_link(answer))

    async def _answer_to(self, peer: NodeId, question: Request) -> Answer:
        if not isinstance(question, DigestRequest):
            return await self._answerer.answer_to(question)
        now = asyncio.get_running_loop().time()
        told_at, told = self._digests.get(peer, (-inf, None))
        if told is not None and now - told_at < DIGEST_EVERY_S:
            return replace(told, number=question.number)
        digest = await self._answerer.digest(question.number)
        self._digests[peer] = (now, digest)
        return digest
