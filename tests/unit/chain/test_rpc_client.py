"""Fail-over, pinned reads and odd answers, over scripted endpoints."""

import asyncio
from typing import Any

import pytest

from keyserver.chain.client import (
    BlockId,
    BlockReplacedError,
    BlockTag,
    ChainUnavailableError,
    ContractCall,
    FeeInputs,
    Returned,
    Reverted,
    SendRefusal,
    SendRefusedError,
    TooManyLogsError,
    WrongChainError,
)
from keyserver.chain.endpoint import MAX_BATCH
from keyserver.chain.http_endpoint import HttpEndpoint
from keyserver.chain.rpc_client import RpcClient, endpoint_for
from keyserver.chain.rpc_codec import MalformedAnswerError
from keyserver.chain.rpc_errors import RpcFailure
from keyserver.chain.websocket_endpoint import WebSocketEndpoint
from keyserver.errors import ConfigError
from keyserver.model.identifiers import Address, Hash32
from tests.support.manual_clock import ManualClock
from tests.support.scripted_endpoint import ScriptedEndpoint

WHO = Address(b"\x03" * 20)
CALL = ContractCall(WHO, b"\x01")
ONE, TWO = Hash32(b"\x01" * 32), Hash32(b"\x02" * 32)


def header(number: int, own: Hash32 = ONE, **more: str) -> dict[str, str]:
    return {
        "number": hex(number),
        "hash": "0x" + own.hex(),
        "parentHash": "0x" + bytes(32).hex(),
        "timestamp": "0x1",
        **more,
    }


def client(
    *endpoints: ScriptedEndpoint, clock: ManualClock | None = None, quiet_s: float = 5
) -> RpcClient:
    return RpcClient(
        endpoints, chain_id=1337, poll_s=0, clock=clock or ManualClock(), quiet_s=quiet_s
    )


# --- several endpoints ---------------------------------------------------------------------------


async def test_the_chain_id_is_checked_before_anything_else_once() -> None:
    endpoint = ScriptedEndpoint(eth_getBalance="0x5")
    chain = client(endpoint)
    assert await chain.balance(WHO) == 5
    assert await chain.balance(WHO) == 5
    assert endpoint.methods == ["eth_chainId", "eth_getBalance", "eth_getBalance"]
    assert chain.request_counts == {"eth_chainId": 1, "eth_getBalance": 2}


async def test_an_endpoint_on_another_chain_is_not_used() -> None:
    wrong = ScriptedEndpoint("http://wrong", chain_id=1, eth_getBalance="0x1")
    right = ScriptedEndpoint("http://right", eth_getBalance="0x2")
    assert await client(wrong, right).balance(WHO) == 2
    assert "eth_getBalance" not in wrong.methods


async def test_only_wrong_chains_are_named_as_such() -> None:
    chain = client(ScriptedEndpoint(chain_id=1), ScriptedEndpoint(chain_id=2))
    with pytest.raises(WrongChainError, match="configured is 1337, the endpoint is on 1"):
        await chain.balance(WHO)
    with pytest.raises(WrongChainError):
        await chain.balance(WHO)


async def test_the_next_endpoint_takes_over_and_stays() -> None:
    first = ScriptedEndpoint("http://first", eth_getBalance="0x1")
    second = ScriptedEndpoint("http://second", eth_getBalance="0x2")
    chain = client(first, second)
    assert await chain.balance(WHO) == 1
    first.down = True
    assert await chain.balance(WHO) == 2
    first.down = False
    assert await chain.balance(WHO) == 2


async def test_an_endpoint_that_failed_rests_and_is_verified_again() -> None:
    clock = ManualClock()
    endpoint = ScriptedEndpoint(eth_getBalance="0x1")
    chain = client(endpoint, clock=clock)
    await chain.balance(WHO)
    endpoint.down = True
    with pytest.raises(ChainUnavailableError, match="refused"):
        await chain.balance(WHO)
    endpoint.down = False
    with pytest.raises(ChainUnavailableError, match="no endpoint can be used now"):
        await chain.balance(WHO)
    clock.advance(1)
    assert await chain.balance(WHO) == 1
    assert endpoint.methods.count("eth_chainId") == 2


async def test_an_error_about_one_question_does_not_condemn_the_endpoint() -> None:
    first = ScriptedEndpoint("http://first", eth_getBalance=RpcFailure(-32000, "pruned"))
    second = ScriptedEndpoint("http://second", eth_getBalance="0x2")
    assert await client(first, second).balance(WHO) == 2
    alone = client(first)
    with pytest.raises(ChainUnavailableError, match="pruned"):
        await alone.balance(WHO)
    first.answers["eth_getBalance"] = "0x1"
    assert await alone.balance(WHO) == 1


async def test_an_endpoint_that_is_overloaded_or_talks_nonsense_rests() -> None:
    for answer in (RpcFailure(429, "too many requests"), "nonsense"):
        endpoint = ScriptedEndpoint(eth_getBalance=answer)
        chain = client(endpoint)
        with pytest.raises(ChainUnavailableError):
            await chain.balance(WHO)
        with pytest.raises(ChainUnavailableError, match="no endpoint can be used now"):
            await chain.balance(WHO)


async def test_endpoints_that_disagree_about_a_block() -> None:
    first = ScriptedEndpoint("http://first", eth_getBlockByNumber=header(5, ONE))
    second = ScriptedEndpoint("http://second", eth_getBlockByNumber=header(5, TWO))
    chain = client(first, second)
    assert not await chain.endpoints_agree(BlockId(5, ONE))
    second.answers["eth_getBlockByNumber"] = header(5, ONE)
    assert await chain.endpoints_agree(BlockId(5, ONE))
    second.answers["eth_getBlockByNumber"] = None
    assert await chain.endpoints_agree(BlockId(5, ONE)), "one that lags has no opinion"
    second.down = True
    assert await chain.endpoints_agree(BlockId(5, ONE)), "one that is away has no opinion"


async def test_the_preferred_endpoint_comes_back_when_it_agrees() -> None:
    clock = ManualClock()
    first = ScriptedEndpoint("http://first", eth_getBlockByNumber=header(5), eth_getBalance="0x1")
    second = ScriptedEndpoint("http://second", eth_getBlockByNumber=header(5), eth_getBalance="0x2")
    chain = client(first, second, clock=clock)
    first.down = True
    assert await chain.balance(WHO) == 2
    first.down = False
    clock.advance(1)
    assert await chain.endpoints_agree(BlockId(5, ONE))
    assert await chain.balance(WHO) == 1


async def test_a_client_needs_an_endpoint_and_closes_it() -> None:
    with pytest.raises(ConfigError, match="rpc_endpoints"):
        client()
    endpoint = ScriptedEndpoint()
    await client(endpoint).close()
    assert endpoint.closed


def test_the_scheme_of_the_address_decides() -> None:
    assert isinstance(endpoint_for("https://node.test/key"), HttpEndpoint)
    assert isinstance(endpoint_for("wss://node.test/key"), WebSocketEndpoint)
    with pytest.raises(ConfigError, match="ftp"):
        endpoint_for("ftp://node.test")


# --- pinned reads --------------------------------------------------------------------------------


def knows_no_pins(call: Any, block: Any) -> Any:
    return RpcFailure(-32602, "invalid argument 1") if isinstance(block, dict) else "0xaa"


async def test_without_pins_the_number_is_used_and_the_hash_checked() -> None:
    endpoint = ScriptedEndpoint(eth_call=knows_no_pins, eth_getBlockByNumber=header(5, ONE))
    chain = client(endpoint)
    assert await chain.call(CALL, BlockId(5, ONE)) == Returned(b"\xaa")
    assert await chain.call(CALL, BlockId(5, ONE)) == Returned(b"\xaa")
    assert endpoint.methods.count("eth_call") == 3, "pins are tried once"
    with pytest.raises(BlockReplacedError):
        await chain.call(CALL, BlockId(5, TWO))
    endpoint.answers["eth_getBlockByNumber"] = None
    with pytest.raises(BlockReplacedError):
        await chain.call(CALL, BlockId(5, ONE))


async def test_a_block_that_is_gone_does_not_condemn_the_endpoint() -> None:
    endpoint = ScriptedEndpoint(eth_call=RpcFailure(-32000, "header not found"), eth_getCode="0xaa")
    chain = client(endpoint)
    with pytest.raises(BlockReplacedError):
        await chain.call(CALL, BlockId(5, ONE))
    assert await chain.code(WHO) == b"\xaa"


async def test_every_endpoint_that_has_the_block_is_asked() -> None:
    clock = ManualClock()
    first = ScriptedEndpoint("http://first", eth_call="0xaa")
    second = ScriptedEndpoint("http://second", eth_call="0xaa")
    chain, at = client(first, second, clock=clock), BlockId(5, ONE)
    assert await chain.call_everywhere(CALL, at) == {Returned(b"\xaa")}
    second.answers["eth_call"] = "0xbb"
    assert await chain.call_everywhere(CALL, at) == {Returned(b"\xaa"), Returned(b"\xbb")}
    second.answers["eth_call"] = RpcFailure(-32000, "header not found")
    second.answers["eth_getBlockByNumber"] = None
    assert await chain.call_everywhere(CALL, at) == {Returned(b"\xaa")}, "it lags"
    second.answers["eth_getBlockByNumber"] = header(5, TWO)
    with pytest.raises(ChainUnavailableError, match="different blocks"):
        await chain.call_everywhere(CALL, at)
    second.down = True
    assert await chain.call_everywhere(CALL, at) == {Returned(b"\xaa")}, "it is away"
    asked = len(second.methods)
    await chain.call_everywhere(CALL, at)
    assert len(second.methods) == asked, "it rests"
    first.answers["eth_call"] = RpcFailure(-32000, "header not found")
    first.answers["eth_getBlockByNumber"] = None
    with pytest.raises(BlockReplacedError):
        await chain.call_everywhere(CALL, at)
    first.down = True
    with pytest.raises(ChainUnavailableError):
        await chain.call_everywhere(CALL, at)


async def test_large_batches_are_split() -> None:
    endpoint = ScriptedEndpoint(eth_call="0x01", eth_getBlockByNumber=header(1))
    chain = client(endpoint)
    results = await chain.call_many([CALL] * (MAX_BATCH + 1))
    assert results == (Returned(b"\x01"),) * (MAX_BATCH + 1)
    assert endpoint.batches == [1, MAX_BATCH, 1]


async def test_calls_that_fail_without_reverting_are_no_answer() -> None:
    chain = client(ScriptedEndpoint(eth_call=RpcFailure(-32603, "internal error")))
    with pytest.raises(ChainUnavailableError):
        await chain.call(CALL)
    reverted = client(ScriptedEndpoint(eth_call=RpcFailure(-32000, "execution reverted")))
    assert await reverted.call(CALL) == Reverted(b"")


# --- single methods ------------------------------------------------------------------------------


async def test_syncing_is_anything_but_false() -> None:
    assert not await client(ScriptedEndpoint(eth_syncing=False)).syncing()
    assert await client(ScriptedEndpoint(eth_syncing={"currentBlock": "0x1"})).syncing()


async def test_refused_log_queries_are_told_apart_from_trouble() -> None:
    endpoint = ScriptedEndpoint(eth_getLogs=RpcFailure(-32005, "query returned more than 10000"))
    chain = client(endpoint)
    with pytest.raises(TooManyLogsError):
        await chain.logs([WHO], 0, 9)
    endpoint.answers["eth_getLogs"] = RpcFailure(-32603, "internal error")
    with pytest.raises(ChainUnavailableError) as trouble:
        await chain.logs([WHO], 0, 9)
    assert not isinstance(trouble.value, TooManyLogsError)


async def test_prices_of_chains_with_and_without_base_fee() -> None:
    new = ScriptedEndpoint(
        eth_getBlockByNumber=header(1, baseFeePerGas="0x5"),
        eth_gasPrice="0x8",
        eth_maxPriorityFeePerGas="0x2",
    )
    assert await client(new).fee_inputs() == FeeInputs(5, 2, 8)
    del new.answers["eth_maxPriorityFeePerGas"]
    assert await client(new).fee_inputs() == FeeInputs(5, 3, 8)
    old = ScriptedEndpoint(eth_getBlockByNumber=header(1), eth_gasPrice="0x8")
    assert await client(old).fee_inputs() == FeeInputs(None, 0, 8)
    empty = ScriptedEndpoint(eth_getBlockByNumber=None, eth_gasPrice="0x8")
    with pytest.raises(MalformedAnswerError):
        await client(empty).fee_inputs()


async def test_a_refused_transaction_is_not_offered_elsewhere() -> None:
    first = ScriptedEndpoint(eth_sendRawTransaction=RpcFailure(-32000, "nonce too low"))
    second = ScriptedEndpoint(eth_sendRawTransaction="0x" + ONE.hex())
    with pytest.raises(SendRefusedError) as refused:
        await client(first, second).send_raw_transaction(b"\x01")
    assert refused.value.refusal is SendRefusal.NONCE_TOO_LOW
    first.answers["eth_sendRawTransaction"] = RpcFailure(429, "too many requests")
    assert await client(first, second).send_raw_transaction(b"\x01") == ONE


async def test_an_estimate_that_is_trouble_is_no_revert() -> None:
    endpoint = ScriptedEndpoint(eth_estimateGas=RpcFailure(-32603, "internal error"))
    with pytest.raises(ChainUnavailableError):
        await client(endpoint).estimate_gas(CALL)


# --- heads ---------------------------------------------------------------------------------------


async def test_polled_heads_go_on_with_the_next_endpoint() -> None:
    first = ScriptedEndpoint("http://first", eth_getBlockByNumber=header(1, ONE))
    second = ScriptedEndpoint("http://second", eth_getBlockByNumber=header(2, TWO))
    heads = client(first, second).heads()
    async with asyncio.timeout(5):
        assert (await anext(heads)).number == 1
        first.down = True
        assert (await anext(heads)).number == 2
        second.down = True
        with pytest.raises(ChainUnavailableError):
            await anext(heads)


@pytest.mark.parametrize("pushes", [False, True])
async def test_an_endpoint_that_stands_still_is_left_for_one_that_goes_on(pushes: bool) -> None:
    first = ScriptedEndpoint("http://first", eth_getBlockByNumber=header(1, ONE))
    second = ScriptedEndpoint("http://second", eth_getBlockByNumber=header(2, TWO))
    first.pushes = pushes
    chain = client(first, second, clock=ManualClock(), quiet_s=0.01)
    heads = chain.heads()
    async with asyncio.timeout(5):
        assert (await anext(heads)).number == 1
        with pytest.raises(ChainUnavailableError, match="http://first stands still at block 1"):
            await anext(heads)
        again = chain.heads()
        assert (await anext(again)).number == 2


async def test_a_chain_that_is_quiet_everywhere_is_waited_for() -> None:
    first = ScriptedEndpoint("http://first", eth_getBlockByNumber=header(2, ONE))
    second = ScriptedEndpoint("http://second", eth_getBlockByNumber=header(2, ONE))
    third = ScriptedEndpoint("http://third", eth_getBlockByNumber=None)
    fourth = ScriptedEndpoint("http://fourth")
    fourth.down = True
    heads = client(first, second, third, fourth, quiet_s=0.01).heads()
    async with asyncio.timeout(5):
        assert (await anext(heads)).number == 2
        waiting = asyncio.ensure_future(anext(heads))
        while third.methods.count("eth_getBlockByNumber") < 3:
            await asyncio.sleep(0)
        assert not waiting.done()
        first.answers["eth_getBlockByNumber"] = header(3, TWO)
        assert (await waiting).number == 3


async def test_pushed_heads_cost_no_request() -> None:
    endpoint = ScriptedEndpoint(eth_getBlockByNumber=header(1, ONE))
    endpoint.pushes = True
    chain = client(endpoint)
    heads = chain.heads()
    async with asyncio.timeout(5):
        assert (await anext(heads)).number == 1
        asked = len(endpoint.asked)
        endpoint.heads.put_nowait(header(1, ONE))
        endpoint.heads.put_nowait(header(2, TWO))
        assert (await anext(heads)).number == 2
        assert len(endpoint.asked) == asked
        endpoint.heads.put_nowait(ChainUnavailableError("closed"))
        with pytest.raises(ChainUnavailableError, match="closed"):
            await anext(heads)


async def test_a_silent_subscription_is_looked_after() -> None:
    endpoint = ScriptedEndpoint(eth_getBlockByNumber=header(1, ONE))
    endpoint.pushes = True
    heads = client(endpoint, quiet_s=0.01).heads()
    async with asyncio.timeout(5):
        assert (await anext(heads)).number == 1
        endpoint.answers["eth_getBlockByNumber"] = header(2, TWO)
        assert (await anext(heads)).number == 2


async def test_blocks_and_tags_are_asked_by_name() -> None:
    endpoint = ScriptedEndpoint(eth_getBlockByNumber=lambda name, full: header(int(name[2:], 16)))
    chain = client(endpoint)
    assert [block.number for block in await chain.blocks([3, 300]) if block] == [3, 300]
    endpoint.answers["eth_getBlockByNumber"] = lambda name, full: {"safe": header(7)}.get(name)
    assert await chain.block(BlockTag.FINALIZED) is None
    safe = await chain.block(BlockTag.SAFE)
    assert safe is not None
    assert safe.number == 7
