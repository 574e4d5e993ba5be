"""Asking several nodes for one thing until one of them gives it, as long as patience lasts."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, Generic, TypeVar

from keyserver.client.errors import (
    BadAnswerError,
    ClientError,
    NoAnswerError,
    NodeFailedError,
    NodeNotReadyError,
    NodeUnreachableError,
)
from keyserver.client.node_refusals import may_have_worked
from keyserver.crypto.randomness import RandomSource

T = TypeVar("T")

FIRST_PAUSE_S: Final = 0.25
MOST_PAUSE_S: Final = 5.0
MOST_TOLD_PAUSE_S: Final = 30.0
"""Longest pause that a node can talk us into."""
BAD_ANSWERS: Final = 2
"""After so many unusable answers a node is not asked again."""
CONNECTION_ROUNDS: Final = 3
"""If no node can be connected to in so many rounds, none is there."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Why an attempt failed, when another one follows; its text is one line for people."""

    title: str
    reason: ClientError

    def __str__(self) -> str:
        return f"{self.title}: {str(self.reason).partition(chr(10))[0]}; trying again"


@dataclass(frozen=True, slots=True)
class NodeAnswer(Generic[T]):
    """What came of a request over HTTP, and who gave it."""

    value: T
    node: str
    """URL of the node that answered."""
    attempts: int
    """How many were needed, over all nodes."""
    confirmed_by: tuple[str, ...] = ()
    """URLs of the nodes that said the same about a server key."""

    def with_confirmation(self, node: str) -> "NodeAnswer[T]":
        """The same answer, confirmed by one more node."""
        return replace(self, confirmed_by=(*self.confirmed_by, node))


@dataclass(frozen=True, slots=True)
class Persistence:
    """How long and how a request is repeated."""

    patience_s: float
    rng: RandomSource
    watch: Callable[[Retry], None]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Attempts:
    """The attempts for one request."""

    def __init__(
        self, title: str, nodes: Sequence[str], persistence: Persistence, *, changes: bool
    ) -> None:
        """`changes`: whether the request leaves something behind when it is carried out."""
        self.may_have_worked = False
        """Whether an attempt that failed may have been carried out all the same."""
        self._title = title
        self._nodes = list(nodes)
        self._persistence = persistence
        self._changes = changes
        self._made = 0
        self._bad: Counter[str] = Counter()
        self._errors: list[ClientError] = []

    async def settle(self, ask: Callable[[str], Awaitable[T]]) -> NodeAnswer[T]:
        """Call `ask` with one node's URL after the other until it returns.

        Final errors of `ask` are raised as they are; when every node is faulty or cannot be
        connected to, the last error; `NoAnswerError` when patience is at its end.
        """
        try:
            async with asyncio.timeout(self._persistence.patience_s):
                for rounds in count(1):
                    before = len(self._errors)
                    for node in tuple(self._nodes):
                        answer = await self._attempt(node, ask)
                        if answer is not None:
                            return answer
                    self._give_up_if_hopeless(rounds)
                    await self._persistence.sleep(self._pause(rounds, self._errors[before:]))
        except TimeoutError:
            pass
        raise self._out_of_patience()

    async def _attempt(self, node: str, ask: Callable[[str], Awaitable[T]]) -> NodeAnswer[T] | None:
        self._made += 1
        try:
            return NodeAnswer(await ask(node), node, self._made)
        except (NodeUnreachableError, NodeNotReadyError) as problem:
            error: ClientError = problem
        except (BadAnswerError, NodeFailedError) as problem:
            error = problem
            self._bad[node] += 1
            if self._bad[node] == BAD_ANSWERS:
                self._nodes.remove(node)
        self.may_have_worked |= may_have_worked(error)
        self._errors.append(error)
        if self._nodes:
            self._persistence.watch(Retry(self._title, error))
        return None

    def _give_up_if_hopeless(self, rounds: int) -> None:
        nobody_there = all(
            isinstance(error, NodeUnreachableError) and not error.may_have_worked
            for error in self._errors
        )
        if not self._nodes or (nobody_there and rounds == CONNECTION_ROUNDS):
            raise self._errors[-1]

    def _pause(self, rounds: int, errors: Sequence[ClientError]) -> float:
        """Seconds before the next round: growing, uneven, and not less than the nodes ask for."""
        growing = min(FIRST_PAUSE_S * float(2 ** min(rounds - 1, 16)), MOST_PAUSE_S)
        told = [
            error.retry_after_s
            for error in errors
            if isinstance(error, NodeNotReadyError) and error.retry_after_s is not None
        ]
        # When one node asks for nothing, the next round need not wait for the others.
        asked_for = min(told) if len(told) == len(errors) else 0.0
        uneven = 0.5 + self._persistence.rng.bytes(1)[0] / 512
        return max(growing * uneven, min(asked_for, MOST_TOLD_PAUSE_S))

    def _out_of_patience(self) -> NoAnswerError:
        why = f": {str(self._errors[-1]).partition(chr(10))[0]}" if self._errors else ""
        advice = "Nothing was done."
        if self.may_have_worked or not self._errors:
            advice = "It may have been carried out: look at the key before you ask again."
        return NoAnswerError(
            f"{self._title}: not within {self._persistence.patience_s:.0f} s{why}",
            advice=advice if self._changes else "",
        )
