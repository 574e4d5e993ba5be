"""Which node is asked when, and when it is enough."""

import asyncio
from collections.abc import Callable

import pytest

from keyserver.client.attempts import Attempts, NodeAnswer, Persistence, Retry
from keyserver.client.errors import (
    BadAnswerError,
    ClientError,
    NoAnswerError,
    NodeFailedError,
    NodeNotReadyError,
    NodeUnreachableError,
    RefusedOverHttpError,
)
from keyserver.crypto.randomness import SeededRandom

ONE, TWO = "http://one", "http://two"


def not_ready(node: str, code: str = "SEALED", after: float | None = None) -> NodeNotReadyError:
    return NodeNotReadyError(node, "words", status=503, error_code=code, retry_after_s=after)


def unreachable(node: str, *, sent: bool) -> NodeUnreachableError:
    return NodeUnreachableError(node, "gone", may_have_worked=sent)


class Script:
    """Nodes that fail as told and then answer 7."""

    def __init__(self, *nodes: str, patience_s: float = 30.0) -> None:
        self.errors: list[Callable[[str], ClientError]] = []
        self.asked: list[str] = []
        self.pauses: list[float] = []
        self.told: list[Retry] = []
        persistence = Persistence(
            patience_s, SeededRandom("attempts"), self.told.append, self.sleep
        )
        self.attempts = Attempts("the request", nodes or (ONE, TWO), persistence, changes=True)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def ask(self, node: str) -> int:
        self.asked.append(node)
        if len(self.asked) <= len(self.errors):
            raise self.errors[len(self.asked) - 1](node)
        return 7

    async def run(self, *errors: Callable[[str], ClientError]) -> NodeAnswer[int]:
        self.errors = list(errors)
        return await self.attempts.settle(self.ask)


async def test_the_first_node_that_answers_is_enough() -> None:
    script = Script()
    assert await script.run() == NodeAnswer(7, ONE, 1)
    assert script.asked == [ONE]
    assert not script.attempts.may_have_worked
    assert not script.told


async def test_the_next_node_is_asked_at_once_and_the_round_repeated_after_a_pause() -> None:
    script = Script()
    answer = await script.run(not_ready, lambda node: unreachable(node, sent=False), not_ready)
    assert answer == NodeAnswer(7, TWO, 4)
    assert script.asked == [ONE, TWO, ONE, TWO]
    assert len(script.pauses) == 1
    assert len(script.told) == 3
    assert str(script.told[0]) == f"the request: {ONE}: words (503 SEALED); trying again"


async def test_pauses_grow_up_to_a_limit_and_are_uneven() -> None:
    script = Script(ONE)
    await script.run(*[not_ready] * 9)
    for pause, longest in zip(script.pauses, [0.25, 0.5, 1, 2, 4, 5, 5, 5, 5], strict=True):
        assert longest / 2 <= pause <= longest
    assert script.pauses[-1] != script.pauses[-2]


async def test_a_pause_is_what_all_nodes_ask_for_within_reason() -> None:
    script = Script()
    await script.run(
        lambda node: not_ready(node, after=9),
        lambda node: not_ready(node, after=7),
        lambda node: not_ready(node, after=9),
        not_ready,
        lambda node: not_ready(node, after=9000),
        lambda node: not_ready(node, after=9000),
    )
    assert script.pauses[0] == 7
    assert script.pauses[1] < 1, "one of the two asked for no pause"
    assert script.pauses[2] == 30


async def test_a_final_error_is_final() -> None:
    def refused(node: str) -> ClientError:
        return RefusedOverHttpError(node, "no", status=403, error_code="ACCESS_DENIED")

    script = Script()
    with pytest.raises(RefusedOverHttpError, match="no"):
        await script.run(not_ready, refused)
    assert script.asked == [ONE, TWO]


async def test_a_faulty_node_is_asked_twice() -> None:
    script = Script()
    with pytest.raises(BadAnswerError):
        await script.run(*[BadAnswerError] * 9)
    assert script.asked == [ONE, TWO, ONE, TWO]
    other = Script()

    def failed(node: str) -> ClientError:
        if node == ONE:
            return NodeFailedError(node, "disk", status=500, error_code="DATABASE")
        return not_ready(node)

    assert (await other.run(*[failed] * 5)).node == TWO
    assert other.asked == [ONE, TWO, ONE, TWO, TWO, TWO]


async def test_where_nobody_is_there_it_ends_soon() -> None:
    script = Script()
    with pytest.raises(NodeUnreachableError, match="gone"):
        await script.run(*[lambda node: unreachable(node, sent=False)] * 20)
    assert len(script.asked) == 6
    assert not script.attempts.may_have_worked


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (lambda node: unreachable(node, sent=False), False),
        (lambda node: unreachable(node, sent=True), True),
        (not_ready, False),
        (lambda node: not_ready(node, "RATE_LIMITED"), False),
        (lambda node: not_ready(node, "NODE_DISCONNECTED"), True),
        (BadAnswerError, True),
    ],
)
async def test_it_is_known_whether_an_attempt_may_have_worked(
    error: Callable[[str], ClientError], expected: bool
) -> None:
    script = Script()
    await script.run(error)
    assert script.attempts.may_have_worked is expected


async def test_patience_ends() -> None:
    script = Script(ONE, patience_s=0.01)

    async def never(node: str) -> int:
        await asyncio.get_running_loop().create_future()
        return 7

    with pytest.raises(NoAnswerError, match="may have been carried out"):
        await script.attempts.settle(never)
    sealed = Script(ONE, patience_s=0.01)

    async def sleep(seconds: float) -> None:
        await asyncio.get_running_loop().create_future()

    persistence = Persistence(0.01, SeededRandom("x"), sealed.told.append, sleep)
    attempts = Attempts("the request", [ONE], persistence, changes=True)
    sealed.errors = [not_ready]
    with pytest.raises(NoAnswerError, match=r"words \(503 SEALED\)\nNothing was done"):
        await attempts.settle(sealed.ask)
    reading = Attempts("the request", [ONE], persistence, changes=False)
    with pytest.raises(NoAnswerError) as raised:
        await reading.settle(never)
    assert not raised.value.advice
