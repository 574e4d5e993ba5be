"""The requests to the key servers, through their contracts.

Each method of `KeyServers` sends one transaction with the fee the contract asks for, waits for the
answer from the transaction's block on, and returns an `Answer`. The contracts take one request for
a key id at a time (for retrieval of document keys: one of each account; for signatures: one of each
account and message).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keyserver.client import answers
from keyserver.client.contracts import (
    GENERATION,
    RETRIEVAL,
    SHADOW_RETRIEVAL,
    SIGNING,
    STORE,
    Contracts,
    Service,
)
from keyserver.client.errors import (
    BadAnswerError,
    ClientError,
    NotAuthorError,
    RefusedByContractError,
)
from keyserver.client.ethereum import PATIENCE_S, Ethereum, EventLog, Receipt
from keyserver.client.following import (
    Answer,
    Follower,
    Progress,
    Subject,
    Watch,
    decoded,
    requested,
)
from keyserver.client.results import ASK_AGAIN, ServerKey
from keyserver.client.signatures import ServerSignature, check_signature
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point
from keyserver.crypto.elgamal import EncryptedDocumentKey
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.model.requests import SigningScheme

MAX_THRESHOLD = 254

__all__ = ["Answer", "KeyRequest", "KeyServers", "KnownKey", "Progress", "Watch"]


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


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """A request for a server key that the contract has taken."""

    key_id: KeyId
    threshold: int
    author: Address
    receipt: Receipt


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
        self._follower = Follower(
            ethereum, contracts, watch=watch, confirmations=confirmations, patience_s=patience_s
        )

    async def generate_server_key(self, key_id: KeyId, threshold: int) -> Answer[ServerKey]:
        """Have a key generated of which `threshold + 1` key servers are needed for any use.

        Raises `RefusedByContractError`, `RefusedByKeyServersError`, `NoAnswerError`, and
        `NotAuthorError` if the contract took the request in another account's name.
        """
        asked = await self.request_server_key(key_id, threshold)
        return await self.generated_server_key(asked)

    async def request_server_key(self, key_id: KeyId, threshold: int) -> KeyRequest:
        """Send such a request and do not wait for an answer: `generated_server_key` does.

        Raises `RefusedByContractError`, and `NotAuthorError` as above.
        """
        if not 0 <= threshold <= MAX_THRESHOLD:
            raise RefusedByContractError(f"threshold: {threshold} is not in 0..{MAX_THRESHOLD}")
        receipt = await self._request(GENERATION, key_id, threshold)
        author = requested(GENERATION, receipt, key_id)[1][1]
        if author != self.wallet.address:
            raise NotAuthorError(f"the key's author is 0x{author.hex()}")
        return KeyRequest(key_id, threshold, author, receipt)

    async def generated_server_key(self, asked: KeyRequest) -> Answer[ServerKey]:
        """Wait for the answer to a request that was sent.

        Raises `RefusedByKeyServersError` and `NoAnswerError`.
        """
        answer = await self._follower.outcome(
            GENERATION, asked.receipt, Subject(asked.key_id), answers.generated
        )
        return answer.with_value(ServerKey(answer.value, asked.threshold, asked.author))

    async def retrieve_server_key(self, key_id: KeyId) -> Answer[ServerKey]:
        """Ask the key servers for a public key; anybody may.

        Raises `RefusedByContractError`, `RefusedByKeyServersError` and `NoAnswerError`.
        """
        receipt = await self._request(RETRIEVAL, key_id)
        subject = Subject(key_id)
        return await self._follower.outcome(RETRIEVAL, receipt, subject, answers.retrieved)

    async def store_document_key(
        self, key_id: KeyId, document_key: EncryptedDocumentKey
    ) -> Answer[bool]:
        """Store a document key that is encrypted to the server key `key_id`.

        Only the author of the server key can, once. Raises as `retrieve_server_key` does.
        """
        points = document_key.common.raw64, document_key.encrypted.raw64
        receipt = await self._request(STORE, key_id, *points)
        return await self._follower.outcome(
            STORE, receipt, Subject(key_id), lambda logs: True if answers.stored(logs) else None
        )

    async def retrieve_document_key(self, key_id: KeyId) -> Answer[Point]:
        """Have a document key decrypted for this account, which needs permission, and open it.

        No key server learns it. Raises as `retrieve_server_key` does, and `BadAnswerError` if the
        answers do not open.
        """
        receipt = await self._request(SHADOW_RETRIEVAL, key_id, self.wallet.public_key)
        shadow = await self._follower.outcome(
            SHADOW_RETRIEVAL,
            receipt,
            Subject(key_id, self.wallet.address),
            answers.shadow_retrieved,
        )
        return shadow.with_value(shadow.value.open(self.wallet))

    async def sign(
        self,
        key_id: KeyId,
        message: Hash32,
        scheme: SigningScheme,
        *,
        public: Point | None = None,
    ) -> Answer[ServerSignature]:
        """Have 32 bytes signed by a server key; this account needs permission, anybody sees it.

        The signature is checked under the key that the key servers agree on, which must be
        `public` where that is given. Raises as `retrieve_server_key` does, `BadAnswerError` naming
        the contract for a signature that does not hold, and `ClientError` for FROST, which has no
        contract.
        """
        service = SIGNING.get(scheme)
        if service is None:
            raise ClientError(
                "there is no contract for FROST signatures",
                advice="Ask the nodes over HTTP: --node URL.",
            )
        receipt = await self._request(service, key_id, message)
        subject = Subject(key_id, self.wallet.address, message)
        signed = await self._follower.outcome(
            service, receipt, subject, lambda logs: answers.signed(service, logs)
        )
        agreed, encoded = signed.value
        contract = f"contract 0x{self.contracts.service(service).hex()}"
        if public not in (None, agreed):
            raise BadAnswerError(
                f"{contract}: the signature is another server key's", advice=ASK_AGAIN
            )
        try:
            checked = check_signature(scheme, agreed, message, encoded)
        except InvalidSignatureError as error:
            raise BadAnswerError(f"{contract}: {error}", advice=ASK_AGAIN) from error
        return signed.with_value(checked)

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


def _last_request(
    logs: Sequence[EventLog], key_id: KeyId, *, before: EventLog
) -> tuple[Address, int] | None:
    """Author and threshold of the last generation request for this id before its answer."""
    found = None
    for log, values in decoded(GENERATION.requested, logs):
        if values[0] == key_id and log.place < before.place:
            found = values[1], values[2]
    return found
