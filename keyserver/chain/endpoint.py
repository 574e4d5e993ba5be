"""One address at which an Ethereum node answers JSON-RPC, as the chain client uses it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from keyserver.chain.rpc_codec import Json, failure
from keyserver.chain.rpc_errors import RpcFailure

MAX_BATCH = 100
"""Requests in one batch; public services refuse more."""

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""The longest answer that is read: an endpoint must not fill this node's memory."""


@dataclass(frozen=True, slots=True)
class RpcRequest:
    """One request."""

    method: str
    params: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class RpcValue:
    """The `result` of an answer."""

    value: Json


RpcAnswer = RpcValue | RpcFailure


class Endpoint(Protocol):
    """A way to one Ethereum node. Connects when first used, and again after a failure.

    Methods raise `ChainUnavailableError` when no answer comes.
    """

    @property
    def label(self) -> str:
        """Which one, for logs: without paths and passwords, which may be access keys."""
        ...

    async def exchange(self, requests: Sequence[RpcRequest]) -> list[RpcAnswer]:
        """The answers in the order of the requests; at most `MAX_BATCH` of them."""
        ...

    async def subscribe(self) -> bool:
        """Ask to be told of new heads; false where that is not offered: they have to be polled."""
        ...

    async def next_head(self) -> Json:
        """After `subscribe`: the next header told, only the latest where several have come.

        Raises `ChainUnavailableError` when the connection has ended.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


def label_of(url: str) -> str:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def request_text(ids: Sequence[int], requests: Sequence[RpcRequest]) -> str:
    """What asks for these under these ids: one request as an object, several as a batch."""
    objects = [
        {"jsonrpc": "2.0", "id": request_id, "method": request.method, "params": request.params}
        for request_id, request in zip(ids, requests, strict=True)
    ]
    return json.dumps(objects[0] if len(objects) == 1 else objects)


def answer_of(response: Json) -> RpcAnswer:
    """Read one JSON-RPC response object."""
    if not isinstance(response, dict):
        return RpcFailure(0, "the answer is not a JSON-RPC response")
    if response.get("error") is not None:
        return failure(response["error"])
    if "result" not in response:
        return RpcFailure(0, "the answer has neither result nor error")
    return RpcValue(response["result"])
