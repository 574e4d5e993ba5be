"""The decision procedure of migrations: every state with every session, and each condition."""

from dataclasses import replace

import pytest

from keyserver.model.identifiers import Address, KeyId
from keyserver.model.set_change import MigrationOrder
from keyserver.tasks.migration import (
    IDLE,
    AcceptMigration,
    Action,
    CheckKeys,
    ChooseId,
    ForgetSession,
    KeyCheck,
    MigrationFacts,
    MigrationView,
    RecordFailure,
    RecordSuccess,
    Refusal,
    Refuse,
    RunningMigration,
    SendConfirm,
    SendStart,
    Sent,
    SentState,
    SessionPhase,
    SessionState,
    StartSession,
    Wait,
    Waiting,
)
from keyserver.tasks.migration_decision import (
    back_off,
    confirm_is_wanted,
    decide,
    elected_master,
    objection,
    refused_order,
    start_is_wanted,
)
from tests.support.migrations import (
    BLOCK,
    id_of,
    joined,
    node,
    nodes,
    planned,
    running,
    safe,
    set_of,
    view,
)

CURRENT, NEW = (1, 2, 3), (2, 3, 4)
MIGRATION = running(*NEW, number=1, master=2)
NOTHING = view(CURRENT, CURRENT)
REQUIRED = view(CURRENT, NEW)
STARTED = view(CURRENT, NEW, MIGRATION)
KEY = KeyId(b"\x07" * 32)

ACTIVE = SessionState(SessionPhase.ACTIVE, id_of(1))
FINISHED = SessionState(SessionPhase.FINISHED, id_of(1))
FAILED = SessionState(SessionPhase.FAILED, id_of(1), "a node was lost")
OTHERS = [
    SessionState(phase, id_of(9))
    for phase in (SessionPhase.ACTIVE, SessionPhase.FINISHED, SessionPhase.FAILED)
]


def ready(migration: RunningMigration = MIGRATION, succeeded: int | None = None) -> MigrationFacts:
    """All that a master needs to begin."""
    return MigrationFacts(
        joined=joined(migration, succeeded=succeeded),
        check=safe(migration.target),
        connected=frozenset(migration.target.nodes),
        now=100.0,
    )


def sent(age: int, state: SentState = SentState.DONE) -> Sent:
    return Sent(BLOCK - age, state)


# --- the table of states ----------------------------------------------------------------------

STARTER = MigrationFacts(plan=planned(REQUIRED), check=safe(REQUIRED.new))
ORDER = MigrationOrder(id_of(1), MIGRATION.target.nodes, node(2))

TABLE: list[tuple[MigrationView, SessionState, MigrationFacts, Action]] = [
    (NOTHING, IDLE, MigrationFacts(), Wait(Waiting.NOTHING_TO_DO)),
    (REQUIRED, IDLE, STARTER, SendStart(id_of(1))),
    (STARTED, IDLE, ready(), StartSession(ORDER)),
    (STARTED, ACTIVE, ready(), Wait(Waiting.SESSION)),
    (STARTED, FINISHED, ready(), RecordSuccess(joined(MIGRATION))),
    (STARTED, FAILED, ready(), RecordFailure(MIGRATION, "a node was lost")),
    *[(state, session, ready(), ForgetSession())
      for state in (NOTHING, REQUIRED)
      for session in (ACTIVE, FINISHED, FAILED, *OTHERS)],
    *[(STARTED, session, ready(), ForgetSession()) for session in OTHERS],
]  # fmt: skip


@pytest.mark.parametrize(("state", "session", "facts", "action"), TABLE)
def test_every_state_with_every_session(
    state: MigrationView, session: SessionState, facts: MigrationFacts, action: Action
) -> None:
    assert decide(node(2), state, session, facts) == action


@pytest.mark.parametrize("state", [NOTHING, REQUIRED, STARTED])
def test_a_node_in_neither_set_does_nothing(state: MigrationView) -> None:
    assert decide(node(7), state, IDLE, ready()) in (
        Wait(Waiting.NOT_CONCERNED),
        Wait(Waiting.NOTHING_TO_DO),
    )
    for session in (ACTIVE, FINISHED, FAILED):
        assert decide(node(7), state, session, ready()) == ForgetSession()


@pytest.mark.parametrize("state", [NOTHING, REQUIRED, STARTED])
def test_nothing_is_begun_while_the_chain_cannot_be_asked(state: MigrationView) -> None:
    stale = replace(state, stale=True)
    for facts in (STARTER, ready()):
        assert decide(node(2), stale, IDLE, facts) == Wait(Waiting.STALE)
    assert decide(node(2), stale, OTHERS[0], ready()) == Wait(Waiting.STALE)


@pytest.mark.parametrize("session", [ACTIVE, FINISHED, FAILED])
def test_a_session_that_was_never_accepted_is_forgotten(session: SessionState) -> None:
    other = joined(running(2, 3, number=1, master=2))
    for facts in (MigrationFacts(), MigrationFacts(joined=other)):
        assert decide(node(2), STARTED, session, facts) == ForgetSession()


def test_what_a_session_has_brought_is_noted_even_then() -> None:
    stale = replace(STARTED, stale=True)
    assert decide(node(2), stale, FINISHED, ready()) == RecordSuccess(joined(MIGRATION))


# --- before the start -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "new", "elected"),
    [
        ((1, 2, 3), (2, 3, 4), 2),
        ((1, 2), (1, 2, 3), 1),
        ((2, 3), (1, 2, 3), 2),
        ((1, 2, 3), (3,), 3),
        ((1, 2), (3, 4), None),
        ((1, 2), (), None),
        ((), (1, 2), None),
    ],
)
def test_the_smallest_that_stays_is_elected(
    current: tuple[int, ...], new: tuple[int, ...], elected: int | None
) -> None:
    expected = None if elected is None else node(elected)
    assert elected_master(set_of(*current), set_of(*new)) == expected


def test_the_others_wait_for_the_elected_one() -> None:
    for other in (1, 3, 4):
        assert decide(node(other), REQUIRED, IDLE, STARTER) == Wait(Waiting.ELECTED)


@pytest.mark.parametrize("age", range(5))
def test_a_new_set_must_be_five_blocks_old(age: int) -> None:
    young = view(CURRENT, NEW, age=age)
    assert decide(node(2), young, IDLE, STARTER) == Wait(Waiting.DELAY)
    assert not start_is_wanted(node(2), young, planned(young), id_of(1))


@pytest.mark.parametrize("new", [(), (4, 5)])
def test_a_change_in_which_nobody_stays_is_refused(new: tuple[int, ...]) -> None:
    state = view((1, 2, 3), new)
    why = Refusal.DISJOINT if new else Refusal.EMPTY
    for me in (1, 2, 3):
        assert decide(node(me), state, IDLE, MigrationFacts()) == Refuse(why)


def test_keys_are_counted_before_anything_is_chosen_or_sent() -> None:
    for facts in (MigrationFacts(), MigrationFacts(plan=planned(REQUIRED))):
        assert decide(node(2), REQUIRED, IDLE, facts) == CheckKeys(REQUIRED.new)
        other = replace(facts, check=safe(set_of(5, 6)))
        assert decide(node(2), REQUIRED, IDLE, other) == CheckKeys(REQUIRED.new)
        lossy = replace(facts, check=KeyCheck(REQUIRED.new.id, (KEY,)))
        expected = Refuse(Refusal.KEYS_AT_RISK, (KEY,))
        assert decide(node(2), REQUIRED, IDLE, lossy) == expected


def test_an_id_is_chosen_once_for_each_pair_of_sets() -> None:
    choose = ChooseId(REQUIRED.current, REQUIRED.new)
    none = MigrationFacts(check=safe(REQUIRED.new))
    assert decide(node(2), REQUIRED, IDLE, none) == choose
    of_others = [
        planned(view((1, 2, 4), NEW)),
        planned(view(CURRENT, (2, 3, 5))),
        replace(planned(REQUIRED), contract=Address(b"\x01" * 20)),
    ]
    for plan in of_others:
        assert decide(node(2), REQUIRED, IDLE, replace(none, plan=plan)) == choose
    used = view(CURRENT, NEW, last=1)
    assert decide(node(2), used, IDLE, STARTER) == choose
    unused = view(CURRENT, NEW, last=2)
    assert decide(node(2), unused, IDLE, STARTER) == SendStart(id_of(1))


@pytest.mark.parametrize(
    ("start", "action"),
    [
        (None, SendStart(id_of(1))),
        (sent(0, SentState.OPEN), Wait(Waiting.START)),
        (sent(500, SentState.OPEN), Wait(Waiting.START)),
        (sent(29), Wait(Waiting.START)),
        (sent(30), SendStart(id_of(1))),
        (sent(29, SentState.REFUSED), Wait(Waiting.START)),
        (sent(30, SentState.REFUSED), ChooseId(REQUIRED.current, REQUIRED.new)),
        (sent(29, SentState.GIVEN_UP), Wait(Waiting.START)),
        (sent(30, SentState.GIVEN_UP), ChooseId(REQUIRED.current, REQUIRED.new)),
    ],
)
def test_a_start_is_repeated_after_thirty_blocks(start: Sent | None, action: Action) -> None:
    assert decide(node(2), REQUIRED, IDLE, replace(STARTER, start=start)) == action


def test_which_starts_still_make_sense() -> None:
    plan = planned(REQUIRED)
    assert start_is_wanted(node(2), REQUIRED, plan, plan.id)
    assert not start_is_wanted(node(3), REQUIRED, plan, plan.id)
    assert not start_is_wanted(node(2), REQUIRED, plan, id_of(2))
    assert not start_is_wanted(node(2), REQUIRED, None, plan.id)
    assert not start_is_wanted(node(2), STARTED, plan, plan.id)
    assert not start_is_wanted(node(2), replace(REQUIRED, stale=True), plan, plan.id)
    assert not start_is_wanted(node(2), view(CURRENT, (2, 3, 5)), plan, plan.id)


# --- whether to take part ---------------------------------------------------------------------


def test_a_migration_is_accepted_if_it_is_the_new_set_seen_for_five_blocks() -> None:
    for me in (1, 2, 3, 4):
        action = decide(node(me), STARTED, IDLE, MigrationFacts())
        assert action == AcceptMigration(MIGRATION)


@pytest.mark.parametrize("age", range(5))
def test_a_foreign_start_before_that_must_wait(age: int) -> None:
    young = view(CURRENT, NEW, MIGRATION, age=age)
    for me in (1, 2, 3, 4):
        assert decide(node(me), young, IDLE, MigrationFacts()) == Wait(Waiting.DELAY)
    assert refused_order(young, None, ORDER) == Waiting.DELAY.value


def test_a_migration_to_another_set_is_refused() -> None:
    foreign = view(CURRENT, (2, 3, 5), MIGRATION)
    for me in (1, 2, 3, 4):
        assert decide(node(me), foreign, IDLE, MigrationFacts()) == Refuse(Refusal.FOREIGN_SET)
    assert refused_order(foreign, None, ORDER) == Refusal.FOREIGN_SET.value


def test_what_was_accepted_stays_so_when_the_owner_goes_on_editing() -> None:
    edited = view(CURRENT, (2, 3, 5), MIGRATION, age=0)
    assert objection(edited, MIGRATION, joined(MIGRATION)) is None
    assert decide(node(2), edited, IDLE, ready()) == StartSession(ORDER)
    same_id = running(2, 3, 5, number=1, master=2)
    assert objection(view(CURRENT, NEW, same_id), same_id, joined(MIGRATION)) is (
        Refusal.FOREIGN_SET
    )


@pytest.mark.parametrize("master", [1, None])
def test_a_master_outside_the_migration_set_is_refused(master: int | None) -> None:
    outside = replace(MIGRATION, master=None if master is None else node(master))
    state = view(CURRENT, NEW, outside)
    for me in (1, 2, 3, 4):
        assert decide(node(me), state, IDLE, ready(outside)) == Refuse(Refusal.MASTER_OUTSIDE)


def test_a_forced_migration_in_which_nobody_stays_is_refused() -> None:
    forced = running(4, 5, master=4)
    state = view(CURRENT, (4, 5), forced)
    for me in (1, 4):
        assert decide(node(me), state, IDLE, ready(forced)) == Refuse(Refusal.DISJOINT)


def test_orders_must_agree_with_what_this_node_sees() -> None:
    assert refused_order(STARTED, None, ORDER) is None
    assert refused_order(STARTED, joined(MIGRATION), ORDER) is None
    assert refused_order(REQUIRED, None, ORDER) == "no such migration runs"
    assert refused_order(replace(STARTED, stale=True), None, ORDER) == Waiting.STALE.value
    for wrong, reason in [
        (replace(ORDER, id=id_of(2)), "no such migration runs"),
        (replace(ORDER, new_nodes=set_of(2, 3).nodes), "another set or another master"),
        (replace(ORDER, master=node(3)), "another set or another master"),
    ]:
        assert reason in (refused_order(STARTED, joined(MIGRATION), wrong) or "")


# --- moving the keys --------------------------------------------------------------------------


def test_only_the_master_leads_the_session() -> None:
    for me in (1, 3, 4):
        assert decide(node(me), STARTED, IDLE, ready()) == Wait(Waiting.SESSION)


def test_the_session_begins_when_all_members_are_connected() -> None:
    for missing in (3, 4):
        facts = replace(ready(), connected=nodes(*NEW) - nodes(missing))
        assert decide(node(2), STARTED, IDLE, facts) == Wait(Waiting.CONNECTIONS)
    assert isinstance(
        decide(node(2), STARTED, IDLE, replace(ready(), connected=nodes(3, 4))), StartSession
    )


def test_a_session_that_would_lose_keys_is_not_begun() -> None:
    assert decide(node(2), STARTED, IDLE, replace(ready(), check=None)) == CheckKeys(
        MIGRATION.target
    )
    lossy = replace(ready(), check=KeyCheck(MIGRATION.target.id, (KEY,)))
    assert decide(node(2), STARTED, IDLE, lossy) == Refuse(Refusal.KEYS_AT_RISK, (KEY,))


def test_failed_sessions_are_repeated_after_a_pause() -> None:
    paused = replace(ready(), retry_at=100.1)
    assert decide(node(2), STARTED, IDLE, paused) == Wait(Waiting.BACK_OFF)
    assert isinstance(decide(node(2), STARTED, IDLE, replace(paused, now=100.1)), StartSession)
    pauses = [back_off(failures) for failures in (1, 2, 3, 6, 7, 8, 10_000)]
    assert pauses == [10, 20, 40, 320, 600, 600, 600]


# --- confirming -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("confirm", "action"),
    [
        (None, SendConfirm(id_of(1))),
        (sent(0, SentState.OPEN), Wait(Waiting.CONFIRMATIONS)),
        (sent(500, SentState.OPEN), Wait(Waiting.CONFIRMATIONS)),
        (sent(29), Wait(Waiting.CONFIRMATIONS)),
        (sent(30), SendConfirm(id_of(1))),
        (sent(29, SentState.REFUSED), Wait(Waiting.CONFIRMATIONS)),
        (sent(30, SentState.REFUSED), SendConfirm(id_of(1))),
        (sent(1, SentState.GIVEN_UP), Refuse(Refusal.GIVEN_UP)),
    ],
)
def test_a_confirmation_is_repeated_while_it_is_missing_on_chain(
    confirm: Sent | None, action: Action
) -> None:
    for me in (2, 3, 4):
        facts = replace(ready(succeeded=BLOCK - 1), confirm=confirm)
        assert decide(node(me), STARTED, IDLE, facts) == action


def test_who_has_confirmed_or_need_not_does_not_confirm() -> None:
    mined = replace(MIGRATION, confirmed=nodes(2, 4))
    state = view(CURRENT, NEW, mined)
    for me in (1, 2, 4):
        facts = ready(succeeded=BLOCK - 1)
        assert decide(node(me), state, IDLE, facts) == Wait(Waiting.CONFIRMATIONS)
    assert decide(node(3), state, IDLE, ready(succeeded=BLOCK - 1)) == SendConfirm(id_of(1))


def test_nobody_confirms_what_has_not_succeeded_here() -> None:
    assert decide(node(3), STARTED, IDLE, ready()) == Wait(Waiting.SESSION)
    assert not confirm_is_wanted(node(3), STARTED, joined(MIGRATION), id_of(1))
    done = joined(MIGRATION, succeeded=BLOCK)
    assert confirm_is_wanted(node(3), STARTED, done, id_of(1))
    assert not confirm_is_wanted(node(3), STARTED, done, id_of(2))
    assert not confirm_is_wanted(node(3), STARTED, None, id_of(1))
    assert not confirm_is_wanted(node(3), REQUIRED, done, id_of(1))
    assert not confirm_is_wanted(node(1), STARTED, done, id_of(1))
    assert not confirm_is_wanted(node(3), STARTED, replace(done, id=id_of(2)), id_of(1))


def test_the_master_moves_the_keys_again_after_sixty_blocks() -> None:
    confirmed = view(CURRENT, NEW, replace(MIGRATION, confirmed=nodes(2)))
    waits = decide(node(2), confirmed, IDLE, ready(succeeded=BLOCK - 59))
    assert waits == Wait(Waiting.CONFIRMATIONS)
    again = decide(node(2), confirmed, IDLE, ready(succeeded=BLOCK - 60))
    assert again == StartSession(ORDER)


def test_the_master_moves_the_keys_again_when_a_member_reports_failure() -> None:
    confirmed = view(CURRENT, NEW, replace(MIGRATION, confirmed=nodes(2)))
    reported = replace(ready(succeeded=BLOCK), left_behind=True)
    assert decide(node(2), confirmed, IDLE, reported) == StartSession(ORDER)
    paused = replace(reported, retry_at=110.0)
    assert decide(node(2), confirmed, IDLE, paused) == Wait(Waiting.BACK_OFF)
