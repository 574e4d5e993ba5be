"""What imicros-keys does with shares, verify hashes, its database and its log, tried on us.

Each test is named after what the original was seen to do (sealing, A5, A7 and Part B).
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from keyserver.cli.main import main
from keyserver.cli.output import FAILED
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.ecdsa import sign_alone
from keyserver.sealing.audit import Entry, entry_hash
from keyserver.sealing.errors import AuditUnavailableError
from keyserver.sealing.imicros.errors import ImicrosShareError, VerifyHashError
from keyserver.sealing.imicros.plan import make_plan
from keyserver.sealing.imicros.shares import combine, parse_share
from keyserver.sealing.imicros.verify_hash import parse_verify_hash
from keyserver.sealing.ports import SYSTEM, AuditOutcome
from keyserver.storage.audit_file import AuditFiles
from tests.support.imicros import MASTER, SHARES, VERIFY_HASH, answers, database, planned
from tests.support.manual_clock import ManualClock
from tests.vectors.files import load

FOREIGN: list[str] = next(
    one["shares"] for one in load("sealing")["secretsjs"]["sets"] if one["name"] == "imicros-5-3"
)
HEADER, SALT, HASH = VERIFY_HASH[:16], VERIFY_HASH[16:48], VERIFY_HASH[48:]


@pytest.mark.parametrize("kept", [16, 1, 0])
def test_b03_a_verify_hash_cut_short_confirms_keys(kept: int) -> None:
    """With no bytes of the hash left the original takes every key for the right one."""
    cut = HEADER + SALT + HASH[: 2 * kept]
    with pytest.raises(VerifyHashError, match="need 112"):
        parse_verify_hash(cut)
    with pytest.raises(VerifyHashError):
        parse_verify_hash(cut.ljust(112, " "))


def test_b03_a_verify_hash_says_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """3,000,000 rounds block the original's whole process; here the number is not the caller's."""
    rounds: list[int] = []

    def count(name: str, password: bytes, salt: bytes, iterations: int, size: int) -> bytes:
        rounds.append(iterations)
        return bytes(size)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", count)
    many = "00000010" + (3_000_000).to_bytes(4, "big").hex() + SALT + HASH
    with pytest.raises(VerifyHashError, match="100000 rounds"):
        parse_verify_hash(many)
    assert not rounds
    parse_verify_hash(VERIFY_HASH).confirms(MASTER.text)
    assert rounds == [100_000]


def test_b03_a_foreign_set_of_shares_makes_the_master_key() -> None:
    """With a hash of no bytes, three shares of another set unseal the original."""
    foreign = [parse_share(text) for text in FOREIGN[:3]]
    with pytest.raises(ImicrosShareError, match="not the one of the verify hash"):
        combine(foreign, parse_verify_hash(VERIFY_HASH))


def test_a7_the_same_share_in_upper_case_counts_as_another() -> None:
    """Two shares, one of them in two spellings, are three for the original."""
    shares = [parse_share(text) for text in (SHARES[0], SHARES[0].upper(), SHARES[1])]
    with pytest.raises(ImicrosShareError, match="number 1 was given 2 times"):
        combine(shares, parse_verify_hash(VERIFY_HASH))


def test_b13_one_wrong_digit_makes_another_key() -> None:
    """secrets.js answers a key that is wrong in one byte. With three shares it is noticed, with
    five the share is named."""
    place = 100
    digit = "0" if SHARES[2][place] != "0" else "1"
    mistyped = SHARES[2][:place] + digit + SHARES[2][place + 1 :]
    three = [parse_share(text) for text in (*SHARES[:2], mistyped)]
    with pytest.raises(ImicrosShareError, match="a digit is mistyped"):
        combine(three, parse_verify_hash(VERIFY_HASH))
    five = [parse_share(text) for text in (*SHARES[:2], mistyped, *SHARES[3:])]
    with pytest.raises(ImicrosShareError, match=r"number 3 \(.*leave it out"):
        combine(five, parse_verify_hash(VERIFY_HASH))


def test_b13_shares_of_zeros() -> None:
    """A share that says nothing is of the right form; it is found out, and named among four."""
    empty = parse_share("805" + "0" * 160)
    good = [parse_share(text) for text in SHARES[:3]]
    with pytest.raises(ImicrosShareError, match="they make no key"):
        combine([*good[:2], empty], parse_verify_hash(VERIFY_HASH))
    with pytest.raises(ImicrosShareError, match=r"number 5 \("):
        combine([*good, empty], parse_verify_hash(VERIFY_HASH))
    with pytest.raises(ImicrosShareError, match="its number"):
        parse_share("8" + "0" * 162)


def test_b11_two_pairs_share_one_hash_of_the_database() -> None:
    """`a` with `b~c` and `a~b` with `c` have the same raw keys in the original: each keeps the key
    that it was answered, and the pair that stands in no set is asked about."""
    plan = make_plan(database(), MASTER, [("a~b", "c")])
    keys = {owner: key for (owner, _, _), key in planned(plan).items() if owner in ("a", "a~b")}
    assert len(set(keys.values())) == 2
    assert planned(plan) == answers()
    assert make_plan(database(), MASTER, []).questions[0].pairs == (("a~b", "c"),)


def test_b09_who_writes_the_database_rolls_the_current_key_back() -> None:
    """The original's values are not authenticated. A `default` that was altered is told; what an
    attacker put in its place consistently cannot be, as nothing there could tell."""
    stored = database()
    name = "ZzF+bXkuc2VydmljZQ=="
    fields = dict(stored.hashes[name])
    prolonged: Any = json.loads(base64.b64decode(fields["default"]))
    altered = json.dumps(prolonged | {"exp": prolonged["exp"] + 1})
    fields["default"] = base64.b64encode(altered.encode()).decode()
    plan = make_plan(database(hashes={name: fields}), MASTER, [("a~b", "c")])
    assert [finding.problem for finding in plan.findings] == [
        f"is not the same as the entry {prolonged['guid']}: the newest one becomes it"
    ]
    assert planned(plan) == answers()


async def test_b16_who_did_it_is_not_written_down(tmp_path: Path) -> None:
    """The original keeps no record. Ours is complete: nothing is done that cannot be written."""
    path = tmp_path / "audit.jsonl"
    log = AuditFiles([path], replica_id="r", clock=ManualClock())
    await log.open()
    await log.record("seal.unsealed", AuditOutcome.OK, SYSTEM, {"epoch": 1})
    await log.close()
    with pytest.raises(AuditUnavailableError):
        await log.record("keys.get", AuditOutcome.OK, SYSTEM, {"owner": "o"})
    assert [json.loads(line)["action"] for line in path.read_bytes().splitlines()] == [
        "seal.unsealed"
    ]


async def test_b17_secrets_are_written_to_the_log(tmp_path: Path) -> None:
    """The original logs its one-time token, and 0.1.5 what it encrypts. Ours takes no value that
    has no name on its list, however it is called."""
    log = AuditFiles([tmp_path / "audit.jsonl"], replica_id="r", clock=ManualClock())
    await log.open()
    for details in ({"token": SHARES[0]}, {"share": SHARES[0]}, {"code": MASTER.text}):
        with pytest.raises(ValueError, match="audit log: ") as problem:
            await log.record("keys.get", AuditOutcome.OK, SYSTEM, details)
        assert SHARES[0] not in str(problem.value)
        assert MASTER.text not in str(problem.value)
    await log.close()
    assert (tmp_path / "audit.jsonl").read_bytes() == b""


async def test_b16_an_intruder_writes_the_log_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """He takes himself out of the log and makes every hash fit. Without the node's key the next
    checkpoint gives him away; what comes after the last one he can leave out unseen."""
    path = tmp_path / "audit.jsonl"
    key = SecretScalar.from_int(7)
    log = AuditFiles([path], replica_id="r", clock=ManualClock())
    await log.open()
    log.sign_with(lambda digest: sign_alone(key, digest))
    for term in range(4):
        await log.record("seal.rotate", AuditOutcome.OK, SYSTEM, {"term": term})
    await log.checkpoint()
    await log.record("seal.rotate", AuditOutcome.OK, SYSTEM, {"term": 4})
    await log.close()
    entries: list[Any] = [json.loads(line) for line in path.read_bytes().splitlines()]
    path.write_bytes(_chained(entries[:2] + entries[3:]))
    assert main(["audit", "verify", str(path)]) == FAILED
    assert "line 4: it is a checkpoint of another entry" in capsys.readouterr().err
    path.write_bytes(_chained(entries[:-1]))
    assert main(["audit", "verify", str(path)]) == 0, "cut off after the last checkpoint"
    assert main(["audit", "verify", str(path), "--head", entries[-1]["hash"]]) == FAILED


def _chained(entries: list[Any]) -> bytes:
    """The entries with numbers and hashes that fit."""
    lines, before = [], "0" * 64
    for seq, entry in enumerate(entries, start=1):
        fields = entry | {"seq": seq, "prev": before}
        before = entry_hash(fields).hex()
        lines.append(Entry(fields | {"hash": before}).line)
    return b"".join(lines)
