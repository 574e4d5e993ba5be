"""Questions to peers and their answers, matched by number."""

import asyncio
import itertools
from collections import defaultdict
from typing import TypeVar, cast

from keyserver.engine.links import Answer, AnyLink, pack_link
from keyserver.engine.ports import Transport
from keyserver.model.identifiers import NodeId

MAX_OPEN_QUESTIONS = 16
"""To one peer at a time; further ones wait."""

A = TypeVar("A", bound=Answer)


class Asker:
    """Asks peers and waits for what they say."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._numbers = itertools.count(1)
        self._open: dict[tuple[NodeId, int], tuple[type[object], asyncio.Future[Answer]]] = {}
        self._slots: defaultdict[NodeId, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MAX_OPEN_QUESTIONS)
        )

    def number(self) -> int:
        """A number for the next question."""
        return next(self._numbers)

    async def ask(
        self, peer: NodeId, question: AnyLink, kind: type[A], *, within_s: float
    ) -> A | None:
        """The peer's answer; `None` without a connection or if it does not come in time."""
        try:
            async with asyncio.timeout(within_s), self._slots[peer]:
                return await self._ask(peer, question, kind)
        except TimeoutError:
            return None

    async def _ask(self, peer: NodeId, question: AnyLink, kind: type[A]) -> A | None:
        name = (peer, question.number)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._open[name] = (kind, future)
        try:
            if not self._transport.send(peer, pack_link(question)):
                return None
            return cast(A, await future)
        finally:
            del self._open[name]

    def on_answer(self, peer: NodeId, answer: Answer) -> None:
        """Hand an answer to who waits for it; one that nobody waits for is dropped."""
        kind, future = self._open.get((peer, answer.number), (None, None))
        if kind is type(answer) and future is not None and not future.done():
            future.set_result(answer)
