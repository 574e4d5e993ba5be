"""Every `ChainClient` keeps the promises of the protocol."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

import pytest

from keyserver.chain.client import (
    BlockId,
    BlockRef,
    BlockReplacedError,
    BlockTag,
    ChainClient,
    ContractCall,
    Returned,
    Reverted,
    SendRefusal,
    SendRefusedError,
)
from keyserver.chain.rpc_client import RpcClient, endpoint_for
from keyserver.devnet.anvil import find_anvil, start_anvil
from keyserver.devnet.embedded_chain import EmbeddedChain
from keyserver.devnet.local_chain import LocalChain, request
from keyserver.errors import ConfigError
from keyserver.model.identifiers import Address, Hash32
from tests.support import echo_contract as echo
from tests.support.eth_tester_client import EthTesterClient
from tests.support.manual_clock import ManualClock

CHAIN_ID = 1337
TOPIC = Hash32(b"\x07" * 32)


class Chain(Protocol):
    """What the tests do to a chain, next to asking it."""

    async def mine(self, count: int = 1) -> None: ...

    async def reorganise(self, depth: int) -> None: ...


@dataclass
class InProcess:
    client: EthTesterClient

    async def mine(self, count: int = 1) -> None:
        self.client.mine(count)

    async def reorganise(self, depth: int) -> None:
        self.client.reorganise(depth)


@dataclass
class OverRpc:
    url: str

    async def mine(self, count: int = 1) -> None:
        await asyncio.to_thread(request, self.url, "anvil_mine", hex(count))

    async def reorganise(self, depth: int) -> None:
        await asyncio.to_thread(request, self.url, "anvil_reorg", depth, [])


@dataclass
class Bench:
    client: ChainClient
    chain: Chain
    signer: EthTesterClient
    """Signs for the development accounts; its own chain is of no interest."""

    async def transact(self, to: Address | None, data: bytes, *, nonce: int, fee: int = 0) -> bytes:
        """A signed transaction of the first development account."""
        price = fee or 100 * 10**9
        node = self.signer.node
        call = self.signer.message(to, data)
        return node.sign(call, gas=300_000, nonce=nonce, max_fee=price, tip=min(price, 10**9))

    async def send(self, to: Address | None, data: bytes = b"") -> Hash32:
        """Send it, mine it, and return its hash."""
        account = self.signer.account(0)
        nonce = await self.client.transaction_count(account, pending=True)
        raw = await self.transact(to, data, nonce=nonce)
        tx_hash = await self.client.send_raw_transaction(raw)
        await self.chain.mine()
        return tx_hash

    async def deploy_echo(self) -> Address:
        """The contract of `echo_contract`, new."""
        account = self.signer.account(0)
        nonce = await self.client.transaction_count(account, pending=True)
        await self.send(None, echo.CREATION_CODE)
        return self.signer.contract_address(account, nonce)

    async def head(self) -> BlockRef:
        head = await self.client.block(BlockTag.LATEST)
        assert head is not None
        return head


@asynccontextmanager
async def in_process() -> AsyncIterator[Bench]:
    client = EthTesterClient.start(chain_id=CHAIN_ID)
    yield Bench(client, InProcess(client), client)


@asynccontextmanager
async def over_rpc(rpc_url: str, url: str) -> AsyncIterator[Bench]:
    client = RpcClient([endpoint_for(url)], chain_id=CHAIN_ID, poll_s=0.02, clock=ManualClock())
    signer = EthTesterClient.start(chain_id=CHAIN_ID)
    try:
        yield Bench(client, OverRpc(rpc_url), signer)
    finally:
        await client.close()


@asynccontextmanager
async def embedded(scheme: str) -> AsyncIterator[Bench]:
    async with EmbeddedChain(chain_id=CHAIN_ID) as chain:
        chain.node.set_mining(automine=False, interval_s=None)
        url = chain.ws_url if scheme == "ws" else chain.rpc_url
        async with over_rpc(chain.rpc_url, url) as bench:
            yield bench


@asynccontextmanager
async def anvil(scheme: str) -> AsyncIterator[Bench]:
    try:
        find_anvil()
    except ConfigError as error:
        pytest.skip(str(error))
    chain: LocalChain = await asyncio.to_thread(start_anvil, chain_id=CHAIN_ID)
    try:
        await asyncio.to_thread(chain.request, "evm_setAutomine", False)
        url = chain.ws_url if scheme == "ws" else chain.rpc_url
        async with over_rpc(chain.rpc_url, url) as bench:
            yield bench
    finally:
        await asyncio.to_thread(chain.stop)


CLIENTS: dict[str, Callable[[], AbstractAsyncContextManager[Bench]]] = {
    "eth-tester": in_process,
    "embedded-http": lambda: embedded("http"),
    "embedded-ws": lambda: embedded("ws"),
    "anvil-http": lambda: anvil("http"),
    "anvil-ws": lambda: anvil("ws"),
}


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.anvil) if name.startswith("anvil") else name
        for name in CLIENTS
    ]
)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    async with CLIENTS[request.param]() as one:
        yield one


async def test_it_names_its_chain(bench: Bench) -> None:
    assert await bench.client.chain_id() == CHAIN_ID
    assert await bench.client.syncing() is False


async def test_blocks_are_linked_by_hash(bench: Bench) -> None:
    await bench.chain.mine(5)
    head = await bench.head()
    assert head.number == 5
    assert head.base_fee is not None
    blocks = await bench.client.blocks([3, 4, 5, 6])
    assert blocks[3] is None
    three, four, five = blocks[0], blocks[1], blocks[2]
    assert three is not None
    assert four is not None
    assert five == head
    assert (four.parent_hash, head.parent_hash) == (three.hash, four.hash)
    assert await bench.client.block(99) is None


async def test_safe_and_finalized_blocks_are_behind_the_head(bench: Bench) -> None:
    await bench.chain.mine(5)
    safe = await bench.client.block(BlockTag.SAFE)
    finalized = await bench.client.block(BlockTag.FINALIZED)
    assert safe is not None
    assert finalized is not None
    assert finalized.number <= safe.number < 5


async def test_a_call_returns_or_reverts(bench: Bench) -> None:
    contract = await bench.deploy_echo()
    returned = await bench.client.call(ContractCall(contract, echo.returning(b"answer")))
    assert returned == Returned(b"answer")
    refused = await bench.client.call(ContractCall(contract, echo.reverting(b"reason")))
    assert refused == Reverted(b"reason")
    assert await bench.client.call(ContractCall(contract, echo.reverting(b""))) == Reverted(b"")


async def test_a_call_at_every_endpoint(bench: Bench) -> None:
    contract = await bench.deploy_echo()
    call, head = ContractCall(contract, echo.returning(b"answer")), (await bench.head()).id
    assert await bench.client.call_everywhere(call, head) == {Returned(b"answer")}
    with pytest.raises(BlockReplacedError):
        await bench.client.call_everywhere(call, BlockId(head.number, Hash32(b"\x66" * 32)))


async def test_an_account_without_code_returns_nothing(bench: Bench) -> None:
    nobody = Address(b"\x01" * 20)
    assert await bench.client.call(ContractCall(nobody, b"\x01\x02\x03\x04")) == Returned(b"")
    assert await bench.client.code(nobody) == b""


async def test_calls_of_a_batch_keep_their_order(bench: Bench) -> None:
    contract = await bench.deploy_echo()
    calls = [ContractCall(contract, echo.returning(bytes([n]))) for n in range(120)]
    calls[7] = ContractCall(contract, echo.reverting(b"seven"))
    results = await bench.client.call_many(calls, await bench.head())
    assert results[7] == Reverted(b"seven")
    assert [r for n, r in enumerate(results) if n != 7] == [
        Returned(bytes([n])) for n in range(120) if n != 7
    ]


async def test_batches_at_the_same_time_do_not_mix(bench: Bench) -> None:
    contract = await bench.deploy_echo()

    async def ask(byte: int) -> bool:
        calls = [ContractCall(contract, echo.returning(bytes([byte, n]))) for n in range(5)]
        results = await bench.client.call_many(calls)
        return results == tuple(Returned(bytes([byte, n])) for n in range(5))

    assert all(await asyncio.gather(*(ask(byte) for byte in range(8))))


async def test_a_pinned_read_sees_that_block(bench: Bench) -> None:
    before = await bench.head()
    contract = await bench.deploy_echo()
    after = await bench.head()
    await bench.chain.mine(2)
    assert await bench.client.code(contract, before) == b""
    assert await bench.client.code(contract, after.id)
    call = ContractCall(contract, echo.returning(b"x"))
    assert await bench.client.call(call, before) == Returned(b"")
    assert await bench.client.call(call, after.id) == Returned(b"x")


async def test_a_read_pinned_to_a_replaced_block_fails(bench: Bench) -> None:
    contract = await bench.deploy_echo()
    await bench.chain.mine(3)
    head = await bench.head()
    await bench.chain.reorganise(2)
    assert (await bench.head()).hash != head.hash
    call = ContractCall(contract, echo.returning(b"x"))
    with pytest.raises(BlockReplacedError):
        await bench.client.call(call, head)
    with pytest.raises(BlockReplacedError):
        await bench.client.call_many([call, call], head.id)
    with pytest.raises(BlockReplacedError):
        await bench.client.code(contract, head)
    unknown = BlockId(head.number, Hash32(b"\x09" * 32))
    with pytest.raises(BlockReplacedError):
        await bench.client.call(call, unknown)
    assert await bench.client.call(call, await bench.head()) == Returned(b"x")


async def test_logs_come_in_the_order_of_the_chain(bench: Bench) -> None:
    one = await bench.deploy_echo()
    two = await bench.deploy_echo()
    account = bench.signer.account(0)
    nonce = await bench.client.transaction_count(account, pending=True)
    for offset, (to, text) in enumerate([(one, b"a"), (two, b"b"), (one, b"c")]):
        raw = await bench.transact(to, echo.logging(TOPIC, text), nonce=nonce + offset)
        await bench.client.send_raw_transaction(raw)
    await bench.chain.mine()
    block = await bench.head()
    await bench.send(one, echo.logging(Hash32(b"\x08" * 32), b"later"))
    head = await bench.head()

    logs = await bench.client.logs([one, two], 0, head.number)
    assert [log.data for log in logs] == [b"a", b"b", b"c", b"later"]
    assert [log.address for log in logs] == [one, two, one, one]
    assert [log.log_index for log in logs[:3]] == [0, 1, 2]
    assert {log.block_hash for log in logs[:3]} == {block.hash}
    assert logs[0].topics == (TOPIC,)
    only_one = await bench.client.logs([one], 0, head.number)
    assert [log.data for log in only_one] == [b"a", b"c", b"later"]
    by_topic = await bench.client.logs([one, two], 0, head.number, [TOPIC])
    assert [log.data for log in by_topic] == [b"a", b"b", b"c"]
    in_range = await bench.client.logs([one, two], head.number, head.number)
    assert [log.data for log in in_range] == [b"later"]


async def test_logs_of_a_dropped_block_are_gone(bench: Bench) -> None:
    contract = await bench.deploy_echo()
    tx_hash = await bench.send(contract, echo.logging(TOPIC, b"x"))
    receipt = await bench.client.receipt(tx_hash)
    assert receipt is not None
    await bench.chain.reorganise(1)
    head = await bench.head()
    assert await bench.client.logs([contract], 0, head.number) == ()
    assert await bench.client.receipt(tx_hash) is None


async def test_a_transaction_is_sent_known_and_mined(bench: Bench) -> None:
    contract = await bench.deploy_echo()
    account = bench.signer.account(0)
    nonce = await bench.client.transaction_count(account, pending=False)
    raw = await bench.transact(contract, echo.logging(TOPIC, b"x"), nonce=nonce)
    assert not await bench.client.knows_transaction(TOPIC)
    tx_hash = await bench.client.send_raw_transaction(raw)
    assert await bench.client.knows_transaction(tx_hash)
    assert await bench.client.receipt(tx_hash) is None
    assert await bench.client.transaction_count(account, pending=False) == nonce
    assert await bench.client.transaction_count(account, pending=True) == nonce + 1
    await bench.chain.mine()
    head = await bench.head()
    receipt = await bench.client.receipt(tx_hash)
    assert receipt is not None
    assert receipt.succeeded
    assert (receipt.block_number, receipt.block_hash) == (head.number, head.hash)
    assert 21_000 < receipt.gas_used < 60_000
    assert receipt.effective_gas_price > 0
    assert await bench.client.knows_transaction(tx_hash)


async def test_a_reverted_transaction_has_a_receipt_that_says_so(bench: Bench) -> None:
    contract = await bench.deploy_echo()
    tx_hash = await bench.send(contract, echo.reverting(b"no"))
    receipt = await bench.client.receipt(tx_hash)
    assert receipt is not None
    assert not receipt.succeeded


async def test_refusals_of_transactions_are_told_apart(bench: Bench) -> None:
    contract = await bench.deploy_echo()
    account = bench.signer.account(0)
    nonce = await bench.client.transaction_count(account, pending=False)

    async def refusal(raw: bytes) -> SendRefusal:
        with pytest.raises(SendRefusedError) as refused:
            await bench.client.send_raw_transaction(raw)
        return refused.value.refusal

    raw = await bench.transact(contract, echo.logging(TOPIC, b"x"), nonce=nonce)
    await bench.client.send_raw_transaction(raw)
    assert await refusal(raw) is SendRefusal.ALREADY_KNOWN
    cheaper = await bench.transact(contract, b"\x00", nonce=nonce, fee=99 * 10**9)
    assert await refusal(cheaper) is SendRefusal.UNDERPRICED
    used = await bench.transact(contract, b"\x00", nonce=0)
    assert await refusal(used) is SendRefusal.NONCE_TOO_LOW
    rich = await bench.transact(contract, b"\x00", nonce=nonce + 1, fee=10**24)
    assert await refusal(rich) is SendRefusal.INSUFFICIENT_FUNDS


async def test_gas_is_estimated_or_the_revert_told(bench: Bench) -> None:
    contract = await bench.deploy_echo()
    sender = bench.signer.account(0)
    gas = await bench.client.estimate_gas(ContractCall(contract, echo.returning(b"x"), sender))
    assert isinstance(gas, int)
    assert 21_000 < gas < 40_000
    call = ContractCall(contract, echo.reverting(b"reason"), sender)
    assert await bench.client.estimate_gas(call) == Reverted(b"reason")


async def test_prices_and_balances(bench: Bench) -> None:
    fees = await bench.client.fee_inputs()
    head = await bench.head()
    assert fees.base_fee == head.base_fee
    assert fees.gas_price > 0
    assert fees.priority_fee >= 0
    assert await bench.client.balance(bench.signer.account(0)) == 10**24
    assert await bench.client.balance(Address(b"\x02" * 20)) == 0


async def test_heads_begin_with_the_present_one_and_follow(bench: Bench) -> None:
    await bench.chain.mine(2)
    heads = bench.client.heads()
    try:
        async with asyncio.timeout(20):
            first = await anext(heads)
            assert first == await bench.head()
            await bench.chain.mine()
            second = await anext(heads)
            assert second.number == first.number + 1
            assert second == await bench.head()
    finally:
        await heads.aclose()


async def test_heads_tell_of_a_reorganisation(bench: Bench) -> None:
    await bench.chain.mine(3)
    heads = bench.client.heads()
    try:
        async with asyncio.timeout(20):
            before = await anext(heads)
            await bench.chain.reorganise(2)
            head = await anext(heads)
            while head != await bench.head():
                head = await anext(heads)
            assert head.number == before.number
            assert head.hash != before.hash
    finally:
        await heads.aclose()


async def test_endpoints_that_agree(bench: Bench) -> None:
    assert await bench.client.endpoints_agree((await bench.head()).id)
