"""HTTP and WebSocket on one loopback port: JSON-RPC requests, batches and subscriptions."""

import asyncio
import json
import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from keyserver.devnet import embedded_json as codec
from keyserver.devnet.embedded_errors import INVALID_REQUEST, PARSE_ERROR, RpcError, invalid_params
from keyserver.devnet.embedded_evm import Block
from keyserver.devnet.embedded_json import JsonObject, LogFilter
from keyserver.devnet.embedded_node import EmbeddedNode
from keyserver.devnet.embedded_rpc import Dispatcher, Method
from keyserver.devnet.local_chain import LOOPBACK

MAX_REQUEST_BYTES = 10 * 1024 * 1024
MAX_QUEUED_MESSAGES = 10_000
"""Messages kept for a WebSocket client that does not read; beyond that it is disconnected."""

SHUTDOWN_S = 1.0


class RpcServer:
    """Serves one node on a loopback port until stopped."""

    def __init__(self, node: EmbeddedNode) -> None:
        self._node = node
        self._dispatcher = Dispatcher(node)
        self._connections: set[_Connection] = set()
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> int:
        """Listen on `port`, or on any free one if it is 0; return the port."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_get("/", self._serve_socket)
        app.router.add_post("/", self._serve_post)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, port)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        return bound

    async def stop(self) -> None:
        """Close every connection and the port."""
        await asyncio.gather(*(connection.close() for connection in self._connections))
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve_post(self, request: web.Request) -> web.Response:
        body = _answer_text(self._dispatcher, await request.text(), {})
        return web.Response(text=body, content_type="application/json")

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(timeout=SHUTDOWN_S, max_msg_size=MAX_REQUEST_BYTES)
        if not socket.can_prepare(request):
            raise web.HTTPUpgradeRequired(text="POST JSON-RPC requests, or open a WebSocket\n")
        await socket.prepare(request)
        connection = _Connection(socket)
        self._connections.add(connection)
        self._node.observe(connection)
        try:
            await connection.serve(self._dispatcher)
        finally:
            self._node.unobserve(connection)
            self._connections.discard(connection)
        return socket


class _Connection:
    """A WebSocket client and its subscriptions; hears of the chain's changes itself."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._outbox: asyncio.Queue[str] = asyncio.Queue(MAX_QUEUED_MESSAGES)
        self._is_overrun = False
        self._heads: set[str] = set()
        self._filter_by_subscription: dict[str, LogFilter] = {}
        self._methods: Mapping[str, Method] = {
            "eth_subscribe": self._subscribe,
            "eth_unsubscribe": self._unsubscribe,
        }

    async def serve(self, dispatcher: Dispatcher) -> None:
        """Answer until the client leaves or the server closes the socket."""
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(self._write())
            async for message in self._socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self._queue(_answer_text(dispatcher, message.data, self._methods))
            writer.cancel()

    async def close(self) -> None:
        """Close the socket, which ends `serve`."""
        await self._socket.close(code=WSCloseCode.GOING_AWAY)

    def block_added(self, block: Block) -> None:
        """Push the head and the events of `block`."""
        for subscription in self._heads:
            self._push(subscription, codec.header_json(block))
        self._push_logs(block, removed=False)

    def block_removed(self, block: Block) -> None:
        """Push the events of `block` again, marked as removed, as go-ethereum does."""
        self._push_logs(block, removed=True)

    def _push_logs(self, block: Block, *, removed: bool) -> None:
        for subscription, log_filter in self._filter_by_subscription.items():
            for log in block.logs:
                if log_filter.matches(log):
                    self._push(subscription, codec.log_json(block, log, removed=removed))

    def _push(self, subscription: str, result: JsonObject) -> None:
        params = {"subscription": subscription, "result": result}
        self._queue(json.dumps({"jsonrpc": "2.0", "method": "eth_subscription", "params": params}))

    def _queue(self, text: str) -> None:
        if self._outbox.full():
            self._is_overrun = True
        else:
            self._outbox.put_nowait(text)

    async def _write(self) -> None:
        while not self._is_overrun:
            try:
                await self._socket.send_str(await self._outbox.get())
            except ConnectionResetError:  # the client has gone; the reading side ends by itself
                return
        await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER)

    def _subscribe(self, kind: object, wanted: object = None) -> str:
        subscription = "0x" + secrets.token_hex(16)
        match kind:
            case "newHeads":
                self._heads.add(subscription)
            case "logs":
                fields = codec.json_object(wanted or {}, "filter")
                self._filter_by_subscription[subscription] = LogFilter.from_json(fields)
            case _:
                raise invalid_params("subscription", f"newHeads or logs, got {kind!r}")
        return subscription

    def _unsubscribe(self, subscription: object) -> bool:
        if subscription in self._heads:
            self._heads.discard(str(subscription))
            return True
        return self._filter_by_subscription.pop(str(subscription), None) is not None


def _answer_text(dispatcher: Dispatcher, text: str | bytes, methods: Mapping[str, Method]) -> str:
    try:
        request: Any = json.loads(text)  # Any: JSON
    except ValueError as error:
        return _refusal(RpcError(f"parse error: {error}", rpc_code=PARSE_ERROR))
    if not isinstance(request, list):
        return json.dumps(dispatcher.answer(request, methods))
    if not request:
        return _refusal(RpcError("empty batch", rpc_code=INVALID_REQUEST))
    return json.dumps([dispatcher.answer(single, methods) for single in request])


def _refusal(error: RpcError) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": codec.error_json(error)})
