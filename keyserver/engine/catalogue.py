"""What peers may ask outside sessions, and how nodes catch up (engine design, section 14.3).

Nodes compare the digests of their catalogues when they connect and every so often after that; where
they differ a node pages through the other's and pulls what it lacks. Whatever is received proves
itself (`keyserver.engine.acceptance`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any

import structlog

from keyserver.engine.answering import Answerer
from keyserver.engine.asking import Asker
from keyserver.engine.blame import Blame
from keyserver.engine.driver import Identity, Ports
from keyserver.engine.hints import Hints
from keyserver.engine.installation import Installer
from keyserver.engine.links import (
    MAX_KEYS,
    MAX_PAGE,
    Accusation,
    AnyLink,
    CataloguePage,
    CatalogueRequest,
    CommitVote,
    DecisionRequest,
    Digest,
    DigestRequest,
    Entered,
    Entry,
    Have,
    Holding,
    HoldingRequest,
    KeyFacts,
    Keys,
    KeysRequest,
    PreparedValue,
    PrepareVote,
    Proposal,
    Status,
    SubjectKind,
    unpack_link,
)
from keyserver.engine.reading import ANSWER_S, EARNED_BY_KEY_S, EARNED_BY_LINE_S, Reading
from keyserver.engine.recovery import Recovery
from keyserver.engine.serving import Serving
from keyserver.engine.set_change_walk import UnreliableError
from keyserver.errors import StorageError
from keyserver.model.codec import CodecError
from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord
from keyserver.model.quorums import Quorums
from keyserver.sessions.core import Refused, Report, SessionKind
from keyserver.sessions.writes import Write

FETCH_S = 3.0
"""How long `fetch` waits for the slowest peer."""

GRACE_S = 0.3
"""How long `fetch` waits for a further peer once a quorum has answered."""

CATCH_UP_GRACE_S = 2.0
"""How long `catch_up` waits for a further peer once enough have been read."""

COMPARE_EVERY_S = 60.0
"""How often a node compares its catalogue with one peer, connections or not."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class FoundKey:
    """The best of what this node and its peers have."""

    record: CertifiedRecord | None
    document: CertifiedDocumentKey | None
    answered: frozenset[NodeId]
    """Peers that have said what they know of the key, be it nothing."""


class Catalogue:
    """Answers peers' questions, asks them, and has undecided keys decided."""

    def __init__(self, identity: Identity, ports: Ports) -> None:
        self._identity = identity
        self._ports = ports
        self._asker = Asker(ports.transport)
        self._installer = Installer(ports.store, ports.node_sets, ports.outcomes, identity.policy)
        self.blame = Blame(identity, ports)
        """What other nodes were convicted of."""
        self._recovery = Recovery(
            identity, ports, self._asker, self._installer, self.blame.on_report
        )
        self._answerer = Answerer(ports.store)
        self._hints = Hints()
        self._serving = Serving(self._answerer, ports.transport)
        self._writing = asyncio.Lock()
        self._digesting = asyncio.Lock()
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._serving.start(tasks)
            tasks.create_task(self._recovery.run())
            tasks.create_task(self.blame.run())
            for peer in sorted(self._ports.transport.connected):
                self._spawn(self._compare(peer))
            while True:
                await asyncio.sleep(COMPARE_EVERY_S)
                if self._ports.transport.connected:
                    self._spawn(self._compare(self._any_peer()))

    def _any_peer(self) -> NodeId:
        peers = sorted(self._ports.transport.connected)
        return peers[int.from_bytes(self._identity.random.bytes(8), "big") % len(peers)]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._tasks is None:
            work.close()  # not running yet: `run` begins with a comparison with everybody
            return
        self._tasks.create_task(work)

    # --- what the engine asks -----------------------------------------------------------------

    async def fetch(self, key_id: KeyId) -> FoundKey:
        """Ask all connected peers for a key, and keep what is new and proven.

        Returns what this node has then; takes at most 3 s.
        """
        answers = await self._answers_about(key_id)
        told = [(peer, facts) for peer, answer in answers.items() for facts in answer.keys]
        for peer, facts in told:
            if facts.record is not None:
                self._hints.report(key_id, peer, facts.record.record.hash)
        for peer, facts in told:
            await self._take(peer, facts)
        state = await self._ports.store.load(key_id)
        return FoundKey(state.active, state.document, frozenset(answers))

    def holders(self, key_id: KeyId) -> frozenset[NodeId]:
        """Nodes that say they hold a share; only a hint whom to ask."""
        return self._hints.holders(key_id)

    @property
    def news(self) -> asyncio.Event:
        """Set when there may be new records here, or nodes that hold shares."""
        return self._installer.news

    async def _answers_about(self, key_id: KeyId) -> dict[NodeId, Keys]:
        """What the peers say; once a quorum has spoken, a silent one is not waited for."""
        peers = sorted(self._ports.transport.connected)
        asked = {asyncio.ensure_future(self._facts_from(peer, key_id)): peer for peer in peers}
        answers: dict[NodeId, Keys] = {}
        waiting = set(asked)
        try:
            while waiting:
                grace_s = GRACE_S if self._is_quorum(answers) else None
                done, waiting = await asyncio.wait(
                    waiting, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                said = {asked[task]: task.result() for task in done}
                answers |= {peer: answer for peer, answer in said.items() if answer is not None}
        finally:
            for task in asked:
                task.cancel()
        return {peer: answers[peer] for peer in sorted(answers)}

    def _is_quorum(self, answers: Iterable[NodeId]) -> bool:
        current = self._ports.node_sets.snapshot.current
        quorum = Quorums.of(len(current), self._identity.policy().max_faulty).agreement
        return sum(node in current for node in {self._identity.me, *answers}) >= quorum

    async def _facts_from(self, peer: NodeId, key_id: KeyId) -> Keys | None:
        """What a peer knows of a key; `None` if it has not answered, or about something else."""
        question = KeysRequest(self._asker.number(), (key_id,))
        answer = await self._asker.ask(peer, question, Keys, within_s=FETCH_S)
        if answer is None or [facts.key_id for facts in answer.keys] not in ([], [key_id]):
            return None
        return answer

    async def _take(self, peer: NodeId, facts: KeyFacts) -> bool:
        """Take over what a peer says; false if it does not verify."""
        try:
            await self._installer.take(facts, self._vouched(facts))
        except Refused as refused:
            log.warning("facts_refused", peer=peer, key_id=facts.key_id, problem=str(refused))
            return False
        except StorageError as problem:
            log.error("key_unusable", key_id=facts.key_id, problem=str(problem))
        return True

    def _vouched(self, facts: KeyFacts) -> frozenset[Hash32]:
        """The record, if f + 1 members of the current set report the same one."""
        if facts.record is None:
            return frozenset()
        current = self._ports.node_sets.snapshot.current
        record_hash = facts.record.record.hash
        reporters = self._hints.reporters(facts.key_id, record_hash)
        needed = Quorums.of(len(current), self._identity.policy().max_faulty).faulty + 1
        enough = sum(1 for node in reporters if node in current) >= needed
        return frozenset({record_hash}) if enough else frozenset()

    # --- what peers say -----------------------------------------------------------------------

    def on_connected(self, peer: NodeId) -> None:
        """Compare catalogues; and the peer may have missed votes."""
        self._spawn(self._compare(peer))
        self._recovery.on_connected(peer)
        self.blame.on_connected(peer)

    def watch_writes(self, watcher: Callable[[Collection[Write]], None]) -> None:
        """Show somebody everything that is taken over from others."""
        self._installer.watch(watcher)

    def on_given_up(self, kind: SessionKind, key_id: KeyId) -> None:
        """Have decided what the session has left behind."""
        storing = kind is SessionKind.STORING
        self._recovery.hasten(SubjectKind.DOCUMENT if storing else SubjectKind.RECORD, key_id)

    def on_report(self, report: Report) -> None:
        """A session can convict somebody."""
        self.blame.on_report(report)

    @property
    def avoided(self) -> frozenset[NodeId]:
        """Nodes against which there is evidence of late."""
        return self.blame.avoided

    def on_link_message(self, peer: NodeId, message: bytes) -> bool:
        """Take a link message; false for one that no correct node sends."""
        try:
            parsed = unpack_link(message)
        except CodecError as problem:
            log.warning("peer_sent_garbage", peer=peer, problem=str(problem))
            return False
        return self._take_message(peer, parsed, len(message))

    def _take_message(self, peer: NodeId, message: AnyLink, size: int) -> bool:
        match message:
            case (
                DigestRequest()
                | CatalogueRequest()
                | KeysRequest()
                | HoldingRequest()
                | DecisionRequest()
            ):
                return self._serving.put(peer, message)
            case Keys(number=0):
                return self._recovery.deliver(peer, message, size)
            case Digest() | CataloguePage() | Keys() | Holding():
                self._asker.on_answer(peer, message)
            case Have(_, key_id, _):
                self._hints.add_holder(key_id, peer)
                self.news.set()
            case Accusation():
                return self.blame.on_accusation(peer, message)
            case Status() | Entered() | Proposal() | PrepareVote() | PreparedValue() | CommitVote():
                return self._recovery.deliver(peer, message, size)
        return True

    # --- synchronising ------------------------------------------------------------------------

    async def _compare(self, peer: NodeId) -> None:
        """Catch up with one peer, if there is a difference."""
        question = DigestRequest(self._asker.number())
        theirs = await self._asker.ask(peer, question, Digest, within_s=ANSWER_S)
        if theirs is None:
            return
        try:
            async with self._digesting:
                ours = await self._answerer.digest(theirs.number)
            if ours != theirs:
                await self._catch_up(peer)
        except StorageError as problem:
            log.error("synchronisation_failed", peer=peer, problem=str(problem))
        self.news.set()

    async def _catch_up(self, peer: NodeId) -> None:
        """Pull all that is new in a peer's catalogue; stop at the first untruth."""
        try:
            async for _ in self.pages(peer):
                pass
        except UnreliableError as problem:
            log.info("catalogue_not_read", peer=peer, problem=str(problem))

    async def catch_up(
        self, peers: Iterable[NodeId], is_enough: Callable[[frozenset[NodeId]], bool]
    ) -> frozenset[NodeId]:
        """Pull all that these peers have more; whose catalogues could be read.

        Who says that it has the same is not read line by line; once those read are enough, others
        are waited for but 2 s more. Raises `StorageError`.
        """
        async with self._digesting:
            ours = await self._answerer.digest(0)
        tasks = self._tasks
        assert tasks is not None  # it is asked by sessions, and these run later
        asked = {tasks.create_task(self._has_caught_up(each, ours)): each for each in sorted(peers)}
        waiting, read = set(asked), frozenset[NodeId]()
        while waiting:
            done, waiting = await asyncio.wait(
                waiting,
                timeout=CATCH_UP_GRACE_S if is_enough(read) else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done:
                break  # what is pulled is not broken off in the middle
            read |= {asked[task] for task in done if task.result()}
        return read

    async def _has_caught_up(self, peer: NodeId, ours: Digest) -> bool:
        reading = Reading(peer, self._asker, self._ports.transport)
        try:
            theirs = await reading.ask(DigestRequest(reading.number()), Digest)
            if replace(theirs, number=0) != ours:
                async for _ in self.pages(peer):
                    pass
        except (UnreliableError, StorageError) as problem:
            log.warning("catalogue_not_read", peer=peer, problem=str(problem))
            return False
        return True

    async def pages(self, peer: NodeId) -> AsyncIterator[tuple[Entry, ...]]:
        """Page through a peer's catalogue; what is newer in a page has been pulled when it comes.

        Raises `UnreliableError` for a peer that does not answer, keeps this node waiting too long,
        or at its first untruth; and `StorageError`.
        """
        reading = Reading(peer, self._asker, self._ports.transport)
        after: KeyId | None = None
        while True:
            question = CatalogueRequest(reading.number(), after, MAX_PAGE)
            page = (await reading.ask(question, CataloguePage)).entries
            if not page:
                return
            if not _is_ascending(page, after):
                raise UnreliableError("a page of the catalogue is out of order")
            news = await self._news(peer, page, after)
            reading.earn((len(page) - len(news)) * EARNED_BY_LINE_S)
            await self._pull(reading, self._rotated(peer, news))
            yield page
            if len(page) < MAX_PAGE:
                return  # it would have filled the page
            after = page[-1].key_id

    async def _news(
        self, peer: NodeId, entries: tuple[Entry, ...], after: KeyId | None
    ) -> list[Entry]:
        """The lines that tell of something which this node has not."""
        own = await self._answerer.between(after, entries[-1].key_id)
        news = []
        for entry in entries:
            if entry.has_share:
                self._hints.add_holder(entry.key_id, peer)
            mine = own.get(entry.key_id)
            if mine is None or mine.version < entry.version:
                self._hints.report(entry.key_id, peer, entry.record_hash)
                news.append(entry)
            elif entry.has_document and not mine.has_document:
                news.append(entry)
        return news

    def _rotated(self, peer: NodeId, news: list[Entry]) -> list[Entry]:
        """The same, from another place for each peer: what several have is pulled but once."""
        peers = sorted(self._ports.transport.connected | {peer})
        place = peers.index(peer) * len(news) // len(peers)
        return news[place:] + news[:place]

    async def _pull(self, reading: Reading, news: list[Entry]) -> None:
        """Ask for these keys; raises `UnreliableError` if what was announced does not come."""
        while news:
            announced = {
                entry.key_id: entry for entry in news[:MAX_KEYS] if await self._is_news(entry)
            }
            news = news[MAX_KEYS:]
            while announced:
                question = KeysRequest(reading.number(), tuple(announced))
                answer = await reading.ask(question, Keys)
                if not answer.keys:
                    raise UnreliableError("what was announced is not delivered")
                for facts in answer.keys:
                    entry = announced.pop(facts.key_id, None)
                    if entry is None or not _delivers(facts, entry):
                        raise UnreliableError("something else is delivered than was announced")
                    await self._take_from(reading, facts, entry)

    async def _take_from(self, reading: Reading, facts: KeyFacts, entry: Entry) -> None:
        async with self._writing:  # so that nothing is verified twice
            if not await self._take(reading.peer, facts):
                raise UnreliableError("what was announced does not verify")
        if not await self._is_news(entry):
            reading.earn(EARNED_BY_KEY_S)

    async def _is_news(self, entry: Entry) -> bool:
        """Whether a line still tells of something that this node has not, and could have."""
        try:
            state = await self._ports.store.load(entry.key_id)
        except StorageError as problem:
            log.error("key_unusable", key_id=entry.key_id, problem=str(problem))
            return False
        if state.active is None or state.active.record.version < entry.version:
            return True
        return entry.has_document and state.document is None


def _delivers(facts: KeyFacts, entry: Entry) -> bool:
    """Whether a peer that has announced a record shows one."""
    return facts.record is not None and facts.record.record.version >= entry.version


def _is_ascending(entries: tuple[Entry, ...], after: KeyId | None) -> bool:
    ids = [entry.key_id for entry in entries]
    return ids == sorted(set(ids)) and (after is None or after < ids[0])
