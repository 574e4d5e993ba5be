"""Plays a row of the matrix in a simulated network, and takes down what came of it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from keyserver.crypto import ecies, elgamal
from keyserver.crypto.curve import Point, SecretScalar, mul_base
from keyserver.crypto.errors import CryptoError
from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.key_server import KeyServer
from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import (
    AnyOperation,
    GenerateServerKey,
    Operation,
    RetrieveDocumentKey,
    SigningScheme,
    SignMessage,
    StoreDocumentKey,
)
from keyserver.sessions.core import KeyState, Policy, SessionError
from keyserver.sessions.outcomes import ShadowResult
from keyserver.sessions.retrieval.coordinator import ASK_MORE_S
from keyserver.simulation.adversary.floods import with_old_randomness
from keyserver.simulation.adversary.rows import (
    Acts,
    Must,
    Part,
    Protocol,
    Replays,
    Row,
)
from keyserver.simulation.cluster import CONTRACT, Cluster, CrashedError, SimulatedNode
from keyserver.simulation.scenarios.people import People, account
from tests.adversary.cheating import AGREEMENTS, LATE, Cheating
from tests.adversary.sizes import Size
from tests.adversary.view import View
from tests.adversary.watching import Watch

KEY, EARLIER_KEY = KeyId(b"\x01" * 32), KeyId(b"\x02" * 32)
"""Of both the first node in canonical order is responsible; the second, a liar, proposes first."""
HONEST_KEY = KeyId(b"\xf0" * 32)
"""Of this one the last node is responsible; the first, an honest one, proposes first."""
DOCUMENT_KEY: Point = mul_base(SecretScalar.from_int(4712))
SETTLING_S = 900.0
ROUNDS_S = 3600.0
"""Long enough for all liars to propose one after the other: every round lasts twice as long."""
UNSETTLED_S = 120.0
ECLIPSE_S = 30.0
ATTEMPTS, PAUSE_S = 6, 30.0

FORMS = {
    Protocol.GENERATION: "chain",
    Protocol.STORING: "chain",
    Protocol.BOTH: "path",
    Protocol.PLAIN: "path",
    Protocol.SHADOW_LEGACY: "path",
    Protocol.SHADOW_BOUND: "bound",
    Protocol.SHADOW_CONTRACT: "chain",
    Protocol.AGREEMENT: "chain",
    Protocol.DOCUMENT_AGREEMENT: "chain",
    Protocol.SCHNORR: "chain",
    Protocol.FROST: "path",
    Protocol.PRESIGNING: "path",
    Protocol.ECDSA: "chain",
}
RETRIEVALS = frozenset(
    {
        Protocol.PLAIN,
        Protocol.SHADOW_LEGACY,
        Protocol.SHADOW_BOUND,
        Protocol.SHADOW_CONTRACT,
    }
)


SCHEMES = {
    Protocol.SCHNORR: SigningScheme.SCHNORR,
    Protocol.FROST: SigningScheme.FROST,
    Protocol.PRESIGNING: SigningScheme.ECDSA,
    Protocol.ECDSA: SigningScheme.ECDSA,
}
"""What is asked for where something is signed: an ECDSA signature needs a presignature first."""
SIGNATURES = frozenset(SCHEMES)
MESSAGE = Hash32(b"\x4d" * 32)

GENERATIONS = frozenset({Protocol.GENERATION, Protocol.AGREEMENT})
STORINGS = frozenset({Protocol.STORING, Protocol.DOCUMENT_AGREEMENT})


@dataclass(frozen=True)
class Brought:
    """What an attempt came to."""

    leader: NodeId
    result: Any = None
    error: SessionError | CrashedError | None = None


@dataclass
class Game:
    """One row in one network."""

    row: Row
    size: Size
    cluster: Cluster
    people: People
    cheating: Cheating
    watch: Watch | None = None
    """What was signed, in protocols in which something is."""
    brought: list[Brought] = field(default_factory=list)
    states: dict[NodeId, KeyState] = field(default_factory=dict)
    after_liar: dict[NodeId, KeyState] = field(default_factory=dict)
    """What honest nodes had when the liar had led."""
    quiet: bool = False
    """Whether honest nodes agree in the end, with nothing open or undecided."""

    @property
    def view(self) -> View:
        return self.cheating.view

    @property
    def liars(self) -> list[SimulatedNode]:
        return self.cheating.liars

    @property
    def honest(self) -> list[SimulatedNode]:
        return self.cheating.honest

    @property
    def key(self) -> KeyId:
        """The key that it is about."""
        votes = self.row.protocol in AGREEMENTS and self.row.part is Part.MEMBER
        return HONEST_KEY if votes else KEY

    @property
    def late(self) -> SimulatedNode | None:
        """Who has missed everything; where the liar leads, that is a liar."""
        if self.row.protocol not in LATE:
            return None
        return self.liars[0] if self.row.part is Part.COORDINATOR else self.honest[-1]

    @property
    def liar_leads(self) -> bool:
        """Whether a liar leads first; undecided is only what liars leave so."""
        return self.row.part is Part.COORDINATOR or self.row.protocol in AGREEMENTS

    # --- what clients ask -----------------------------------------------------------------------

    async def ask(
        self,
        node: SimulatedNode,
        key_id: KeyId | None = None,
        exclude: frozenset[NodeId] = frozenset(),
    ) -> Brought:
        """Have a node lead the protocol of the row."""
        try:
            result = await node.call(
                lambda api: self._asked(api, node, key_id or self.key, exclude)
            )
            return Brought(node.id, result)
        except (SessionError, CrashedError) as error:
            return Brought(node.id, error=error)

    async def _asked(
        self, api: KeyServer, node: SimulatedNode, key_id: KeyId, exclude: frozenset[NodeId]
    ) -> Any:
        protocol, people = self.row.protocol, self.people
        form = FORMS[protocol]
        if protocol in GENERATIONS:
            return await self.generate(api, node, key_id)
        if protocol in STORINGS:
            return await self.store(api, node, key_id)
        if protocol is Protocol.BOTH:
            both = GenerateServerKey(key_id, self.size.threshold, with_document_key=True)
            credential = people.ask(people.author, both, form, node.id)
            recipient = people.author.public()
            return await api.generate_both(key_id, self.size.threshold, credential, recipient)
        if protocol in SIGNATURES:
            message = SignMessage(key_id, MESSAGE, SCHEMES[protocol])
            return await api.sign(message, people.ask(people.reader, message, form, node.id))
        operation = RetrieveDocumentKey(self.key, shadow=protocol is not Protocol.PLAIN)
        credential = people.ask(people.reader, operation, form, node.id)
        if protocol is Protocol.PLAIN:
            return await api.retrieve_plain(self.key, credential)
        return await api.retrieve_shadow(self.key, credential, exclude)

    async def generate(self, api: KeyServer, node: SimulatedNode, key_id: KeyId) -> Any:
        operation = GenerateServerKey(key_id, self.size.threshold)
        credential = self.people.ask(self.people.author, operation, "chain", node.id)
        return await api.generate_server_key(key_id, self.size.threshold, credential)

    async def store(self, api: KeyServer, node: SimulatedNode, key_id: KeyId) -> Any:
        state = await node.store.load(key_id)
        assert state.active is not None
        document = self.document_for(state.active.record.public)
        operation: AnyOperation = StoreDocumentKey(key_id, document)
        credential = self.people.ask(self.people.author, operation, "chain", node.id)
        return await api.store_document_key(key_id, document, credential)

    def document_for(self, public: Point) -> DocumentKey:
        """What the author wants stored, whoever is asked."""
        made = elgamal.encrypt_document_key(public, DOCUMENT_KEY, SeededRandom(b"author"))
        return DocumentKey(made.common, made.encrypted)

    def opened(self, result: ShadowResult) -> Point:
        """What the requester gets out of a result."""
        reader = self.people.reader
        shadows = [SecretScalar(ecies.decrypt(reader, sealed)) for sealed in result.shadows]
        common = result.common_point
        return elgamal.recover_document_key(result.decrypted_secret, common, shadows)

    def wrong_shadows(self, result: ShadowResult) -> set[NodeId]:
        """Whose shadows the requester finds to be wrong."""
        found = set()
        parts = zip(result.nodes, result.shadows, result.shadow_commitments, strict=True)
        for node, sealed, commitment in parts:
            try:
                shadow = SecretScalar(ecies.decrypt(self.people.reader, sealed))
            except CryptoError:
                found.add(node)
                continue
            if shadow.public() != commitment:
                found.add(node)
        return found

    # --- the course -------------------------------------------------------------------------------

    async def play(self) -> None:
        """From the beginning to where nothing is open any more."""
        await self._prepare()
        await self.cheating.corrupt()
        self._slow_down()
        if self._has_rehearsal:
            self.cheating.rehearsing = True
            await self.cheating.act()
            await self._rehearse()
            self.cheating.rehearsing = False
        self.cheating.begin()
        await self.cheating.act()
        if self.late is not None:
            await self._return_of(self.late)
            return
        if self.liar_leads:
            self.brought.append(await self.ask(self.liars[0]))
            await self._settled()
            self.after_liar = dict(self.states)
            if self.row.must is Must.DENIED:
                return
        await self._lead()
        await self._settled()

    def _slow_down(self) -> None:
        """Honest holders take their time, so that liars have their say first, and all of them."""
        hurried = RETRIEVALS | {Protocol.SCHNORR, Protocol.FROST}
        if self.row.protocol in hurried and self.row.part is Part.MEMBER:
            for node in self.honest:
                node.access.delay_s = ASK_MORE_S + 1

    @property
    def _has_rehearsal(self) -> bool:
        deed = self.row.deed
        if self.late is not None:
            return False
        return isinstance(deed, Replays) or deed == Acts(with_old_randomness)

    async def _prepare(self) -> None:
        """What was there before the liars began to lie."""
        first = self.honest[0]
        if self.late is not None:
            await self.late.crash()
        if isinstance(self.row.deed, Replays) and self.late is not None:
            await first.call(lambda api: self.generate(api, first, EARLIER_KEY))
        if self.row.protocol in STORINGS | RETRIEVALS | LATE | SIGNATURES:
            await first.call(lambda api: self.generate(api, first, self.key))
            await asyncio.sleep(1)
        if self.row.protocol in RETRIEVALS | LATE:
            await first.call(lambda api: self.store(api, first, self.key))
            await asyncio.sleep(1)

    async def _rehearse(self) -> None:
        leader = self.liars[0] if self.liar_leads else self.honest[0]
        if self.row.protocol in STORINGS | SIGNATURES:
            await leader.call(lambda api: self.generate(api, leader, EARLIER_KEY))
            await asyncio.sleep(1)
        brought = await self.ask(leader, EARLIER_KEY)
        if self.row.protocol in AGREEMENTS:
            await asyncio.sleep(self._patience_s)
            return
        assert brought.error is None, f"the rehearsal failed: {brought.error}"
        await asyncio.sleep(1)

    async def _return_of(self, late: SimulatedNode) -> None:
        """The late node is back; where it catches up, it has only liars to talk to at first."""
        others = [node.id for node in self.honest if node is not late]
        hidden = others if self.row.protocol is Protocol.CATALOGUE else []
        for other in hidden:
            self.cluster.network.cut(late.id, other)
        late.boot()
        await asyncio.sleep(ECLIPSE_S)
        for other in hidden:
            self.cluster.network.mend(late.id, other)
        await self._settled()

    async def _lead(self) -> None:
        """An honest node leads; what liars led before may have to be given up first."""
        tries = ATTEMPTS if self.liar_leads else 1
        for _ in range(tries):
            self.brought.append(await self.ask(self.honest[0]))
            if self.brought[-1].error is None or not _retriable(self.brought[-1].error):
                return
            await asyncio.sleep(PAUSE_S)

    async def _settled(self) -> None:
        """Wait until honest nodes have nothing undecided and agree, for a quarter of an hour."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience_s
        while True:
            self.states = {node.id: await node.store.load(self.key) for node in self.honest}
            self.quiet = self._is_quiet()
            if loop.time() > end or self.quiet:
                return
            await asyncio.sleep(5)

    @property
    def _patience_s(self) -> float:
        """How long to wait; not long where nothing says that it will ever be settled."""
        if not self.size.is_safe:
            return UNSETTLED_S
        return ROUNDS_S if self.row.protocol in AGREEMENTS else SETTLING_S

    def _is_quiet(self) -> bool:
        states = self.states.values()
        decided = not any(s.prepared or s.document_candidate for s in states)
        records = {s.active.record.hash if s.active else None for s in states}
        documents = {s.document.document if s.document else None for s in states}
        if self.late in self.honest and not all(s.share for s in states):
            return False
        idle = not any(node.api._driver.open_sessions for node in self.honest)
        return decided and idle and len(records) == len(documents) == 1


def _retriable(error: SessionError | CrashedError) -> bool:
    return isinstance(error, CrashedError) or error.retriable


async def game_of(
    row: Row, size: Size, seed: int = 1, check: Callable[[Game], Awaitable[None]] | None = None
) -> Game:
    """Play a row in a network of its own."""
    services = frozenset((CONTRACT, operation) for operation in Operation)
    policy = Policy(generation_quorum=size.honest, service_contracts=services)
    async with Cluster(size.nodes, seed=seed, policy=policy) as cluster:
        liars = frozenset(node.id for node in cluster.nodes[1 : 1 + size.liars])
        people = People(cluster.seed)
        for node in cluster.nodes:
            node.access.verdict = people.verdict
        cheating = Cheating(row, cluster, View(liars))
        watch = Watch(cluster, liars) if row.protocol in SIGNATURES else None
        game = Game(row, size, cluster, people, cheating, watch)
        cluster.network.overhear(cheating.hear)
        await game.play()
        if check is not None:
            await check(game)
        return game


__all__ = ["DOCUMENT_KEY", "KEY", "Brought", "Game", "account", "game_of", "replace"]
