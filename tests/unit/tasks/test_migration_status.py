"""What an operator is told about a migration."""

from dataclasses import replace

import pytest

from keyserver.model.identifiers import KeyId
from keyserver.tasks.migration import (
    IDLE,
    KeyCheck,
    MigrationFacts,
    MigrationView,
    Refusal,
    Sent,
    SentState,
    SessionPhase,
    SessionState,
    Waiting,
)
from keyserver.tasks.migration_status import MigrationPhase, MigrationStatus, status_of
from tests.support.migrations import BLOCK, id_of, joined, node, nodes, planned, running, safe, view

CURRENT, NEW = (1, 2, 3), (2, 3, 4)
MIGRATION = running(*NEW, master=2, confirmed=(3,))
REQUIRED = view(CURRENT, NEW)
STARTED = view(CURRENT, NEW, MIGRATION)
DONE = MigrationFacts(joined=joined(MIGRATION, succeeded=BLOCK - 1))


def status(
    state: MigrationView, facts: MigrationFacts | None = None, session: SessionState = IDLE
) -> MigrationStatus:
    return status_of(node(2), state, session, facts or MigrationFacts())


@pytest.mark.parametrize(
    ("state", "facts", "phase"),
    [
        (view(CURRENT, CURRENT), MigrationFacts(), MigrationPhase.IDLE),
        (view(CURRENT, NEW, age=4), MigrationFacts(), MigrationPhase.DELAYED),
        (REQUIRED, MigrationFacts(), MigrationPhase.REQUIRED),
        (STARTED, MigrationFacts(), MigrationPhase.MIGRATING),
        (STARTED, DONE, MigrationPhase.CONFIRMING),
        (
            STARTED,
            replace(DONE, confirm=Sent(BLOCK, SentState.OPEN)),
            MigrationPhase.CONFIRMING,
        ),
        (view(CURRENT, (5, 6)), MigrationFacts(), MigrationPhase.REFUSED),
        (replace(view(CURRENT, CURRENT), stale=True), MigrationFacts(), MigrationPhase.IDLE),
        (replace(REQUIRED, stale=True), MigrationFacts(), MigrationPhase.REQUIRED),
    ],
)
def test_phases(state: MigrationView, facts: MigrationFacts, phase: MigrationPhase) -> None:
    assert status(state, facts).phase is phase


def test_a_node_in_neither_set_has_nothing_to_tell() -> None:
    for state in (REQUIRED, STARTED):
        told = status_of(node(7), state, IDLE, MigrationFacts())
        assert (told.phase, told.waiting_for) == (MigrationPhase.IDLE, Waiting.NOT_CONCERNED)


def test_before_the_start_it_names_the_elected_node_and_its_id() -> None:
    facts = MigrationFacts(plan=planned(REQUIRED, 5), start=Sent(BLOCK, SentState.OPEN))
    told = status(REQUIRED, facts)
    assert (told.id, told.master) == (id_of(5), node(2))
    assert told.start == facts.start
    assert told.waiting_for is Waiting.START
    assert told.why == Waiting.START.value
    assert told.target.nodes == REQUIRED.new.nodes
    assert not told.confirmed | told.unconfirmed | told.missing
    other = status(REQUIRED, replace(facts, plan=planned(STARTED, 5), start=None))
    assert other.id == id_of(5)
    assert status(REQUIRED, replace(facts, plan=planned(view(CURRENT, (2, 5))))).id is None


def test_while_it_runs_it_tells_who_has_confirmed_and_who_is_missing() -> None:
    told = status(STARTED, replace(DONE, connected=nodes(1, 3)))
    assert (told.id, told.master) == (id_of(1), node(2))
    assert (told.confirmed, told.unconfirmed) == (nodes(3), nodes(2, 4))
    assert told.missing == nodes(4)
    assert told.why == "in progress"
    active = SessionState(SessionPhase.ACTIVE, id_of(1))
    assert status(STARTED, DONE, active).waiting_for is Waiting.SESSION


def test_what_is_refused_is_told_with_its_reason() -> None:
    foreign = status(view(CURRENT, (2, 3, 5), MIGRATION))
    assert (foreign.refused, foreign.why) == (Refusal.FOREIGN_SET, Refusal.FOREIGN_SET.value)
    key = KeyId(bytes(32))
    lossy = status(REQUIRED, MigrationFacts(check=KeyCheck(REQUIRED.new.id, (key,))))
    assert lossy.keys_at_risk == (key,)
    assert lossy.why == "1 keys would be left with fewer than t + 1 holders"
    fine = status(REQUIRED, MigrationFacts(check=safe(REQUIRED.new)))
    assert fine.refused is None
