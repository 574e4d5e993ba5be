"""Anvil, and what can be done to its chain: reorganisations, lost transactions, dear blocks."""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import ClientSession, ClientTimeout

from keyserver.devnet.anvil import start_anvil
from keyserver.devnet.local_chain import LocalChain
from keyserver.errors import ChainError
from keyserver.model.identifiers import Address

CHAIN_ID = 660_661
CALM_BASE_FEE = 10**9

Json = Any


class Anvil:
    """The chain process, asked without blocking."""

    def __init__(self, local: LocalChain, session: ClientSession) -> None:
        self.local = local
        self._session = session

    @classmethod
    async def start(
        cls, fund: Sequence[bytes], log: Path, *, block_time_s: float | None = None
    ) -> "Anvil":
        """Start anvil; without `block_time_s` every transaction is mined at once."""
        local = await asyncio.to_thread(
            start_anvil, chain_id=CHAIN_ID, fund=fund, log_path=log, block_time_s=block_time_s
        )
        return cls(local, ClientSession(timeout=ClientTimeout(total=60)))

    async def ask(self, method: str, *params: object) -> Json:
        """One request; raises `ChainError` with the chain's words if it refuses."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self._session.post(self.local.rpc_url, json=call) as response:
            answer = await response.json()
        if "error" in answer:
            raise ChainError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    async def head(self) -> int:
        return int(await self.ask("eth_blockNumber"), 16)

    async def blocks(self, first: int, last: int) -> list[Json]:
        """Blocks with their transactions."""
        return [
            await self.ask("eth_getBlockByNumber", hex(number), True)
            for number in range(first, last + 1)
        ]

    async def counts(self, account: Address) -> tuple[int, int]:
        """How many transactions of an account are mined, and how many with the pool's."""
        address = f"0x{account.hex()}"
        latest, pending = [
            int(await self.ask("eth_getTransactionCount", address, tag), 16)
            for tag in ("latest", "pending")
        ]
        return latest, pending

    async def fund(self, accounts: Collection[Address], wei: int) -> None:
        for account in accounts:
            await self.ask("anvil_setBalance", f"0x{account.hex()}", hex(wei))

    async def begin_blocks(self, block_time_s: float) -> None:
        """From now on there is a block every so many seconds (whole ones)."""
        await self.ask("evm_setAutomine", False)
        await self.ask("evm_setIntervalMining", int(block_time_s))

    async def close(self) -> None:
        await self._session.close()
        await asyncio.to_thread(self.local.stop)

    # --- faults -------------------------------------------------------------------------------

    async def reorganise(
        self, depth: int, nodes: Collection[Address], fate: "Fate", random: Random
    ) -> "Reorganisation":
        """Replace the last blocks by others; what is not put into these is lost."""
        head = await self.head()
        blocks = await self.blocks(head - depth + 1, head)
        all_sent = [sent for block in blocks for sent in block["transactions"]]
        kept = _survivors(all_sent, nodes, fate, random)
        places = sorted(random.randrange(depth) for _ in kept)
        pairs = [
            [await self.ask("eth_getRawTransactionByHash", sent["hash"]), place]
            for sent, place in zip(kept, places, strict=True)
        ]
        await self.ask("anvil_reorg", depth, pairs)
        # The new blocks have the times of the first one: let the next be of now again.
        await self.ask("evm_setTime", hex(int(time.time())))
        return Reorganisation(depth, len(all_sent), len(all_sent) - len(kept))

    async def drop_from_pool(self, nodes: Collection[Address], share: float, random: Random) -> int:
        """Take transactions of nodes out of the pool; returns how many."""
        pool = await self.ask("txpool_content")
        known = {f"0x{node.hex()}" for node in nodes}
        waiting = [
            sent["hash"]
            for kind in ("pending", "queued")
            for account, by_nonce in pool[kind].items()
            if account.lower() in known
            for sent in by_nonce.values()
        ]
        dropped = 0
        for tx_hash in waiting:
            if random.random() < share:
                dropped += await self.ask("anvil_dropTransaction", tx_hash) is not None
        return dropped

    async def base_fee(self, wei: int) -> None:
        await self.ask("anvil_setNextBlockBaseFeePerGas", hex(wei))


class Fate(StrEnum):
    """What becomes of the transactions in blocks that leave the chain."""

    DROPPED = "dropped"
    """All are gone; whoever sent them has to send them again."""
    MOVED = "moved"
    """All are in the new blocks, in other places."""
    TORN = "torn"
    """Those of clients are in the new blocks; of each node only some of the first ones."""


@dataclass(frozen=True, slots=True)
class Reorganisation:
    """What one has done."""

    depth: int
    transactions: int
    lost: int


def _survivors(
    all_sent: Sequence[Json], nodes: Collection[Address], fate: Fate, random: Random
) -> list[Json]:
    if fate is Fate.DROPPED:
        return []
    if fate is Fate.MOVED:
        return list(all_sent)
    known = {f"0x{node.hex()}" for node in nodes}
    kept, cut_off = [], set()
    for sent in all_sent:
        account = sent["from"].lower()
        if account in known and (account in cut_off or random.random() < 0.5):
            cut_off.add(account)  # what comes after a lost one cannot be mined before it
            continue
        kept.append(sent)
    return kept
