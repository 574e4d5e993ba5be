"""The life of one key in a simulated cluster, and what must hold whatever goes wrong."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations

from keyserver.crypto import ecies, elgamal
from keyserver.crypto.curve import Point, SecretScalar, mul_base
from keyserver.crypto.polynomial import interpolate_secret
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import Address, KeyId
from keyserver.model.keys import DocumentKey, KeyShare
from keyserver.model.requests import OnChainAddress, OnChainPublic
from keyserver.sessions.core import DeniedError, KeyState, UnavailableError
from keyserver.sessions.outcomes import ShadowResult
from keyserver.simulation.cluster import CONTRACT, Cluster, CrashedError, SimulatedNode

ATTEMPTS = 40
PAUSE_S = 30.0


@dataclass
class Story:
    """Generate, store, retrieve; each repeated by whichever node is up until it succeeds."""

    cluster: Cluster
    threshold: int
    key_id: KeyId = field(default_factory=lambda: KeyId(b"\x4b" * 32))
    author: Address = field(default_factory=lambda: Address(b"\xa1" * 20))

    def __post_init__(self) -> None:
        self.random = SeededRandom(b"client" + self.cluster.seed)
        self.document_key: Point = mul_base(SecretScalar.random(self.random))
        self.requester = SecretScalar.random(self.random)

    async def run(self) -> None:
        """The whole story; raises `AssertionError` if it does not come to its end."""
        await self.generate()
        await self.store()
        await self.retrieve()

    async def generate(self) -> None:
        credential = OnChainAddress(CONTRACT, self.author)
        for node in self._nodes_in_turn():
            with contextlib.suppress(UnavailableError, DeniedError, CrashedError):
                await node.call(
                    lambda api: api.generate_server_key(self.key_id, self.threshold, credential)
                )
            if await self._everywhere(lambda state: state.active is not None):
                return
            await asyncio.sleep(PAUSE_S)
        raise AssertionError("the key was never generated")

    async def store(self) -> None:
        public = await self._public()
        encrypted = elgamal.encrypt_document_key(public, self.document_key, self.random)
        document = DocumentKey(encrypted.common, encrypted.encrypted)
        credential = OnChainAddress(CONTRACT, self.author)
        for node in self._nodes_in_turn():
            with contextlib.suppress(UnavailableError, DeniedError, CrashedError):
                await node.call(
                    lambda api: api.store_document_key(self.key_id, document, credential)
                )
            if await self._everywhere(lambda state: state.document is not None):
                return
            await asyncio.sleep(PAUSE_S)
        raise AssertionError("the document key was never stored")

    async def retrieve(self) -> None:
        credential = OnChainPublic(CONTRACT, self.requester.public())
        for node in self._nodes_in_turn():
            try:
                result = await node.call(lambda api: api.retrieve_shadow(self.key_id, credential))
            except (UnavailableError, CrashedError):
                await asyncio.sleep(PAUSE_S)
                continue
            assert self.opened(result) == self.document_key
            return
        raise AssertionError("the document key was never retrieved")

    def opened(self, result: ShadowResult) -> Point:
        """What the requester gets out of a result."""
        shadows = [SecretScalar(ecies.decrypt(self.requester, s)) for s in result.shadows]
        common = result.common_point
        return elgamal.recover_document_key(result.decrypted_secret, common, shadows)

    @property
    def author_credential(self) -> OnChainAddress:
        """Who may generate and store."""
        return OnChainAddress(CONTRACT, self.author)

    def document_under(self, public: Point) -> DocumentKey:
        """The document key, encrypted to a server key."""
        encrypted = elgamal.encrypt_document_key(public, self.document_key, self.random)
        return DocumentKey(encrypted.common, encrypted.encrypted)

    def _nodes_in_turn(self) -> Iterator[SimulatedNode]:
        nodes = self.cluster.nodes
        for turn in range(ATTEMPTS):
            yield nodes[turn % len(nodes)]

    async def _everywhere(self, holds: Callable[[KeyState], bool]) -> bool:
        states = [await node.store.load(self.key_id) for node in self.cluster.nodes if node.is_up]
        return bool(states) and all(holds(state) for state in states)

    async def _public(self) -> Point:
        states = [await node.store.load(self.key_id) for node in self.cluster.nodes]
        known = {state.active.record.public for state in states if state.active is not None}
        assert len(known) == 1, "nodes disagree about the public key"
        return known.pop()


async def check_agreement(story: Story) -> None:
    """All who completed agree, and any t + 1 shares open what the public key closed."""
    states = [await node.store.load(story.key_id) for node in story.cluster.nodes]
    records = {s.active.record.hash: s.active.record for s in states if s.active is not None}
    assert len(records) == 1
    (record,) = records.values()
    documents = {s.document.document for s in states if s.document is not None}
    assert len(documents) <= 1
    shares: list[KeyShare] = [s.share for s in states if s.share is not None]
    assert len(shares) >= record.required_nodes
    for chosen in combinations(shares, record.required_nodes):
        secret = interpolate_secret([s.x for s in chosen], [s.value for s in chosen])
        assert secret.public() == record.public
    blamed = set().union(*(node.recorder.culprits for node in story.cluster.nodes))
    assert not blamed, "an honest node was blamed"
