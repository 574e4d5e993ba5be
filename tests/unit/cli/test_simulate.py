"""`keyserver simulate`: what it prints, writes and returns."""

import json
from pathlib import Path

import pytest

from keyserver.cli.main import main
from keyserver.simulation.runner import Finding
from keyserver.simulation.scenarios.plan import Plan
from keyserver.simulation.scenarios.registry import SCENARIOS, Scenario
from keyserver.simulation.scenarios.violation import Violation


async def _violate(_seed: int, plan: Plan) -> None:
    if plan.nodes > 1:
        raise Violation("a rule", "a place")


def test_the_list_names_all_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--list", "--json"]) == 0
    assert [row["scenario"] for row in json.loads(capsys.readouterr().out)] == list(SCENARIOS)


def test_runs_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["simulate", "--seeds", "4", "--scenario", "quiet", "--jobs", "1", "--json"]
    assert main(wanted) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["seeds"], told["violations"], told["findings"]) == (4, 0, [])
    assert [row["scenario"] for row in told["scenarios"]] == ["quiet"]


def test_an_unknown_scenario_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--scenario", "none"]) == 1
    assert "there is no scenario 'none'" in capsys.readouterr().err


def test_a_replay_shows_a_violation_and_a_smaller_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    made_up = Scenario("made up", "", _violate, lambda _seed, _name: Plan(5, 2))
    monkeypatch.setitem(SCENARIOS, "made up", made_up)
    path = tmp_path / "found.json"
    path.write_text(json.dumps(Finding("made up", 3, "", "", Plan(5, 2)).to_json()))
    assert main(["simulate", "--replay", str(path)]) == 1
    out = capsys.readouterr().out
    assert "made up, seed 3: a rule" in out
    (written,) = tmp_path.glob("violation-*.json")
    smaller = Finding.from_json(json.loads(written.read_text()))
    assert (smaller.plan.nodes, smaller.plan.threshold) == (2, 0)


def test_a_replay_that_shows_nothing_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    path.write_text(json.dumps({"scenario": "quiet", "seed": 1}))
    assert main(["simulate", "--replay", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"violations": 0}


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"scenario": "quiet"}', b"\xff"])
def test_a_file_that_is_no_finding_is_told(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    path.write_bytes(text)
    assert main(["simulate", "--replay", str(path)]) in (1, 2)
