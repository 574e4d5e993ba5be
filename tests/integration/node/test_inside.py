"""A node inside the test's own process: what its operator sees while it works."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from keyserver.app.config import load
from keyserver.app.lifecycle import run_node
from keyserver.model.identifiers import Address
from tests.support.chain_network import Network
from tests.support.node_processes import ConfiguredNode
from tests.support.wire import request

KEY = bytes([9]) * 32


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A set of one node, so that it can do everything alone; blocks come when the test says."""
    made = Network.make(tmp_path_factory.mktemp("one"), 1, confirmations=1, block_time_s=0.3)
    try:
        yield made
    finally:
        made.close()


class Operator:
    """The operator's requests, without blocking the node in the same process."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def ask(self, path: str, method: str = "GET") -> tuple[int, Any]:
        answer = await asyncio.to_thread(request, self._url, method, path)
        return answer.status, json.loads(answer.body)

    async def text(self, path: str) -> str:
        return (await asyncio.to_thread(request, self._url, "GET", path)).text

    async def until(self, path: str, holds: Any) -> Any:
        async with asyncio.timeout(30):
            while True:
                _, body = await self.ask(path)
                if holds(body):
                    return body
                await asyncio.sleep(0.05)


@asynccontextmanager
async def running(node: ConfiguredNode) -> AsyncIterator[Operator]:
    """Run the node until the block ends, then ask this process to end, as a supervisor would."""
    node.write_config()
    loaded = load(node.config, environ={"HOME": str(node.directory)})
    ready: asyncio.Future[Mapping[str, object]] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run_node(loaded, announce=ready.set_result))
        yield Operator(str((await ready)["operator"]))
        os.kill(os.getpid(), signal.SIGTERM)
        await task


def idle(body: Any) -> bool:
    return not body["requests"]


async def test_a_key_its_fees_and_what_is_seen_of_them(network: Network, tmp_path: Path) -> None:
    node = network.fresh_node(0, tmp_path)
    node.set("keyserver", confirmations=1, operator_listen="127.0.0.1:0")
    async with running(node) as operator:
        await operator.until("/health/ready", lambda body: body == {"ready": True, "reasons": []})
        await asyncio.to_thread(network.request, "generateServerKey", KEY, 0)
        pending = await operator.until("/v1/requests", lambda body: body["requests"])
        (task,) = pending["requests"]
        assert task["kind"] == "generate_server_key"
        assert task["contract"] == f"0x{network.service.hex()}"
        assert task["key_id"] == f"0x{KEY.hex()}"
        assert (task["requester"], task["message"]) == (None, None)
        sent = await operator.until(
            "/v1/requests",
            lambda body: body["requests"] and body["requests"][0]["answers"][0:1],
        )
        (answer,) = sent["requests"][0]["answers"]
        assert answer["method"] == "serverKeyGenerated"
        await operator.until("/v1/requests", idle)

        _, page = await operator.ask("/v1/keys")
        assert [key["key_id"] for key in page["keys"]] == [f"0x{KEY.hex()}"]
        _, key = await operator.ask(f"/v1/keys/{KEY.hex()}")
        ((_, (_, public)),) = network.logs("ServerKeyGenerated")
        assert key["public"] == f"0x{public.hex()}"
        assert (key["share"], key["certified"], key["undecided"]) == ("held", True, False)
        assert [member["is_holder"] for member in key["committee"]] == [True]

        _, status = await operator.ask("/v1/status")
        assert (status["keys"], status["ready"]) == (1, True)
        assert status["tasks"] == {"settled": 1}
        assert status["answers"] == {"confirmed": 1}
        assert status["chain"]["lag"] == 0
        _, change = await operator.ask("/v1/set-change")
        assert status["set_change"]["completed"] is change["completed"] is None
        assert (change["next_epoch"], change["migration"]["phase"]) == (1, "idle")
        metrics = await operator.text("/metrics")
        assert 'keyserver_tasks{service="generate_server_key",state="settled"} 1.0' in metrics
        assert 'keyserver_outbox{state="confirmed"} 1.0' in metrics
        assert "keyserver_set_changes_completed 0.0" in metrics
        assert 'keyserver_migration_phase{phase="idle"} 1.0' in metrics
        assert (
            'keyserver_sessions_total{outcome="completed",role="coordinator",type="generation"} 1.0'
            in metrics
        )
        await fees_are_collected(network, node, operator)


async def fees_are_collected(network: Network, node: ConfiguredNode, operator: Operator) -> None:
    _, before = await operator.ask("/v1/drain")
    (fee,) = before["fees"]
    assert int(fee["balance_wei"]) > 0
    assert fee["services"][0] == "server_key_generation"
    balance = network.chain.request("eth_getBalance", f"0x{node.id.address.hex()}", "latest")
    status, started = await operator.ask("/v1/drain", "POST")
    assert (status, started["collecting"]) == (202, before["fees"])
    await operator.until("/v1/drain", lambda body: body["fees"][0]["balance_wei"] == "0")
    await operator.until("/v1/requests", idle)
    after = network.chain.request("eth_getBalance", f"0x{node.id.address.hex()}", "latest")
    assert int(after, 16) > int(balance, 16)
    assert (await operator.ask("/v1/drain", "POST"))[1] == {"collecting": []}


async def test_a_request_that_cannot_be_served(network: Network, tmp_path: Path) -> None:
    """The answer is an error on chain, and the node goes on."""
    node = network.fresh_node(0, tmp_path)
    other = bytes([10]) * 32
    async with running(node) as operator:
        await asyncio.to_thread(network.request, "retrieveServerKey", other)
        await operator.until("/v1/status", lambda body: body["answers"].get("confirmed") == 1)
        assert [values[0] for _, values in network.logs("ServerKeyRetrievalError")] == [other]
        _, body = await operator.ask(f"/v1/keys/{other.hex()}")
        assert body["error"]["code"] == "ServerKeyIsNotFound"


async def test_a_contract_that_is_missing_is_a_warning(network: Network, tmp_path: Path) -> None:
    node = network.fresh_node(0, tmp_path)
    nowhere = Address(b"\x99" * 20)
    node.set("secretstore", service_contract_srv_gen=nowhere.hex())
    node.set("keyserver", min_balance=10**30)
    async with running(node) as operator:
        _, status = await operator.ask("/v1/status")
        texts = {warning["code"]: warning["text"] for warning in status["warnings"]}
        assert (
            f"service_contract_srv_gen: there is no contract at 0x{nowhere.hex()}"
            in (texts["contract_missing"])
        )
        assert "min_balance" in texts["balance_low"]
        assert status["ready"] is True
        assert status["chain"]["contracts"]["service_contract_srv_gen"] is None
        assert status["chain"]["contracts"]["service_contract"] is not None
