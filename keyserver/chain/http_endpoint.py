"""JSON-RPC over HTTP.

Straight on `aiohttp` and not on web3's provider for it: that one keeps its sessions in a cache
which requests that are cancelled or end late leave open, and waits for a lock of threads before
every request.
"""

import json
from collections.abc import Sequence
from itertools import count

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    InvalidURL,
)

from keyserver.chain.client import ChainUnavailableError
from keyserver.chain.endpoint import (
    MAX_ANSWER_BYTES,
    RpcAnswer,
    RpcRequest,
    answer_of,
    label_of,
    request_text,
)
from keyserver.chain.rpc_codec import Json
from keyserver.chain.rpc_errors import RpcFailure

HTTP_REFUSALS = frozenset({400, 413})
"""Status codes with which some services answer a query that is too large."""


class HttpEndpoint:
    """An Ethereum node behind an `http` or `https` URL; heads have to be polled."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._url = url
        self._timeout = ClientTimeout(total=timeout_s)
        self._label = label_of(url)
        self._ids = count(1)
        self._session: ClientSession | None = None
        self._closed = False

    @property
    def label(self) -> str:
        """Scheme, host and port."""
        return self._label

    async def exchange(self, requests: Sequence[RpcRequest]) -> list[RpcAnswer]:
        """Ask in one HTTP request, or one after the other where batches are refused."""
        if len(requests) > 1:
            answers = await self._batch(requests)
            if answers is not None:
                return answers
        return [await self._single(request) for request in requests]

    async def subscribe(self) -> bool:
        """Plain HTTP tells nothing by itself."""
        return False

    async def next_head(self) -> Json:
        """Raises `ChainUnavailableError`: there is never one."""
        raise ChainUnavailableError(f"{self._label}: heads are not pushed over HTTP")

    async def close(self) -> None:
        """Close connections; whoever asks after that is refused."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _single(self, request: RpcRequest) -> RpcAnswer:
        response = await self._post([next(self._ids)], [request])
        return response if isinstance(response, RpcFailure) else answer_of(response)

    async def _batch(self, requests: Sequence[RpcRequest]) -> list[RpcAnswer] | None:
        """The answers, or `None` if the endpoint does not take this batch."""
        ids = [next(self._ids) for _ in requests]
        response = await self._post(ids, requests)
        if not isinstance(response, list) or len(response) != len(requests):
            return None
        by_id = {_id_of(each): each for each in response}
        if by_id.keys() != set(ids):
            raise ChainUnavailableError(f"{self._label}: a batch's answers do not fit its requests")
        return [answer_of(by_id[request_id]) for request_id in ids]

    async def _post(self, ids: Sequence[int], requests: Sequence[RpcRequest]) -> Json | RpcFailure:
        """The parsed answer to one HTTP request, or the refusal of one that asks for too much."""
        session = self._opened()
        try:
            async with session.post(
                self._url,
                data=request_text(ids, requests),
                headers={"Content-Type": "application/json"},
                raise_for_status=True,
            ) as response:
                body = await _read(response)
            if body is None:
                return RpcFailure(413, "an answer is too large")
            return json.loads(body)
        except ClientResponseError as error:
            # Its own text would repeat the URL, which may hold an access key.
            status = f"HTTP status {error.status}"
            if error.status in HTTP_REFUSALS:
                return RpcFailure(error.status, f"{status}: too large a request?")
            raise ChainUnavailableError(f"{self._label}: {status}") from error
        except RecursionError as error:
            raise ChainUnavailableError(f"{self._label}: an answer is nested too deep") from error
        except (ClientError, TimeoutError, OSError, ValueError) as error:
            names_it = isinstance(error, InvalidURL)  # after a redirect
            reason = type(error).__name__ if names_it else str(error) or type(error).__name__
            raise ChainUnavailableError(f"{self._label}: {reason}") from error

    def _opened(self) -> ClientSession:
        if self._closed:
            raise ChainUnavailableError(f"{self._label}: closed")
        if self._session is None:
            self._session = ClientSession(timeout=self._timeout)
        return self._session


async def _read(response: ClientResponse) -> bytes | None:
    """The body; `None` if it is too long."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            return None
    return bytes(body)


def _id_of(response: Json) -> int | None:
    given = response.get("id") if isinstance(response, dict) else None
    return given if isinstance(given, int) else None
