"""RPC endpoints that fail and lie: a proxy before the chain for each endpoint of each node."""

import asyncio
import json
from collections import Counter
from enum import StrEnum
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, web

from keyserver.crypto.hashing import keccak256
from keyserver.devnet.local_chain import LOOPBACK

HANG_S = 60.0
SLOW_S = 1.5
FAR_AHEAD = 40
OTHER_CHAIN = 0xBAD

Json = Any


class Manner(StrEnum):
    """How an endpoint treats those who ask it."""

    HONEST = "honest"
    HANGS = "hangs"
    """Takes requests and does not answer."""
    FAILS = "fails"
    """503."""
    REFUSES = "refuses"
    """429, and an answer that no library parses."""
    SLOW = "slow"
    STALE = "stale"
    """Stands still at the block where it was."""
    AHEAD = "ahead"
    """Tells of a head far above, that nobody else has."""
    FORKED = "forked"
    """Tells of blocks with other hashes than the chain's."""
    WRONG_CHAIN = "wrong-chain"
    """Fails once, and is on another chain from then on."""
    NO_LOGS = "no-logs"
    """Leaves out all logs."""
    SWALLOWS = "swallows"
    """Says that it has taken a transaction, and forgets it."""


class RpcProxy:
    """One endpoint."""

    def __init__(self, chain_url: str, port: int) -> None:
        self.url = f"http://{LOOPBACK}:{port}"
        self.requests: Counter[str] = Counter()
        self.swallowed = 0
        self._chain_url = chain_url
        self._port = port
        self._manner = Manner.HONEST
        self._released = asyncio.Event()
        self._frozen: int | None = None
        self._has_failed = False
        self._session: ClientSession | None = None
        self._runner: web.AppRunner | None = None

    @property
    def manner(self) -> Manner:
        return self._manner

    async def start(self) -> None:
        self._session = ClientSession(timeout=ClientTimeout(total=30))
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_post("/", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self._port).start()

    async def behave(self, manner: Manner) -> None:
        """Change the manner; those who hang are let go."""
        if manner is Manner.STALE:
            answer = await self._ask({"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber"})
            self._frozen = int(answer["result"], 16)
        self._has_failed = False
        self._manner = manner
        self._released.set()
        self._released = asyncio.Event()

    async def close(self) -> None:
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    # --- answering ---------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        manner = self._manner
        self.requests[manner] += 1
        match manner:
            case Manner.FAILS:
                return web.Response(status=503, text="down for maintenance")
            case Manner.REFUSES:
                return web.Response(status=429, text="<html>slow down</html>")
            case Manner.HANGS:
                return await self._hang()
            case Manner.SLOW:
                await asyncio.sleep(SLOW_S)
            case Manner.WRONG_CHAIN if not self._has_failed:
                self._has_failed = True
                return web.Response(status=502, text="bad gateway")
        asked = json.loads(await request.read())
        try:
            return web.json_response(await self._answers(asked, manner))
        except (ClientError, TimeoutError) as error:
            return web.Response(status=502, text=f"the chain does not answer: {error!r}")

    async def _hang(self) -> web.Response:
        try:
            async with asyncio.timeout(HANG_S):
                await self._released.wait()
        except TimeoutError:
            pass
        return web.Response(status=504, text="nothing came")

    async def _answers(self, asked: Json, manner: Manner) -> Json:
        if not isinstance(asked, list):
            return await self._one(asked, manner)
        if manner in (Manner.HONEST, Manner.SLOW, Manner.WRONG_CHAIN):
            answers = await self._ask(asked)
            chain_ids = {call["id"] for call in asked if call["method"] == "eth_chainId"}
            if manner is Manner.WRONG_CHAIN:
                for answer in answers:
                    if answer["id"] in chain_ids:
                        answer["result"] = hex(OTHER_CHAIN)
            return answers
        return [await self._one(call, manner) for call in asked]

    async def _one(self, call: Json, manner: Manner) -> Json:
        method = call["method"]
        match manner:
            case Manner.WRONG_CHAIN if method == "eth_chainId":
                return _result(call, hex(OTHER_CHAIN))
            case Manner.NO_LOGS if method == "eth_getLogs":
                return _result(call, [])
            case Manner.SWALLOWS if method == "eth_sendRawTransaction":
                self.swallowed += 1
                return _pretended(call)
            case Manner.STALE:
                return await self._as_before(call)
            case Manner.AHEAD if method in ("eth_getBlockByNumber", "eth_blockNumber"):
                return await self._from_the_future(call)
            case Manner.FORKED if method == "eth_getBlockByNumber":
                return _with_other_hashes(await self._ask(call))
        return await self._ask(call)

    async def _as_before(self, call: Json) -> Json:
        """What the chain said when this endpoint stopped following it."""
        assert self._frozen is not None
        frozen = hex(self._frozen)
        if call["method"] == "eth_blockNumber":
            return _result(call, frozen)
        params: list[Json] = [
            frozen if value == "latest" else value for value in call.get("params", [])
        ]
        if call["method"] == "eth_getBlockByNumber":
            number = params[0]
            if number.startswith("0x") and int(number, 16) > self._frozen:
                return _result(call, None)
        if call["method"] == "eth_getLogs" and int(params[0]["toBlock"], 16) > self._frozen:
            return _failure(call, "block is out of reach")
        return await self._ask(call | {"params": params})

    async def _from_the_future(self, call: Json) -> Json:
        if call["method"] == "eth_getBlockByNumber" and call["params"][0] != "latest":
            return await self._ask(call)
        answer = await self._ask(call)
        if call["method"] == "eth_blockNumber":
            return _result(call, hex(int(answer["result"], 16) + FAR_AHEAD))
        header = answer["result"]
        header["number"] = hex(int(header["number"], 16) + FAR_AHEAD)
        header["hash"], header["parentHash"] = _other(header["hash"]), _other(header["parentHash"])
        return answer

    async def _ask(self, call: Json) -> Json:
        assert self._session is not None
        async with self._session.post(self._chain_url, json=call) as answer:
            return await answer.json()


def _result(call: Json, value: Json) -> Json:
    return {"jsonrpc": "2.0", "id": call["id"], "result": value}


def _pretended(call: Json) -> Json:
    """The hash of the transaction, as if it had been taken."""
    raw = bytes.fromhex(call["params"][0].removeprefix("0x"))
    return _result(call, f"0x{keccak256(raw).hex()}")


def _failure(call: Json, message: str) -> Json:
    return {"jsonrpc": "2.0", "id": call["id"], "error": {"code": -32000, "message": message}}


def _with_other_hashes(answer: Json) -> Json:
    header = answer.get("result")
    if header is not None:
        header["hash"], header["parentHash"] = _other(header["hash"]), _other(header["parentHash"])
    return answer


def _other(digest: str) -> str:
    """Another hash, always the same for the same."""
    return f"0x{int(digest, 16) ^ (1 << 200):064x}"
