"""The two transports against servers that misbehave."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve

from keyserver.chain.client import ChainUnavailableError
from keyserver.chain.endpoint import RpcRequest, RpcValue
from keyserver.chain.http_endpoint import HttpEndpoint
from keyserver.chain.rpc_errors import RpcFailure, is_too_many_logs
from keyserver.chain.websocket_endpoint import WebSocketEndpoint
from tests.support.http_server import Handler, http_server

ASK = RpcRequest("eth_x", (1,))


@asynccontextmanager
async def http_endpoint(handler: Handler) -> AsyncIterator[HttpEndpoint]:
    async with http_server(handler) as url:
        endpoint = HttpEndpoint(url, timeout_s=0.5)
        try:
            yield endpoint
        finally:
            await endpoint.close()


def echo_of(request: Any) -> Any:
    return {"jsonrpc": "2.0", "id": request["id"], "result": request["params"]}


async def test_http_answers_in_the_order_of_the_requests() -> None:
    async def backwards(request: web.Request) -> web.Response:
        body = await request.json()
        answer = [echo_of(each) for each in reversed(body)] if isinstance(body, list) else None
        return web.json_response(answer or echo_of(body))

    async with http_endpoint(backwards) as endpoint:
        assert await endpoint.exchange([ASK]) == [RpcValue([1])]
        many = [RpcRequest("eth_x", (n,)) for n in range(20)]
        assert await endpoint.exchange(many) == [RpcValue([n]) for n in range(20)]
        assert not await endpoint.subscribe()
        with pytest.raises(ChainUnavailableError, match="not pushed"):
            await endpoint.next_head()


@pytest.mark.parametrize("refusal", ["error", "status", "short"])
async def test_http_servers_that_refuse_batches_are_asked_one_by_one(refusal: str) -> None:
    async def single_only(request: web.Request) -> web.Response:
        body = await request.json()
        if not isinstance(body, list):
            return web.json_response(echo_of(body))
        if refusal == "status":
            return web.Response(status=413)
        if refusal == "short":
            return web.json_response([echo_of(body[0])])
        error = {"code": -32600, "message": "batches are not supported"}
        return web.json_response({"jsonrpc": "2.0", "id": None, "error": error})

    async with http_endpoint(single_only) as endpoint:
        assert await endpoint.exchange([ASK, ASK]) == [RpcValue([1])] * 2


async def test_http_status_of_a_query_that_is_too_large() -> None:
    async def too_large(request: web.Request) -> web.Response:
        return web.Response(status=400)

    async with http_endpoint(too_large) as endpoint:
        (answer,) = await endpoint.exchange([ASK])
        assert isinstance(answer, RpcFailure)
        assert is_too_many_logs(answer)


@pytest.mark.parametrize(
    "body",
    [
        "no json",
        "[",
        "[1, 2]",
        "{}[]",
        '[{"id": "x"}, {}]',
        '[{"id": 1}, {"id": 1}]',
        "[{}, {}]",
        '[{"id": []}, {}]',
    ],
)
async def test_http_answers_that_are_none(body: str) -> None:
    async def nonsense(request: web.Request) -> web.Response:
        return web.Response(text=body)

    async with http_endpoint(nonsense) as endpoint:
        with pytest.raises(ChainUnavailableError):
            await endpoint.exchange([ASK, ASK])


async def test_http_trouble_names_the_server_but_not_the_key_in_its_address() -> None:
    async def broken(request: web.Request) -> web.Response:
        return web.Response(status=503)

    async with http_endpoint(broken) as endpoint:
        for requests in ([ASK], [ASK, ASK]):
            with pytest.raises(ChainUnavailableError, match="503") as trouble:
                await endpoint.exchange(requests)
            assert "secret-key" not in str(trouble.value)


async def test_http_answers_without_an_end_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keyserver.chain.http_endpoint.MAX_ANSWER_BYTES", 1_000_000)
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 100_000_000:
            await response.write(b" " * 100_000)
            sent += 100_000
        return response

    async with http_endpoint(endless) as endpoint:
        (answer,) = await endpoint.exchange([ASK])
        assert isinstance(answer, RpcFailure)
        assert is_too_many_logs(answer), "logs are asked for in parts"
    assert sent < 50_000_000


async def test_http_redirects_to_nowhere_do_not_repeat_the_address() -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("http://[secret-key")

    async with http_endpoint(elsewhere) as endpoint:
        with pytest.raises(ChainUnavailableError) as trouble:
            await endpoint.exchange([ASK])
        assert "secret-key" not in str(trouble.value)


async def test_http_requests_at_once_share_a_session_and_none_opens_another_later() -> None:
    """What an endpoint leaves open is reported as a warning, which is an error in tests."""

    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": "0x1"})

    async with http_endpoint(answer) as endpoint:
        question = [RpcRequest("eth_chainId")]
        answers = await asyncio.gather(*(endpoint.exchange(question) for _ in range(10)))
        assert answers == [[RpcValue("0x1")]] * 10
    with pytest.raises(ChainUnavailableError, match="closed"):
        await endpoint.exchange(question)
    gc.collect()


async def test_http_who_is_cancelled_leaves_no_session_open() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": "0x1"})

    for steps in range(12):
        async with http_endpoint(answer) as endpoint:
            asking = asyncio.ensure_future(endpoint.exchange([RpcRequest("eth_chainId")]))
            for _ in range(steps):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    gc.collect()


async def test_http_requests_under_way_end_with_the_endpoint() -> None:
    asked = asyncio.Semaphore(0)
    over = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        asked.release()
        await over.wait()
        return web.Response()

    async with http_endpoint(answer) as endpoint:
        asking = [asyncio.ensure_future(endpoint.exchange([ASK, ASK])) for _ in range(5)]
        for _ in asking:
            await asked.acquire()
        for doomed in asking[:2]:
            doomed.cancel()
        late = asyncio.ensure_future(endpoint.exchange([ASK]))
        await endpoint.close()
        ends = await asyncio.gather(*asking[2:], late, return_exceptions=True)
        assert [type(end) for end in ends] == [ChainUnavailableError] * 4
        over.set()
    gc.collect()


async def test_http_servers_that_are_slow_or_away() -> None:
    released = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    async with http_endpoint(slow) as endpoint:
        with pytest.raises(ChainUnavailableError):
            await endpoint.exchange([ASK])
        released.set()
    away = HttpEndpoint("http://127.0.0.1:9/", timeout_s=1)
    try:
        with pytest.raises(ChainUnavailableError):
            await away.exchange([ASK])
    finally:
        await away.close()


@asynccontextmanager
async def ws_server(
    handler: Callable[[ServerConnection], Awaitable[None]], *, timeout_s: float = 2
) -> AsyncIterator[WebSocketEndpoint]:
    async with serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        endpoint = WebSocketEndpoint(f"ws://127.0.0.1:{port}/secret-key", timeout_s=timeout_s)
        try:
            yield endpoint
        finally:
            await endpoint.close()


def told(head: Any) -> str:
    params = {"subscription": "0x1", "result": head}
    return json.dumps({"jsonrpc": "2.0", "method": "eth_subscription", "params": params})


async def test_websocket_answers_find_their_requests() -> None:
    async def backwards(socket: ServerConnection) -> None:
        held = [json.loads(await socket.recv()) for _ in range(3)]
        for body in reversed(held):
            answer = [echo_of(e) for e in reversed(body)] if isinstance(body, list) else None
            await socket.send(json.dumps(answer or echo_of(body)))
        await socket.wait_closed()

    async with ws_server(backwards) as endpoint:
        batches = [[RpcRequest("eth_x", (n, m)) for m in range(n)] for n in (1, 2, 3)]
        answers = await asyncio.gather(*(endpoint.exchange(batch) for batch in batches))
        assert answers == [[RpcValue([n, m]) for m in range(n)] for n in (1, 2, 3)]


async def test_websocket_pushes_only_the_newest_head() -> None:
    async def pushing(socket: ServerConnection) -> None:
        body = json.loads(await socket.recv())
        await socket.send(json.dumps(echo_of(body)))
        for number in range(3):
            await socket.send(told(number))
        body = json.loads(await socket.recv())
        await socket.send(json.dumps(echo_of(body)))
        await socket.wait_closed()

    async with ws_server(pushing) as endpoint:
        assert await endpoint.subscribe()
        assert await endpoint.subscribe(), "a second one needs no other subscription"
        assert await endpoint.exchange([ASK]) == [RpcValue([1])]
        assert await endpoint.next_head() == 2


async def test_websocket_servers_without_subscriptions() -> None:
    async def plain(socket: ServerConnection) -> None:
        body = json.loads(await socket.recv())
        error = {"code": -32601, "message": "no such method"}
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": body["id"], "error": error}))
        await socket.wait_closed()

    async with ws_server(plain) as endpoint:
        with pytest.raises(ChainUnavailableError, match="no subscription"):
            await endpoint.next_head()
        assert not await endpoint.subscribe()


async def test_websocket_connections_that_end_fail_those_who_wait_and_open_again() -> None:
    connections = 0

    async def hanging_up(socket: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        body = json.loads(await socket.recv())
        if connections > 1:
            await socket.send(json.dumps(echo_of(body)))
            await socket.wait_closed()

    async with ws_server(hanging_up) as endpoint:
        with pytest.raises(ChainUnavailableError, match=r"closed|ended"):
            await endpoint.exchange([ASK])
        assert await endpoint.exchange([ASK]) == [RpcValue([1])]


async def test_a_websocket_that_ends_ends_its_subscription() -> None:
    async def short(socket: ServerConnection) -> None:
        body = json.loads(await socket.recv())
        await socket.send(json.dumps(echo_of(body)))

    async with ws_server(short) as endpoint:
        assert await endpoint.subscribe()
        with pytest.raises(ChainUnavailableError):
            await asyncio.wait_for(endpoint.next_head(), 5)


@pytest.mark.parametrize("junk", ["no json", b"\xff\xfe"])
async def test_a_websocket_that_sends_junk_is_closed(junk: str | bytes) -> None:
    async def talking(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(junk)
        await socket.wait_closed()

    async with ws_server(talking) as endpoint:
        with pytest.raises(ChainUnavailableError, match="ended"):
            await endpoint.exchange([ASK])


async def test_a_websocket_error_without_id_answers_all_who_wait() -> None:
    async def refusing(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(json.dumps({"id": 999, "result": "nobody asked"}))
        await socket.send(json.dumps("what"))
        error = {"code": -32600, "message": "too large"}
        await socket.send(json.dumps({"id": None, "error": error}))
        await socket.wait_closed()

    async with ws_server(refusing) as endpoint:
        answers = await endpoint.exchange([ASK, ASK])
        assert all(isinstance(answer, RpcFailure) for answer in answers)


async def test_websocket_servers_that_are_slow_or_away() -> None:
    async def slow(socket: ServerConnection) -> None:
        await socket.wait_closed()

    async with ws_server(slow, timeout_s=0.05) as endpoint:
        with pytest.raises(ChainUnavailableError, match="no answer within"):
            await endpoint.exchange([ASK])
    away = WebSocketEndpoint("ws://127.0.0.1:9/secret-key", timeout_s=1)
    with pytest.raises(ChainUnavailableError) as trouble:
        await away.exchange([ASK])
    assert "secret-key" not in str(trouble.value)


DEEP = "[" * 5000 + "]" * 5000


@pytest.mark.parametrize("requests", [[ASK], [ASK, ASK]])
async def test_http_answers_nested_too_deep_are_no_answers(
    requests: list[RpcRequest], usual_recursion_limit: None
) -> None:
    async def deep(request: web.Request) -> web.Response:
        return web.Response(text=DEEP, content_type="application/json")

    async with http_endpoint(deep) as endpoint:
        with pytest.raises(ChainUnavailableError, match="nested too deep"):
            await endpoint.exchange(requests)


async def test_websocket_messages_nested_too_deep_end_the_connection(
    usual_recursion_limit: None,
) -> None:
    async def deep(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(DEEP)
        await socket.wait_closed()

    async with ws_server(deep) as endpoint:
        with pytest.raises(ChainUnavailableError, match="nested too deep"):
            await endpoint.exchange([ASK])
