"""JSON-RPC over a WebSocket.

Straight on the `websockets` library and not on web3's provider for it: that one waits for answers
in a busy loop, which costs a core, and files every batch under one fixed id, so that two batches at
the same time can swap their answers.
"""

import asyncio
import json
from collections.abc import Sequence

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from keyserver.chain.client import ChainUnavailableError
from keyserver.chain.endpoint import (
    MAX_ANSWER_BYTES,
    RpcAnswer,
    RpcRequest,
    RpcValue,
    answer_of,
    label_of,
    request_text,
)
from keyserver.chain.rpc_codec import Json
from keyserver.chain.rpc_errors import RpcFailure

PING_INTERVAL_S = 20.0


class WebSocketEndpoint:
    """An Ethereum node behind a `ws` or `wss` URL; it pushes new heads."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._label = label_of(url)
        self._connecting = asyncio.Lock()
        self._link: _Link | None = None
        self._told: _Link | None = None

    @property
    def label(self) -> str:
        """Scheme, host and port."""
        return self._label

    async def exchange(self, requests: Sequence[RpcRequest]) -> list[RpcAnswer]:
        """Ask in one message; answers find their requests by id, whatever else is under way."""
        link = await self._connected()
        return await link.exchange(requests)

    async def subscribe(self) -> bool:
        """Ask for new heads; false if the endpoint does not know subscriptions."""
        link = await self._connected()
        if self._told is link:
            return True
        (answer,) = await link.exchange([RpcRequest("eth_subscribe", ("newHeads",))])
        self._told = link if isinstance(answer, RpcValue) else None
        return self._told is not None

    async def next_head(self) -> Json:
        """The next head told on the connection of the subscription."""
        if self._told is None:
            raise ChainUnavailableError(f"{self._label}: there is no subscription")
        return await self._told.next_head()

    async def close(self) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._link.close()
            self._link = None

    async def _connected(self) -> "_Link":
        async with self._connecting:
            if self._link is None or self._link.is_over:
                await self.close()
                self._link = await _Link.open(self._url, self._label, self._timeout_s)
            return self._link


class _Link:
    """One connection, from its opening to its end."""

    def __init__(self, socket: ClientConnection, label: str, timeout_s: float) -> None:
        self._socket = socket
        self._label = label
        self._timeout_s = timeout_s
        self._last_id = 0
        self._waiting: dict[int, asyncio.Future[RpcAnswer]] = {}
        self._head: Json = None
        self._news = asyncio.Event()
        self._ending: str | None = None
        self._reader = asyncio.create_task(self._read(), name=f"rpc-reader {label}")

    @classmethod
    async def open(cls, url: str, label: str, timeout_s: float) -> "_Link":
        try:
            socket = await connect(
                url,
                open_timeout=timeout_s,
                close_timeout=1,
                ping_interval=PING_INTERVAL_S,
                ping_timeout=PING_INTERVAL_S,
                max_size=MAX_ANSWER_BYTES,
                proxy=None,
            )
        except (WebSocketException, OSError) as error:
            reason = str(error) or type(error).__name__
            raise ChainUnavailableError(f"{label}: {reason}") from error
        return cls(socket, label, timeout_s)

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended."""
        return self._ending is not None

    async def exchange(self, requests: Sequence[RpcRequest]) -> list[RpcAnswer]:
        """Send one message and wait for the answer to each of its requests."""
        self._check_open()
        loop = asyncio.get_running_loop()
        ids = [self._next_id() for _ in requests]
        futures = [loop.create_future() for _ in requests]
        self._waiting |= dict(zip(ids, futures, strict=True))
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._socket.send(request_text(ids, requests))
                return list(await asyncio.gather(*futures))
        except TimeoutError:
            raise ChainUnavailableError(
                f"{self._label}: no answer within {self._timeout_s:g} s"
            ) from None
        except (WebSocketException, OSError) as error:
            raise ChainUnavailableError(f"{self._label}: {error}") from error
        finally:
            for request_id in ids:
                self._waiting.pop(request_id, None)

    async def next_head(self) -> Json:
        """The newest head that has not been taken yet."""
        await self._news.wait()
        self._check_open()
        self._news.clear()
        return self._head

    async def close(self) -> None:
        """Close and wait for the reader to end."""
        await self._socket.close()
        await self._reader

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def _check_open(self) -> None:
        if self._ending is not None:
            raise ChainUnavailableError(f"{self._label}: {self._ending}")

    async def _read(self) -> None:
        """Hand messages to those who wait for them, until the connection ends."""
        try:
            async for message in self._socket:
                self._dispatch(json.loads(message))
            self._end("the connection was closed")
        except RecursionError:
            self._end("an answer is nested too deep")
            await self._socket.close()
        except (WebSocketException, OSError, ValueError) as error:
            self._end(f"the connection ended: {error}")
            await self._socket.close()

    def _dispatch(self, message: Json) -> None:
        if isinstance(message, list):
            for each in message:
                self._dispatch(each)
        elif isinstance(message, dict) and message.get("method") == "eth_subscription":
            params = message.get("params")
            self._head = params.get("result") if isinstance(params, dict) else None
            self._news.set()
        elif isinstance(message, dict) and isinstance(message.get("id"), int):
            self._settle(self._waiting.get(message["id"]), answer_of(message))
        else:
            # An error without id concerns a whole message of ours; which one is not said.
            refusal = answer_of(message)
            if isinstance(refusal, RpcFailure):
                for future in tuple(self._waiting.values()):
                    self._settle(future, refusal)

    @staticmethod
    def _settle(future: asyncio.Future[RpcAnswer] | None, answer: RpcAnswer) -> None:
        if future is not None and not future.done():
            future.set_result(answer)

    def _end(self, reason: str) -> None:
        self._ending = reason
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ChainUnavailableError(f"{self._label}: {reason}"))
        self._news.set()
