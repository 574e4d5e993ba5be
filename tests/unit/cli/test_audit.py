"""`keyserver audit verify`: names the first bad line."""

import json
from pathlib import Path

import pytest

from keyserver.cli.main import main
from keyserver.cli.output import FAILED, USAGE
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.ecdsa import sign_alone
from keyserver.model.identifiers import NodeId
from keyserver.sealing.audit import Event, Head, checkpoint_event, next_entry
from keyserver.sealing.ports import SYSTEM, AuditOutcome

KEY = SecretScalar.from_int(7)
NODE = NodeId.of(KEY.public())

Output = pytest.CaptureFixture[str]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    head, lines = Head(), b""
    events = [Event("seal.rotate", AuditOutcome.OK, SYSTEM, {"term": n}, 0) for n in range(3)]
    for event in events:
        entry = next_entry(head, "r", event)
        head, lines = entry.head, lines + entry.line
    signed = checkpoint_event(head, lambda digest: sign_alone(KEY, digest), 1_800_000_000_000)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(lines + next_entry(head, "r", signed).line)
    return path


def verify(*arguments: object) -> int:
    return main(["audit", "verify", *map(str, arguments)])


def test_a_good_log(log: Path, capsys: Output) -> None:
    assert verify(log, "--node-id", f"0x{NODE.hex()}") == 0
    assert "2027-01-15" in capsys.readouterr().out
    assert verify(log, "--json") == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert (facts["valid"], facts["entries"], facts["checkpoints"]) == (True, 4, 1)
    assert facts["node_id"] == f"0x{NODE.hex()}"


def test_what_is_not_signed_is_said(log: Path, capsys: Output) -> None:
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:3]))
    assert verify(log) == 0
    assert "entries from 1 on are not under the node's signature" in capsys.readouterr().out


def test_the_first_bad_line_is_named(log: Path, tmp_path: Path, capsys: Output) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(log.read_bytes().replace(b'"term":1', b'"term":5'))
    assert verify(log, bad) == FAILED
    output = capsys.readouterr()
    assert f"{bad}: line 2: its hash does not fit its content" in output.err
    assert str(log) not in output.err
    assert verify(bad, "--json") == FAILED
    (facts,) = json.loads(capsys.readouterr().out)
    assert (facts["valid"], facts["bad_line"]) == (False, 2)


def test_another_nodes_log(log: Path, capsys: Output) -> None:
    other = NodeId.of(SecretScalar.from_int(8).public()).hex()
    assert verify(log, "--node-id", other) == FAILED
    said = capsys.readouterr().err
    assert f"line 4: it is a checkpoint signed by node 0x{NODE.hex()}, not 0x{other}" in said
    assert "--node-id is wrong: compare with `keyserver seal status`" in said


def test_lines_cut_off_show_by_a_head_known_from_elsewhere(log: Path, capsys: Output) -> None:
    *kept, last = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(kept))
    head = json.loads(last)["hash"]
    assert verify(log, "--head", head) == FAILED
    assert "cut off" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--node-id", "--head"])
def test_wrong_use(log: Path, option: str, capsys: Output) -> None:
    assert verify(log, option, "xyz") == USAGE
    assert f"{option}: must be" in capsys.readouterr().err


def test_a_missing_file(tmp_path: Path, capsys: Output) -> None:
    assert verify(tmp_path / "none") == FAILED
    assert "No such file" in capsys.readouterr().err
