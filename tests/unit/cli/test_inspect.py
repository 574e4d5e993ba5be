"""The operator's commands: what they ask, print and return."""

import json
from pathlib import Path
from typing import Any

import pytest

from keyserver.cli import inspect, operator_client
from keyserver.cli.main import main
from keyserver.cli.operator_client import OperatorClient, find_operator
from keyserver.cli.output import UNREACHABLE, USAGE, CommandError

KEY = "ab" * 32
CONTRACT = "0x" + "cd" * 20

STATUS: dict[str, Any] = {
    "node_id": "0x" + "01" * 64,
    "address": "0x" + "02" * 20,
    "version": "0.1.0",
    "pid": 42,
    "uptime_s": 7,
    "peer": "127.0.0.1:8083",
    "ready": False,
    "problems": [{"code": "no_quorum", "text": "1 of 3 nodes are reached"}],
    "warnings": [{"code": "balance_low", "text": "the account is nearly empty"}],
    "chain": {
        "chain_id": 5,
        "head": 9,
        "confirmed": 6,
        "lag": 0,
        "balance_wei": "12",
        "contracts": {"acl_contract": CONTRACT},
    },
    "node_set": {
        "epoch": 3,
        "nodes": [
            {
                "node_id": "0x" + "01" * 64,
                "address": "0x" + "02" * 20,
                "at": "127.0.0.1:8083",
                "is_current": True,
                "state": "self",
            }
        ],
    },
    "sessions": 0,
    "keys": 2,
    "keys_without_share": 1,
    "tasks": {"pending": 1},
    "answers": {},
    "signing": {"made": {"schnorr": 0, "frost": 2, "ecdsa": 7}, "presignatures": 4},
    "set_change": {
        "next_epoch": 1,
        "takes_part": None,
        "coordinated": None,
        "completed": None,
        "migration": None,
    },
    "avoided": [
        {
            "culprit": "0x" + "03" * 64,
            "address": "0x" + "04" * 20,
            "rule": "two_votes",
            "what": "voted for two values in one round",
            "since": 1_800_000_000,
            "until": 1_800_086_400,
        }
    ],
}

TASK = {
    "id": 1,
    "kind": "generate_server_key",
    "contract": CONTRACT,
    "key_id": f"0x{KEY}",
    "requester": None,
    "message": "0x4d4d4d4d4d4d4d",
    "state": "answered",
    "reason": "serverKeyGenerated",
    "attempts": 0,
    "first_seen_block": 3,
    "next_attempt_block": 0,
    "answers": [
        {
            "id": 1,
            "method": "serverKeyGenerated",
            "state": "broadcast",
            "nonce": 4,
            "transactions": [{"tx_hash": "0x" + "ee" * 32}],
            "mined_block": None,
            "failures": 0,
            "reason": "",
        }
    ],
}


class FakeOperator:
    """Answers by path, the last one again and again; notes what was asked."""

    def __init__(self, answers: dict[str, list[Any]]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    def get(self, path: str) -> Any:
        return self._next(f"GET {path}")

    def post(self, path: str) -> Any:
        return self._next(f"POST {path}")

    def _next(self, what: str) -> Any:
        self.asked.append(what)
        answers = self._answers[what]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> FakeOperator:
    fake = FakeOperator(
        {
            "GET /v1/status": [STATUS],
            "GET /v1/keys?limit=100": [{"keys": [], "next_after": None}],
            f"GET /v1/keys?limit=1&after={KEY}": [
                {"keys": [{"key_id": "0x01", "version": 1}], "next_after": "0x01"}
            ],
            f"GET /v1/keys/{KEY}": [{"key_id": f"0x{KEY}", "committee": [{"x": 1}]}],
            "GET /v1/requests": [{"requests": [TASK]}],
            "POST /v1/drain": [{"collecting": [{"contract": CONTRACT, "balance_wei": "5"}]}],
            "GET /v1/drain": [
                {"fees": [{"contract": CONTRACT, "balance_wei": "5"}]},
                {"fees": [{"contract": CONTRACT, "balance_wei": "0"}]},
            ],
        }
    )
    monkeypatch.setattr(inspect, "find_operator", lambda url, path, config: fake)
    monkeypatch.setattr(inspect, "DRAIN_POLL_S", 0.0)
    return fake


Output = pytest.CaptureFixture[str]


@pytest.mark.usefixtures("operator")
def test_status_for_people(capsys: Output) -> None:
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "5, head 9, confirmed 6, lag 0" in out
    assert "problem: 1 of 3 nodes are reached" in out
    assert "warning: the account is nearly empty" in out
    assert CONTRACT in out
    told = "avoided: 0x03030303… (0x04040404"
    assert told in out
    assert "voted for two values in one round; since 2027-01-15 08:00:00 UTC, until" in out


def test_status_tells_of_a_change_of_the_set(operator: FakeOperator, capsys: Output) -> None:
    def told(change: object) -> list[str]:
        operator._answers["GET /v1/status"] = [{**STATUS, "set_change": change}]
        assert main(["status"]) == 0
        lines = capsys.readouterr().out.splitlines()
        return [line[17:].strip() for line in lines if line.startswith("change of the set")]

    quiet, moving = STATUS["set_change"], {"phase": "moving", "why": "", "change_id": "0x01"}
    counts = {"keys_moved": 3, "keys_total": 9, "keys_kept": 0}
    on_chain = {"phase": "migrating", "why": "in progress"}
    assert told(quiet) == ["none goes on"]
    assert told({**quiet, "coordinated": moving | counts}) == ["moving"]
    assert told({**quiet, "migration": {"phase": "idle", "why": ""}}) == ["none goes on"]
    assert told({**quiet, "migration": on_chain}) == ["migrating: in progress"]
    both = {**quiet, "migration": on_chain, "coordinated": moving | counts}
    assert told(both) == ["migrating: in progress; 3 of 9 moved"]
    assert told(None) == []


@pytest.mark.usefixtures("operator")
def test_status_as_json(capsys: Output) -> None:
    assert main(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == STATUS


def test_status_without_a_chain(operator: FakeOperator, capsys: Output) -> None:
    operator._answers["GET /v1/status"] = [{**STATUS, "chain": None}]
    assert main(["status"]) == 0
    assert "balance" not in capsys.readouterr().out.split("warning")[0]


@pytest.mark.usefixtures("operator")
def test_keys(capsys: Output) -> None:
    assert main(["keys", "list"]) == 0
    assert capsys.readouterr().out == "no keys\n"
    assert main(["keys", "list", "--limit", "1", "--after", f"0x{KEY.upper()}"]) == 0
    assert "more: --after 0x01" in capsys.readouterr().out
    assert main(["keys", "show", KEY]) == 0
    assert KEY in capsys.readouterr().out
    assert main(["keys", "show", KEY, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key_id"] == f"0x{KEY}"
    assert main(["keys", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"keys": [], "next_after": None}


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("text", ["ab", "zz" * 32, "0x" + "ab" * 33])
def test_a_key_id_that_is_none(text: str, capsys: Output) -> None:
    assert main(["keys", "show", text]) == USAGE
    assert "ID: must be 64 hexadecimal digits" in capsys.readouterr().err
    assert main(["keys", "list", "--after", text]) == USAGE


@pytest.mark.usefixtures("operator")
def test_requests(capsys: Output) -> None:
    assert main(["requests"]) == 0
    out = capsys.readouterr().out
    assert "generate_server_key" in out
    assert "0x4d4d4d4d…" in out
    assert "0x" + "ee" * 32 in out
    assert main(["requests", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [TASK]


def test_nothing_is_pending(operator: FakeOperator, capsys: Output) -> None:
    operator._answers["GET /v1/requests"] = [{"requests": []}]
    assert main(["requests"]) == 0
    assert capsys.readouterr().out == "nothing is pending\n"


def test_drain_waits_until_it_is_paid(operator: FakeOperator, capsys: Output) -> None:
    assert main(["drain", "--json"]) == 0
    (paid,) = json.loads(capsys.readouterr().out)["collected"]
    assert paid == {"contract": CONTRACT, "balance_wei": "5", "paid_out": True}
    assert operator.asked == ["POST /v1/drain", "GET /v1/drain", "GET /v1/drain"]


def test_drain_that_is_not_paid_in_time(operator: FakeOperator, capsys: Output) -> None:
    del operator._answers["GET /v1/drain"][1]
    assert main(["drain", "--wait", "0.01"]) == 1
    captured = capsys.readouterr()
    assert CONTRACT in captured.out
    assert f"not paid out within 0.01 s: {CONTRACT}" in captured.err
    assert main(["drain", "--wait", "0"]) == 0  # who does not wait is not disappointed


def test_the_node_is_found_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / operator_client.FILE_NAME
    with pytest.raises(CommandError, match="no node runs with this data directory") as caught:
        find_operator(None, tmp_path, None)
    assert caught.value.exit_code == UNREACHABLE
    for text in ("not JSON", "[]", "{}"):
        file.write_text(text)
        with pytest.raises(CommandError, match="cannot be used") as caught:
            find_operator(None, tmp_path, None)
        assert caught.value.exit_code == USAGE
    file.write_text('{"url": "unix:/run/op.sock"}')
    assert find_operator(None, tmp_path, None).url == "unix:/run/op.sock"
    assert find_operator("http://127.0.0.1:1", tmp_path, None).url == "http://127.0.0.1:1"


def test_the_node_is_found_by_its_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[secretstore]\nself_secret = "{"11" * 32}"\npath = "{tmp_path}/data"\n')
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "operator.json").write_text('{"url": "http://127.0.0.1:9"}')
    assert find_operator(None, None, config).url == "http://127.0.0.1:9"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8090", "http://"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(CommandError, match="neither http") as caught:
        OperatorClient(url)
    assert caught.value.exit_code == USAGE


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [
        (400, {"error": {"message": "limit: too large"}}, USAGE, "limit: too large"),
        (404, {"error": {"message": "no record"}}, 1, "no record"),
        (503, {"error": {"message": "the chain is away"}}, UNREACHABLE, "the chain is away"),
        (500, [], 1, "status 500"),
    ],
)
def test_errors_of_the_node(
    monkeypatch: pytest.MonkeyPatch, status: int, body: Any, code: int, text: str
) -> None:
    answer = operator_client.Answer(status, body)
    monkeypatch.setattr(OperatorClient, "ask", lambda self, method, path: answer)
    with pytest.raises(CommandError, match=text) as caught:
        OperatorClient("http://127.0.0.1:1").get("/v1/status")
    assert caught.value.exit_code == code
