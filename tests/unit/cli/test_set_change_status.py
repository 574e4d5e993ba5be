"""`keyserver migration status` and `keyserver admin set-change status`, from what a node tells."""

import json
from typing import Any

import pytest

from keyserver.cli import admin_run, migration
from keyserver.cli.main import main

Output = pytest.CaptureFixture[str]

A, B, C = (f"0x{digit * 128}" for digit in "abc")
CHANGE_ID, OTHER_ID, KEY = "0x" + "11" * 32, "0x" + "22" * 32, "0x" + "99" * 32

QUIET: dict[str, Any] = {
    "next_epoch": 1,
    "takes_part": None,
    "coordinated": None,
    "completed": None,
    "migration": None,
}
MOVING = {
    "change_id": CHANGE_ID,
    "phase": "moving",
    "keys_total": 200,
    "keys_moved": 120,
    "missing": [C],
    "keys_kept": 3,
    "kept": [{"key_id": KEY, "why": "too few of its holders can be reached"}],
    "why": "",
}
RUNNING = {"change_id": CHANGE_ID, "exclusive": True, "old_set": [A, B], "new_set": [B, C]}
COMPLETED = {
    "epoch": 4,
    "change_id": OTHER_ID,
    "old_set": [A],
    "new_set": [A, B],
    "completed_at": 1_800_000_000,
}
MIGRATION: dict[str, Any] = {
    "phase": "migrating",
    "why": "members of the migration set are not connected",
    "refused": False,
    "block": 77,
    "stale": False,
    "id": OTHER_ID,
    "master": B,
    "current_set": [A, B],
    "target_set": [B, C],
    "confirmed": [B],
    "unconfirmed": [C],
    "missing": [C],
    "keys_at_risk": 0,
    "at_risk": [],
    "session": "failed",
    "session_failure": "a node went away",
    "start": {"state": "done", "block": 70},
    "confirm": None,
}


class FakeOperator:
    """A node's operator listener that knows one thing."""

    def __init__(self) -> None:
        self.facts = QUIET

    def get(self, path: str) -> Any:
        assert path == "/v1/set-change"
        return self.facts


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> FakeOperator:
    fake = FakeOperator()
    for module in (admin_run, migration):
        monkeypatch.setattr(module, "find_operator", lambda url, path, config: fake)
    return fake


def told(capsys: Output, command: str) -> dict[str, str]:
    """What is printed, as values by their names."""
    assert main(command.split()) == 0
    lines = [line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if "  " in line]
    return {name: value.strip() for name, value in lines}


BOTH = pytest.mark.parametrize("command", ["admin set-change status", "migration status"])


@BOTH
def test_as_json_it_is_what_the_node_says(node: FakeOperator, capsys: Output, command: str) -> None:
    node.facts = QUIET | {"coordinated": MOVING, "migration": MIGRATION}
    assert main([*command.split(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == node.facts


@BOTH
def test_nothing_goes_on(node: FakeOperator, capsys: Output, command: str) -> None:
    lines = told(capsys, command)
    assert lines == {"change": "none goes on", "completed": "none", "next epoch": "1"}


@BOTH
def test_a_change_at_its_coordinator(node: FakeOperator, capsys: Output, command: str) -> None:
    node.facts = QUIET | {"coordinated": MOVING, "takes_part": RUNNING, "completed": COMPLETED}
    node.facts["next_epoch"] = 5
    lines = told(capsys, command)
    assert lines["change"] == "moving"
    assert lines["keys"] == "120 of 200 moved, 3 do not move"
    assert lines["not taking part"] == "0xcccccccc…"
    assert lines["clients wait"] == "yes"
    assert lines["to"] == "0xbbbbbbbb…, 0xcccccccc…"
    assert lines["completed"] == "4, the last one at 2027-01-15 08:00:00 UTC"
    assert lines["next epoch"] == "5"
    assert main(command.split()) == 0
    out = capsys.readouterr().out
    assert KEY in out
    assert "too few of its holders can be reached" in out


def test_a_change_that_failed_and_why(node: FakeOperator, capsys: Output) -> None:
    node.facts = QUIET | {"coordinated": MOVING | {"phase": "failed", "why": "3 keys stay"}}
    assert told(capsys, "admin set-change status")["change"] == "failed: 3 keys stay"


def test_a_change_that_another_node_leads(node: FakeOperator, capsys: Output) -> None:
    old = MOVING | {"change_id": OTHER_ID, "phase": "done"}
    node.facts = QUIET | {"coordinated": old, "takes_part": RUNNING}
    lines = told(capsys, "admin set-change status")
    assert lines["change"] == "goes on; another node leads and counts the keys"
    assert "keys" not in lines


def test_a_migration(node: FakeOperator, capsys: Output) -> None:
    node.facts = QUIET | {"migration": MIGRATION}
    lines = told(capsys, "migration status")
    assert lines["phase"] == "migrating"
    assert lines["now"] == MIGRATION["why"]
    assert lines["led by"] == B
    assert lines["keys"] == "the node that leads counts them"
    assert lines["moving, here"] == "failed: a node went away"
    assert lines["not connected"] == lines["not confirmed"] == "0xcccccccc…"
    assert lines["confirmed"] == "0xbbbbbbbb…"
    assert lines["startMigration"] == "done, block 70"
    assert "confirmMigration" not in lines
    node.facts = QUIET | {"migration": MIGRATION | {"stale": True}, "coordinated": MOVING}
    lines = told(capsys, "migration status")
    assert lines["phase"] == "migrating (the chain cannot be asked)"
    assert lines["keys"] == "120 of 200 moved, 3 do not move"


def test_what_was_counted_before_belongs_to_no_new_migration(
    node: FakeOperator, capsys: Output
) -> None:
    done = MOVING | {"phase": "done", "keys_moved": 200, "keys_kept": 0}
    for phase, keys in (
        ("confirming", "200 of 200 moved"),
        ("required", "the node that leads counts them"),
    ):
        node.facts = QUIET | {"migration": MIGRATION | {"phase": phase}, "coordinated": done}
        assert told(capsys, "migration status")["keys"] == keys


def test_nothing_is_asked_for_on_chain(node: FakeOperator, capsys: Output) -> None:
    idle = {"phase": "idle", "why": "current and new set have the same members"}
    node.facts = QUIET | {"migration": MIGRATION | idle}
    lines = told(capsys, "migration status")
    assert set(lines) == {"phase", "now", "block", "completed", "next epoch"}


def test_a_migration_that_is_refused(node: FakeOperator, capsys: Output) -> None:
    refused = {"phase": "refused", "refused": True, "why": "1 keys …", "at_risk": [KEY]}
    node.facts = QUIET | {"migration": MIGRATION | refused | {"keys_at_risk": 1}}
    assert main(["migration", "status"]) == 0
    out = capsys.readouterr().out
    assert "refused" in out
    assert KEY in out
    assert "fewer than t + 1 holders" in out
