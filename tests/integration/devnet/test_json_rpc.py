"""The server's manners: bad requests are answered, and none of them ends it."""

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from keyserver.devnet.embedded_chain import EmbeddedChain
from tests.integration.devnet.accounts import SOMEONE, Sender


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def post(http: aiohttp.ClientSession, chain: EmbeddedChain, body: Any) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    async with http.post(chain.rpc_url, data=text) as response:
        assert response.status == 200
        return await response.json()


def request(method: str, *params: object) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": list(params)}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", -32700),
        ([], -32600),
        (5, -32600),
        ({"id": 1}, -32600),
        (request("eth_unheardOf"), -32601),
        ({"id": 1, "method": "eth_chainId", "params": {"a": 1}}, -32602),
        (request("eth_chainId", 1), -32602),
        (request("eth_getBalance"), -32602),
        (request("eth_getBalance", "0x12"), -32602),
        (request("eth_getBalance", SOMEONE, "0xzz"), -32602),
        (request("eth_getBalance", SOMEONE, "0x99"), -32000),
        (request("eth_call", "0x"), -32602),
        (request("eth_call", {"to": SOMEONE, "value": "5"}), -32602),
        (request("eth_call", {"to": SOMEONE, "value": hex(10**30)}), -32000),
        (request("eth_getBlockByNumber", -1), -32602),
        (request("eth_feeHistory", 0, "latest"), -32602),
        (request("eth_sendRawTransaction", "0x"), -32602),
        (request("eth_sendRawTransaction", "0x02c0"), -32602),
        (request("eth_sendTransaction", {"from": SOMEONE, "to": SOMEONE}), -32000),
        (request("eth_subscribe", "newHeads"), -32601),
        (request("evm_setAutomine", "yes"), -32602),
        (request("evm_setIntervalMining", -1.0), -32602),
        (request("anvil_mine", 10**9), -32602),
        (request("anvil_rollback", 1), -32602),
    ],
)
async def test_a_bad_request_is_answered_with_its_error(
    embedded: EmbeddedChain, http: aiohttp.ClientSession, body: Any, code: int
) -> None:
    answer = await post(http, embedded, body)
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]
    alive = await post(http, embedded, request("eth_blockNumber"))
    assert alive == {"jsonrpc": "2.0", "id": 7, "result": "0x0"}


async def test_garbled_transactions_are_refused(
    embedded: EmbeddedChain, http: aiohttp.ClientSession, alice: Sender
) -> None:
    chance = random.Random(1)
    good = alice.sign(value=1)
    batch = []
    for _ in range(200):
        garbled = bytearray(good)
        garbled[chance.randrange(len(garbled))] ^= 1 << chance.randrange(8)
        batch.append(request("eth_sendRawTransaction", "0x" + garbled.hex()))
        batch.append(request("eth_sendRawTransaction", "0x" + chance.randbytes(40).hex()))
    for answer in await post(http, embedded, batch):
        assert answer.get("error", {}).get("code") in (None, -32602, -32000), answer
    assert embedded.node.account_nonce(bytes.fromhex(alice.address[2:])) == 0


async def test_a_batch_answers_each_request_on_its_own(
    embedded: EmbeddedChain, http: aiohttp.ClientSession
) -> None:
    answers = await post(http, embedded, [request("eth_chainId"), 5, request("net_listening")])
    assert answers[0]["result"] == hex(embedded.chain_id)
    assert answers[1]["error"]["code"] == -32600
    assert answers[2]["result"] is True


async def test_a_socket_answers_errors_and_unsubscribes(
    embedded: EmbeddedChain, http: aiohttp.ClientSession
) -> None:
    async with http.ws_connect(embedded.ws_url) as socket:

        async def ask(method: str, *params: object) -> Any:
            await socket.send_json(request(method, *params))
            return await socket.receive_json()

        assert (await ask("eth_subscribe", "everything"))["error"]["code"] == -32602
        subscription = (await ask("eth_subscribe", "newHeads"))["result"]
        assert (await ask("eth_unsubscribe", subscription))["result"] is True
        assert (await ask("eth_unsubscribe", subscription))["result"] is False
        logs = (await ask("eth_subscribe", "logs"))["result"]
        assert (await ask("eth_unsubscribe", logs))["result"] is True
        # With no subscription left, the answer is all that comes.
        assert (await ask("evm_mine"))["result"] == "0x0"
        await socket.send_str("[")
        assert (await socket.receive_json())["error"]["code"] == -32700


async def test_a_plain_get_is_told_what_to_do(
    embedded: EmbeddedChain, http: aiohttp.ClientSession
) -> None:
    async with http.get(embedded.rpc_url) as response:
        assert response.status == 426
        assert "WebSocket" in await response.text()


async def test_open_sockets_end_with_the_chain(http: aiohttp.ClientSession) -> None:
    async with EmbeddedChain() as chain:
        socket = await http.ws_connect(chain.ws_url)
        await socket.send_json(request("eth_subscribe", "newHeads"))
        await socket.receive_json()
        reading = socket.receive()
    assert (await reading).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


async def test_accounts_of_the_node_send_without_a_signature(
    embedded: EmbeddedChain, http: aiohttp.ClientSession
) -> None:
    accounts = (await post(http, embedded, request("eth_accounts")))["result"]
    assert len(accounts) == 10
    transfer = {"from": accounts[3], "to": SOMEONE, "value": "0x5"}
    sent = (await post(http, embedded, request("eth_sendTransaction", transfer)))["result"]
    receipts = (await post(http, embedded, request("eth_getBlockReceipts", "latest")))["result"]
    assert [(r["transactionHash"], r["status"]) for r in receipts] == [(sent, "0x1")]
    storage = await post(http, embedded, request("eth_getStorageAt", SOMEONE, "0x0"))
    assert storage["result"] == "0x" + "00" * 32
    version = await post(http, embedded, request("web3_clientVersion"))
    assert version["result"].startswith("keyserver-embedded/")
