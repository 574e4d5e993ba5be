"""A node under test whose peers are played by the test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.catalogue import Catalogue
from keyserver.engine.driver import Identity, Ports
from keyserver.engine.links import (
    AnyLink,
    Backing,
    CataloguePage,
    CatalogueRequest,
    Digest,
    DigestRequest,
    Entry,
    KeyFacts,
    Keys,
    KeysRequest,
    Proposal,
    StatusVote,
    Subject,
    certificate_hash,
    pack_link,
    unpack_link,
)
from keyserver.model.identifiers import ZERO_HASH, NodeId, Nonce32
from keyserver.model.keys import PreparedCertificate
from keyserver.model.node_set import NodeSetSnapshot
from keyserver.sessions.core import KeyState, Policy
from keyserver.sessions.writes import VoteKind
from keyserver.simulation.clock import VirtualClock
from keyserver.simulation.cluster import FixedSets, Recorder, ScriptedAccess
from keyserver.simulation.loop import run_virtual
from keyserver.storage.memory import MemoryDisk, MemoryRecordStore
from tests.unit.engine.signed_values import KEY, NODES, RECORD_1, SET, SIGNERS, TRANSCRIPT, vote

ME, PEER, OTHER = NODES[0], NODES[1], NODES[2]

Reply = Callable[[AnyLink], AnyLink | None]


class Peers:
    """The transport: peers that answer as the test says, a millisecond later."""

    def __init__(self) -> None:
        self.replies: dict[NodeId, Reply] = {}
        self.sent: list[tuple[NodeId, AnyLink]] = []
        self.node: Catalogue | None = None

    @property
    def connected(self) -> frozenset[NodeId]:
        return frozenset(self.replies)

    def boot_nonce(self, peer: NodeId) -> bytes | None:
        return None

    def send(self, to: NodeId, message: bytes) -> bool:
        parsed = unpack_link(message)
        self.sent.append((to, parsed))
        if to not in self.replies:
            return False
        answer = self.replies[to](parsed)
        if answer is not None:
            asyncio.get_running_loop().call_later(0.001, self.arrive, to, answer)
        return True

    def arrive(self, peer: NodeId, message: AnyLink) -> None:
        assert self.node is not None
        assert self.node.on_link_message(peer, pack_link(message))

    def to(self, peer: NodeId, kind: type[Any]) -> list[Any]:
        return [m for to, m in self.sent if to == peer and isinstance(m, kind)]


class Site:
    """A node under test."""

    def __init__(self) -> None:
        self.peers = Peers()
        self.store = MemoryRecordStore(MemoryDisk())
        self.recorder = Recorder()
        sets = FixedSets(NodeSetSnapshot(SET, SET, None, (), 0, 0))
        ports = Ports(
            self.peers,
            self.store,
            ScriptedAccess(),
            sets,
            VirtualClock(),
            self.recorder,
            self.recorder,
        )
        identity = Identity(ME, SIGNERS[ME], Nonce32(bytes(32)), SeededRandom(b"r"), Policy)
        self.catalogue = self.peers.node = Catalogue(identity, ports)

    async def state(self) -> KeyState:
        return await self.store.load(KEY)

    async def ask(self, question: Any) -> Any:
        self.peers.replies.setdefault(PEER, lambda _: None)
        before = len(self.peers.sent)
        self.peers.arrive(PEER, question)
        await asyncio.sleep(0.01)
        return self.peers.sent[before][1] if len(self.peers.sent) > before else None


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Site]:
    task = asyncio.ensure_future(site.catalogue.run())
    await asyncio.sleep(0)
    try:
        yield site
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def scene(play: Callable[[Site], Any]) -> None:
    async def main() -> None:
        async with running(Site()) as site:
            await play(site)

    run_virtual(main())


def has(*facts: KeyFacts, **more: Any) -> Reply:
    """A peer with these keys, which may answer something else where `more` says so."""
    entries = tuple(
        Entry(f.key_id, f.record.record.version, f.record.record.hash, 3)
        for f in facts
        if f.record is not None
    )

    def reply(message: AnyLink) -> AnyLink | None:
        name = type(message).__name__
        if name in more:
            made = more[name]
            return made(message) if made is not None else None
        match message:
            case DigestRequest(number):
                return Digest(number, TRANSCRIPT, ZERO_HASH)
            case CatalogueRequest(number, after, _):
                return CataloguePage(number, entries if after is None else ())
            case KeysRequest(number, wanted):
                return Keys(number, tuple(f for f in facts if f.key_id in wanted))
        return None

    return reply


def proposal(
    *statuses: tuple[NodeId, PreparedCertificate | None],
    backing: Backing | None = None,
    subject: Subject = RECORD_1,
    round_: int = 1,
) -> Proposal:
    entries = []
    for node, certificate in statuses:
        named = certificate_hash(certificate)
        signature = vote(VoteKind.STATUS, subject, round_, named, node)
        entries.append(StatusVote(node, named, signature))
    distinct = {certificate_hash(c): c for _, c in statuses if c is not None}
    return Proposal(
        0, subject, round_, tuple(entries), tuple(distinct.values()), backing or Backing()
    )
