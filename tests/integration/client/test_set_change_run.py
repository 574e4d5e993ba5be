"""`keyserver admin set-change run`: from a signed order to its end, over real connections."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from keyserver.api.listening import tcp_socket
from keyserver.api.operator_set_change import ChangeFacts, KeptKeyFacts, SetChangeFacts
from keyserver.api.public_server import serve_public
from keyserver.api.rendering import to_json
from keyserver.cli import admin_run
from keyserver.cli.main import main
from keyserver.cli.output import CommandError
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.model.set_change import BoundOrder, LegacyOrder
from keyserver.model.set_change_rules import KeysWouldBeLostError, OrderRefusedError, Rule
from keyserver.sessions.core import DeniedError, UnavailableError
from tests.integration.client.test_set_change import SlowChanges, node_with
from tests.support.scripted_changes import ScriptedChanges
from tests.support.set_changes import ADMIN_KEY, CONTRACT, NODES, legacy_order, view

Output = pytest.CaptureFixture[str]

KEY = KeyId(b"\x07" * 32)
UNKNOWN = SetChangeFacts(1, None, None, None, None)


def told(phase: str, moved: int, *, why: str = "") -> SetChangeFacts:
    """What a coordinator says."""
    kept = (KeptKeyFacts(KEY, "too few of its holders"),) if phase == "failed" else ()
    missing = NODES[:1] if phase == "failed" else ()
    change = ChangeFacts(Hash32(b"\xcc" * 32), phase, 9, moved, missing, len(kept), kept, why)
    return SetChangeFacts(1, None, change, None, None)


class ScriptedOperator:
    """Says one thing after the other about changes, the last one for ever."""

    url = "http://127.0.0.1:1"

    def __init__(self, *answers: SetChangeFacts | CommandError) -> None:
        self._answers = list(answers)
        self.heard_all = threading.Event()

    def get(self, path: str) -> Any:
        assert path == "/v1/set-change"
        if len(self._answers) == 1:
            self.heard_all.set()
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, CommandError):
            raise answer
        return to_json(answer)


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of `legacy.json`, `bound.json` and `both.json`, as `sign` prints them."""
    directory = tmp_path_factory.mktemp("orders")
    key, password = directory / "admin.json", directory / "password"
    key.write_text(json.dumps(Account.encrypt(ADMIN_KEY.expose(), "secret", iterations=1)))
    password.write_text("secret\n")
    words = ["--key-file", str(key), "--password-file", str(password), "--json"]
    words += ["--set-contract", f"0x{CONTRACT.hex()}"]
    for option, nodes in (("--from", NODES[:4]), ("--to", NODES[1:])):
        words += [word for node in nodes for word in (option, node.hex())]
    for form in ("legacy", "bound", "both"):
        epoch = [] if form == "legacy" else ["--epoch", "1"]
        with (directory / f"{form}.json").open("w") as file, pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdout", file)
            assert main(["admin", "set-change", "sign", *words, "--form", form, *epoch]) == 0
    return directory


async def run(order: Path, node: str, *words: str) -> int:
    """The command, as in a process of its own."""
    arguments = ["admin", "set-change", "run", str(order), "--node", node, *words]
    return await asyncio.to_thread(main, arguments)


def watching(monkeypatch: pytest.MonkeyPatch, operator: ScriptedOperator) -> list[str]:
    """The options with which the command asks this operator."""
    monkeypatch.setattr(admin_run, "find_operator", lambda url, path, config: operator)
    monkeypatch.setattr(admin_run, "POLL_S", 0.01)
    return ["--url", operator.url]


@asynccontextmanager
async def network(**scripted: Any) -> AsyncIterator[tuple[str, ScriptedChanges]]:
    changes = ScriptedChanges(seen=view(now=0), **scripted)
    async with node_with(changes) as node:
        yield node, changes


@pytest.mark.parametrize(("form", "kind"), [("legacy", LegacyOrder), ("bound", BoundOrder)])
async def test_an_order_is_carried_out(orders: Path, capsys: Output, form: str, kind: type) -> None:
    async with network() as (node, changes):
        assert await run(orders / f"{form}.json", node) == 0
        assert "done" in capsys.readouterr().out
        assert await run(orders / "both.json", node, "--form", form, "--json") == 0
        assert json.loads(capsys.readouterr().out) == {
            "outcome": "done",
            "node": node,
            "set_change": None,
        }
    assert [type(order) for order in changes.orders] == [kind, kind]
    assert [order.new_nodes for order in changes.orders] == [NODES[1:]] * 2


async def test_how_far_it_is(orders: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    operator = ScriptedOperator(
        UNKNOWN,
        told("done", 9),  # of a change before this one
        told("moving", 4),
        told("moving", 4),
        told("freezing", 9),
        told("done", 9),
    )
    changes = SlowChanges()
    changes.seen = view(now=0)
    async with node_with(changes) as node:
        running = asyncio.ensure_future(
            run(orders / "bound.json", node, *watching(monkeypatch, operator))
        )
        await asyncio.to_thread(operator.heard_all.wait, 10)
        changes.may_end.set()
        assert await running == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == ["moving: 4 of 9 moved", "freezing: 9 of 9 moved"]
    assert "9 of 9 moved" in out


async def test_progress_that_cannot_be_had_stops_nothing(
    orders: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = ScriptedOperator(UNKNOWN, CommandError("it is gone"), told("done", 9))
    async with network() as (node, _):
        assert await run(orders / "bound.json", node, *watching(monkeypatch, operator)) == 0
    assert "how far it is cannot be told: it is gone" in capsys.readouterr().err


REFUSED = [
    (UnavailableError("a node is away", "NodeDisconnected"), "NODE_DISCONNECTED", 1),
    (UnavailableError("other work", "HasActiveSessions"), "HAS_ACTIVE_SESSIONS", 1),
    (UnavailableError("one runs", "DuplicateSessionId"), "DUPLICATE_SESSION_ID", 1),
    (DeniedError("they refuse", "ConsensusUnreachable"), "CONSENSUS_UNREACHABLE", 1),
    (OrderRefusedError(Rule.WRONG_SIGNER, "not the administrator"), "", 1),
    (KeysWouldBeLostError(3), "3 keys", 1),
]


@pytest.mark.parametrize(("failure", "text", "code"), REFUSED)
@pytest.mark.parametrize("form", ["legacy", "bound"])
async def test_what_is_refused_has_a_name_and_an_advice(
    orders: Path, capsys: Output, form: str, failure: Exception, text: str, code: int
) -> None:
    async with network(failure=failure) as (node, _):
        assert await run(orders / f"{form}.json", node) == code
    out, err = capsys.readouterr()
    assert out == ""
    first, *advice = err.splitlines()
    assert first.startswith(f"keyserver: {node}")
    assert text in first
    assert advice, "what to do about it"


async def test_what_stopped_it(
    orders: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = ScriptedOperator(UNKNOWN, told("failed", 3, why="a node went away"))
    failure = UnavailableError("a node went away", "NodeDisconnected")
    async with network(failure=failure) as (node, _):
        assert await run(orders / "bound.json", node, *watching(monkeypatch, operator)) == 1
    err = capsys.readouterr().err
    assert "the change failed: a node went away" in err
    assert f"not taking part: 0x{NODES[0].hex()[:8]}…" in err
    assert f"key 0x{KEY.hex()}: too few of its holders" in err
    assert "NODE_DISCONNECTED" in err


async def test_what_stopped_another_change_before_it_is_not_told(
    orders: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = ScriptedOperator(told("failed", 3, why="a node went away"))
    failure = UnavailableError("other work", "HasActiveSessions")
    async with network(failure=failure) as (node, _):
        assert await run(orders / "bound.json", node, *watching(monkeypatch, operator)) == 1
    err = capsys.readouterr().err
    assert "HAS_ACTIVE_SESSIONS" in err
    assert "a node went away" not in err


async def test_what_stopped_it_cannot_be_asked_any_more(
    orders: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answers in ([UNKNOWN, CommandError("it is gone")], [UNKNOWN]):
        operator = ScriptedOperator(*answers)
        failure = UnavailableError("a node went away", "NodeDisconnected")
        async with network(failure=failure) as (node, _):
            assert await run(orders / "bound.json", node, *watching(monkeypatch, operator)) == 1
        err = capsys.readouterr().err
        assert "NODE_DISCONNECTED" in err
        assert "not taking part" not in err


async def test_who_interrupts_it_hears_that_the_node_goes_on(capsys: Output) -> None:
    changes = SlowChanges()
    async with node_with(changes) as node:
        sending = asyncio.ensure_future(admin_run._carry_out(node, legacy_order(), None, None))
        await changes.began.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert "the change goes on at the node" in capsys.readouterr().err
        changes.may_end.set()
        await changes.ended.wait()


async def test_nobody_answers(orders: Path, capsys: Output) -> None:
    with tcp_socket("nobody", "127.0.0.1", 0) as closed:
        port = closed.getsockname()[1]
    assert await run(orders / "bound.json", f"http://127.0.0.1:{port}") == 3
    assert "Is it running" in capsys.readouterr().err


async def test_an_operator_that_is_not_there_stops_it_before_it_begins(
    orders: Path, capsys: Output, tmp_path: Path
) -> None:
    async with network() as (node, changes):
        assert await run(orders / "bound.json", node, "--path", str(tmp_path)) == 3
    assert changes.orders == []
    assert "no node runs with this data directory" in capsys.readouterr().err


async def test_a_node_that_dies_meanwhile(orders: Path, capsys: Output) -> None:
    async def hang_up(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ConnectionResetError

    listener = tcp_socket("http_port", "127.0.0.1", 0)
    server = asyncio.ensure_future(serve_public(hang_up, listener))
    try:
        node = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert await run(orders / "bound.json", node) == 3
    finally:
        server.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server
    err = capsys.readouterr().err
    assert "may go on without you" in err
    assert "can be sent again" in err


@pytest.mark.parametrize(
    "content",
    [
        "nothing",
        "{}",
        "[]",
        '{"legacy": {}}',
        '{"legacy": {"request": {"path": "/elsewhere/00/00", "body": "[]"}}}',
        '{"bound": {"request": {"path": "/v1/set-change", "body": "{}"}}}',
        '{"bound": {"request": {"path": "/v1/set-change", "body": "[1]"}}}',
        '{"legacy": {"request": {"path": "/admin/servers_set_change/0/0", "body": "[]"}}}',
    ],
)
def test_files_that_hold_no_order(capsys: Output, tmp_path: Path, content: str) -> None:
    file = tmp_path / "order.json"
    file.write_text(content)
    assert main(["admin", "set-change", "run", str(file)]) == 2
    err = capsys.readouterr().err
    assert "order" in err
    assert "Traceback" not in err


def test_what_has_to_be_chosen(orders: Path, capsys: Output, tmp_path: Path) -> None:
    assert main(["admin", "set-change", "run", str(orders / "both.json")]) == 2
    assert "--form" in capsys.readouterr().err
    words = ["admin", "set-change", "run", str(orders / "bound.json"), "--form", "legacy"]
    assert main(words) == 2
    assert "has no legacy" in capsys.readouterr().err
    assert main(["admin", "set-change", "run", str(tmp_path / "nothing")]) == 1
    assert main(["admin", "set-change", "run", str(orders / "bound.json"), "--node", "x"]) == 2


def test_a_legacy_order_over_an_open_way_is_warned_of(
    capsys: Output, orders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise CommandError("stopped here")

    monkeypatch.setattr(admin_run, "_carry_out", refuse)
    for form, warns in (("legacy", True), ("bound", False)):
        order = str(orders / f"{form}.json")
        assert main(["admin", "set-change", "run", order, "--node", "http://10.0.0.1:8082"]) == 1
        assert ("can repeat this order" in capsys.readouterr().err) is warns
