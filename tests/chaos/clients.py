"""Clients at work: stories of keys and documents, and a book of what came of each request."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from random import Random
from typing import Any, TypeVar

from web3 import AsyncWeb3

from keyserver.client.contracts import Contracts
from keyserver.client.errors import (
    ClientError,
    NodeUnreachableError,
    RefusedByContractError,
    RefusedByKeyServersError,
)
from keyserver.client.ethereum import Ethereum, EventLog, Receipt
from keyserver.client.http import HttpKeyServers, connect_nodes
from keyserver.client.http_provider import HttpProvider
from keyserver.client.interface import Answered
from keyserver.client.permissions import REGISTRY, Permissions
from keyserver.client.requests import KeyServers
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point, SecretScalar, mul_base
from keyserver.crypto.elgamal import encrypt_document_key
from keyserver.crypto.randomness import SystemRandom
from keyserver.errors import ChainError
from keyserver.evm.abi import Function
from keyserver.evm.transaction import DynamicFee, UnsignedTransaction
from keyserver.model.identifiers import Address, Hash32, KeyId
from tests.chaos.chain import CHAIN_ID, Anvil
from tests.chaos.schedule import MOST_DEPTH

GWEI = 10**9
CLIENT_FEE = DynamicFee(3000 * GWEI, 2 * GWEI)
"""Clients pay whatever it takes: it is the nodes' fees that are put to the test."""
CLIENT_GAS = 1_200_000
FUNDS_WEI = 10**24
MOST_PEOPLE = 4
"""In one story."""
PATIENCE_S = 1500.0
FINAL = MOST_DEPTH + 1
"""Blocks on top after which no reorganisation comes."""
SET_USERS = Function.parse("setUsers(bytes32,address[])", "bool")
THRESHOLD = 2

T = TypeVar("T")


class Kind(StrEnum):
    """What is asked, and by which way."""

    GENERATE = "generation"
    RETRIEVE = "server key retrieval"
    STORE = "storing"
    SHADOW = "shadow retrieval"
    REFUSED = "shadow retrieval, not permitted"
    GENERATE_V1 = "generation, HTTP"
    RETRIEVE_V1 = "server key retrieval, HTTP"
    STORE_V1 = "storing, HTTP"
    SHADOW_V1 = "shadow retrieval, HTTP"
    REFUSED_V1 = "shadow retrieval, not permitted, HTTP"


@dataclass(frozen=True, slots=True)
class Served:
    """One request, from a client's sending it to its end."""

    kind: Kind
    key_id: KeyId
    requester: Address
    seconds: float
    under_faults: bool
    trouble: str | None = None
    """Why it is not what it must be."""


@dataclass
class Book:
    """Everything that clients have asked and seen."""

    served: list[Served] = field(default_factory=list)
    publics: dict[KeyId, Point] = field(default_factory=dict)
    """Server keys as the clients were told first."""
    documents: dict[KeyId, Point] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    under_faults: bool = False


class Payer:
    """All clients' transactions: kept, and sent again until no reorganisation can take them."""

    def __init__(self, chain: Anvil) -> None:
        self.resent = 0
        self._chain = chain
        self._nonces: dict[Address, int] = {}
        self._open: dict[Hash32, bytes] = {}

    def next_nonce(self, account: Address) -> int:
        nonce = self._nonces.get(account, 0)
        self._nonces[account] = nonce + 1
        return nonce

    async def send(self, tx_hash: Hash32, raw: bytes) -> None:
        self._open[tx_hash] = raw
        await self._offer(raw)

    async def run(self) -> None:
        """Look after what is not final yet, until cancelled."""
        while True:
            await self.look_after()
            await asyncio.sleep(0.5)

    async def look_after(self) -> None:
        head = await self._chain.head()
        for tx_hash, raw in tuple(self._open.items()):
            try:
                receipt = await self._chain.ask("eth_getTransactionReceipt", f"0x{tx_hash.hex()}")
            except ChainError:
                continue  # anvil finds no block to it in the middle of a reorganisation
            if receipt is None:
                self.resent += await self._offer(raw)
            elif int(receipt["blockNumber"], 16) + FINAL + 3 <= head:
                del self._open[tx_hash]

    async def _offer(self, raw: bytes) -> bool:
        try:
            await self._chain.ask("eth_sendRawTransaction", f"0x{raw.hex()}")
        except ChainError:
            return False  # it is in the pool, or was mined just now
        return True


class PersistentEthereum(Ethereum):
    """The client library's way to the chain, with transactions that a `Payer` looks after."""

    def __init__(self, url: str, payer: Payer) -> None:
        super().__init__(AsyncWeb3(HttpProvider(url)), poll_s=0.5)
        self._payer = payer

    async def submit(
        self, wallet: Wallet, to: Address, data: bytes, *, value: int = 0, gas: int | None = None
    ) -> Hash32:
        """Sign with an own count of nonces: the pool may have lost what was sent before."""
        nonce = self._payer.next_nonce(wallet.address)
        unsigned = UnsignedTransaction(
            CHAIN_ID, nonce, to, data, gas or CLIENT_GAS, CLIENT_FEE, value
        )
        signed = wallet.sign(unsigned)
        await self._payer.send(signed.tx_hash, signed.raw)
        return signed.tx_hash

    async def receipt(self, tx_hash: Hash32) -> Receipt | None:
        """As it is; nothing while anvil is in the middle of a reorganisation."""
        try:
            return await super().receipt(tx_hash)
        except RefusedByContractError as error:
            if _is_in_the_middle(error):
                return None
            raise

    async def logs(
        self,
        contract: Address,
        topics: Sequence[Sequence[bytes]],
        *,
        from_block: int,
        to_block: int | None = None,
    ) -> list[EventLog]:
        """As they are; none while anvil is in the middle of a reorganisation."""
        try:
            return await super().logs(contract, topics, from_block=from_block, to_block=to_block)
        except RefusedByContractError as error:
            if _is_in_the_middle(error):
                return []
            raise

    async def call(self, contract: Address, function: Function, *arguments: Any) -> Any:
        """What the function returns, once anvil is through with a reorganisation."""
        while True:
            try:
                return await super().call(contract, function, *arguments)
            except RefusedByContractError as error:
                if not _is_in_the_middle(error):
                    raise
            await asyncio.sleep(self.poll_s)

    async def final(self, receipt: Receipt) -> None:
        """Wait until no reorganisation can take a transaction away."""
        async for head in self.heads():
            placed = await self.receipt(receipt.tx_hash)
            if placed is not None and placed.block + FINAL <= head:
                return

    async def close(self) -> None:
        await self._w3.provider.disconnect()


async def _once_somebody_is_there(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask again while no node at all can be connected to: then nothing was done."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await ask()
        except NodeUnreachableError as error:
            if error.may_have_worked or time.monotonic() > deadline:
                raise
            await asyncio.sleep(1)


def _is_in_the_middle(error: RefusedByContractError) -> bool:
    """Anvil takes blocks away before it makes others; an Ethereum node does both at once."""
    return any(words in str(error) for words in ("BlockOutOfRange", "BlockNotFound"))


@dataclass
class Clients:
    """Everybody who uses the network."""

    ethereum: PersistentEthereum
    contracts: Contracts
    urls: Sequence[str]
    """Of the nodes' HTTP interfaces."""
    random: Random
    book: Book
    accounts: Iterator[Wallet]
    """With money that they had long before the faults: a reorganisation takes away later gifts."""
    threshold: int = THRESHOLD

    # --- stories ------------------------------------------------------------------------------

    async def through_contracts(self) -> None:
        """Everything through the contracts, with permissions that come and go."""
        alice, bob, carol, dave = self._people(4)
        key_id, document = self._new(alice)
        permissions = Permissions(self.ethereum, self.contracts, alice)
        await permissions.reserve(key_id)
        await permissions.permit(key_id, [bob.address, dave.address])
        at_alice, at_bob, at_carol, at_dave = (
            self._servers(each) for each in (alice, bob, carol, dave)
        )
        made = await self._asked(
            Kind.GENERATE,
            alice,
            key_id,
            lambda: at_alice.generate_server_key(key_id, self.threshold),
        )
        public = made.value.public
        self._told(key_id, public)
        found = await self._asked(
            Kind.RETRIEVE, bob, key_id, lambda: at_bob.retrieve_server_key(key_id)
        )
        self._told(key_id, found.value.public)
        sealed = encrypt_document_key(public, document, SystemRandom())
        await self._asked(
            Kind.STORE, alice, key_id, lambda: at_alice.store_document_key(key_id, sealed)
        )
        self.book.documents[key_id] = document
        await self._opens(at_alice, key_id)
        await self._opens(at_bob, key_id)
        await self._refused(at_carol, key_id)
        await self._revoke_all_but(alice, key_id, [bob.address])
        await self._refused(at_dave, key_id)

    async def over_http(self) -> None:
        """Everything through the nodes, with permissions from the contract."""
        alice, bob, carol, dave = self._people(4)
        key_id, document = self._new(alice)
        permissions = Permissions(self.ethereum, self.contracts, alice)
        await permissions.reserve(key_id)
        granted = await permissions.permit(key_id, [bob.address, dave.address])
        async with self._nodes(alice) as at_alice:
            made = await self._asked(
                Kind.GENERATE_V1,
                alice,
                key_id,
                lambda: at_alice.generate_server_key(key_id, self.threshold),
            )
            self._told(key_id, made.value.public)
            found = await self._asked(
                Kind.RETRIEVE_V1, alice, key_id, lambda: at_alice.retrieve_server_key(key_id)
            )
            self._told(key_id, found.value.public)
            sealed = encrypt_document_key(made.value.public, document, SystemRandom())
            await self._asked(
                Kind.STORE_V1, alice, key_id, lambda: at_alice.store_document_key(key_id, sealed)
            )
            self.book.documents[key_id] = document
        await self.ethereum.final(granted[-1])
        async with self._nodes(bob) as at_bob, self._nodes(carol) as at_carol:
            await self._opens(at_bob, key_id)
            await self._refused(at_carol, key_id)
        await self.ethereum.final(await self._revoke_all_but(alice, key_id, [bob.address]))
        async with self._nodes(dave) as at_dave:
            await self._refused(at_dave, key_id)

    async def mixed(self) -> None:
        """A key made over HTTP and used through the contracts at once, and the other way round."""
        alice, bob = self._people(2)
        key_id, document = self._new(alice)
        permissions = Permissions(self.ethereum, self.contracts, alice)
        await permissions.reserve(key_id)
        granted = await permissions.permit(key_id, [bob.address])
        at_contracts = self._servers(alice)
        async with self._nodes(alice) as at_nodes:
            made = await self._asked(
                Kind.GENERATE_V1,
                alice,
                key_id,
                lambda: at_nodes.generate_server_key(key_id, self.threshold),
            )
        self._told(key_id, made.value.public)
        sealed = encrypt_document_key(made.value.public, document, SystemRandom())
        await self._asked(
            Kind.STORE, alice, key_id, lambda: at_contracts.store_document_key(key_id, sealed)
        )
        self.book.documents[key_id] = document
        await self.ethereum.final(granted[-1])
        async with self._nodes(bob) as at_bob:
            await self._opens(at_bob, key_id)
        await self._opens(self._servers(bob), key_id)

    # --- steps --------------------------------------------------------------------------------

    async def _opens(self, servers: KeyServers | HttpKeyServers, key_id: KeyId) -> None:
        """Someone with permission retrieves the document key, and it is the one that was stored."""
        kind = Kind.SHADOW if isinstance(servers, KeyServers) else Kind.SHADOW_V1

        async def ask() -> Point:
            found: Answered[Point] = await servers.retrieve_document_key(key_id)
            return found.value

        opened = await self._asked(kind, servers.wallet, key_id, ask)
        if opened != self.book.documents[key_id]:
            self.book.troubles.append(f"{kind}: another document key for 0x{key_id.hex()}")

    async def _refused(self, servers: KeyServers | HttpKeyServers, key_id: KeyId) -> None:
        """Someone without permission is refused."""
        kind = Kind.REFUSED if isinstance(servers, KeyServers) else Kind.REFUSED_V1

        async def ask() -> None:
            try:
                await servers.retrieve_document_key(key_id)
            except RefusedByKeyServersError:
                return
            raise ClientError("somebody without permission got the document key")

        await self._asked(kind, servers.wallet, key_id, ask)

    async def _revoke_all_but(
        self, admin: Wallet, key_id: KeyId, users: Sequence[Address]
    ) -> Receipt:
        contract = self.contracts.find(REGISTRY)
        assert contract is not None
        left = [f"0x{user.hex()}" for user in (admin.address, *users)]
        return await self.ethereum.send(admin, contract, SET_USERS.encode(key_id, left))

    async def _asked(
        self, kind: Kind, wallet: Wallet, key_id: KeyId, ask: Callable[[], Awaitable[T]]
    ) -> T:
        """Ask and enter it in the book; what fails ends the story."""
        began, under_faults = time.monotonic(), self.book.under_faults
        trouble: str | None = "it was not finished"
        try:
            answer = await _once_somebody_is_there(ask)
            trouble = None
        except (ClientError, ChainError) as error:
            trouble = f"{type(error).__name__}: {error}"
            raise
        finally:
            took = time.monotonic() - began
            under_faults |= self.book.under_faults
            self.book.served.append(
                Served(kind, key_id, wallet.address, took, under_faults, trouble)
            )
        return answer

    def _told(self, key_id: KeyId, public: Point) -> None:
        if self.book.publics.setdefault(key_id, public) != public:
            self.book.troubles.append(f"two server keys 0x{key_id.hex()}")

    def _people(self, count: int) -> list[Wallet]:
        return list(islice(self.accounts, count))

    @staticmethod
    def _new(author: Wallet) -> tuple[KeyId, Point]:
        random = SystemRandom()
        return author.new_key_id(random), mul_base(SecretScalar.random(random))

    def _servers(self, wallet: Wallet) -> KeyServers:
        return KeyServers(self.ethereum, self.contracts, wallet, patience_s=PATIENCE_S)

    @asynccontextmanager
    async def _nodes(self, wallet: Wallet) -> AsyncIterator[HttpKeyServers]:
        urls = self.random.sample(list(self.urls), len(self.urls))
        async with connect_nodes(urls, wallet, patience_s=PATIENCE_S) as servers:
            yield servers
