"""A web3 provider over one HTTP session, which is closed in the end whatever happens meanwhile.

web3's own keeps its sessions in a cache: a request that is under way while it disconnects puts a
new one there, which nobody closes.
"""

from asyncio import sleep
from typing import Any

from aiohttp import ClientError, ClientResponseError, ClientSession, ClientTimeout, InvalidURL
from web3.providers.async_base import AsyncJSONBaseProvider
from web3.providers.rpc.utils import check_if_retry_on_failure
from web3.types import RPCEndpoint, RPCResponse

REQUEST_TIMEOUT_S = 30.0
PAUSES_S = (0.125, 0.25, 0.5, 1.0)
"""Before a question that was not answered is asked again; nothing is sent twice."""


class HttpProvider(AsyncJSONBaseProvider):
    """An Ethereum node at an `http` or `https` URL.

    Raises `aiohttp.ClientError` or `TimeoutError` when it does not answer, without its URL: that
    may hold an access key.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._session: ClientSession | None = None
        self._closed = False

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Ask; a question that changes nothing is asked again after a failure."""
        data = self.encode_rpc_request(method, params)
        for pause_s in PAUSES_S if check_if_retry_on_failure(method) else ():
            try:
                return await self._post(data)
            except (ClientError, TimeoutError):
                await sleep(pause_s)
        return await self._post(data)

    async def disconnect(self) -> None:
        """Close connections; whoever asks after that is refused."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _post(self, data: bytes) -> RPCResponse:
        headers = {"Content-Type": "application/json"}
        try:
            async with self._opened().post(
                self._url, data=data, headers=headers, raise_for_status=True
            ) as response:
                return self.decode_rpc_response(await response.read())
        except ClientResponseError as error:
            raise ClientError(f"HTTP status {error.status}") from error
        except InvalidURL as error:
            raise ClientError("its address is not a URL") from error
        except (ValueError, RecursionError) as error:
            raise ClientError("the answer is not JSON") from error

    def _opened(self) -> ClientSession:
        if self._closed:
            raise ClientError("closed")
        if self._session is None:
            self._session = ClientSession(timeout=ClientTimeout(total=REQUEST_TIMEOUT_S))
        return self._session
