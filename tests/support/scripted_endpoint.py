"""An RPC endpoint that answers from a script."""

import asyncio
from collections.abc import Sequence
from typing import Any

from keyserver.chain.client import ChainUnavailableError
from keyserver.chain.endpoint import RpcAnswer, RpcRequest, RpcValue
from keyserver.chain.rpc_errors import RpcFailure

Answer = Any
"""A JSON result, a failure, or a function of the parameters that gives one of the two."""


class ScriptedEndpoint:
    """Answers each method as told; `down` makes it fail as a whole."""

    def __init__(
        self, label: str = "http://one", *, chain_id: int = 1337, **answers: Answer
    ) -> None:
        self.label = label
        self.answers: dict[str, Answer] = {"eth_chainId": hex(chain_id), **answers}
        self.down = False
        self.pushes = False
        self.asked: list[RpcRequest] = []
        self.batches: list[int] = []
        self.heads: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = False

    async def exchange(self, requests: Sequence[RpcRequest]) -> list[RpcAnswer]:
        if self.down:
            raise ChainUnavailableError(f"{self.label}: refused")
        self.asked += requests
        self.batches.append(len(requests))
        return [self._answer(request) for request in requests]

    async def subscribe(self) -> bool:
        if self.down:
            raise ChainUnavailableError(f"{self.label}: refused")
        return self.pushes

    async def next_head(self) -> Any:
        head = await self.heads.get()
        if isinstance(head, Exception):
            raise head
        return head

    async def close(self) -> None:
        self.closed = True

    @property
    def methods(self) -> list[str]:
        return [request.method for request in self.asked]

    def _answer(self, request: RpcRequest) -> RpcAnswer:
        answer = self.answers.get(request.method, RpcFailure(-32601, "no such method"))
        if callable(answer):
            answer = answer(*request.params)
        return answer if isinstance(answer, RpcFailure) else RpcValue(answer)
