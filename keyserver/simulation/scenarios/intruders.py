"""What liars do on their own: sessions that nobody asked for, opened by hand.

The messages are well made; only the right to send them is missing. Answers are not waited for: that
an honest node answers at all is what the auditor looks for.
"""

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count

from keyserver.crypto.curve import Point, SecretScalar, mul_base
from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.credentials import CredentialSource, Opening, source_of
from keyserver.model.identifiers import NodeId, Nonce32, SessionId
from keyserver.model.keys import CertifiedRecord, DocumentKey
from keyserver.model.requests import (
    AnyOperation,
    BoundCredential,
    Credential,
    LegacyCredential,
    OnChainPublic,
    Proof,
    Request,
    RetrieveDocumentKey,
    StoreDocumentKey,
)
from keyserver.sessions.core import Message, SessionError, SessionKind
from keyserver.sessions.identity import session_id
from keyserver.sessions.registry import OPENINGS
from keyserver.sessions.retrieval.messages import DecRequest, Mode
from keyserver.sessions.retrieval.parts import mode_of
from keyserver.sessions.storing.messages import StorePropose
from keyserver.sessions.wire import message_type, pack
from keyserver.simulation.cluster import CONTRACT, Cluster, CrashedError, SimulatedNode
from keyserver.simulation.scenarios.people import on_chain
from keyserver.simulation.scenarios.story import Story

_FIRST_COUNTER = 1000
"""Far from the counters of the liar's own driver, and inside the same window."""


@dataclass
class Intruder:
    """One liar with the tools to open sessions by hand."""

    cluster: Cluster
    node: SimulatedNode
    story: Story

    def __post_init__(self) -> None:
        self._counters = count(_FIRST_COUNTER)
        self._openings: list[bytes] = []
        self._numbers = {kind.TYPE for kind in OPENINGS}
        self.random = SeededRandom(b"intruder" + self.cluster.seed)
        self.cluster.network.watch(self._remember)

    def _remember(self, sender: NodeId, _to: NodeId, message: bytes) -> None:
        if sender == self.node.id and message_type(message) in self._numbers:
            self._openings.append(message)

    async def attack(self, name: str) -> None:
        """Carry out one of `ATTACKS`, if there is anything to attack yet."""
        if not self.node.is_up:
            return
        state = await self.node.store.load(self.story.key_id)
        await ATTACKS[name](self, state.active)

    # --- opening sessions -----------------------------------------------------------------------

    def retrieve(self, record: CertifiedRecord, credential: CredentialSource, mode: Mode) -> None:
        """Ask all honest nodes for their parts."""
        operation = RetrieveDocumentKey(self.story.key_id, shadow=mode is not Mode.PLAIN)
        stored = self.node.disk.platter.state.keys[self.story.key_id].document
        self.open(
            SessionKind.RETRIEVAL,
            operation,
            credential,
            lambda counter, request: DecRequest(
                counter, request, record.record.hash, mode, stored, None
            ),
        )

    def store(
        self, record: CertifiedRecord, credential: CredentialSource, document: DocumentKey
    ) -> None:
        """Propose a document key to all honest nodes."""
        self.open(
            SessionKind.STORING,
            StoreDocumentKey(self.story.key_id, document),
            credential,
            lambda counter, request: StorePropose(
                counter, request, record.record.hash, 1, (), document
            ),
        )

    def open(
        self,
        kind: SessionKind,
        operation: AnyOperation,
        credential: CredentialSource,
        opening: Callable[[int, Request], Message],
    ) -> None:
        """Open a session with all honest nodes."""
        counter, me = next(self._counters), self.node.id
        nonce = self.cluster.network.boot_nonce(me)
        assert nonce is not None, "the node is up"
        request = Request.of(operation, credential(Opening(me, nonce, counter, operation)))
        sid: SessionId = session_id(kind, me, Nonce32(nonce), counter, request.hash)
        self.send_to_all(pack(sid, opening(counter, request)))

    def send_to_all(self, message: bytes) -> None:
        """To every honest node."""
        for other in self.story.honest:
            self.cluster.network.inject(self.node.id, other.id, message)

    def replay(self) -> None:
        """Send every opening of this process once more."""
        for message in self._openings[-20:]:
            self.send_to_all(message)


Attack = Callable[[Intruder, CertifiedRecord | None], Awaitable[None]]


async def _for_a_stranger(intruder: Intruder, record: CertifiedRecord | None) -> None:
    """Open the key for somebody who has no permission, in every form of request."""
    story, people = intruder.story, intruder.story.people
    if record is None or not await story.has_document():
        return
    shadow = RetrieveDocumentKey(story.key_id)
    plain = RetrieveDocumentKey(story.key_id, shadow=False)
    me = intruder.node.id
    asked = people.ask(people.stranger, shadow, "bound", me)
    intruder.retrieve(record, asked, Mode.SHADOW)
    intruder.retrieve(record, people.ask(people.stranger, plain, "bound", me), Mode.PLAIN)
    people.ask(people.stranger, shadow, "chain", me)
    intruder.retrieve(record, source_of(on_chain(people.stranger, shadow)), Mode.SHADOW_ON_CHAIN)


async def _in_a_readers_name(intruder: Intruder, record: CertifiedRecord | None) -> None:
    """Open the key for a reader who has not asked: with proofs of nothing."""
    story = intruder.story
    if record is None or not await story.has_document():
        return
    reader = story.people.reader.public()
    for credential in _invented(reader):
        request = Request.of(RetrieveDocumentKey(story.key_id), credential)
        intruder.retrieve(record, source_of(credential), mode_of(request))


def _invented(reader: Point) -> list[Credential]:
    proof, point = Proof(b"\x01" * 64), mul_base(SecretScalar.from_int(5))
    return [
        LegacyCredential(reader, point, proof),
        BoundCredential(1_800_000_300, Nonce32(b"\x07" * 32), reader, point, proof),
    ]


async def _unasked_on_chain(intruder: Intruder, record: CertifiedRecord | None) -> None:
    """Claim that a request is pending which nobody has made."""
    story = intruder.story
    if record is None or not await story.has_document():
        return
    nobody = SecretScalar.random(intruder.random)
    pretended = OnChainPublic(CONTRACT, nobody.public())
    intruder.retrieve(record, source_of(pretended), Mode.SHADOW_ON_CHAIN)


async def _in_another_mode(intruder: Intruder, record: CertifiedRecord | None) -> None:
    """Have a shadow request answered in plain, so that the coordinator reads the document key."""
    story, people = intruder.story, intruder.story.people
    if record is None or not await story.has_document():
        return
    operation = RetrieveDocumentKey(story.key_id)
    asked = people.ask(people.reader, operation, "bound", intruder.node.id)
    stored = intruder.node.disk.platter.state.keys[story.key_id].document
    intruder.open(
        SessionKind.RETRIEVAL,
        operation,
        asked,
        lambda counter, request: DecRequest(
            counter, request, record.record.hash, Mode.PLAIN, stored, None
        ),
    )


async def _with_a_used_credential(intruder: Intruder, record: CertifiedRecord | None) -> None:
    """A request that a reader has sent to another liar, who passes its signature on."""
    story, people = intruder.story, intruder.story.people
    others = [
        node
        for node in story.cluster.nodes
        if node.id in story.liars and node is not intruder.node and node.is_up
    ]
    if record is None or not others or not await story.has_document():
        return
    operation = RetrieveDocumentKey(story.key_id)
    credential = people.ask(people.reader, operation, "bound", others[0].id)
    with contextlib.suppress(SessionError, CrashedError):
        await others[0].call(lambda api: api.retrieve_shadow(story.key_id, credential))
    intruder.retrieve(record, credential, Mode.SHADOW)


async def _store_as_a_stranger(intruder: Intruder, record: CertifiedRecord | None) -> None:
    """Store something under a key of somebody else."""
    if record is None:
        return
    people, operation = intruder.story.people, _foreign(intruder)
    for form in ("chain", "bound"):
        credential = people.ask(people.stranger, operation, form, intruder.node.id)
        intruder.store(record, credential, operation.document)


async def _store_something_else(intruder: Intruder, record: CertifiedRecord | None) -> None:
    """Have other points stored than the author asked for."""
    if record is None:
        return
    story, people = intruder.story, intruder.story.people
    operation = StoreDocumentKey(story.key_id, await story.document())
    credential = people.ask(people.author, operation, "bound", intruder.node.id)
    other = _foreign(intruder).document
    intruder.open(
        SessionKind.STORING,
        operation,
        credential,
        lambda counter, request: StorePropose(counter, request, record.record.hash, 1, (), other),
    )


def _foreign(intruder: Intruder) -> StoreDocumentKey:
    points = [mul_base(SecretScalar.random(intruder.random)) for _ in range(2)]
    return StoreDocumentKey(intruder.story.key_id, DocumentKey(points[0], points[1]))


async def _again(intruder: Intruder, _: CertifiedRecord | None) -> None:
    """Open sessions a second time, while they run or when they are over."""
    intruder.replay()


async def _and_leave(intruder: Intruder, record: CertifiedRecord | None) -> None:
    """Lead what an honest client asks for, and fall silent in the middle."""
    story, people = intruder.story, intruder.story.people
    if record is None or not await story.has_document():
        return
    operation = RetrieveDocumentKey(story.key_id)
    credential = people.ask(people.reader, operation, "bound", intruder.node.id)
    intruder.retrieve(record, credential, Mode.SHADOW)


ATTACKS: dict[str, Attack] = {
    "ask for a stranger": _for_a_stranger,
    "ask in a reader's name": _in_a_readers_name,
    "claim a request on chain": _unasked_on_chain,
    "ask in another mode": _in_another_mode,
    "use a credential again": _with_a_used_credential,
    "store as a stranger": _store_as_a_stranger,
    "store something else": _store_something_else,
    "open sessions again": _again,
    "open a session and leave": _and_leave,
}
"""By the name that they have in plans."""
