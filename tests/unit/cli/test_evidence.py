"""`keyserver evidence`: lists, saves, and judges without any node."""

import json
from pathlib import Path
from typing import Any

import pytest

from keyserver.cli import evidence
from keyserver.cli.main import main
from keyserver.cli.output import FAILED, USAGE
from keyserver.sessions.evidence import encode_evidence, evidence_hash
from tests.support.evidence import Sample, samples

NAME = "ee" * 32
OFFENCE = {
    "evidence": f"0x{NAME}",
    "culprit": "0x" + "03" * 64,
    "rule": "two_votes",
    "key_id": "0x" + "4b" * 32,
    "since": 1_800_000_000,
}

Output = pytest.CaptureFixture[str]


class FakeOperator:
    def __init__(self, record: bytes) -> None:
        self._answers = {
            "/v1/evidence": {"evidence": [OFFENCE]},
            f"/v1/evidence/{NAME}": {"evidence": f"0x{NAME}", "record": f"0x{record.hex()}"},
        }

    def get(self, path: str) -> Any:
        return self._answers[path]


@pytest.fixture
def sample() -> Sample:
    return samples()["wrong partial"]


@pytest.fixture
def record(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> bytes:
    data = encode_evidence(sample.evidence)
    monkeypatch.setattr(evidence, "find_operator", lambda *_: FakeOperator(data))
    return data


@pytest.mark.usefixtures("record")
def test_list(capsys: Output) -> None:
    assert main(["evidence", "list"]) == 0
    out = capsys.readouterr().out
    assert NAME in out
    assert "2027-01-15 08:00:00 UTC" in out
    assert main(["evidence", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"evidence": [OFFENCE]}


def test_show_and_verify(sample: Sample, record: bytes, tmp_path: Path, capsys: Output) -> None:
    file = tmp_path / "cheat.evidence"
    assert main(["evidence", "show", f"0x{NAME}", "--out", str(file)]) == 0
    assert file.read_bytes() == record
    capsys.readouterr()
    assert main(["evidence", "verify", str(file), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["culprit"] == f"0x{sample.culprit.hex()}"
    assert told["rule"] == "wrong_partial"
    assert told["evidence"] == f"0x{evidence_hash(record).hex()}"
    assert told["session"] is not None
    assert main(["evidence", "verify", str(file)]) == 0
    assert "partial decryption" in capsys.readouterr().out


def test_verify_says_why_nobody_is_convicted(record: bytes, tmp_path: Path, capsys: Output) -> None:
    file = tmp_path / "cheat.evidence"
    file.write_bytes(record[:-1] + bytes([record[-1] ^ 1]))
    assert main(["evidence", "verify", str(file), "--json"]) == FAILED
    captured = capsys.readouterr()
    assert json.loads(captured.out)["valid"] is False
    assert "convicts nobody" in captured.err
    file.write_bytes(b"a holiday picture")
    assert main(["evidence", "verify", str(file)]) == FAILED
    assert "no evidence" in capsys.readouterr().err
    assert main(["evidence", "verify", str(tmp_path / "nowhere")]) == FAILED


@pytest.mark.usefixtures("record")
def test_a_name_is_checked(tmp_path: Path, capsys: Output) -> None:
    for name in ("12", "zz" * 32):
        assert main(["evidence", "show", name, "--out", str(tmp_path / "x")]) == USAGE
        assert "HASH" in capsys.readouterr().err
