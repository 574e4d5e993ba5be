"""`keyserver seal` against the routes of a seal, over a socket."""

import asyncio
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from keyserver.api.operator_seal import PeerLine
from keyserver.app.accounts import write_key_file
from keyserver.cli import seal_orders
from keyserver.cli.main import main
from keyserver.cli.output import FAILED, OK, SEALED, USAGE, WRONG_SHARE
from keyserver.crypto.curve import SecretScalar
from keyserver.sealing.key_sources import KeyText
from keyserver.sealing.opening import open_or_create
from keyserver.sealing.ports import Actor, ActorKind, SealState
from keyserver.sealing.record import SealRecord
from keyserver.sealing.vault import REQUESTED
from tests.support.certificates import make_authority
from tests.support.operator_shares import (
    encrypted,
    key_file,
    key_of_age,
    private_file,
    words_of,
)
from tests.support.seal_commands import Typed, desk_of, listening
from tests.support.seal_desk import ADMIN, NODE, OTHER_NODE, SealDesk, replica
from tests.support.sealing import NOW_MS

Output = pytest.CaptureFixture[str]


class TypedInput(io.TextIOWrapper):
    """Standard input that is no terminal."""


def send(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", TypedInput(io.BytesIO(text.encode())))


# --- unsealing --------------------------------------------------------------------------------


def test_status_says_what_is_missing(capsys: Output) -> None:
    desk = desk_of()
    with listening(desk) as (_, run):
        assert run("status") == OK
        assert "Next: 0 of 2 shares; 2 more are needed." in capsys.readouterr().out
        asyncio.run(desk.give(desk.shares[0]))
        assert run("status") == OK
        told = capsys.readouterr().out
        assert "1 of 2 shares; one more is needed." in told
        assert "2 of 3 shares" in told
        assert run("status", "--json") == OK
        assert json.loads(capsys.readouterr().out)["progress"] == 1


def test_status_of_other_states(capsys: Output) -> None:
    desk = SealDesk()
    asyncio.run(desk.vault.load())
    with listening(desk) as (_, run):
        assert run("status") == OK
    assert "keyserver seal init" in capsys.readouterr().out
    with listening(desk_of(is_open=True)) as (_, run):
        assert run("status") == OK
    told = capsys.readouterr().out
    assert "The node is open." in told
    assert "term" in told


def test_a_node_that_its_key_file_opens_is_opened_by_a_restart(capsys: Output) -> None:
    """After an order to seal it nothing opens it by itself; there are no shares to ask for."""
    desk = SealDesk()
    key = KeyText("KEY", "11" * 32)

    async def sealed_by_order() -> None:
        await open_or_create(
            desk.store, node_id=NODE, source=key, random=desk.random, now_ms=NOW_MS
        )
        await desk.vault.load()
        await desk.vault.open_with(key)
        desk.vault.shut(REQUESTED)

    asyncio.run(sealed_by_order())
    with listening(desk) as (_, run):
        assert run("status") == OK
        assert "Next: restart the node: it opens by itself" in capsys.readouterr().out
        for command in ("unseal", "verify-share"):
            assert run(command) == USAGE
            assert "this node has no shares: a restart opens it" in capsys.readouterr().err


def test_nobody_is_sent_to_unseal_a_node_whose_database_went_back(
    typed: list[str], capsys: Output
) -> None:
    desk = desk_of(is_open=True)
    before = desk.store.stored
    asyncio.run(desk.upkeep.rotate(Actor(ActorKind.LOCAL)))
    desk.vault.shut("rollback_detected")
    desk.store.stored = before
    asyncio.run(desk.vault.refresh())
    typed += [desk.shares[0]]
    with listening(desk) as (_, run):
        assert run("status") == OK
        told = capsys.readouterr().out
        assert "find out why the database went back" in told
        assert "keyserver seal unseal" not in told
        assert run("unseal") == SEALED
    assert capsys.readouterr().err.splitlines() == [
        "keyserver: the store went back to an earlier state; look why, then restart"
    ]


def test_shares_from_files_and_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    desk = desk_of()
    identity, recipient = key_of_age(tmp_path / "key.txt")
    share = tmp_path / "share.age"
    share.write_bytes(encrypted(desk.shares[0], recipient))
    with listening(desk) as (_, run):
        assert run("unseal", "--file", share, "--age-identity", identity) == OK
        assert capsys.readouterr().out == "1 of 2 shares; one more is needed.\n"
        send(monkeypatch, words_of(desk.shares[0]))
        assert run("unseal") == OK
        assert "was there already: 1 of 2" in capsys.readouterr().out
        send(monkeypatch, words_of(desk.shares[0]))
        assert run("unseal", "--withdraw", "--file", "-") == OK
        assert "0 of 2 shares; 2 more are needed." in capsys.readouterr().out
        assert run("unseal", "--withdraw", "--file", share, "--age-identity", identity) == OK
        assert "this share was not there: 0 of 2 shares" in capsys.readouterr().out
        for number in (1, 2):
            plain = private_file(tmp_path / f"share{number}", desk.shares[number])
            assert run("unseal", "--file", plain) == OK
        assert capsys.readouterr().out.splitlines()[-1] == "the node is open"
        assert run("unseal", "--file", plain, "--json") == OK
        assert json.loads(capsys.readouterr().out)["reason"] == "already_unsealed"
    assert desk.vault.is_open


def test_several_shares_at_once(tmp_path: Path, capsys: Output) -> None:
    desk = desk_of()
    keys = [key_of_age(tmp_path / f"key{number}") for number in range(3)]
    files: list[object] = []
    for number, (identity, recipient) in enumerate(keys):
        share = tmp_path / f"share{number}.age"
        share.write_bytes(encrypted(desk.shares[number], recipient))
        files += ["--file", share, "--age-identity", identity]
    wrong = private_file(tmp_path / "wrong", "one two three")
    with listening(desk) as (server, run):
        assert run("unseal", *files[:8], "--file", wrong) == WRONG_SHARE
        assert f"{wrong}: share: 3 words" in capsys.readouterr().err
        assert {asked.method for asked in server.asked} == {"GET"}, "all are checked before"
        assert run("unseal", *files[:8], "--file", files[1]) == OK
        assert capsys.readouterr().out == "the node is open\n"
        desk.vault.shut("requested")
        assert run("unseal", *files, "--json") == OK
        assert json.loads(capsys.readouterr().out)["sealed"] is False
    assert desk.vault.is_open


def test_a_share_typed_at_the_terminal(
    typed: list[str], dumps_forbidden: Sequence[str], capsys: Output
) -> None:
    desk = desk_of()
    typed += [f"  {words_of(desk.shares[0])} ", words_of(desk.shares[1])]
    with listening(desk) as (_, run):
        assert run("unseal") == OK
        assert run("unseal") == OK
    out, err = capsys.readouterr()
    assert len(dumps_forbidden) == 2, "no core of a process that has held a share"
    assert "the node is open" in out
    assert words_of(desk.shares[0]).split()[5] not in out + err


def test_a_share_that_was_mistyped_is_asked_for_again(
    tmp_path: Path, typed: Typed, capsys: Output
) -> None:
    desk = desk_of()
    asyncio.run(desk.give(desk.shares[0]))
    mistyped = words_of(desk.shares[1]).split()[:32]
    typed += [" ".join(mistyped), words_of(desk.shares[1])]
    with listening(desk) as (_, run):
        assert run("record") == OK
        record = tmp_path / "record.json"
        record.write_text(capsys.readouterr().out)
        assert run("unseal") == OK
        out, err = capsys.readouterr()
        assert out == "the node is open\n"
        assert "32 words, need 33" in err
        assert not any(word in err for word in mistyped if len(word) > 6)
        ways = "33 words, or the first four letters of each (not shown)"
        asked = f"1 of 2 shares; one more is needed. Your share: {ways}"
        assert typed.questions == [asked, asked]
    typed += ["one two", desk.shares[2]]
    assert main(["seal", "verify-share", "--record", str(record)]) == OK
    assert typed.questions[2:] == [f"Your share: {ways}"] * 2


def test_where_no_share_can_be_good_none_is_asked_for(tmp_path: Path, typed: Typed) -> None:
    record = SealRecord(bytes(16), NODE, epoch=1, slots=())
    file = tmp_path / "record.json"
    file.write_text(json.dumps(record.public()))
    assert main(["seal", "verify-share", "--record", str(file)]) == USAGE
    assert typed.questions == []


def test_a_wrong_share_is_not_even_sent(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    desk, other = desk_of(), asyncio.run(SealDesk().started(shares=5, threshold=3))
    words = words_of(desk.shares[0]).split()
    with listening(desk) as (server, run):
        for share, place in [
            (" ".join([*words[:6], "nonsense", *words[7:]]), "word 7"),
            (" ".join(words[:32]), "32 words"),
            (" ".join([words[1], words[0], *words[2:]]), "checksum"),
            (other.shares[0].replace('"member":0', '"member":1'), "another member"),
            (words_of(other.shares[0]), "not of the set in force"),
        ]:
            send(monkeypatch, share)
            assert run("unseal") == WRONG_SHARE
            error = capsys.readouterr().err
            assert place in error
            assert "nothing has changed" in error
            assert words[9] not in error
        assert {asked.method for asked in server.asked} == {"GET"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_share_that_others_can_read(tmp_path: Path, mode: int, capsys: Output) -> None:
    desk = desk_of()
    share = private_file(tmp_path / "share", desk.shares[0])
    share.chmod(mode)
    with listening(desk) as (server, run):
        assert run("unseal", "--file", share) == USAGE
        assert "chmod 600" in capsys.readouterr().err
        assert {asked.method for asked in server.asked} == {"GET"}


def test_files_that_are_no_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    desk = desk_of()
    identity, recipient = key_of_age(tmp_path / "key.txt")
    other, _ = key_of_age(tmp_path / "other.txt")
    share = tmp_path / "share.age"
    share.write_bytes(encrypted(desk.shares[0], recipient))
    cut = tmp_path / "cut.age"
    cut.write_bytes(share.read_bytes()[:-20])
    noise = private_file(tmp_path / "noise", b"\xff\xfe")
    empty = private_file(tmp_path / "empty", "\n")
    cases: list[tuple[list[object], int, str]] = [
        (["--file", share], USAGE, "--age-identity"),
        (["--file", share, "--age-identity", other], WRONG_SHARE, "another"),
        (["--file", cut, "--age-identity", identity], WRONG_SHARE, "damaged"),
        (["--file", share, "--age-identity", noise], USAGE, "holds no key"),
        (["--file", share, "--age-identity", tmp_path / "none"], USAGE, "No such file"),
        (["--file", tmp_path / "none"], USAGE, "No such file"),
        (["--file", noise], WRONG_SHARE, "no text"),
        (["--file", empty], USAGE, "is empty"),
    ]
    with listening(desk) as (_, run):
        for arguments, code, why in cases:
            assert run("unseal", *arguments) == code, arguments
            assert why in capsys.readouterr().err
        for text, code in (("x" * 20_000, WRONG_SHARE), ("", USAGE)):
            send(monkeypatch, text)
            assert run("unseal") == code


def test_a_share_is_checked_without_sending_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    desk = desk_of()
    with listening(desk) as (server, run):
        assert run("record") == OK
        record = tmp_path / "record.json"
        record.write_text(capsys.readouterr().out)
        send(monkeypatch, desk.shares[2])
        assert run("verify-share", "--json") == OK
        facts = json.loads(capsys.readouterr().out)
        assert (facts["good"], facts["share"], facts["opens_with"]) == (True, 3, 2)
        assert {asked.method for asked in server.asked} == {"GET"}
    send(monkeypatch, desk.shares[1])
    assert main(["seal", "verify-share", "--record", str(record)]) == OK
    send(monkeypatch, "one two three")
    assert main(["seal", "verify-share", "--record", str(record)]) == WRONG_SHARE
    two = ["--file", "one", "--file", "two"]
    assert main(["seal", "verify-share", "--record", str(record), *two]) == USAGE
    assert "--file: one share at a time" in capsys.readouterr().err
    for text in ("[]", "{", "{}"):
        record.write_text(text)
        send(monkeypatch, desk.shares[1])
        assert main(["seal", "verify-share", "--record", str(record)]) in (USAGE, FAILED)
    assert main(["seal", "verify-share", "--record", str(tmp_path / "none")]) == USAGE


# --- several replicas -------------------------------------------------------------------------


def test_all_sealed_replicas_get_the_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    desk = desk_of()
    with listening(desk) as (first, run), listening(desk) as (second, _):
        desk.replicas = [
            replica("r1", SealState.SEALED, url=first.url),
            replica("r2", SealState.SEALED, url=second.url),
            replica("r3", SealState.UNSEALED, url="http://127.0.0.1:1"),
            replica("r4", SealState.SEALED, live=False, url="http://127.0.0.1:1"),
        ]
        send(monkeypatch, desk.shares[0])
        assert run("unseal", "--all") == OK
        assert capsys.readouterr().out.splitlines() == [
            f"{first.url}: 1 of 2 shares; one more is needed.",
            f"{second.url}: this share was there already: 1 of 2 shares; one more is needed.",
        ]
        send(monkeypatch, desk.shares[0])
        assert run("unseal", "--all", "--json") == OK
        answers = json.loads(capsys.readouterr().out)
        assert [answer["url"] for answer in answers] == [first.url, second.url]
        desk.replicas[1] = replica("r2", SealState.SEALED, url="http://127.0.0.1:1")
        send(monkeypatch, desk.shares[0])
        assert run("unseal", "--all") == 3
        assert "1 of 2 replicas" in capsys.readouterr().err
        desk.replicas = []
        assert run("unseal", "--all") == OK


def test_no_share_goes_to_an_address_that_only_the_database_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """Whoever can write the list of replicas cannot collect shares."""
    desk = desk_of()
    with listening(desk) as (server, run):
        desk.replicas = [replica("r1", SealState.SEALED, url="https://elsewhere.example")]
        send(monkeypatch, desk.shares[0])
        assert run("unseal", "--all") == USAGE
        assert "nothing proves" in capsys.readouterr().err
        assert {asked.method for asked in server.asked} == {"GET"}
        for url in ("https://0.0.0.0:8090", "https://[::]:8090"):
            desk.replicas = [replica("r1", SealState.SEALED, url=url)]
            assert run("unseal", "--all") == USAGE
            assert "operator_listen" in capsys.readouterr().err
    assert main(["seal", "unseal", "--url", "http://192.0.2.1:8090"]) == USAGE
    assert "without encryption" in capsys.readouterr().err
    authority, certificate, key = make_authority(tmp_path)
    with listening(desk, tls=(certificate, key)) as (server, run):
        desk.replicas = [replica("r1", SealState.SEALED, url=server.url)]
        send(monkeypatch, desk.shares[0])
        assert run("unseal", "--all", "--ca-file", authority) == OK


# --- orders -----------------------------------------------------------------------------------


def test_orders_are_signed(tmp_path: Path, capsys: Output) -> None:
    desk = desk_of(admins=(ADMIN,), is_open=True)
    admin = key_file(tmp_path / "admin", ADMIN)
    stranger = key_file(tmp_path / "stranger", SecretScalar.from_int(5))
    signed = ["--admin-key", admin, "--node-id", f"0x{NODE.hex()}"]
    with listening(desk) as (_, run):
        desk.clock.advance(time.time() - desk.clock.unix())  # commands sign by the real time
        assert run("rotate") == FAILED
        assert "--admin-key" in capsys.readouterr().err
        assert run("rotate", "--admin-key", admin) == USAGE
        assert "--node-id" in capsys.readouterr().err
        assert run("rotate", "--admin-key", admin, "--node-id", "0x12") == USAGE
        assert run("rotate", "--admin-key", admin, "--node-id", OTHER_NODE.hex()) == USAGE
        said = capsys.readouterr().err
        assert f"for 0x{OTHER_NODE.hex()}, but the node at " in said
        assert f"says that it is 0x{NODE.hex()}" in said
        assert "seal status" in said
        assert run("rotate", "--admin-key", stranger, *signed[2:]) == FAILED
        assert desk.vault.status().term == 1
        assert run("rotate", *signed) == OK
        assert desk.vault.status().term == 2
        capsys.readouterr()
        assert run("status", "--json", *signed) == OK
        assert json.loads(capsys.readouterr().out)["term"] == 2


def test_an_encrypted_key_file_and_the_nodes_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], capsys: Output
) -> None:
    """The node's file says which node it is, so nobody has to."""
    desk = desk_of(admins=(ADMIN,), is_open=True)
    admin = write_key_file(tmp_path / "keys", ADMIN, "pass word", iterations=1)
    password = private_file(tmp_path / "password", "pass word\n")
    with listening(desk) as (server, _):
        desk.clock.advance(time.time() - desk.clock.unix())
        facts = {"url": server.url, "node_id": f"0x{NODE.hex()}"}
        (tmp_path / "operator.json").write_text(json.dumps(facts))
        order = ["seal", "rotate", "--path", str(tmp_path), "--admin-key", str(admin)]
        other = ["--node-id", OTHER_NODE.hex()]
        assert main([*order, "--password-file", str(password), *other]) == USAGE
        assert f"says that it is 0x{NODE.hex()}" in capsys.readouterr().err
        assert main([*order, "--password-file", str(password)]) == OK
        typed += [" pass word", "wrong"]
        assert main(order) == OK
        assert main(order) == USAGE
        assert "wrong passphrase" in capsys.readouterr().err
        empty = private_file(tmp_path / "empty", "")
        assert main([*order, "--password-file", str(empty)]) == USAGE
        monkeypatch.setattr("sys.stdin", TypedInput(io.BytesIO()))
        assert main(order) == USAGE
        assert "--password-file" in capsys.readouterr().err
    assert desk.vault.status().term == 3


def test_certificates_in_options(tmp_path: Path, capsys: Output) -> None:
    authority, certificate, key = make_authority(tmp_path)
    desk = desk_of()
    with listening(desk, tls=(certificate, key)) as (_, run):
        assert run("status", "--certificate", certificate) == OK
        assert run("status", "--ca-file", authority) == OK
        assert run("status", "--ca-file", authority, "--certificate", certificate) == USAGE
        assert run("status", "--ca-file", tmp_path / "none") == USAGE
        assert run("status") == 3


def test_replicas_and_peers_for_people(capsys: Output) -> None:
    desk = desk_of()
    desk.replicas = [
        replica("r1", SealState.SEALED),
        replica("r2", SealState.UNSEALED),
        replica("r3", SealState.SEALED, live=False),
    ]
    desk.peers = [PeerLine(OTHER_NODE, True)]
    with listening(desk) as (_, run):
        assert run("replicas") == OK
        told = capsys.readouterr().out
        assert "not seen lately" in told
        assert "0 of 2" in told
        assert "connected" in told
        assert run("replicas", "--json") == OK
        assert json.loads(capsys.readouterr().out)["sealed"] == ["r1"]


def test_the_whole_of_a_data_key(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setattr(seal_orders, "POLL_S", 0.001)
    desk = desk_of(is_open=True)
    with listening(desk) as (_, run):
        assert run("rotate") == OK
        assert run("rewrap", "--wait", "0") == OK
        assert desk.upkeep.progress.running
        assert run("rewrap", "--wait", "0.01") == FAILED
        assert "It goes on" in capsys.readouterr().err
        desk.clock.advance(60)
        asyncio.run(desk.upkeep.rewrap_all())
        assert run("retire", "2") == FAILED
        assert run("retire", "1") == OK
    assert capsys.readouterr().out.splitlines()[-1].split() == ["retired", "1"]


def test_what_needs_an_open_node(capsys: Output) -> None:
    with listening(desk_of()) as (_, run):
        for command in ("rotate", "rewrap", "retire 1"):
            assert run(command) == SEALED
            assert "keyserver seal unseal" in capsys.readouterr().err


def test_sealing_and_clearing(capsys: Output) -> None:
    desk = desk_of()
    with listening(desk) as (server, run):
        asyncio.run(desk.give(desk.shares[0]))
        assert run("clear", "--json") == OK
        assert json.loads(capsys.readouterr().out) == {"dropped": 1}
        asyncio.run(desk.open())
        desk.replicas = [replica("r1", SealState.UNSEALED, url=server.url)]
        assert run("replicas") == OK
        assert server.url in capsys.readouterr().out
        assert run("seal", "--all") == OK
        assert asyncio.run(desk.vault.must_shut()) == "requested"


def test_a_node_that_is_sealed_already_says_so(capsys: Output) -> None:
    for desk, told in ((desk_of(is_open=True), "closes"), (desk_of(), "is sealed already")):
        with listening(desk) as (_, run):
            assert run("seal") == OK
        assert told in capsys.readouterr().out
