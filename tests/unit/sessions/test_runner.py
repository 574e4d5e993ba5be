"""What is the same for every protocol, with a protocol made for the purpose."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from keyserver.model.identifiers import NodeId
from keyserver.sessions.core import (
    Authorised,
    Completed,
    Context,
    DeniedError,
    Event,
    Failed,
    NotYet,
    PeerLost,
    Received,
    Refusal,
    Refused,
    Send,
    SessionKind,
    SessionType,
    Step,
    TimerFired,
    UnavailableError,
    Verdict,
)
from keyserver.sessions.messages import Cancel, Refuse
from keyserver.sessions.runner import MAX_EARLY_MESSAGES, Role, Runner
from tests.support.delivery import Delivery
from tests.support.key_life import generate
from tests.support.keys import nodes_of


@dataclass(frozen=True)
class Talking:
    heard: tuple[Any, ...] = ()


Stepping = Callable[[Context, Any, Event], Step[Any]]


def _type(step: Stepping, start: Step[Any] | Exception | None = None) -> SessionType[Any]:
    def begin(*_: Any) -> Step[Any]:
        if isinstance(start, Exception):
            raise start
        return start or Step(Talking())

    return SessionType("toy", SessionKind.GENERATION, (), begin, begin, step)


def _listen(_: Context, phase: Talking, event: Event) -> Step[Any]:
    return Step(Talking((*phase.heard, event)))


@pytest.fixture
def ctx() -> Context:
    net = Delivery(4)
    generate(net, 1)
    return net.openings[1][0]


def _started(ctx: Context, step: Stepping = _listen, role: Role = Role.PARTICIPANT) -> Runner:
    runner = Runner(_type(step), ctx, role)
    begin = runner.start if role is Role.COORDINATOR else lambda _: runner.join(ctx.me, None)
    assert begin(None) == ()
    return runner


def test_events_are_handed_on(ctx: Context) -> None:
    runner = _started(ctx)
    event = Authorised(Verdict.ALLOWED)
    assert runner.handle(event) == ()
    assert runner.phase == Talking((event,))
    assert runner.outcome is None


@pytest.mark.parametrize("ending", ["lost", "cancelled", "idle"])
def test_what_ends_every_participant(ctx: Context, ending: str) -> None:
    endings: dict[str, Event] = {
        "lost": PeerLost(ctx.coordinator),
        "cancelled": Received(ctx.coordinator, Cancel(5)),
        "idle": TimerFired("idle"),
    }
    event = endings[ending]
    runner = _started(ctx)
    assert runner.handle(event) == ()
    assert isinstance(runner.outcome, Failed)
    assert isinstance(runner.outcome.error, UnavailableError)
    assert runner.handle(Authorised(Verdict.ALLOWED)) == (), "nothing happens after the end"
    coordinator = _started(ctx, role=Role.COORDINATOR)
    coordinator.handle(event)
    assert coordinator.phase == Talking((event,))


def test_other_peers_and_timers_do_not_end_a_participant(ctx: Context) -> None:
    runner = _started(ctx)
    for event in (PeerLost(nodes_of(5)[4]), TimerFired("round")):
        runner.handle(event)
    assert runner.outcome is None


def test_early_messages_wait_for_their_phase(ctx: Context) -> None:
    """Kept once per sender and type, and handed on when the phase changes."""

    def step(_: Context, phase: Talking, event: Event) -> Step[Any]:
        if isinstance(event, Received) and not phase.heard:
            raise NotYet
        return Step(Talking((*phase.heard, event)))

    runner = _started(ctx, step)
    early = [Received(node, Refuse(1)) for node in nodes_of(3)]
    for event in (*early, early[0]):
        assert runner.handle(event) == ()
    assert runner.phase == Talking()
    now = Authorised(Verdict.ALLOWED)
    runner.handle(now)
    assert runner.phase == Talking((now, *early))


def test_so_many_early_messages_are_kept(ctx: Context) -> None:
    def step(_: Context, phase: Talking, event: Event) -> Step[Any]:
        if isinstance(event, Received) and not phase.heard:
            raise NotYet
        return Step(Talking((*phase.heard, event)))

    runner = _started(ctx, step)
    for number in range(MAX_EARLY_MESSAGES + 5):
        runner.handle(Received(NodeId(number.to_bytes(64, "big")), Refuse(1)))
    runner.handle(Authorised(Verdict.ALLOWED))
    assert isinstance(runner.phase, Talking)
    assert len(runner.phase.heard) == 1 + MAX_EARLY_MESSAGES


def test_only_messages_can_be_early(ctx: Context) -> None:
    def step(_: Context, __: Any, ___: Event) -> Step[Any]:
        raise NotYet

    runner = _started(ctx, step)
    assert runner.handle(TimerFired("round")) == ()
    assert runner.phase == Talking()


def test_a_participant_that_refuses_says_so_and_ends(ctx: Context) -> None:
    def step(*_: Any) -> Step[Any]:
        raise Refused(Refusal.BAD, "no")

    runner = _started(ctx, step)
    told = runner.handle(Received(ctx.coordinator, Refuse(1)))
    assert told == (Send(ctx.coordinator, Refuse(Refusal.BAD)),)
    assert isinstance(runner.outcome, Failed)
    assert runner.outcome.error.code == "InvalidMessage"


def test_to_a_coordinator_a_bad_message_is_a_lost_sender(ctx: Context) -> None:
    def step(_: Context, phase: Talking, event: Event) -> Step[Any]:
        if isinstance(event, Received):
            raise Refused(Refusal.BAD, "no")
        return Step(Talking((*phase.heard, event)))

    runner = _started(ctx, step, Role.COORDINATOR)
    sender = nodes_of(3)[2]
    runner.handle(Received(sender, Refuse(1)))
    assert runner.phase == Talking((PeerLost(sender),))


def test_a_coordinator_that_refuses_its_own_request(ctx: Context) -> None:
    codes = {
        Refusal.DENIED: ("AccessDenied", False),
        Refusal.POLICY: ("AccessDenied", False),
        Refusal.NOT_FOUND: ("ServerKeyIsNotFound", False),
        Refusal.NO_DOCUMENT: ("DocumentKeyIsNotFound", False),
        Refusal.EXISTS: ("ServerKeyAlreadyGenerated", False),
        Refusal.BAD: ("InvalidMessage", False),
        Refusal.TEMPORARY: ("ConsensusTemporaryUnreachable", True),
        Refusal.BUSY: ("ConsensusTemporaryUnreachable", True),
        Refusal.STALE: ("ConsensusTemporaryUnreachable", True),
        Refusal.EXCLUSIVE: ("ExclusiveSessionActive", True),
    }
    assert set(codes) == set(Refusal)
    for refusal, (code, retriable) in codes.items():
        runner = Runner(_type(_listen, Refused(refusal, "no")), ctx, Role.COORDINATOR)
        assert runner.start(None) == ()
        assert isinstance(runner.outcome, Failed)
        assert (runner.outcome.error.code, runner.outcome.error.retriable) == (code, retriable)


@pytest.mark.parametrize(
    "error",
    [
        DeniedError("no", "AccessDenied"),
        UnavailableError("later"),
    ],
)
def test_errors_of_a_session_end_it(ctx: Context, error: Exception) -> None:
    runner = Runner(_type(_listen, error), ctx, Role.COORDINATOR)
    runner.start(None)
    assert runner.outcome == Failed(error)  # type: ignore[arg-type]


def test_a_coordinator_that_fails_tells_everybody_it_asked(ctx: Context) -> None:
    first, second, third = nodes_of(3)

    def step(*_: Any) -> Step[Any]:
        return Step(Failed(UnavailableError("gone")), (Send(third, Cancel(1)),))

    start: Step[Any] = Step(Talking(), (Send(first, Cancel(1)), Send(second, Cancel(1))))
    runner = Runner(_type(step, start), ctx, Role.COORDINATOR)
    runner.start(None)
    told = runner.handle(TimerFired("round"))
    cancelled = [effect.to for effect in told[1:] if isinstance(effect, Send)]
    assert cancelled == [first, second, third]
    done = Runner(_type(lambda *_: Step(Completed(1)), start), ctx, Role.COORDINATOR)
    done.start(None)
    assert done.handle(TimerFired("round")) == ()
    assert done.outcome == Completed(1)


def test_an_unknown_refusal_counts_as_malformed() -> None:
    assert Refuse(Refusal.STALE).refusal is Refusal.STALE
    assert Refuse(4711).refusal is Refusal.BAD
