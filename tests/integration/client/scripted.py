"""Key servers without nodes: accounts that answer requests straight away, with real shares."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from keyserver.client.contracts import GENERATION, SHADOW_RETRIEVAL, Contracts
from keyserver.client.ethereum import Ethereum
from keyserver.client.wallet import Wallet
from keyserver.crypto import ecies, elgamal
from keyserver.crypto.curve import ORDER, Point, Scalar, SecretScalar
from keyserver.crypto.randomness import SeededRandom
from keyserver.evm.abi import Event, Function
from keyserver.model.identifiers import Address, KeyId

GENERATED = Function.parse("serverKeyGenerated(bytes32,bytes)")
GENERATION_ERROR = Function.parse("serverKeyGenerationError(bytes32)")
RETRIEVED = Function.parse("serverKeyRetrieved(bytes32,bytes,uint8)")
STORED = Function.parse("documentKeyStored(bytes32)")
COMMON = Function.parse("documentKeyCommonRetrieved(bytes32,address,bytes,uint8)")
PERSONAL = Function.parse("documentKeyPersonalRetrieved(bytes32,address,uint256,bytes,bytes)")
SHADOW_ERROR = Function.parse("documentKeyShadowRetrievalError(bytes32,address)")


@dataclass
class SharedKey:
    """A server key in shares; place `i + 1` is that of server `i`."""

    threshold: int
    servers: int
    rng: SeededRandom = field(default_factory=lambda: SeededRandom("scripted"))

    def __post_init__(self) -> None:
        terms = [SecretScalar.random(self.rng) for _ in range(self.threshold + 1)]
        numbers = [int.from_bytes(term.expose(), "big") for term in terms]
        self.public: Point = terms[0].public()
        self.shares = [
            SecretScalar.from_int(sum(c * (i + 1) ** k for k, c in enumerate(numbers)) % ORDER)
            for i in range(self.servers)
        ]

    def shadow(
        self, document: elgamal.EncryptedDocumentKey, requester: Point, chosen: Sequence[int]
    ) -> tuple[Point, Point, list[bytes]]:
        """Common point, decrypted secret and the encrypted shadows of the chosen servers."""
        places = [Scalar(index + 1) for index in chosen]
        partials = [
            elgamal.shadow_partial(self.shares[index], document.common, self.rng)
            for index in chosen
        ]
        secret = elgamal.combine_partials(
            document.encrypted, places, [partial.partial for partial in partials]
        )
        shadows = [
            ecies.encrypt(requester, elgamal.shadow_scalar(p.mask, f).expose(), self.rng)
            for p, f in zip(partials, elgamal.shadow_factors(places), strict=True)
        ]
        return elgamal.result_common_point(self.threshold, document.common), secret, shadows


@dataclass
class ScriptedServers:
    """The accounts of the key server set."""

    ethereum: Ethereum
    contracts: Contracts
    wallets: Sequence[Wallet]

    @property
    def service(self) -> Address:
        return self.contracts.service(GENERATION)

    async def requested(self, event: Event, key_id: KeyId, *, after: int = 0) -> None:
        """Wait until there is such a request."""
        async for _ in self.ethereum.heads():
            logs = await self.ethereum.logs(self.service, [[event.topic0]], from_block=after)
            if any(log.data[:32] == key_id for log in logs):
                return

    async def answer(self, function: Function, *arguments: object, by: Sequence[int]) -> None:
        """Some servers answer the same."""
        for index in by:
            await self.ethereum.send(self.wallets[index], self.service, function.encode(*arguments))

    async def answer_shadow(
        self,
        key: SharedKey,
        document: elgamal.EncryptedDocumentKey,
        key_id: KeyId,
        requester: Wallet,
        *,
        chosen: Sequence[int],
        after: int = 0,
        stop_after: int | None = None,
    ) -> None:
        """Both stages; with `stop_after` only so many personal answers come."""
        await self.requested(SHADOW_RETRIEVAL.requested, key_id, after=after)
        who = "0x" + requester.address.hex()
        public = Point.from_raw64(requester.public_key)
        common, secret, shadows = key.shadow(document, public, chosen)
        majority = range(key.servers // 2 + 1)
        await self.answer(COMMON, key_id, who, common.raw64, key.threshold, by=majority)
        await self.personal(key_id, who, secret, shadows[:stop_after], chosen)

    async def personal(
        self,
        key_id: KeyId,
        who: str,
        secret: Point,
        shadows: Sequence[bytes],
        chosen: Sequence[int],
    ) -> None:
        mask = sum(1 << index for index in chosen)
        for index, shadow in zip(chosen, shadows, strict=False):
            await self.answer(PERSONAL, key_id, who, mask, secret.raw64, shadow, by=[index])
