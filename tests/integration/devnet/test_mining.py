"""When blocks come and what time they carry."""

import asyncio
import time
from typing import Any

import pytest
from web3 import AsyncWeb3, WebSocketProvider

from keyserver.devnet.embedded_chain import EmbeddedChain
from keyserver.devnet.embedded_node import EmbeddedNode
from tests.integration.devnet.accounts import Sender
from tests.integration.devnet.conftest import (
    CHAIN_ID,
    Chain,
    control,
    http_client,
    mined,
    raw_answer,
)

INTERVAL_S = 0.1


async def wait_for_heads(chain: Chain, count: int) -> list[Any]:
    heads: list[Any] = []
    async with AsyncWeb3(WebSocketProvider(chain.ws_url)) as socket:
        await socket.eth.subscribe("newHeads")
        async for message in socket.socket.process_subscriptions():
            heads.append(message["result"])
            if len(heads) == count:
                break
    return heads


async def test_blocks_come_at_intervals_with_the_time_of_the_clock(alice: Sender) -> None:
    async with (
        EmbeddedChain(chain_id=CHAIN_ID, block_time_s=INTERVAL_S) as chain,
        http_client(chain.rpc_url) as client,
    ):
        # Without an await between them, all three are there before the next block.
        sent = [chain.node.submit(alice.sign()) for _ in range(3)]
        began = time.monotonic()
        heads = await wait_for_heads(chain, 4)
        assert time.monotonic() - began > 2.5 * INTERVAL_S
        assert [head["number"] for head in heads] == list(
            range(heads[0]["number"], heads[0]["number"] + 4)
        )
        assert all(abs(head["timestamp"] - time.time()) < 5 for head in heads)
        assert len({(await mined(client, h))["blockNumber"] for h in sent}) == 1


async def test_the_way_of_mining_changes_while_running(
    embedded: EmbeddedChain, embedded_client: AsyncWeb3[Any], alice: Sender
) -> None:
    client = embedded_client
    await control(client, "evm_setIntervalMining", INTERVAL_S)
    await wait_for_heads(embedded, 2)
    await control(client, "evm_setIntervalMining", 0)
    height = await client.eth.block_number
    await alice.send(client)
    await asyncio.sleep(3 * INTERVAL_S)
    assert await client.eth.block_number == height
    await control(client, "evm_setAutomine", True)
    assert await client.eth.block_number == height + 1
    await alice.send(client)
    assert await client.eth.block_number == height + 2


async def test_time_goes_forward_on_request(client: AsyncWeb3[Any]) -> None:
    await control(client, "evm_mine")
    before = (await client.eth.get_block("latest"))["timestamp"]
    await control(client, "evm_increaseTime", 1000)
    await control(client, "evm_mine")
    skipped = (await client.eth.get_block("latest"))["timestamp"]
    assert 1000 <= skipped - before < 1010
    await control(client, "evm_setNextBlockTimestamp", skipped + 500)
    await control(client, "evm_mine")
    assert (await client.eth.get_block("latest"))["timestamp"] == skipped + 500
    await control(client, "evm_mine")
    assert (await client.eth.get_block("latest"))["timestamp"] - skipped - 500 < 10


async def test_blocks_are_mined_with_an_interval_between_them(
    embedded_client: AsyncWeb3[Any],
) -> None:
    await control(embedded_client, "anvil_mine", 3, 60)
    times = [(await embedded_client.eth.get_block(n))["timestamp"] for n in (1, 2, 3)]
    assert [times[1] - times[0], times[2] - times[1]] == [60, 60]


async def test_a_timestamp_before_the_head_is_refused(embedded_client: AsyncWeb3[Any]) -> None:
    await control(embedded_client, "evm_mine")
    answer = await raw_answer(embedded_client, "evm_mine", {"timestamp": 1})
    assert "not before the head's" in answer["error"]["message"]


def test_a_clock_that_goes_back_does_not_take_blocks_with_it() -> None:
    times = iter([2_000_000_000.0, 1_900_000_000.0])
    node = EmbeddedNode(chain_id=1, clock=lambda: next(times))
    assert [node.mine().header.timestamp for _ in range(2)] == [2_000_000_000] * 2


def test_the_genesis_depends_on_the_accounts_alone() -> None:
    funded = [b"\x42" * 20]
    hashes = {EmbeddedNode(chain_id=CHAIN_ID, funded=funded).head.hash for _ in range(2)}
    assert len(hashes) == 1
    assert EmbeddedNode(chain_id=CHAIN_ID).head.hash not in hashes


async def test_a_failing_miner_is_reported_when_the_chain_ends() -> None:
    chain = EmbeddedChain(chain_id=CHAIN_ID, block_time_s=0.01)
    chain.node.observe(_FailingObserver())
    await chain.__aenter__()
    await chain.run_until(asyncio.Event())
    with pytest.raises(ZeroDivisionError):
        await chain.__aexit__(None, None, None)


class _FailingObserver:
    def block_added(self, _: object) -> None:
        raise ZeroDivisionError

    def block_removed(self, _: object) -> None:
        raise AssertionError
