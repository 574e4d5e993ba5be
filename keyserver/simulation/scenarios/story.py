"""The life of one key as its clients drive it: generate, store, retrieve until it succeeds."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from keyserver.crypto import ecies, elgamal
from keyserver.crypto.curve import Point, SecretScalar, mul_base
from keyserver.crypto.errors import CryptoError
from keyserver.crypto.randomness import SeededRandom
from keyserver.errors import StorageError
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import (
    GenerateServerKey,
    RetrieveDocumentKey,
    StoreDocumentKey,
)
from keyserver.sessions.core import DeniedError, KeyState, UnavailableError
from keyserver.sessions.outcomes import ShadowResult
from keyserver.simulation.cluster import Cluster, CrashedError, SimulatedNode
from keyserver.simulation.scenarios.people import FORMS, People
from keyserver.simulation.scenarios.violation import Violation, require

T = TypeVar("T")

ATTEMPTS = 60
PAUSE_S = 30.0

NOT_NOW = (UnavailableError, DeniedError, CrashedError, StorageError)
"""What a client hears and asks again after; in the end it must come to something."""


@dataclass
class Story:
    """One key and its clients; only honest nodes are asked."""

    cluster: Cluster
    people: People
    threshold: int
    key_id: KeyId
    random: Random
    liars: frozenset[NodeId] = frozenset()
    form: str = "chain"
    first: int | None = None
    """Whom clients ask first; `None`: anybody."""
    rest_s: float = 0.0
    """How long they rest after each step."""
    document_key: Point = field(init=False)

    def __post_init__(self) -> None:
        source = SeededRandom(b"document" + self.key_id + self.cluster.seed)
        self.document_key = mul_base(SecretScalar.random(source))

    @property
    def honest(self) -> list[SimulatedNode]:
        """The nodes that do not lie."""
        return [node for node in self.cluster.nodes if node.id not in self.liars]

    async def run(self) -> None:
        """The whole story; raises `Violation` if it does not come to its end."""
        await self.generate()
        await asyncio.sleep(self.rest_s)
        await self.store()
        await asyncio.sleep(self.rest_s)
        await self.retrieve()
        if self.form != "chain":
            await self.retrieve_plain()

    async def generate(self) -> None:
        """Until every honest node that runs has the key."""
        for node in self._in_turn():
            await _heard(self.ask_generation(node))
            if await self._everywhere(lambda state: state.active is not None):
                return
            await asyncio.sleep(PAUSE_S)
        raise Violation("a key is never generated", await self.standing())

    async def store(self) -> None:
        """Until every honest node that runs has the document key."""
        for node in self._in_turn():
            await _heard(self.ask_storing(node))
            if await self._everywhere(lambda state: state.document is not None):
                return
            await asyncio.sleep(PAUSE_S)
        raise Violation("a document key is never stored", await self.standing())

    async def retrieve(self) -> None:
        """Until some node gives the requester what was stored.

        Who answered with something that does not open is left out the next time, as clients do.
        """
        await self.retrieve_at(self._in_turn())

    async def retrieve_at(self, nodes: Iterable[SimulatedNode]) -> None:
        """The same from the first of these nodes that answers."""
        wrong: frozenset[NodeId] = frozenset()
        for node in nodes:
            result = await _heard(self.ask_shadow(node, wrong))
            if result is not None:
                found = self.check_shadows(result)
                if not found:
                    return
                wrong |= found
            await asyncio.sleep(PAUSE_S)
        raise Violation("a document key is never retrieved", await self.standing())

    async def retrieve_plain(self) -> None:
        """The same, opened by the node that is asked."""
        for node in self._in_turn():
            sealed = await _heard(self.ask_plain(node))
            if sealed is not None:
                require(self.is_right_plain(sealed), "a wrong answer was given", "plain")
                return
            await asyncio.sleep(PAUSE_S)
        raise Violation("a document key is never retrieved", "plain")

    # --- one request ----------------------------------------------------------------------------

    async def ask_generation(self, node: SimulatedNode) -> None:
        """Ask one node, once; raises `NOT_NOW`."""
        operation = GenerateServerKey(self.key_id, self.threshold)
        asked = self.people.ask(self.people.author, operation, self.form, node.id)
        await node.call(lambda api: api.generate_server_key(self.key_id, self.threshold, asked))

    async def ask_storing(self, node: SimulatedNode) -> None:
        """Ask one node, once; raises `NOT_NOW`."""
        operation = StoreDocumentKey(self.key_id, await self.document())
        asked = self.people.ask(self.people.author, operation, self.form, node.id)
        await node.call(lambda api: api.store_document_key(self.key_id, operation.document, asked))

    async def ask_shadow(
        self, node: SimulatedNode, exclude: frozenset[NodeId] = frozenset()
    ) -> ShadowResult:
        """Ask one node, once; raises `NOT_NOW`."""
        operation = RetrieveDocumentKey(self.key_id)
        asked = self.people.ask(self.people.reader, operation, self.form, node.id)
        return await node.call(lambda api: api.retrieve_shadow(self.key_id, asked, exclude))

    async def ask_plain(self, node: SimulatedNode) -> bytes:
        """Ask one node, once; raises `NOT_NOW`."""
        operation = RetrieveDocumentKey(self.key_id, shadow=False)
        form = "bound" if self.form == "chain" else self.form
        asked = self.people.ask(self.people.reader, operation, form, node.id)
        return await node.call(lambda api: api.retrieve_plain(self.key_id, asked))

    def check_shadows(self, result: ShadowResult) -> frozenset[NodeId]:
        """Who made shadows that are not what they were promised to be.

        They are liars; without any, the result must open to what was stored.
        """
        wrong, shadows = set(), []
        parts = zip(result.nodes, result.shadows, result.shadow_commitments, strict=True)
        for node, sealed, promised in parts:
            shadow = _opened(self.people.reader, sealed)
            if shadow is None or mul_base(shadow) != promised:
                wrong.add(node)
            else:
                shadows.append(shadow)
        require(wrong <= self.liars, "an honest node gave a wrong shadow")
        if not wrong:
            opened = elgamal.recover_document_key(
                result.decrypted_secret, result.common_point, shadows
            )
            require(opened == self.document_key, "a wrong answer was given")
        return frozenset(wrong)

    def is_right_plain(self, sealed: bytes) -> bool:
        """The same of a plain answer."""
        return ecies.decrypt(self.people.reader, sealed) == self.document_key.raw64

    async def document(self) -> DocumentKey:
        """What the author wants stored, the same whoever asks for it."""
        made = elgamal.encrypt_document_key(
            await self.public(), self.document_key, SeededRandom(b"author" + self.key_id)
        )
        return DocumentKey(made.common, made.encrypted)

    async def is_known(self) -> bool:
        """Whether some honest node has the key."""
        states = [await node.store.load(self.key_id) for node in self.honest]
        return any(state.active is not None for state in states)

    async def has_document(self) -> bool:
        """Whether some honest node has the document key."""
        states = [await node.store.load(self.key_id) for node in self.honest]
        return any(state.document is not None for state in states)

    async def public(self) -> Point:
        """The public key that the nodes tell; they must tell the same."""
        states = [await node.store.load(self.key_id) for node in self.honest]
        known = {state.active.record.public for state in states if state.active is not None}
        require(len(known) == 1, "nodes disagree about a public key", f"{len(known)} are told")
        return known.pop()

    async def standing(self) -> str:
        """What every node has of the key, in a few letters."""
        told = []
        for place, node in enumerate(self.cluster.nodes):
            state = node.disk.platter.state.keys.get(self.key_id)
            has = "" if state is None else _letters(state.state)
            told.append(f"{place}:{'up' if node.is_up else 'down'}:{has or '-'}")
        return " ".join(told)

    def _in_turn(self) -> Iterator[SimulatedNode]:
        honest = self.honest
        first = self.random.randrange(len(honest)) if self.first is None else self.first
        for turn in range(ATTEMPTS):
            yield honest[(first + turn) % len(honest)]

    async def _everywhere(self, holds: Callable[[KeyState], bool]) -> bool:
        states = [
            await node.store.load(self.key_id)
            for node in self.honest
            if node.is_up and not node.disk.full
        ]
        return bool(states) and all(holds(state) for state in states)


async def _heard(asked: Awaitable[T]) -> T | None:
    try:
        return await asked
    except NOT_NOW:
        return None


def _opened(reader: SecretScalar, sealed: bytes) -> SecretScalar | None:
    try:
        return SecretScalar(ecies.decrypt(reader, sealed))
    except CryptoError:
        return None


def form_of(seed: int) -> str:
    """How the clients of a seed ask."""
    return FORMS[seed % len(FORMS)]


def _letters(state: KeyState) -> str:
    parts = (
        ("R", state.active),
        ("s", state.share),
        ("p", state.prepared),
        ("D", state.document),
        ("c", state.document_candidate),
    )
    return "".join(letter for letter, there in parts if there is not None)
