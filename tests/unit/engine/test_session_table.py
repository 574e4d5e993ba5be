from dataclasses import replace

from keyserver.engine.session_table import (
    COUNTER_WINDOW,
    MAX_PRESIGNINGS,
    MAX_SESSIONS_PER_PEER,
    CounterWindow,
    LiveSession,
    SessionTable,
)
from keyserver.model.identifiers import NodeId, Nonce32, SessionId
from keyserver.sessions.core import SessionKind
from keyserver.sessions.runner import Role
from tests.support.key_life import KEY_ID
from tests.support.keys import nodes_of

PEER, OTHER = nodes_of(2)
BOOT, REBOOT = Nonce32(b"\1" * 32), Nonce32(b"\2" * 32)


def _session(number: int, coordinator: NodeId = PEER, role: Role = Role.PARTICIPANT) -> LiveSession:
    subject = (SessionKind.GENERATION, KEY_ID)
    return LiveSession((SessionId(number.to_bytes(32, "big")), role), coordinator, 0.0, subject)


def test_both_roles_of_a_session_live_side_by_side() -> None:
    table = SessionTable()
    coordinator, participant = _session(1, role=Role.COORDINATOR), _session(1)
    table.add(coordinator)
    table.add(participant)
    assert list(table) == [coordinator, participant]
    assert table.get(coordinator.key) is coordinator
    assert len(table) == 2
    table.remove(coordinator)
    assert table.get(coordinator.key) is None
    assert list(table) == [participant]


def test_sessions_may_end_while_one_goes_through_them() -> None:
    table = SessionTable()
    for number in range(3):
        table.add(_session(number))
    for session in table:
        table.remove(session)
    assert len(table) == 0


def test_a_peer_fills_its_own_share_of_the_table_only() -> None:
    table = SessionTable()
    sessions = [_session(number) for number in range(MAX_SESSIONS_PER_PEER)]
    for session in sessions:
        assert not table.is_full_for(PEER, SessionKind.RETRIEVAL)
        table.add(session)
    assert table.is_full_for(PEER, SessionKind.RETRIEVAL)
    assert not table.is_full_for(OTHER, SessionKind.RETRIEVAL)
    table.remove(sessions[0])
    table.remove(sessions[0])
    assert not table.is_full_for(PEER, SessionKind.RETRIEVAL)
    table.add(sessions[0])
    assert table.is_full_for(PEER, SessionKind.RETRIEVAL)


def test_a_peer_has_so_many_presignings_and_other_sessions_besides() -> None:
    table = SessionTable()
    sessions = [
        replace(_session(number), subject=(SessionKind.PRESIGNING, _session(number).subject[1]))
        for number in range(MAX_PRESIGNINGS)
    ]
    for session in sessions:
        assert not table.is_full_for(PEER, SessionKind.PRESIGNING)
        table.add(session)
    assert table.is_full_for(PEER, SessionKind.PRESIGNING)
    assert not table.is_full_for(PEER, SessionKind.ECDSA)
    assert not table.is_full_for(OTHER, SessionKind.PRESIGNING)
    table.remove(sessions[0])
    assert not table.is_full_for(PEER, SessionKind.PRESIGNING)


def test_a_counter_counts_once() -> None:
    window = CounterWindow()
    assert window.use(PEER, BOOT, 5)
    assert not window.use(PEER, BOOT, 5)
    assert window.use(OTHER, BOOT, 5)
    assert window.use(PEER, BOOT, 3), "a younger session may overtake an older one"
    assert not window.use(PEER, BOOT, 3)


def test_a_new_process_counts_from_the_start() -> None:
    window = CounterWindow()
    assert window.use(PEER, BOOT, 900)
    assert window.use(PEER, REBOOT, 1)
    assert not window.use(PEER, REBOOT, 1)


def test_a_counter_far_behind_is_not_known_and_not_accepted() -> None:
    window = CounterWindow()
    assert window.use(PEER, BOOT, COUNTER_WINDOW + 10)
    assert not window.use(PEER, BOOT, 10)
    assert window.use(PEER, BOOT, 11)


def test_what_is_remembered_does_not_grow() -> None:
    window = CounterWindow()
    for counter in range(1, 5 * COUNTER_WINDOW):
        assert window.use(PEER, BOOT, counter)
    assert window.remembered(PEER) <= 2 * COUNTER_WINDOW
    for counter in (1, 5 * COUNTER_WINDOW - 1, 4 * COUNTER_WINDOW + 5):
        assert not window.use(PEER, BOOT, counter)
    assert window.remembered(OTHER) == 0


def test_parts_are_found_by_what_they_are_about_the_oldest_first() -> None:
    table = SessionTable()
    first, second, coordinator = _session(1), _session(2), _session(3, role=Role.COORDINATOR)
    for session in (first, second, coordinator):
        table.add(session)
    assert table.participants(first.subject) == [first, second]
    table.remove(first)
    assert table.participants(first.subject) == [second]
    table.remove(second)
    assert table.participants(first.subject) == []
