"""JSON-RPC over HTTP, by web3's provider."""

import asyncio
from collections.abc import Sequence

from aiohttp import ClientError, ClientResponseError, ClientSession, ClientTimeout
from web3 import AsyncHTTPProvider
from web3.types import RPCEndpoint

from keyserver.chain.client import ChainUnavailableError
from keyserver.chain.endpoint import RpcAnswer, RpcRequest, answer_of, label_of
from keyserver.chain.rpc_codec import Json
from keyserver.chain.rpc_errors import RpcFailure

HTTP_REFUSALS = frozenset({400, 413})
"""Status codes with which some services answer a query that is too large."""


class HttpEndpoint:
    """An Ethereum node behind an `http` or `https` URL; heads have to be polled."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._timeout = ClientTimeout(total=timeout_s)
        self._provider = AsyncHTTPProvider(
            url,
            request_kwargs={"timeout": self._timeout},
            exception_retry_configuration=None,  # failing over is our caller's
        )
        self._label = label_of(url)
        self._session: ClientSession | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    @property
    def label(self) -> str:
        """Scheme, host and port."""
        return self._label

    async def exchange(self, requests: Sequence[RpcRequest]) -> list[RpcAnswer]:
        """Ask in one HTTP request, or one after the other where batches are refused."""
        await self._ensure_session()
        try:
            if len(requests) > 1:
                answers = await self._batch(requests)
                if answers is not None:
                    return answers
            return [await self._single(request) for request in requests]
        finally:
            if self._closed:  # meanwhile: web3 has opened a session of its own then
                await self._provider.disconnect()

    async def subscribe(self) -> bool:
        """Plain HTTP tells nothing by itself."""
        return False

    async def next_head(self) -> Json:
        """Raises `ChainUnavailableError`: there is never one."""
        raise ChainUnavailableError(f"{self._label}: heads are not pushed over HTTP")

    async def close(self) -> None:
        """Close the session; whoever asks after that is refused."""
        self._closed = True
        session, self._session = self._session, None
        await self._provider.disconnect()
        if session is not None:
            await session.close()  # who opened it may have been cancelled before web3 knew of it

    async def _ensure_session(self) -> None:
        # web3's own session opens a connection for every request; this one keeps them.
        async with self._opening:
            if self._closed:
                raise ChainUnavailableError(f"{self._label}: closed")
            if self._session is None:
                self._session = ClientSession(timeout=self._timeout)
                await self._provider.cache_async_session(self._session)

    async def _single(self, request: RpcRequest) -> RpcAnswer:
        try:
            method = RPCEndpoint(request.method)
            response: Json = await self._provider.make_request(method, list(request.params))
        except ClientResponseError as error:
            if error.status in HTTP_REFUSALS:
                return RpcFailure(error.status, f"HTTP status {error.status}: too large a request?")
            raise self._unavailable(error) from error
        except (ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
            raise self._unavailable(error) from error
        return answer_of(response)

    async def _batch(self, requests: Sequence[RpcRequest]) -> list[RpcAnswer] | None:
        """The answers, or `None` if the endpoint does not take this batch."""
        pairs = [(RPCEndpoint(request.method), list(request.params)) for request in requests]
        try:
            response: Json = await self._provider.make_batch_request(pairs)
        except ClientResponseError as error:
            if error.status in HTTP_REFUSALS:
                return None
            raise self._unavailable(error) from error
        except (ClientError, TimeoutError, OSError, ValueError, RecursionError) as error:
            raise self._unavailable(error) from error
        except (AttributeError, TypeError) as error:
            # web3's, when the members of the answer are no objects with ids.
            raise self._unavailable(error) from error
        if not isinstance(response, list) or len(response) != len(requests):
            return None
        if not _ids_are_consecutive(response):
            raise ChainUnavailableError(f"{self._label}: a batch's answers do not fit its requests")
        return [answer_of(each) for each in response]

    def _unavailable(self, error: Exception) -> ChainUnavailableError:
        # The text of a status error would repeat the URL, which may hold an access key.
        reason = str(error) or type(error).__name__
        if isinstance(error, RecursionError):
            reason = "the answer is nested too deep"
        if isinstance(error, ClientResponseError):
            reason = f"HTTP status {error.status}"
        return ChainUnavailableError(f"{self._label}: {reason}")


def _ids_are_consecutive(responses: Sequence[Json]) -> bool:
    # web3 numbers a batch's requests one after the other and sorts the answers by id, but where
    # ids are missing it relies on the order in which they come.
    ids = [each.get("id") if isinstance(each, dict) else None for each in responses]
    first = ids[0]
    return isinstance(first, int) and ids == list(range(first, first + len(ids)))
