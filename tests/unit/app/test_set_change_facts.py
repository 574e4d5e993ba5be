"""What operators are told about changes of the node set, and what of it is measured."""

from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest

from keyserver.api.operator_set_change import SetChangeFacts
from keyserver.api.rendering import to_json
from keyserver.app.set_change_facts import set_change_facts, set_change_troubles
from keyserver.app.set_change_metrics import SetChangeMetrics, measure_set_change
from keyserver.engine.set_change_progress import MOST_TOLD, ChangePhase, ChangeProgress
from keyserver.model.identifiers import KeyId
from keyserver.model.set_change import CompletedChange, SetChange
from keyserver.tasks.migration import (
    KeyCheck,
    MigrationFacts,
    Sent,
    SentState,
    SessionPhase,
    SessionState,
)
from keyserver.tasks.migration_status import MigrationStatus, status_of
from tests.support.migrations import BLOCK, id_of, joined, node, nodes, running, set_of, view

OLD, NEW = set_of(1, 2, 3, 4), set_of(2, 3, 4)
CHANGE = SetChange.ordered(OLD, NEW)
PAST = CompletedChange(7, id_of(9), OLD, OLD, 1_800_000_000)
KEY = KeyId(b"\x0a" * 32)
PROGRESS = ChangeProgress(
    CHANGE.id,
    ChangePhase.MOVING,
    total=5,
    moved=3,
    missing=nodes(4, 1),
    kept={KEY: "too few"},
    keys_kept=1,
)
MIGRATION = running(2, 3, 4, master=2, confirmed=(3,))
STATUS = status_of(
    node(2),
    view((1, 2, 3, 4), (2, 3, 4), MIGRATION),
    SessionState(SessionPhase.FAILED, MIGRATION.id, "a node went away"),
    MigrationFacts(
        joined=joined(MIGRATION), confirm=Sent(BLOCK, SentState.OPEN), connected=nodes(1, 2, 3)
    ),
)


def facts(
    progress: ChangeProgress | None = None, migration: MigrationStatus | None = None
) -> SetChangeFacts:
    return set_change_facts([PAST], None, progress, migration, is_exclusive=False)


def test_a_node_that_never_changed_anything() -> None:
    told = set_change_facts([], None, None, None, is_exclusive=False)
    assert told == SetChangeFacts(1, None, None, None, None)
    assert set_change_troubles(told) == ()


def test_a_change_at_its_coordinator_and_elsewhere() -> None:
    told = set_change_facts([PAST], CHANGE, PROGRESS, None, is_exclusive=True)
    assert told.next_epoch == 8
    assert told.completed is not None
    assert (told.completed.epoch, told.completed.change_id) == (7, id_of(9))
    assert told.takes_part is not None
    assert (told.takes_part.change_id, told.takes_part.exclusive) == (CHANGE.id, True)
    assert told.takes_part.new_set == NEW.nodes
    change = told.coordinated
    assert change is not None
    assert (change.phase, change.keys_moved, change.keys_total) == ("moving", 3, 5)
    assert change.missing == (node(1), node(4))
    assert [(kept.key_id, kept.why) for kept in change.kept] == [(KEY, "too few")]
    elsewhere = set_change_facts([], CHANGE, None, None, is_exclusive=False)
    assert elsewhere.coordinated is None
    assert elsewhere.takes_part is not None
    assert not elsewhere.takes_part.exclusive


def test_a_migration() -> None:
    told = facts(migration=STATUS).migration
    assert told is not None
    assert (told.phase, told.refused, told.block, told.stale) == ("migrating", False, BLOCK, False)
    assert told.why == STATUS.why
    assert (told.id, told.master) == (MIGRATION.id, node(2))
    assert (told.current_set, told.target_set) == (OLD.nodes, NEW.nodes)
    assert (told.confirmed, told.unconfirmed) == ((node(3),), (node(2), node(4)))
    assert told.missing == (node(4),)
    assert (told.session, told.session_failure) == ("failed", "a node went away")
    assert told.start is None
    assert told.confirm is not None
    assert (told.confirm.state, told.confirm.block) == ("open", BLOCK)


def refused(keys: int) -> MigrationStatus:
    at_risk = tuple(KeyId(number.to_bytes(32, "big")) for number in range(keys))
    seen = view((1, 2, 3, 4), (2, 3, 4))
    check = KeyCheck(NEW.id, at_risk)
    session = SessionState()
    return status_of(node(2), seen, session, MigrationFacts(check=check, connected=nodes(3, 4)))


def test_keys_at_risk_are_counted_and_the_first_ones_named() -> None:
    told = facts(migration=refused(MOST_TOLD + 5)).migration
    assert told is not None
    assert (told.phase, told.refused, told.keys_at_risk) == ("refused", True, MOST_TOLD + 5)
    assert len(told.at_risk) == MOST_TOLD


def test_what_does_not_go_on_by_itself_is_a_warning() -> None:
    assert set_change_troubles(facts(replace(PROGRESS, keys_kept=0), STATUS)) == ()
    failed = replace(PROGRESS, phase=ChangePhase.FAILED, why="node 4 is away")
    found = {each.code: each.text for each in set_change_troubles(facts(failed, refused(2)))}
    assert set(found) == {"migration_refused", "set_change_failed", "keys_kept"}
    assert "2 keys would be left with fewer than t + 1 holders" in found["migration_refused"]
    assert "node 4 is away" in found["set_change_failed"]


def test_everything_has_a_form_in_json() -> None:
    told = set_change_facts([PAST], CHANGE, PROGRESS, STATUS, is_exclusive=True)
    written = to_json(told)
    assert isinstance(written, dict)
    migration = written["migration"]
    assert isinstance(migration, dict)
    assert migration["master"] == f"0x{node(2).hex()}"


def text_of(*told: SetChangeFacts) -> list[str]:
    registry = CollectorRegistry()
    metrics = SetChangeMetrics(registry)
    for each in told:
        measure_set_change(metrics, each)
    return generate_latest(registry).decode().splitlines()


def test_metrics_of_a_change() -> None:
    running_here = set_change_facts([PAST], CHANGE, PROGRESS, None, is_exclusive=False)
    lines = text_of(running_here)
    assert "keyserver_set_changes_completed 7.0" in lines
    assert "keyserver_set_change_running 1.0" in lines
    assert 'keyserver_set_change_phase{phase="moving"} 1.0' in lines
    assert 'keyserver_set_change_keys{state="total"} 5.0' in lines
    assert 'keyserver_set_change_keys{state="moved"} 3.0' in lines
    assert 'keyserver_set_change_keys{state="kept"} 1.0' in lines
    assert "keyserver_set_change_missing_nodes 2.0" in lines
    assert not any(line.startswith("keyserver_migration_phase{") for line in lines)
    lines = text_of(running_here, facts(replace(PROGRESS, phase=ChangePhase.DONE, moved=5)))
    assert "keyserver_set_change_running 0.0" in lines
    assert 'keyserver_set_change_phase{phase="moving"} 0.0' in lines
    assert 'keyserver_set_change_phase{phase="done"} 1.0' in lines


def test_metrics_of_a_migration() -> None:
    lines = text_of(facts(migration=STATUS))
    assert 'keyserver_migration_phase{phase="migrating"} 1.0' in lines
    assert 'keyserver_migration_phase{phase="refused"} 0.0' in lines
    assert "keyserver_migration_unconfirmed_nodes 2.0" in lines
    assert "keyserver_migration_missing_nodes 1.0" in lines
    assert "keyserver_migration_keys_at_risk 3.0" in text_of(facts(migration=refused(3)))
