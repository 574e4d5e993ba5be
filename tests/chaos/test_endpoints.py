"""The bad endpoints are as bad as they say: seen through the nodes' own way to a chain."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from keyserver.chain.client import BlockTag, ChainUnavailableError, WrongChainError
from keyserver.chain.http_endpoint import HttpEndpoint
from keyserver.chain.rpc_client import RpcClient
from keyserver.crypto.curve import SecretScalar
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS, LocalChain, start_embedded
from keyserver.evm.transaction import DynamicFee, TransactionSigner, UnsignedTransaction
from keyserver.model.identifiers import Address
from tests.chaos.endpoints import FAR_AHEAD, Manner, RpcProxy
from tests.support.manual_clock import ManualClock
from tests.support.ports import free_port

CHAIN_ID = 4242


@pytest.fixture(scope="module")
def chain() -> Iterator[LocalChain]:
    local = start_embedded(chain_id=CHAIN_ID)
    yield local
    local.stop()


@asynccontextmanager
async def through_proxy(chain: LocalChain) -> AsyncIterator[tuple[RpcProxy, RpcClient]]:
    proxy = RpcProxy(chain.rpc_url, free_port())
    await proxy.start()
    endpoint = HttpEndpoint(proxy.url, timeout_s=0.5)
    client = RpcClient([endpoint], chain_id=CHAIN_ID, poll_s=0.01, clock=ManualClock())
    try:
        yield proxy, client
    finally:
        await client.close()
        await proxy.close()


async def head_of(client: RpcClient) -> tuple[int, bytes]:
    head = await client.block(BlockTag.LATEST)
    assert head is not None
    return head.number, head.hash


async def test_an_honest_one_tells_what_the_chain_says(chain: LocalChain) -> None:
    async with through_proxy(chain) as (_, client):
        assert await client.chain_id() == CHAIN_ID
        assert (await head_of(client))[0] == int(chain.request("eth_blockNumber"), 16)


@pytest.mark.parametrize("manner", [Manner.FAILS, Manner.REFUSES, Manner.HANGS, Manner.SLOW])
async def test_those_that_do_not_answer(chain: LocalChain, manner: Manner) -> None:
    async with through_proxy(chain) as (proxy, client):
        await proxy.behave(manner)
        with pytest.raises(ChainUnavailableError):
            await client.chain_id()


async def test_one_that_changes_the_chain(chain: LocalChain) -> None:
    async with through_proxy(chain) as (proxy, client):
        await proxy.behave(Manner.WRONG_CHAIN)
        with pytest.raises(ChainUnavailableError):
            await client.chain_id()
    async with through_proxy(chain) as (proxy, client):
        await proxy.behave(Manner.WRONG_CHAIN)
        proxy._has_failed = True
        with pytest.raises(WrongChainError):
            await client.chain_id()


async def test_one_that_stands_still(chain: LocalChain) -> None:
    async with through_proxy(chain) as (proxy, client):
        before = await head_of(client)
        await proxy.behave(Manner.STALE)
        chain.request("evm_mine")
        assert await head_of(client) == before
        assert await client.block(before[0] + 1) is None
        await proxy.behave(Manner.HONEST)
        assert (await head_of(client))[0] == before[0] + 1


async def test_those_that_lie_about_the_head(chain: LocalChain) -> None:
    async with through_proxy(chain) as (proxy, client):
        number, own = await head_of(client)
        await proxy.behave(Manner.AHEAD)
        assert (await head_of(client))[0] == number + FAR_AHEAD
        await proxy.behave(Manner.FORKED)
        told = await head_of(client)
        assert told[0] == number
        assert told[1] != own


async def test_one_that_takes_transactions_and_forgets_them(chain: LocalChain) -> None:
    signer = TransactionSigner(SecretScalar(DEVELOPMENT_PRIVATE_KEYS[3]))
    fee = DynamicFee(50 * 10**9, 10**9)
    unsigned = UnsignedTransaction(CHAIN_ID, 0, Address(bytes(20)), b"", 21_000, fee)
    signed = signer.sign(unsigned)
    async with through_proxy(chain) as (proxy, client):
        await proxy.behave(Manner.SWALLOWS)
        assert await client.send_raw_transaction(signed.raw) == signed.tx_hash
        assert proxy.swallowed == 1
        chain.request("evm_mine")
        assert await client.receipt(signed.tx_hash) is None
