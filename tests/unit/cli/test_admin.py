"""`keyserver admin set-change`: what is shown, what is signed, and what is refused in words."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from keyserver.cli import admin
from keyserver.cli.main import main
from keyserver.model.identifiers import ZERO_HASH, Address, NodeId, Signature
from keyserver.model.node_set import NodeSet, static_set_contract
from keyserver.model.set_change import BoundOrder, CompletedChange, set_hash
from keyserver.model.set_change_rules import AdministratorView, judge_order
from tests.vectors.files import load, raw

FILE: dict[str, Any] = load("http-api")
CASES: dict[str, dict[str, Any]] = {case["name"]: case for case in FILE["servers_set_change"]}
ADMIN: dict[str, Any] = next(
    account
    for account in FILE["admin_accounts"]
    if account["public"] == CASES["replace-one"]["admin_public"]
)
NOW = 1_800_000_000

Output = pytest.CaptureFixture[str]


@pytest.fixture
def key(tmp_path: Path) -> list[str]:
    """The administrator's key file, encrypted, and its password."""
    file, password = tmp_path / "admin.json", tmp_path / "password"
    file.write_text(json.dumps(Account.encrypt(ADMIN["private_key"], "secret", iterations=1)))
    password.write_text("secret\n")
    return ["--key-file", str(file), "--password-file", str(password)]


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        @staticmethod
        def time() -> float:
            return NOW + 0.9

    monkeypatch.setattr(admin, "time", Clock)


def nodes(present: list[str], new: list[str]) -> list[str]:
    words = [word for node in present for word in ("--from", node)]
    return words + [word for node in new for word in ("--to", node)]


def of_case(name: str) -> list[str]:
    """The sets of a vector; nodes of the new set count as present ones."""
    return nodes(CASES[name]["old_set"], CASES[name]["new_set"])


def told(capsys: Output, *words: str) -> dict[str, Any]:
    assert main(["admin", "set-change", *words, "--json"]) == 0, capsys.readouterr().err
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: Output, *words: str) -> str:
    assert main(["admin", "set-change", *words]) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert out == ""
    return err


@pytest.mark.parametrize("name", CASES)
def test_the_published_calls_are_printed(capsys: Output, key: list[str], name: str) -> None:
    case = CASES[name]
    assert main(["admin", "set-change", "sign", *of_case(name), *key]) == 0
    out, err = capsys.readouterr()
    (line,) = (line for line in out.splitlines() if line.startswith("curl "))
    request = case["request"]
    url = f"http://127.0.0.1:8082{request['path']}"
    assert shlex.split(line) == ["curl", "--data-binary", request["body"], "-X", "POST", url]
    assert case["admin_public"] in out
    assert "count for ever" in err
    facts = told(capsys, "sign", *of_case(name), *key, "--node", "http://localhost:8084/")
    sent = facts["legacy"]["request"]
    assert {each: sent[each] for each in request} == request
    assert facts["legacy"]["old_set_signature"] == case["old_set_signature"]
    assert facts["legacy"]["new_set_signature"] == case["new_set_signature"]
    assert shlex.split(facts["legacy"]["curl"])[-1] == f"http://localhost:8084{request['path']}"
    assert "bound" not in facts


def test_the_private_key_is_not_printed(capsys: Output, key: list[str]) -> None:
    words = ["sign", *of_case("replace-one"), *key, "--form", "both", "--epoch", "1"]
    for more in ([], ["--json"]):
        assert main(["admin", "set-change", *words, *more]) == 0
        out, err = capsys.readouterr()
        assert ADMIN["private_key"][2:] not in out + err
        assert "secret" not in out + err


def test_plan(capsys: Output, tmp_path: Path) -> None:
    case = CASES["replace-one"]
    joining, leaving = case["new_set"][0], (set(case["old_set"]) - set(case["new_set"])).pop()
    present = [node for node in case["old_set"] if node != joining]
    file = tmp_path / "new.json"
    file.write_text(case["request"]["body"])
    given = [f"{node[2:].upper()}@10.0.0.1:8083" for node in present]
    facts = told(capsys, "plan", *nodes(given, [f"@{file}"]), "--threshold", "1")
    assert (facts["joining"], facts["leaving"]) == ([joining], [leaving])
    assert facts["staying"] == sorted(set(present) & set(case["new_set"]))
    assert facts["old_set"] == sorted(case["old_set"])
    assert facts["new_set"] == sorted(case["new_set"])
    assert facts["old_set_hash"] == case["old_set_hash"]
    assert facts["new_set_hash"] == case["new_set_hash"]
    assert facts["request"]["body"] == case["request"]["body"]
    assert facts["warnings"] == []


def test_plan_for_people(capsys: Output) -> None:
    assert main(["admin", "set-change", "plan", *of_case("replace-one"), "--threshold", "3"]) == 0
    out, err = capsys.readouterr()
    assert "leaving" in out
    assert CASES["replace-one"]["old_set_hash"] in out
    assert "warning: the new set has 3 nodes and keys with threshold 3 need 4" in err


@pytest.mark.parametrize(
    ("options", "chain_id", "contract"),
    [
        ([], 0, static_set_contract("")),
        (["--cluster-name", "north", "--chain-id", "5"], 5, static_set_contract("north")),
        (["--set-contract", "0x" + "c1" * 20, "--chain-id", "1"], 1, Address(b"\xc1" * 20)),
    ],
)
def test_a_bound_order_is_for_one_network(
    capsys: Output, key: list[str], options: list[str], chain_id: int, contract: Address
) -> None:
    sets = of_case("replace-one")
    words = ["--form", "bound", "--epoch", "7", "--valid-minutes", "5"]
    facts = told(capsys, "sign", *sets, *key, *words, *options)
    assert "legacy" not in facts
    fields = json.loads(facts["bound"]["request"]["body"])
    ids = [NodeId(raw(node)) for node in CASES["replace-one"]["old_set"]]
    old = NodeSet(chain_id, contract, tuple(sorted(ids)))
    order = BoundOrder(
        old.id,
        tuple(NodeId(raw(node)) for node in fields["new_set"]),
        fields["epoch"],
        fields["not_after"],
        Signature(raw(fields["signature"])),
    )
    assert fields["old_set_id"] == f"0x{old.id.hex()}"
    assert (order.epoch, order.not_after) == (7, NOW + 300)
    assert facts["bound"]["not_after"] == order.not_after
    assert facts["bound"]["request"]["path"] == "/v1/set-change"
    past = tuple(CompletedChange(epoch, ZERO_HASH, old, old, 0) for epoch in range(1, 7))
    view = AdministratorView(old, NodeId(raw(ADMIN["public"])), past, NOW)
    assert judge_order(order, view).old == old


def test_both_forms(capsys: Output, key: list[str]) -> None:
    words = ["sign", *of_case("replace-one"), *key, "--form", "both", "--epoch", "1"]
    facts = told(capsys, *words)
    assert facts["bound"]["signature"] != "0x" + facts["legacy"]["new_set_signature"]
    assert main(["admin", "set-change", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("curl ")]
    assert [words[-1].rsplit("8082", 1)[1].split("/")[1] for words in commands] == ["admin", "v1"]
    assert "Content-Type: application/json" in commands[1]


def test_the_hash_of_a_plan_is_what_json_rpc_tells(capsys: Output) -> None:
    facts = told(capsys, "plan", *of_case("mission-document-example"))
    ids = [NodeId(raw(node)) for node in CASES["mission-document-example"]["old_set"]]
    assert facts["old_set_hash"] == f"0x{set_hash(ids).hex()}"


def test_what_is_refused(capsys: Output, key: list[str], tmp_path: Path) -> None:
    sets, one = of_case("replace-one"), CASES["replace-one"]["old_set"][0]
    assert "--epoch: is needed" in refused(capsys, "sign", *sets, *key, "--form", "bound")
    assert "--epoch: is for bound" in refused(capsys, "sign", *sets, *key, "--epoch", "1")
    assert "--key-file FILE" in refused(capsys, "sign", *sets)
    assert "--password-file" in refused(capsys, "sign", *sets, *key[:2])
    assert "http(s)://HOST:PORT" in refused(capsys, "sign", *sets, *key, "--node", "ftp://x")
    assert "epoch: must be" in refused(
        capsys, "sign", *sets, *key, "--form", "bound", "--epoch", "0"
    )
    assert "--from: 12: must be 128" in refused(capsys, "plan", *nodes(["12"], [one]))
    off_curve = refused(capsys, "plan", *nodes([one], ["0x" + "55" * 64]))
    assert "--to: 0x5555555555555555555555…: not a point" in off_curve
    named = ["--cluster-name", "x", "--set-contract", "0x" + "c1" * 20]
    assert "--cluster-name: names a set that is configured" in refused(
        capsys, "plan", *sets, *named
    )
    assert "--set-contract: must be 40" in refused(capsys, "plan", *sets, "--set-contract", "0x1")
    empty = tmp_path / "empty.json"
    for content in ("[]", "{}", "[1]", "nothing"):
        empty.write_text(content)
        rule = "must have at least one node" if content == "[]" else "must be a JSON array"
        assert rule in refused(capsys, "plan", *nodes([one], [f"@{empty}"]))


def test_a_file_that_is_not_there(capsys: Output, tmp_path: Path) -> None:
    one = CASES["replace-one"]["old_set"][0]
    words = nodes([f"@{tmp_path / 'nothing'}"], [one])
    assert main(["admin", "set-change", "plan", *words]) == 1
    assert "No such file" in capsys.readouterr().err


def test_the_four_steps_are_offered(capsys: Output) -> None:
    assert main(["admin", "set-change", "--help"]) == 0
    words = capsys.readouterr().out.split()
    assert {"plan", "sign", "run", "status"} <= set(words)
