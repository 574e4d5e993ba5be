"""Fixtures: each test gets a fresh chain, once embedded and, where it is found, once anvil."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import pytest
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.types import TxReceipt

from keyserver.devnet.anvil import find_anvil, start_anvil
from keyserver.devnet.embedded_chain import EmbeddedChain
from keyserver.errors import ConfigError
from tests.integration.devnet.accounts import Sender

CHAIN_ID = 424_242


class Chain(Protocol):
    """What both kinds of chain offer."""

    @property
    def rpc_url(self) -> str: ...
    @property
    def ws_url(self) -> str: ...
    @property
    def chain_id(self) -> int: ...


@pytest.fixture(params=["embedded", pytest.param("anvil", marks=pytest.mark.anvil)])
async def chain(request: pytest.FixtureRequest) -> AsyncIterator[Chain]:
    if request.param == "embedded":
        async with EmbeddedChain(chain_id=CHAIN_ID) as running:
            yield running
        return
    try:
        find_anvil()
    except ConfigError as error:
        pytest.skip(str(error))
    anvil = start_anvil(chain_id=CHAIN_ID)
    try:
        yield anvil
    finally:
        anvil.stop()


@pytest.fixture
async def embedded() -> AsyncIterator[EmbeddedChain]:
    async with EmbeddedChain(chain_id=CHAIN_ID) as running:
        yield running


@asynccontextmanager
async def http_client(url: str) -> AsyncIterator[AsyncWeb3[Any]]:
    provider = AsyncHTTPProvider(url, exception_retry_configuration=None)
    try:
        yield AsyncWeb3(provider)
    finally:
        await provider.disconnect()


@pytest.fixture
async def client(chain: Chain) -> AsyncIterator[AsyncWeb3[Any]]:
    async with http_client(chain.rpc_url) as connected:
        yield connected


@pytest.fixture
async def embedded_client(embedded: EmbeddedChain) -> AsyncIterator[AsyncWeb3[Any]]:
    async with http_client(embedded.rpc_url) as connected:
        yield connected


@pytest.fixture
def alice() -> Sender:
    return Sender(0, CHAIN_ID)


@pytest.fixture
def bob() -> Sender:
    return Sender(1, CHAIN_ID)


async def control(client: AsyncWeb3[Any], method: str, *params: object) -> Any:
    """Ask the chain for something web3 has no method for."""
    answer = await raw_answer(client, method, *params)
    assert "error" not in answer, answer["error"]
    return answer["result"]


async def raw_answer(client: AsyncWeb3[Any], method: str, *params: object) -> Any:
    """Ask the chain and return the whole JSON-RPC answer."""
    provider: Any = client.provider
    return await provider.make_request(method, list(params))


async def mined(client: AsyncWeb3[Any], transaction_hash: bytes) -> TxReceipt:
    """Wait for the receipt; anvil mines a moment after it has answered."""
    wanted: Any = transaction_hash
    return await client.eth.wait_for_transaction_receipt(wanted, timeout=10, poll_latency=0.01)
