"""An administrator's orders over the wire: answers that take long, and the commands' own lines."""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from eth_account import Account

from keyserver.api.listening import tcp_socket
from keyserver.api.public_server import serve_public
from keyserver.cli.main import main
from keyserver.client.errors import NodeNotReadyError, NodeUnreachableError
from keyserver.client.node_http import HttpRequest, http_transport
from keyserver.client.set_change import order_set_change
from keyserver.model.set_change import AdministratorOrder
from tests.support.bound_requests import POLICY, v1_app_of
from tests.support.scripted_changes import ScriptedChanges
from tests.support.scripted_node import ScriptedNode
from tests.support.set_changes import ADMIN_KEY, CONTRACT, NODES, bound_order, legacy_order, view

ORDERS = pytest.mark.parametrize("order", [legacy_order(), bound_order()], ids=["legacy", "bound"])


class SlowChanges(ScriptedChanges):
    """Work until the test lets them end."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.may_end, self.ended = (asyncio.Event() for _ in range(3))

    async def run(self, order: AdministratorOrder) -> None:
        self.change_runs = True
        self.began.set()
        await self.may_end.wait()
        self.change_runs = False
        await super().run(order)
        self.ended.set()


@asynccontextmanager
async def node_with(changes: ScriptedChanges | None) -> AsyncIterator[str]:
    """The URL of a node behind the real server."""
    app = v1_app_of(ScriptedNode(policy=POLICY), set_changes=changes)
    listener = tcp_socket("http_port", "127.0.0.1", 0)
    host, port = listener.getsockname()[:2]
    server = asyncio.ensure_future(serve_public(app, listener))
    try:
        yield f"http://{host}:{port}"
    finally:
        server.cancel()
        with pytest.raises(asyncio.CancelledError):
            await server


@ORDERS
async def test_who_is_patient_hears_the_end(order: AdministratorOrder) -> None:
    changes = SlowChanges()
    async with node_with(changes) as node, http_transport(answer_s=None) as patient:
        first = asyncio.ensure_future(order_set_change(patient, node, order))
        await changes.began.wait()
        with pytest.raises(NodeNotReadyError, match="DUPLICATE_SESSION_ID"):
            await order_set_change(patient, node, order)
        changes.may_end.set()
        await first
    assert changes.orders == [order]


async def test_how_long_to_wait_is_ones_own_choice() -> None:
    changes = SlowChanges()
    async with node_with(changes) as node, http_transport(answer_s=0.2) as hasty:
        with pytest.raises(NodeUnreachableError, match="no answer"):
            await order_set_change(hasty, node, legacy_order())
        changes.may_end.set()


@ORDERS
async def test_a_change_goes_on_when_its_client_has_left(order: AdministratorOrder) -> None:
    changes = SlowChanges()
    async with node_with(changes) as node:
        async with http_transport() as hasty:
            asked = asyncio.ensure_future(order_set_change(hasty, node, order))
            await changes.began.wait()
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
        changes.may_end.set()
        await changes.ended.wait()
    assert changes.orders == [order]


async def send_as_curl(line: str) -> tuple[int, bytes]:
    """Send what a printed line says, as curl would."""
    curl, data, body, *headers, x, method, url = shlex.split(line)
    assert (curl, data, x) == ("curl", "--data-binary", "-X")
    assert headers[::2] == ["-H"] * (len(headers) // 2)
    sent = dict(text.split(": ", 1) for text in headers[1::2])
    # Without a type of its own curl calls it a form; the node does not care.
    sent = {"Content-Type": "application/x-www-form-urlencoded"} | sent
    node, path = url[: url.index("/", 8)], url[url.index("/", 8) :]
    async with http_transport() as transport:
        answer = await transport.exchange(node, HttpRequest(method, path, sent, body.encode()))
        return answer.status, answer.body


@pytest.mark.parametrize("takes_orders", [True, False])
async def test_the_printed_lines_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, *, takes_orders: bool
) -> None:
    key, password = tmp_path / "admin.json", tmp_path / "password"
    key.write_text(json.dumps(Account.encrypt(ADMIN_KEY.expose(), "secret", iterations=1)))
    password.write_text("secret\n")
    changes = ScriptedChanges(seen=view(now=0)) if takes_orders else None
    words = ["--key-file", str(key), "--password-file", str(password)]
    words += ["--form", "both", "--epoch", "1", "--set-contract", f"0x{CONTRACT.hex()}"]
    for option, nodes in (("--from", NODES[:4]), ("--to", NODES[1:])):
        words += [word for node in nodes for word in (option, node.hex())]
    async with node_with(changes) as node:
        assert main(["admin", "set-change", "sign", *words, "--node", node]) == 0
        lines = [each for each in capsys.readouterr().out.splitlines() if each.startswith("curl")]
        answers = [await send_as_curl(line) for line in lines]
    if changes is None:
        assert [status for status, _ in answers] == [403, 404]
        assert answers[0][1] == b'"\\"Access denied\\""'
        return
    assert answers == [(200, b""), (200, b"{}")]
    assert [order.new_nodes for order in changes.orders] == [NODES[1:], NODES[1:]]
