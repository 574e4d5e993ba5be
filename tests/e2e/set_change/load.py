"""Clients that never pause: stories of keys and documents while the node set changes."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from random import Random

from aiohttp import ClientSession, ClientTimeout

from keyserver.client.errors import ClientError
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.errors import ChainError
from tests.chaos.background import meanwhile
from tests.chaos.chain import Anvil
from tests.chaos.clients import Book, Clients, Kind, Payer, PersistentEthereum
from tests.e2e.set_change.changing import ChangingNetwork

STORIES = (Clients.through_contracts, Clients.over_http, Clients.mixed)
KINDS = frozenset(Kind)
THRESHOLD = 1
FINISH_S = 60.0
"""Within which a story must be over when nothing changes any more."""


def people(count: int, seed: int) -> list[Wallet]:
    """Accounts for stories."""
    random = Random(seed)
    return [Wallet(SecretScalar(random.randbytes(32))) for _ in range(count)]


@dataclass
class Load:
    """Stories going on in a thread of their own, until they are asked to end."""

    network: ChangingNetwork
    wallets: Sequence[Wallet]
    parallel: int
    book: Book = field(default_factory=Book)
    _end: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until `end`; what fails is in the book."""
        asyncio.run(self._run())

    def end(self) -> None:
        """Begin no more stories; those that have begun are told to their end."""
        self._end.set()

    async def _run(self) -> None:
        session = ClientSession(timeout=ClientTimeout(total=60))
        # the embedded chain answers the same requests as anvil
        payer = Payer(Anvil(self.network.chain, session))
        ethereum = PersistentEthereum(self.network.chain.rpc_url, payer)
        clients = Clients(
            ethereum,
            self.network.contracts,
            self.network.urls,
            Random(1),
            self.book,
            iter(self.wallets),
            THRESHOLD,
        )
        try:
            async with meanwhile(payer.run()):
                stories = [
                    asyncio.create_task(self._stories(clients, number))
                    for number in range(self.parallel)
                ]
                await asyncio.to_thread(self._end.wait)
                _, waiting = await asyncio.wait(stories, timeout=FINISH_S)
                for story in waiting:
                    story.cancel()
                await asyncio.gather(*stories, return_exceptions=True)
                if waiting:
                    self.book.troubles.append(f"{len(waiting)} stories did not come to an end")
        finally:
            await ethereum.close()
            await session.close()

    async def _stories(self, clients: Clients, first: int) -> None:
        stories = cycle((*STORIES[first % 3 :], *STORIES[: first % 3]))
        while not self._end.is_set():
            try:
                await next(stories)(clients)
            except (ClientError, ChainError) as error:
                self.book.troubles.append(f"{type(error).__name__}: {error}")


@contextmanager
def under_load(
    network: ChangingNetwork, wallets: Sequence[Wallet], *, parallel: int
) -> Iterator[Load]:
    """Stories all the while; at the end all that have begun are over."""
    load = Load(network, wallets, parallel)
    thread = threading.Thread(target=load.run, name="load")
    thread.start()
    try:
        yield load
    finally:
        load.end()
        thread.join()
