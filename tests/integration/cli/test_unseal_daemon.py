"""The unseal daemon against nodes on real sockets, with time of its own."""

import asyncio
import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from keyserver.cli import operator_client
from keyserver.cli.main import main
from keyserver.cli.operator_client import OperatorClient, Trust
from keyserver.cli.output import USAGE, WRONG_SHARE, CommandError
from keyserver.cli.unseal_daemon import ShareRefusedError, UnsealDaemon
from keyserver.cli.unseal_daemon_config import read_config
from keyserver.cli.unseal_deciding import HeldShare
from keyserver.crypto.randomness import SeededRandom
from keyserver.errors import KeyServerError
from keyserver.sealing.shares import parse_share
from tests.support.certificates import make_authority, write_certificate
from tests.support.operator_server import Asked, Reply, from_app, operator_server
from tests.support.operator_shares import encrypted, key_of_age, private_file, words_of
from tests.support.seal_desk import SealDesk


class EndError(Exception):
    """The time of the test is over."""


class RunningTime:
    """A clock that jumps from sleep to sleep, to an end."""

    def __init__(self, end: float) -> None:
        self._now, self._end = 0.0, end
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._now += seconds
        if self._now > self._end:
            raise EndError


def desk_of(shares: int = 3, threshold: int = 2) -> SealDesk:
    return asyncio.run(SealDesk().started(shares=shares, threshold=threshold))


def held(document: str) -> HeldShare:
    read = parse_share(document)
    assert read.seal_id is not None
    assert read.epoch is not None
    return HeldShare(document, read.seal_id.hex(), read.epoch, read.share.identifier)


def run(share: str, nodes: Sequence[OperatorClient], seconds: float) -> RunningTime:
    """Let the daemon run for some time."""
    clock = RunningTime(seconds)
    with pytest.raises(EndError):
        UnsealDaemon(held(share), nodes, clock, SeededRandom(1)).run()
    return clock


def shares_sent(asked: Sequence[Asked]) -> int:
    return sum(one.method == "POST" for one in asked)


def test_as_many_daemons_as_shares_are_needed_open_every_replica() -> None:
    desks = [desk_of() for _ in range(3)]
    assert desks[0].shares == desks[1].shares, "replicas have one seal"
    with (
        operator_server(from_app(desks[0].app)) as first,
        operator_server(from_app(desks[1].app)) as second,
        operator_server(from_app(desks[2].app)) as third,
    ):
        nodes = [OperatorClient(server.url) for server in (first, second, third)]
        for operator in (0, 2):
            run(desks[0].shares[operator], nodes, 15)
        assert [desk.vault.is_open for desk in desks] == [True] * 3
        assert [shares_sent(server.asked) for server in (first, second, third)] == [2] * 3


def test_a_process_is_given_the_share_once_in_ten_minutes() -> None:
    desk = desk_of()
    with operator_server(from_app(desk.app)) as server:
        clock = run(desk.shares[0], [OperatorClient(server.url)], 590)
        assert shares_sent(server.asked) == 1
        assert len(server.asked) > 50
        assert all(8 <= seconds <= 12 for seconds in clock.slept)
        assert len(set(clock.slept)) > 40, "daemons do not march in step"
        run(desk.shares[0], [OperatorClient(server.url)], 1300)
        assert shares_sent(server.asked) == 1 + 3


def test_a_node_with_another_seal_gets_nothing() -> None:
    desk = desk_of()
    status = json.loads(asyncio.run(desk.ask("GET", "status")).body)
    for changes in ({"seal_id": "00" * 16}, {"epoch": 2}, {"identifier": 1}, {"sealed": "yes"}):
        said = json.dumps({**status, **changes}).encode()
        with operator_server(lambda _, said=said: Reply(200, said)) as server:  # type: ignore[misc]
            clock = run(desk.shares[0], [OperatorClient(server.url)], 3600)
            assert shares_sent(server.asked) == 0, changes
            assert len(clock.slept) < 20, "it is not asked all the time"


def test_an_open_node_gets_nothing() -> None:
    desk = asyncio.run(desk_of().open())
    with operator_server(from_app(desk.app)) as server:
        run(desk.shares[0], [OperatorClient(server.url)], 60)
        assert shares_sent(server.asked) == 0


def test_another_certificate_or_a_redirect_gets_nothing(tmp_path: Path) -> None:
    desk = desk_of()
    pinned, other = tmp_path / "node.pem", tmp_path / "other.pem"
    write_certificate(pinned, tmp_path / "node.key")
    write_certificate(other, tmp_path / "other.key")
    with operator_server(from_app(desk.app), tls=(other, tmp_path / "other.key")) as server:
        node = OperatorClient(server.url, trust=Trust(certificate=pinned))
        run(desk.shares[0], [node], 60)
        assert server.asked == []
        moved = Reply(302, b"{}", (("Location", f"{server.url}/v1/seal/status"),))
        with operator_server(lambda _: moved) as elsewhere:
            run(desk.shares[0], [OperatorClient(elsewhere.url)], 60)
            assert shares_sent(elsewhere.asked) == 0
        assert server.asked == []
    with operator_server(from_app(desk.app), tls=(pinned, tmp_path / "node.key")) as server:
        node = OperatorClient(server.url, trust=Trust(certificate=pinned))
        run(desk.shares[0], [node], 5)
        assert shares_sent(server.asked) == 1


def test_a_redirect_of_the_share_is_not_followed() -> None:
    desk = desk_of()
    answering = from_app(desk.app)
    with operator_server(answering) as elsewhere:

        def moves_shares(asked: Asked) -> Reply:
            if asked.method == "GET":
                return answering(asked)
            return Reply(307, b"{}", (("Location", f"{elsewhere.url}/v1/seal/unseal"),))

        with operator_server(moves_shares) as server:
            run(desk.shares[0], [OperatorClient(server.url)], 60)
        assert elsewhere.asked == []


@pytest.mark.parametrize("code", ["SHARE_UNKNOWN", "SHARE_WRONG_SET", "SHARE_MALFORMED"])
def test_a_share_that_is_refused_is_not_sent_again(code: str) -> None:
    desk = desk_of()
    answering = from_app(desk.app)

    def refuses(asked: Asked) -> Reply:
        error = {"error": {"code": code, "message": "no", "retriable": False}}
        return answering(asked) if asked.method == "GET" else Reply(400, json.dumps(error).encode())

    with operator_server(refuses) as server:
        daemon = UnsealDaemon(
            held(desk.shares[0]), [OperatorClient(server.url)], RunningTime(60), SeededRandom(1)
        )
        with pytest.raises(ShareRefusedError) as caught:
            daemon.run()
        assert caught.value.exit_code == WRONG_SHARE
        assert shares_sent(server.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_trouble_is_waited_out(status: int) -> None:
    desk = desk_of()
    answering = from_app(desk.app)
    refusals = 2

    def stumbles(asked: Asked) -> Reply:
        nonlocal refusals
        if asked.method == "POST" and refusals:
            refusals -= 1
            return Reply(status, b"{}")
        return answering(asked)

    with operator_server(stumbles) as server:
        clock = run(desk.shares[0], [OperatorClient(server.url)], 100)
        assert shares_sent(server.asked) == 3
    assert desk.vault.status().progress == 1
    assert [round(seconds / 10) for seconds in clock.slept[:3]] == [2, 4, 1]


def test_one_dead_node_does_not_hold_up_the_others() -> None:
    desk = desk_of()
    with operator_server(from_app(desk.app)) as server:
        nodes = [OperatorClient("http://127.0.0.1:1"), OperatorClient(server.url)]
        run(desk.shares[0], nodes, 3)
    assert desk.vault.status().progress == 1


def test_one_node_that_drips_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = desk_of()
    private_file(tmp_path / "share", desk.shares[0])
    reads = count()
    monkeypatch.setattr(operator_client, "monotonic", lambda: float(next(reads)))  # one a second
    headers = tuple((f"X-Drip-{number}", "x" * 60_000) for number in range(90))
    dripping = Reply(200, b'{"fine": true}', headers)
    structlog.reset_defaults()
    with (
        operator_server(lambda _: dripping) as slow,
        operator_server(from_app(desk.app)) as server,
        capture_logs() as log,
    ):
        assert OperatorClient(slow.url, answer_s=10_000).get("/") == {"fine": True}
        nodes = f'[[nodes]]\nurl = "{slow.url}"\n[[nodes]]\nurl = "{server.url}"\n'
        found = read_config(write(tmp_path, f'share_file = "share"\n{nodes}'))
        run(found.share.text, found.nodes, 3)
    told = [entry["finds"] for entry in log if entry.get("node") == slow.url]
    assert told == [f"no answer from the node at {slow.url}: the answer takes too long"]
    assert desk.vault.status().progress == 1


def test_the_log_never_holds_the_share() -> None:
    desk = desk_of()
    structlog.reset_defaults()
    with operator_server(from_app(desk.app)) as server, capture_logs() as log:
        run(desk.shares[0], [OperatorClient(server.url)], 30)
    told = [entry["finds"] for entry in log if entry.get("node") == server.url]
    assert told == ["was given the share", "has the share, waits for others"], "once each"
    words = set(words_of(desk.shares[0]).split()) - set(" ".join(told).split())
    assert not [word for word in json.dumps(log).split() if word.strip("\"',") in words]


@pytest.mark.parametrize("code", ["SHARE_UNKNOWN", "RATE_LIMITED", "the share"])
def test_a_node_that_sends_the_share_back_does_not_get_it_logged(code: str) -> None:
    desk = desk_of()
    answering = from_app(desk.app)
    share = words_of(desk.shares[0])
    has_share = False

    def echoes(asked: Asked) -> Reply:
        nonlocal has_share
        if asked.method == "GET" and not has_share:
            return answering(asked)
        has_share = True
        named = share if code == "the share" else code
        error = {"code": named, "message": f"{share}\x1b[2J"}
        return Reply(400, json.dumps({"error": error}).encode())

    structlog.reset_defaults()
    with operator_server(echoes) as server, capture_logs() as log:
        node = OperatorClient(server.url)
        daemon = UnsealDaemon(held(desk.shares[0]), [node], RunningTime(60), SeededRandom(1))
        with pytest.raises((ShareRefusedError, EndError)) as caught:
            daemon.run()
    told = json.dumps(log) + str(caught.value)
    assert share[:20] not in told
    assert "refuse" in told
    assert code in told or code == "the share"


def test_no_odd_characters_of_a_node_get_into_the_log() -> None:
    desk = desk_of()
    error = {"error": {"code": "X", "message": "red \x1b[31m\nkeyserver: opened"}}
    structlog.reset_defaults()
    with (
        operator_server(lambda _: Reply(500, json.dumps(error).encode())) as server,
        capture_logs() as log,
    ):
        run(desk.shares[0], [OperatorClient(server.url)], 30)
    assert [entry["finds"] for entry in log] == ["red ?[31m?keyserver: opened"]


def test_what_is_no_answer_to_the_share_is_not_logged_either() -> None:
    desk = desk_of()
    answering = from_app(desk.app)

    def junk(asked: Asked) -> Reply:
        if asked.method == "GET":
            return answering(asked)
        # what the library quotes when it cannot read it
        share = json.loads(json.loads(asked.body)["share"])["mnemonic"].encode()
        return Reply(200, share, (("Transfer-Encoding", "chunked"), ("Content-Length", "1")))

    structlog.reset_defaults()
    with operator_server(junk) as server, capture_logs() as log:
        run(desk.shares[0], [OperatorClient(server.url)], 30)
    assert [entry["finds"] for entry in log] == ["gave no answer that can be read"]


# --- configuration ----------------------------------------------------------------------------


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "daemon.toml"
    file.write_text(text)
    return file


def test_a_configuration(tmp_path: Path) -> None:
    desk = desk_of()
    identity, recipient = key_of_age(tmp_path / "key.txt")
    (tmp_path / "share.age").write_bytes(encrypted(desk.shares[1], recipient))
    authority, certificate, _ = make_authority(tmp_path)
    file = write(
        tmp_path,
        f'share_file = "share.age"\nage_identity = "{identity}"\n'
        f'[[nodes]]\nurl = "https://n1.example:8090"\nca_file = "{authority.name}"\n'
        f'[[nodes]]\nurl = "https://192.0.2.1:8090"\ncertificate = "{certificate}"\n'
        '[[nodes]]\nurl = "http://127.0.0.1:8090"\n[[nodes]]\nurl = "unix:/run/op.sock"\n',
    )
    found = read_config(file)
    assert found.share == held(desk.shares[1])
    assert [node.url for node in found.nodes] == [
        "https://n1.example:8090",
        "https://192.0.2.1:8090",
        "http://127.0.0.1:8090",
        "unix:/run/op.sock",
    ]
    assert words_of(desk.shares[1]) not in repr(found)


def test_bare_words_need_to_be_told_what_they_are_for(tmp_path: Path) -> None:
    desk = desk_of()
    private_file(tmp_path / "words", words_of(desk.shares[1]))
    nodes = '[[nodes]]\nurl = "http://127.0.0.1:8090"\n'
    with pytest.raises(CommandError, match="bare words"):
        read_config(write(tmp_path, f'share_file = "words"\n{nodes}'))
    share = held(desk.shares[1])
    text = f'share_file = "words"\nseal_id = "{share.seal_id.upper()}"\nepoch = 1\n{nodes}'
    found = read_config(write(tmp_path, text)).share
    assert (found.seal_id, found.epoch, found.identifier) == (
        share.seal_id,
        share.epoch,
        share.identifier,
    )


NODE = '[[nodes]]\nurl = "http://127.0.0.1:1"\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nodes: must be one or more"),
        ("nodes = 3", "nodes: must be one or more"),
        ("x = 1\n" + NODE, "x: is unknown"),
        ("[", "is no TOML"),
        (NODE, "share_file: must name"),
        (f"share_file = 3\n{NODE}", "share_file: must be a text"),
        (f'share_file = "none"\n{NODE}', "No such file"),
        (f'share_file = "open"\n{NODE}', "chmod 600"),
        (f'share_file = "wrong"\n{NODE}', "3 words"),
        ('share_file = "share"\n[[nodes]]\n', "nodes, number 1: url"),
        ('[[nodes]]\nurl = "ftp://x"', "nodes, number 1: url"),
        ('[[nodes]]\nurl = "http://192.0.2.1"', "for this machine only"),
        ('[[nodes]]\nurl = "https://n.example"', "needs either"),
        ('[[nodes]]\nurl = "https://n"\nca_file = "a"\ncertificate = "b"', "needs either"),
        ('[[nodes]]\nurl = "https://n"\nca_file = "none"', "ca_file"),
        ('[[nodes]]\nurl = "https://n"\npassword = "x"', "password: is unknown"),
    ],
)
def test_configurations_that_are_wrong(tmp_path: Path, text: str, why: str) -> None:
    desk = desk_of()
    private_file(tmp_path / "share", desk.shares[0])
    private_file(tmp_path / "open", desk.shares[0]).chmod(0o644)
    private_file(tmp_path / "wrong", "one two three")
    file = write(tmp_path, text)
    with pytest.raises(KeyServerError) as caught:
        read_config(file)
    assert why in str(caught.value)


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: Any) -> None:
    assert main(["unseal-daemon", "--config", str(tmp_path / "none.toml")]) == USAGE
    assert "No such file" in capsys.readouterr().err


def test_the_command_stops_when_a_share_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk = desk_of()
    answering = from_app(desk.app)

    def refuses(asked: Asked) -> Reply:
        error = b'{"error": {"code": "SHARE_UNKNOWN", "message": "no", "retriable": false}}'
        return answering(asked) if asked.method == "GET" else Reply(400, error)

    private_file(tmp_path / "share", desk.shares[0])
    with operator_server(refuses) as server:
        file = write(tmp_path, f'share_file = "share"\n[[nodes]]\nurl = "{server.url}"\n')
        assert main(["unseal-daemon", "--config", str(file)]) == WRONG_SHARE
    assert "SHARE_UNKNOWN" in capsys.readouterr().err
