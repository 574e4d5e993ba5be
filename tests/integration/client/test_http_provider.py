"""The clients' way to an Ethereum node, against nodes that misbehave."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientError, web
from web3.types import RPCEndpoint

from keyserver.client.http_provider import PAUSES_S, HttpProvider
from tests.support.http_server import Handler, http_server

CHAIN_ID = RPCEndpoint("eth_chainId")
SEND = RPCEndpoint("eth_sendTransaction")


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[HttpProvider]:
    async with http_server(handler) as url:
        provider = HttpProvider(url)
        try:
            yield provider
        finally:
            await provider.disconnect()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which pass at once."""
    passed: list[float] = []

    async def pass_by(seconds: float) -> None:
        passed.append(seconds)

    monkeypatch.setattr("keyserver.client.http_provider.sleep", pass_by)
    return passed


async def answer(request: web.Request) -> web.Response:
    asked: Any = await request.json()
    return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": "0x1"})


async def test_requests_at_once_share_a_session_and_none_opens_another_later() -> None:
    """What is left open is reported as a warning, which is an error in tests."""
    async with server(answer) as provider:
        answers = await asyncio.gather(*(provider.make_request(CHAIN_ID, []) for _ in range(10)))
        assert [each["result"] for each in answers] == ["0x1"] * 10
        assert await provider.is_connected()
    with pytest.raises(ClientError, match="closed"):
        await provider.make_request(SEND, [])
    gc.collect()


async def test_requests_under_way_end_with_the_session() -> None:
    asked, over = asyncio.Semaphore(0), asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        asked.release()
        await over.wait()
        return web.Response()

    async with server(wait) as provider:
        asking = [asyncio.ensure_future(provider.make_request(SEND, [])) for _ in range(4)]
        for _ in asking:
            await asked.acquire()
        asking[0].cancel()
        await provider.disconnect()
        ends = await asyncio.gather(*asking[1:], return_exceptions=True)
        assert all(isinstance(end, ClientError) for end in ends)
        over.set()
    gc.collect()


async def test_questions_are_asked_again_and_transactions_are_not(pauses: list[float]) -> None:
    asked: list[str] = []

    async def third_time(request: web.Request) -> web.Response:
        asked.append((await request.json())["method"])
        return await answer(request) if len(asked) == 3 else web.Response(status=503)

    async with server(third_time) as provider:
        assert (await provider.make_request(CHAIN_ID, []))["result"] == "0x1"
        assert pauses == list(PAUSES_S[:2])
        with pytest.raises(ClientError, match="HTTP status 503"):
            await provider.make_request(SEND, [])
    assert asked == [CHAIN_ID] * 3 + [SEND]


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [(401, "", "HTTP status 401"), (200, "no json", "not JSON"), (200, "[" * 5000, "not JSON")],
)
async def test_trouble_is_told_without_the_address(
    status: int, body: str, told: str, usual_recursion_limit: None
) -> None:
    async def broken(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body)

    async with server(broken) as provider:
        with pytest.raises(ClientError, match=told) as trouble:
            await provider.make_request(SEND, [])
        assert "secret-key" not in str(trouble.value)


async def test_what_is_no_url() -> None:
    provider = HttpProvider("http://[secret-key")
    try:
        with pytest.raises(ClientError, match="not a URL") as trouble:
            await provider.make_request(SEND, [])
    finally:
        await provider.disconnect()
    assert "secret-key" not in str(trouble.value)
