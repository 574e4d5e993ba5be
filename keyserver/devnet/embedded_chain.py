"""An Ethereum node in one process, with no other program needed: for the devnet and for tests.

As a library: `async with EmbeddedChain(chain_id=1337) as chain: ... chain.rpc_url`. As a process:
`python -m keyserver.devnet.embedded_chain --port 0 --chain-id 1337 --block-time 1`, which prints
one JSON line when it is ready and stops at SIGTERM. It listens on the loopback interface only and
keeps nothing on disk.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from types import TracebackType

from keyserver.devnet import embedded_json as codec
from keyserver.devnet.embedded_errors import RpcError
from keyserver.devnet.embedded_node import EmbeddedNode
from keyserver.devnet.embedded_server import RpcServer
from keyserver.devnet.local_chain import LOOPBACK

DEFAULT_CHAIN_ID = 1337


class EmbeddedChain:
    """A chain of its own, serving JSON-RPC while the context is open."""

    def __init__(
        self,
        *,
        chain_id: int = DEFAULT_CHAIN_ID,
        block_time_s: float | None = None,
        fund: Sequence[bytes] = (),
        port: int = 0,
    ) -> None:
        """Describe the chain; it starts when the context is entered.

        `block_time_s` is the time between blocks in seconds; without it every transaction is mined
        at once in a block of its own. Each 20-byte address in `fund`, and the ten development
        accounts, own a million ether in the genesis block. Port 0 takes any free port.
        """
        self.node = EmbeddedNode(chain_id=chain_id, funded=fund)
        self.node.set_mining(automine=block_time_s is None, interval_s=block_time_s)
        self._mining_changed = asyncio.Event()
        self.node.on_mining_changed(self._mining_changed.set)
        self._server = RpcServer(self.node)
        self._port = port
        self._miner: asyncio.Task[None] | None = None

    @property
    def chain_id(self) -> int:
        """The chain id."""
        return self.node.chain_id

    @property
    def rpc_url(self) -> str:
        """Where HTTP requests go; known once the context is open."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def ws_url(self) -> str:
        """Where WebSocket clients connect; known once the context is open."""
        return f"ws://{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int:
        """The process that serves the chain: this one."""
        return os.getpid()

    async def __aenter__(self) -> "EmbeddedChain":
        self._port = await self._server.start(self._port)
        self._miner = asyncio.create_task(self._mine_at_intervals(), name="embedded-chain-miner")
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._server.stop()
        await self._stop_miner()

    async def run_until(self, stop: asyncio.Event) -> None:
        """Wait for `stop`; raises what ended the miner if it fails before."""
        assert self._miner is not None
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({waiting, self._miner}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def _stop_miner(self) -> None:
        """End the miner, and raise what it failed with, if it did."""
        assert self._miner is not None
        self._miner.cancel()
        (outcome,) = await asyncio.gather(self._miner, return_exceptions=True)
        if not isinstance(outcome, asyncio.CancelledError):
            raise outcome or AssertionError("the miner ended by itself")

    async def _mine_at_intervals(self) -> None:
        while True:
            self._mining_changed.clear()
            interval_s = self.node.interval_s
            try:
                async with asyncio.timeout(interval_s):
                    await self._mining_changed.wait()
            except TimeoutError:
                self.node.mine()


async def serve(chain: EmbeddedChain) -> None:
    """Serve `chain` until SIGTERM or SIGINT, after printing the ready line."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with chain:
        ready = {
            "rpc_url": chain.rpc_url,
            "ws_url": chain.ws_url,
            "chain_id": chain.chain_id,
            "pid": chain.pid,
        }
        print(json.dumps(ready), flush=True)
        await chain.run_until(stop)


def _parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m keyserver.devnet.embedded_chain",
        description="A local Ethereum chain on the loopback interface, for development.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 (default) takes any free port")
    parser.add_argument("--chain-id", type=int, default=DEFAULT_CHAIN_ID)
    parser.add_argument(
        "--block-time",
        type=float,
        metavar="SECONDS",
        help="time between blocks; without it every transaction is mined at once",
    )
    parser.add_argument(
        "--fund", nargs="*", default=[], metavar="ADDRESS", help="own a million ether at the start"
    )
    parsed = parser.parse_args(arguments)
    if parsed.chain_id < 1:
        parser.error("--chain-id: a positive number is expected")
    if parsed.block_time is not None and not parsed.block_time > 0:
        parser.error("--block-time: a positive number of seconds is expected")
    try:
        parsed.fund = [codec.address(text, "address of --fund") for text in parsed.fund]
    except RpcError as error:
        parser.error(error.message)
    return parsed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chain as a process."""
    parsed = _parse_arguments(sys.argv[1:] if arguments is None else arguments)
    asyncio.run(_run(parsed))


async def _run(parsed: argparse.Namespace) -> None:
    chain = EmbeddedChain(
        chain_id=parsed.chain_id,
        block_time_s=parsed.block_time,
        fund=parsed.fund,
        port=parsed.port,
    )
    await serve(chain)


if __name__ == "__main__":
    main()
