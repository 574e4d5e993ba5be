"""The four requests to the key servers, through their contracts.

Each method of `KeyServers` sends one transaction with the fee the contract asks for, waits for the
answer from the transaction's block on, and returns an `Answer`. The contracts take one request for
a key id at a time (for retrieval of document keys: one of each account).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from keyserver.client import answers
from keyserver.client.contracts import (
    CURRENT_KEY_SERVERS,
    GENERATION,
    KEY_SERVER_SET,
    RETRIEVAL,
    SHADOW_RETRIEVAL,
    STORE,
    Contracts,
    Service,
)
from keyserver.client.errors import (
    BadAnswerError,
    ClientError,
    NoAnswerError,
    NotAuthorError,
    RefusedByContractError,
)
from keyserver.client.ethereum import PATIENCE_S, Ethereum, EventLog, Receipt
from keyserver.client.results import ServerKey
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point
from keyserver.crypto.elgamal import EncryptedDocumentKey
from keyserver.evm.abi import AbiError, Event
from keyserver.model.identifiers import Address, KeyId

T = TypeVar("T")
U = TypeVar("U")
MAX_THRESHOLD = 254

MOST_REFUSALS = 3
"""How many blocks in a row the Ethereum node may refuse to show logs of; a reorganisation, or an
address with several nodes behind it, takes blocks away for a moment."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is known when a new block has come and the request is still open."""

    title: str
    """Of the service."""
    block: int
    answered: int | None
    """Key servers that have answered in this stage; None where the contracts do not tell."""
    expected: int | None
    """How many there are, or how many are enough."""

    def __str__(self) -> str:
        if self.answered is None:
            return f"block {self.block}: waiting for answers"
        return f"block {self.block}: {self.answered} of {self.expected} answers"


Watch = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What came of a request, and what it took."""

    value: T
    requested_in: int
    """Block of the request."""
    answered_in: int
    """Newest block when the outcome was seen."""
    gas_used: int
    """By the request's own transaction."""

    def with_value(self, value: U) -> "Answer[U]":
        """The same answer with something that was made of its value."""
        return Answer(value, self.requested_in, self.answered_in, self.gas_used)


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What the chain's past tells about a server key."""

    key_id: KeyId
    public: Point
    author: Address | None
    """None if the request was made elsewhere than on this contract."""
    threshold: int | None
    generated_in: int
    has_document: bool


class KeyServers:
    """The key servers as one account sees them."""

    def __init__(
        self,
        ethereum: Ethereum,
        contracts: Contracts,
        wallet: Wallet,
        *,
        watch: Watch = lambda progress: None,
        confirmations: int = 0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Set up; nothing is sent yet.

        `watch` is called at every new block while a request is open. An answer counts when its
        block has `confirmations` blocks on top. After `patience_s` seconds a request raises
        `NoAnswerError`.
        """
        self.ethereum = ethereum
        self.contracts = contracts
        self.wallet = wallet
        self._watch = watch
        self._confirmations = confirmations
        self._patience_s = patience_s

    async def generate_server_key(self, key_id: KeyId, threshold: int) -> Answer[ServerKey]:
        """Have a key generated of which `threshold + 1` key servers are needed for any use.

        Raises `RefusedByContractError`, `RefusedByKeyServersError`, `NoAnswerError`, and
        `NotAuthorError` if the contract took the request in another account's name.
        """
        if not 0 <= threshold <= MAX_THRESHOLD:
            raise RefusedByContractError(f"threshold: {threshold} is not in 0..{MAX_THRESHOLD}")
        receipt = await self._request(GENERATION, key_id, threshold)
        author = _requested(GENERATION, receipt, key_id)[1][1]
        if author != self.wallet.address:
            raise NotAuthorError(f"the key's author is 0x{author.hex()}")
        answer = await self._await(GENERATION, receipt, key_id, answers.generated)
        return answer.with_value(ServerKey(answer.value, threshold, author))

    async def retrieve_server_key(self, key_id: KeyId) -> Answer[ServerKey]:
        """Ask the key servers for a public key; anybody may.

        Raises `RefusedByContractError`, `RefusedByKeyServersError` and `NoAnswerError`.
        """
        receipt = await self._request(RETRIEVAL, key_id)
        return await self._await(RETRIEVAL, receipt, key_id, answers.retrieved)

    async def store_document_key(
        self, key_id: KeyId, document_key: EncryptedDocumentKey
    ) -> Answer[bool]:
        """Store a document key that is encrypted to the server key `key_id`.

        Only the author of the server key can, once. Raises as `retrieve_server_key` does.
        """
        points = document_key.common.raw64, document_key.encrypted.raw64
        receipt = await self._request(STORE, key_id, *points)
        return await self._await(
            STORE, receipt, key_id, lambda logs: True if answers.stored(logs) else None
        )

    async def retrieve_document_key(self, key_id: KeyId) -> Answer[Point]:
        """Have a document key decrypted for this account, which needs permission, and open it.

        No key server learns it. Raises as `retrieve_server_key` does, and `BadAnswerError` if the
        answers do not open.
        """
        receipt = await self._request(SHADOW_RETRIEVAL, key_id, self.wallet.public_key)
        shadow = await self._await(SHADOW_RETRIEVAL, receipt, key_id, answers.shadow_retrieved)
        return shadow.with_value(shadow.value.open(self.wallet))

    async def fee(self, service: Service) -> int:
        """What the contract asks for a request, in wei."""
        fee: int = await self.ethereum.call(self.contracts.service(service), service.fee)
        return fee

    async def find_key(self, key_id: KeyId) -> KnownKey | None:
        """What past events tell about a server key, or None; costs nothing."""
        contract, first = self.contracts.service(GENERATION), self.contracts.first_block
        topic = GENERATION.results[0].topic0
        found = await self.ethereum.logs(contract, [[topic], [key_id]], from_block=first)
        if not found:
            return None
        public = answers.generated(found[:1])
        if public is None:
            raise BadAnswerError(f"the event about key 0x{key_id.hex()} does not decode")
        asked = await self.ethereum.logs(
            contract, [[GENERATION.requested.topic0]], from_block=first, to_block=found[0].block
        )
        request = _last_request(asked, key_id, before=found[0])
        author, threshold = (None, None) if request is None else request
        return KnownKey(
            key_id, public, author, threshold, found[0].block, await self._has_document(key_id)
        )

    async def own_key(self, key_id: KeyId) -> KnownKey:
        """A server key that was generated for this account.

        To be asked before a document key is stored: an id belongs to whoever was first (contracts,
        defect C-20). Raises `NotAuthorError`.
        """
        key = await self.find_key(key_id)
        if key is None:
            raise NotAuthorError(
                f"no server key with id 0x{key_id.hex()} was generated here",
                advice="Have it generated first.",
            )
        if key.author != self.wallet.address:
            raise NotAuthorError(
                f"server key 0x{key_id.hex()} belongs to another account",
                advice="Use an id of your own; one drawn at random cannot be taken by others.",
            )
        return key

    async def key_to_encrypt_to(self, key_id: KeyId) -> Point:
        """The public server key of this account's own id, to encrypt a document key to.

        Raises `NotAuthorError`, and `ClientError` if it has a document key already.
        """
        key = await self.own_key(key_id)
        if key.has_document:
            raise ClientError(
                f"server key 0x{key_id.hex()} has a document key already",
                advice="Each takes one: have another server key generated.",
            )
        return key.public

    async def chain_id(self) -> int:
        """The chain the contracts are on."""
        return await self.ethereum.chain_id()

    async def _has_document(self, key_id: KeyId) -> bool:
        contract, topic = self.contracts.service(STORE), STORE.results[0].topic0
        logs = await self.ethereum.logs(
            contract, [[topic], [key_id]], from_block=self.contracts.first_block
        )
        return bool(logs)

    async def _request(self, service: Service, *arguments: Any) -> Receipt:
        data = service.request.encode(*arguments)
        contract = self.contracts.service(service)
        return await self.ethereum.send(self.wallet, contract, data, value=await self.fee(service))

    async def _await(
        self,
        service: Service,
        receipt: Receipt,
        key_id: KeyId,
        decide: Callable[[Sequence[EventLog]], T | None],
    ) -> Answer[T]:
        """Look at every new block until `decide` finds the outcome in the logs."""
        refusals = 0
        try:
            async with asyncio.timeout(self._patience_s):
                async for head in self.ethereum.heads():
                    # Asked anew each time: a reorganisation may have moved the request.
                    placed = await self.ethereum.receipt(receipt.tx_hash)
                    confirmed = head - self._confirmations
                    if placed is None or placed.block > confirmed:
                        continue
                    try:
                        logs = await self._logs(service, placed, key_id, confirmed)
                    except RefusedByContractError:
                        refusals += 1
                        if refusals == MOST_REFUSALS:
                            raise
                        continue
                    refusals = 0
                    outcome = decide(logs)
                    if outcome is not None:
                        return Answer(outcome, placed.block, head, placed.gas_used)
                    self._watch(await self._progress(service, key_id, logs, head))
        except TimeoutError:
            pass
        raise NoAnswerError(
            f"{service.title}: no answer within {self._patience_s:.0f} s",
            advice="The request stays pending on the contract; are the key servers running?",
        )

    async def _logs(
        self, service: Service, placed: Receipt, key_id: KeyId, to_block: int
    ) -> list[EventLog]:
        """The answers to the request in `placed`: what came after it, and is about it."""
        topics: list[list[bytes]] = [
            [event.topic0 for event in (*service.results, service.error)],
            [key_id],
        ]
        if service is SHADOW_RETRIEVAL:
            topics.append([bytes(12) + self.wallet.address])
        contract = self.contracts.service(service)
        logs = await self.ethereum.logs(
            contract, topics, from_block=placed.block, to_block=to_block
        )
        start = _requested(service, placed, key_id)[0].place
        return [log for log in logs if log.place > start]

    async def _members(self) -> Sequence[Address]:
        key_server_set = self.contracts.find(KEY_SERVER_SET)
        if key_server_set is None:
            return ()
        members: Sequence[Address] = await self.ethereum.call(key_server_set, CURRENT_KEY_SERVERS)
        return members

    async def _progress(
        self,
        service: Service,
        key_id: KeyId,
        logs: Sequence[EventLog],
        head: int,
    ) -> Progress:
        if service is SHADOW_RETRIEVAL and (personal := answers.personal_answers(logs)):
            return Progress(service.title, head, *personal)
        members = await self._members()
        if not members:
            return Progress(service.title, head, None, None)
        subject: tuple[Any, ...] = (key_id,)
        if service is SHADOW_RETRIEVAL:
            subject = key_id, "0x" + self.wallet.address.hex()
        contract = self.contracts.service(service)
        waiting = 0
        try:
            for member in members:
                arguments = *subject, "0x" + member.hex()
                function = service.is_response_required
                waiting += await self.ethereum.call(contract, function, *arguments)
        except RefusedByContractError:
            # The set has changed between two of the questions.
            return Progress(service.title, head, None, None)
        return Progress(service.title, head, len(members) - waiting, len(members))


def _requested(
    service: Service, receipt: Receipt, key_id: KeyId
) -> tuple[EventLog, tuple[Any, ...]]:
    """The request's own event in its receipt, with what it says.

    Raises `RefusedByContractError` if there is none: then the address is not such a contract.
    """
    for log, values in _decoded(service.requested, receipt.logs):
        if values[0] == key_id:
            return log, values
    raise RefusedByContractError(
        f"{service.title}: the transaction went through and requested nothing",
        advice="Is the address that of the service contract?",
    )


def _last_request(
    logs: Sequence[EventLog], key_id: KeyId, *, before: EventLog
) -> tuple[Address, int] | None:
    """Author and threshold of the last generation request for this id before its answer."""
    found = None
    for log, values in _decoded(GENERATION.requested, logs):
        if values[0] == key_id and log.place < before.place:
            found = values[1], values[2]
    return found


def _decoded(event: Event, logs: Sequence[EventLog]) -> list[tuple[EventLog, tuple[Any, ...]]]:
    """The logs of this event; what does not decode was not emitted by a service contract."""
    found = []
    for log in logs:
        if not log.topics or log.topics[0] != event.topic0:
            continue
        try:
            found.append((log, event.decode(log.topics, log.data)))
        except AbiError:
            continue
    return found
