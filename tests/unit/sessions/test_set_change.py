"""Set changes among sessions: who is needed, who is told what, and how each part ends."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.keys import NodeSignature
from keyserver.model.requests import AddShare, NodeCredential, Request
from keyserver.model.set_change import CompletedChange, SetChange
from keyserver.sessions.core import (
    Completed,
    DeniedError,
    Failed,
    GivenUpError,
    PeerLost,
    Performed,
    Refusal,
    SetTimer,
    UnavailableError,
)
from keyserver.sessions.messages import Cancel
from keyserver.sessions.runner import Role
from keyserver.sessions.set_change.coordinator import EXECUTE_S, FREEZE_S, LATE_S
from keyserver.sessions.set_change.history import history_digest, next_epoch, past_of
from keyserver.sessions.set_change.messages import (
    ChangeAccept,
    ChangeDone,
    ChangeExecuted,
    ChangeFreeze,
    ChangeFrozen,
    ChangeKeepAlive,
    ChangePropose,
    PastChange,
)
from keyserver.sessions.set_change.phases import AwaitingFrozen, Report
from keyserver.sessions.set_change.works import (
    Conclude,
    Concluded,
    Counted,
    CountMoved,
    Declined,
    Judge,
    Moved,
    MoveKeys,
    Settle,
    Settled,
    Survey,
    Surveyed,
)
from tests.support.delivery import Delivery, received
from tests.support.set_change_sessions import (
    ORDER,
    ScriptedEngine,
    carry_out,
    change_of,
    engines,
)

KEY = KeyId(b"\x01" * 32)


class World:
    """Five nodes of which the first one leaves."""

    def __init__(self) -> None:
        self.net = Delivery(5)
        self.change = change_of(self.net, [1, 2, 3, 4])
        self.engines = engines(self.net, self.change)

    def engine(self, place: int) -> ScriptedEngine:
        return self.engines[self.net.members[place].id]

    def everywhere(self, **values: Any) -> None:
        for engine in self.engines.values():
            for name, value in values.items():
                setattr(engine, name, value)

    def scripted(self, place: int, work: type, answer: Callable[[Any], Any] | Any) -> None:
        script = answer if callable(answer) else lambda _: answer
        self.engine(place).script[work] = script

    def run(self, *, needs_all: bool = True) -> Completed | Failed:
        return carry_out(self.net, self.change, needs_all=needs_all)

    def report(self, *, needs_all: bool = True) -> Report:
        outcome = self.run(needs_all=needs_all)
        assert isinstance(outcome, Completed), outcome
        assert isinstance(outcome.result, Report)
        return outcome.result

    def error(self, *, needs_all: bool = True) -> Any:
        outcome = self.run(needs_all=needs_all)
        assert isinstance(outcome, Failed), outcome
        return outcome.error

    def part(self, place: int) -> Completed | Failed | None:
        return self.net.runners[self.net.members[place].id, Role.PARTICIPANT].outcome

    def kinds(self, place: int) -> list[type]:
        return [type(work) for work in self.engine(place).works]

    @property
    def ids(self) -> list[NodeId]:
        return [member.id for member in self.net.members]


@pytest.fixture
def world() -> World:
    return World()


# --- the whole way -----------------------------------------------------------------------------


def test_everybody_judges_settles_and_concludes(world: World) -> None:
    report = world.report()
    assert report == Report(world.change, (), frozenset(world.ids))
    assert world.kinds(0) == [Judge, Survey, MoveKeys, Settle, MoveKeys, Conclude]
    for place in range(1, 5):
        assert world.kinds(place) == [Judge, Settle, Conclude]
        assert world.part(place) == Completed(world.change)
        judged = world.engine(place).works[0]
        assert judged == Judge(ORDER, world.change.id, world.ids[0])
    assert not received(world.net, Cancel)


def test_the_keys_are_moved_among_those_that_accepted(world: World) -> None:
    world.report()
    survey, move = world.engine(0).works[1:3]
    assert survey == Survey(world.change, frozenset(world.ids), may_lose_keys=False)
    assert move == MoveKeys(world.change, frozenset(world.ids), may_lose_keys=False, frozen=False)
    assert world.engine(0).works[4] == replace(move, frozen=True)


def test_keys_that_stay_are_told_to_everybody(world: World) -> None:
    world.everywhere(left=(KEY,))
    assert world.report().left == (KEY,)
    for place in range(5):
        assert world.engine(place).works[-1] == Conclude(world.change, (), (KEY,), world.ids[0])


def test_the_lock_is_held_while_keys_arrive_and_the_coordinator_speaks(world: World) -> None:
    """The mover is never done; the last of three keys has arrived after five minutes."""
    world.scripted(0, MoveKeys, lambda _: None)
    counts = {node: iter((3, 3)) for node in world.ids}
    for place, node in enumerate(world.ids):
        world.scripted(place, CountMoved, _counting(counts[node]))
    assert world.error().code == "ConsensusTemporaryUnreachable"
    assert world.kinds(0).count(CountMoved) == 2
    assert len(received(world.net, ChangeKeepAlive)) >= 5 * (600 // 15 - 1)


def _counting(counts: Iterator[int]) -> Callable[[Any], Counted]:
    return lambda _: Counted(next(counts))


def test_without_a_word_of_the_coordinator_the_lock_ends(world: World) -> None:
    """The others hold it until no key has arrived for five minutes."""
    world.scripted(0, MoveKeys, lambda _: None)
    world.net.tamper = lambda _from, to, message: (
        None if isinstance(message, ChangeKeepAlive) and to == world.ids[1] else message
    )
    world.error()
    part = world.part(1)
    assert isinstance(part, Failed)
    assert "nothing came from the coordinator" in str(part.error)
    assert CountMoved not in world.kinds(1)
    assert CountMoved in world.kinds(0)


def test_the_last_look_may_take_the_longer_the_more_keys_there_are(world: World) -> None:
    world.scripted(0, Survey, Surveyed(to_move=1, losing=0, keys=1_000_000))
    world.report()
    rounds = [
        effect.seconds
        for moment in world.net.moments
        for effect in moment.effects
        if isinstance(effect, SetTimer) and effect.name == "round"
    ]
    assert rounds[-1] == EXECUTE_S + 2000


# --- who is needed -----------------------------------------------------------------------------

NOT_NOW = {
    Refusal.BUSY: "HasActiveSessions",
    Refusal.EXCLUSIVE: "ExclusiveSessionActive",
    Refusal.TEMPORARY: "ConsensusTemporaryUnreachable",
}


@pytest.mark.parametrize("code", list(Refusal))
def test_a_refusal_ends_an_administrators_change(world: World, code: Refusal) -> None:
    world.scripted(3, Judge, Declined(code, "not here"))
    error = world.error()
    assert error.code == NOT_NOW.get(code, "ConsensusUnreachable")
    assert isinstance(error, UnavailableError) == (code in NOT_NOW)
    assert world.ids[3].short in str(error)
    assert Survey not in world.kinds(0)
    part = world.part(1)
    assert isinstance(part, Failed)
    assert isinstance(part.error, GivenUpError)


def test_nothing_is_proposed_unless_everybody_is_there(world: World) -> None:
    world.net.connected -= {world.ids[4]}
    error = world.error()
    assert (error.code, error.failed) == ("NodeDisconnected", {world.ids[4]})
    assert not world.net.sent


def test_a_migration_goes_on_without_a_minority(world: World) -> None:
    world.net.connected -= {world.ids[4]}
    report = world.report(needs_all=False)
    assert report.executed == frozenset(world.ids[:4])


def test_a_migration_needs_a_quorum_of_the_new_set(world: World) -> None:
    world.net.connected -= {world.ids[3], world.ids[4]}
    assert world.error(needs_all=False).code == "NodeDisconnected"
    assert not world.net.sent


@pytest.mark.parametrize("work", [Judge, Settle, Conclude])
def test_a_migration_ends_when_the_quorum_is_lost(world: World, work: type) -> None:
    for place in (3, 4):
        world.scripted(place, work, Declined(Refusal.TEMPORARY, "not now"))
    error = world.error(needs_all=False)
    assert error.code == "ConsensusTemporaryUnreachable"


@pytest.mark.parametrize("silent", [ChangeAccept, ChangeFrozen, ChangeExecuted])
@pytest.mark.parametrize("needs_all", [True, False])
def test_a_node_that_says_nothing_is_lost(world: World, silent: type, needs_all: bool) -> None:
    mute = world.ids[2]
    world.net.tamper = lambda sender, _to, message: (
        None if sender == mute and isinstance(message, silent) else message
    )
    if needs_all:
        error = world.error()
        assert (error.code, error.failed) == ("NodeDisconnected", {mute})
    else:
        assert world.report(needs_all=False).executed == frozenset(world.ids) - {mute}


def _frozen_rounds(world: World) -> list[float]:
    return [
        effect.seconds
        for moment in world.net.moments
        for effect in moment.effects
        if isinstance(moment.after, AwaitingFrozen)
        if isinstance(effect, SetTimer) and effect.name == "round"
    ]


@pytest.mark.parametrize("mute", [0, 1, 4])
def test_a_migration_waits_for_the_last_to_freeze_not_for_long(world: World, mute: int) -> None:
    """But the coordinator for itself: only it can go on."""
    coordinator, silent = world.ids[0], world.ids[mute]
    world.net.tamper = lambda sender, to, message: (
        None
        if (sender, to) == (silent, coordinator) and isinstance(message, ChangeFrozen)
        else message
    )
    if mute == 0:
        assert world.error(needs_all=False).failed == {silent}
        assert _frozen_rounds(world) == [FREEZE_S]
    else:
        assert silent not in world.report(needs_all=False).executed
        assert _frozen_rounds(world) == [FREEZE_S, LATE_S]


def test_an_order_of_an_administrator_waits_for_all_to_freeze(world: World) -> None:
    world.net.tamper = lambda sender, _to, message: (
        None if sender == world.ids[2] and isinstance(message, ChangeFrozen) else message
    )
    world.error()
    assert _frozen_rounds(world) == [FREEZE_S]


def test_a_coordinator_that_loses_itself_ends(world: World) -> None:
    world.scripted(0, Settle, Declined(Refusal.TEMPORARY, "undecided"))
    assert world.error(needs_all=False).code == "ConsensusTemporaryUnreachable"


def test_a_node_lost_while_keys_move_is_not_asked_to_freeze(world: World) -> None:
    """Its own part was ended: it has heard nothing for a minute."""
    gone = world.ids[2]
    world.scripted(0, MoveKeys, lambda _: None)
    world.engine(0).script[CountMoved] = lambda _: Counted(1)

    def tamper(_sender: NodeId, to: NodeId, message: Any) -> Any:
        return None if to == gone and isinstance(message, ChangeKeepAlive) else message

    def disconnect(_: CountMoved) -> Counted:
        """When five minutes are over, the keys have moved, and the node cannot be reached."""
        world.net.connected -= {gone}
        coordinator = world.net.runners[world.ids[0], Role.COORDINATOR]
        for event in (PeerLost(gone), PeerLost(gone), Performed(Moved(1, ()))):
            world.net._feed(coordinator, event)
        return Counted(1)

    world.net.tamper = tamper
    world.scripted(0, CountMoved, disconnect)
    world.engine(0).script[MoveKeys] = lambda work: Moved(1, ()) if work.frozen else None
    report = world.report(needs_all=False)
    assert report.executed == frozenset(world.ids) - {gone}
    assert Settle not in world.kinds(2)


# --- keys that would be lost ---------------------------------------------------------------------


def test_a_change_that_loses_keys_is_refused_before_anything_is_touched(world: World) -> None:
    world.everywhere(losing=3)
    world.engine(1).may_lose_keys = True
    error = world.error()
    assert isinstance(error, DeniedError)
    assert error.code == "Internal"
    assert "3 keys" in str(error)
    assert MoveKeys not in world.kinds(0)


def test_keys_may_be_lost_where_every_node_allows_it(world: World) -> None:
    world.everywhere(losing=3, may_lose_keys=True)
    world.report()
    assert world.engine(0).works[2] == MoveKeys(
        world.change, frozenset(world.ids), may_lose_keys=True, frozen=False
    )


@pytest.mark.parametrize("work", [Survey, MoveKeys])
def test_what_the_engine_cannot_do_ends_the_change(world: World, work: type) -> None:
    world.scripted(0, work, Declined(Refusal.TEMPORARY, "2 keys could not be moved"))
    error = world.error()
    assert (error.code, str(error)) == (
        "ConsensusTemporaryUnreachable",
        "2 keys could not be moved",
    )


def test_an_answer_to_something_else_is_a_mistake_of_the_engine(world: World) -> None:
    world.scripted(0, Survey, Moved(0, ()))
    with pytest.raises(TypeError, match="Moved answers nothing in Surveying"):
        world.run()


def test_a_participant_is_not_told_what_it_did_not_ask(world: World) -> None:
    world.scripted(1, Settle, Concluded())
    with pytest.raises(TypeError, match="Concluded answers nothing in Settling"):
        world.run()


# --- the lock that ends ------------------------------------------------------------------------


def test_the_lock_ends_when_no_key_arrives(world: World) -> None:
    world.scripted(0, MoveKeys, lambda _: None)
    error = world.error()
    assert error.code == "ConsensusTemporaryUnreachable"
    assert CountMoved in world.kinds(0)


def test_a_count_that_comes_late_changes_nothing(world: World) -> None:
    """It was asked for before the end, and is answered when the own keys are looked through."""
    world.scripted(1, Conclude, Counted(4))
    assert world.error().failed == {world.ids[1]}


# --- what was before ---------------------------------------------------------------------------


def past(*names: int, world: World) -> tuple[PastChange, ...]:
    sets = world.change.old.nodes
    return tuple(
        PastChange(epoch, Hash32(bytes([name]) * 32), sets, sets)
        for epoch, name in enumerate(names, 1)
    )


def test_who_joins_takes_over_what_f_plus_one_vouch_for(world: World) -> None:
    common = past(7, 8, world=world)
    world.everywhere(past=common)
    world.engine(4).past = ()
    world.report()
    concluded = world.engine(4).works[-1]
    assert isinstance(concluded, Conclude)
    assert concluded.past == common


def test_a_coordinator_that_joins_takes_over_the_past_of_the_others(world: World) -> None:
    world.everywhere(past=past(7, world=world))
    world.engine(0).past = ()
    world.report()
    concluded = world.engine(0).works[-1]
    assert isinstance(concluded, Conclude)
    assert concluded.past == past(7, world=world)


def test_nodes_that_remember_different_changes_do_not_end_one(world: World) -> None:
    for place in range(5):
        world.engine(place).past = past(place, world=world)
    error = world.error()
    assert error.code == "ConsensusUnreachable"
    assert f"{world.ids[0].short} has completed change number 1" in str(error)
    assert "repeat that order first" in str(error)


@pytest.mark.parametrize("ahead", [0, 2])
def test_whoever_alone_has_completed_a_change_is_named(world: World, ahead: int) -> None:
    """Nobody is told to write this one down: it would stand under two numbers."""
    world.everywhere(past=past(7, world=world))
    world.engine(ahead).past = past(7, 9, world=world)
    error = world.error()
    assert isinstance(error, DeniedError)
    assert error.code == "ConsensusUnreachable"
    named = f"{world.ids[ahead].short} has completed change number 2 ({'09' * 32}"
    assert named in str(error)
    assert not received(world.net, ChangeDone)


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_migration_is_added_to_what_each_node_remembers(world: World, ahead: int) -> None:
    """No order of a contract is judged by the history: one that differs stops nothing."""
    world.engine(ahead).past = past(7, world=world)
    assert world.report(needs_all=False).executed == frozenset(world.ids)
    for place in range(5):
        concluded = world.engine(place).works[-1]
        assert isinstance(concluded, Conclude)
        assert concluded.past == world.engine(place).past


def test_a_migration_ends_where_no_two_nodes_remember_the_same(world: World) -> None:
    for place in range(5):
        world.engine(place).past = past(*range(place, 2 * place), world=world)
    assert world.report(needs_all=False).executed == frozenset(world.ids)
    for place in range(5):
        concluded = world.engine(place).works[-1]
        assert isinstance(concluded, Conclude)
        assert concluded.past == world.engine(place).past


def test_a_longer_past_that_too_few_vouch_for_is_refused_in_a_migration_too(world: World) -> None:
    told = past(9, world=world)
    world.net.tamper = lambda _sender, to, message: (
        ChangeDone(told, _signed(world, told, 0), ())
        if isinstance(message, ChangeDone) and to == world.ids[2]
        else message
    )
    assert world.report(needs_all=False).executed == frozenset(world.ids) - {world.ids[2]}
    assert Conclude not in world.kinds(2)


def test_a_past_that_is_shorter_than_the_own_one_is_refused(world: World) -> None:
    """Only a lying coordinator says DONE then: an honest one names the node."""
    world.everywhere(past=past(7, world=world))
    world.net.tamper = lambda _sender, to, message: (
        replace(message, past=(), vouchers=())
        if isinstance(message, ChangeDone) and to == world.ids[2]
        else message
    )
    assert world.error().code == "ConsensusUnreachable"
    assert Conclude not in world.kinds(2)


def test_a_past_that_nobody_signed_is_refused(world: World) -> None:
    world.net.tamper = lambda sender, _to, message: (
        replace(message, past=past(9, world=world))
        if isinstance(message, ChangeFrozen) and sender == world.ids[1]
        else message
    )
    assert world.error().failed == {world.ids[1]}


def _signed(world: World, told: tuple[PastChange, ...], *places: int) -> tuple[NodeSignature, ...]:
    members = [world.net.members[place] for place in places]
    return tuple(
        NodeSignature(
            member.id, member.signer.sign(history_digest(world.change.id, told, member.id))
        )
        for member in members
    )


@pytest.mark.parametrize(
    "forged",
    ["too few", "not numbered", "wrong signature", "a stranger"],
)
def test_a_forged_past_is_not_taken_over(world: World, forged: str) -> None:
    told = past(9, world=world)
    vouchers = _signed(world, told, 0, 1)
    match forged:
        case "too few":
            vouchers = vouchers[:1]
        case "not numbered":
            told = (replace(told[0], epoch=5),)
            vouchers = _signed(world, told, 0, 1)
        case "wrong signature":
            vouchers = (vouchers[0], NodeSignature(world.ids[2], vouchers[1].signature))
        case "a stranger":
            stranger = SetChange.ordered(world.change.new, world.change.new)
            assert world.ids[0] not in stranger.old
            world.change = replace(world.change, old=stranger.old)
            for engine in world.engines.values():
                engine.change = world.change
    world.net.tamper = lambda _sender, to, message: (
        ChangeDone(told, vouchers, ()) if isinstance(message, ChangeDone) else message
    )
    world.error()
    assert all(Conclude not in world.kinds(place) for place in range(1, 5))


def test_the_change_itself_is_no_part_of_its_past(world: World) -> None:
    change = world.change
    earlier = CompletedChange(1, Hash32(b"\x07" * 32), change.old, change.old, 1)
    itself = CompletedChange(2, change.id, change.old, change.new, 2)
    later = replace(earlier, epoch=3)
    assert [each.epoch for each in past_of([earlier, itself], change)] == [1]
    assert next_epoch(past_of([earlier, itself], change)) == 2
    assert [each.epoch for each in past_of([earlier, itself, later], change)] == [1, 2, 3]
    assert past_of([], change) == ()
    assert next_epoch(()) == 1


# --- what never changes anything ---------------------------------------------------------------


@pytest.mark.parametrize("late", [ChangeAccept, ChangeFrozen, ChangeExecuted])
def test_an_answer_counts_once(world: World, late: type) -> None:
    """The same one again is out of turn, whether it comes in the same phase or a later one."""
    first: list[Any] = []

    def doubled(sender: NodeId, to: NodeId, message: Any) -> Any:
        if isinstance(message, late) and sender == world.ids[1]:
            first.append(message)
        again = isinstance(message, ChangeAccept | ChangeFrozen | ChangeExecuted)
        return first[0] if first and again and sender == world.ids[1] else message

    world.net.tamper = doubled
    error = world.error() if late is not ChangeExecuted else None
    if error is None:
        world.report()
    else:
        assert error.failed == {world.ids[1]}


def test_what_comes_twice_in_a_row_changes_nothing(world: World) -> None:
    accepts = _repeating(world, ChangeAccept, ChangeFrozen, ChangeExecuted)
    world.report()
    assert accepts


def _repeating(world: World, *kinds: type) -> list[Any]:
    """The second node's answers come twice: also once when the third one answers."""
    kept: list[Any] = []
    sent = world.net._send

    def twice(runner: Any, effect: Any) -> None:
        sent(runner, effect)
        if isinstance(effect.message, kinds) and runner.ctx.me == world.ids[1]:
            kept.append(effect.message)
            sent(runner, effect)

    world.net._send = twice  # type: ignore[method-assign]
    return kept


def test_a_message_out_of_turn_changes_nothing(world: World) -> None:
    """The second node is told to freeze, and that all is done, when it is asked to accept."""
    sent = world.net._send

    def early(runner: Any, effect: Any) -> None:
        sent(runner, effect)
        if isinstance(effect.message, ChangePropose) and effect.to == world.ids[1]:
            sent(runner, replace(effect, message=ChangeDone((), (), ())))
        if isinstance(effect.message, ChangeFreeze) and effect.to == world.ids[1]:
            sent(runner, effect)

    world.net._send = early  # type: ignore[method-assign]
    world.report()
    assert world.kinds(1) == [Judge, Settle, Conclude]


def test_a_request_for_something_else_is_refused(world: World) -> None:
    order = AddShare(KEY)
    request = Request.of(order, NodeCredential())

    def tamper(_sender: NodeId, _to: NodeId, message: Any) -> Any:
        return replace(message, request=request) if isinstance(message, ChangePropose) else message

    world.net.tamper = tamper
    assert world.error().code == "ConsensusUnreachable"
    assert all(world.kinds(place) == [] for place in range(5))


def test_what_is_no_answer_to_the_phase_is_a_mistake_of_the_engine(world: World) -> None:
    world.scripted(2, Judge, Settled(()))
    with pytest.raises(TypeError, match="Settled answers nothing in AwaitingJudgement"):
        world.run()
