"""What the engine needs from the outside, as protocols; the edges implement them."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from keyserver.crypto.randomness import RandomSource
from keyserver.engine.outcomes import OutcomeListener
from keyserver.model.blocks import BlockId
from keyserver.model.identifiers import Hash32, KeyId, NodeId, Nonce32, SessionId
from keyserver.model.keys import CertifiedRecord
from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from keyserver.sessions.core import (
    Authorise,
    KeyState,
    Policy,
    Refusal,
    Report,
    SessionKind,
    Signer,
    Verdict,
)
from keyserver.sessions.writes import Write


class VoteConflictError(Exception):
    """A vote that contradicts one given before; the session that wanted it ends."""


class Transport(Protocol):
    """Authenticated connections to peers (`keyserver.net.mesh`, or the simulated network)."""

    @property
    def connected(self) -> frozenset[NodeId]:
        """Peers with an open, greeted connection."""
        ...

    def send(self, to: NodeId, message: bytes) -> bool:
        """Queue a message; false when there is no connection or its queue is full.

        A peer whose queue overflows is disconnected and reported as lost.
        """
        ...

    def boot_nonce(self, peer: NodeId) -> bytes | None:
        """The 32 bytes of the peer's HELLO, `None` without a connection."""
        ...


class TransportListener(Protocol):
    """Who is told what happens on the connections; called on the event loop, must not block."""

    def on_connected(self, peer: NodeId) -> None:
        """A connection is up and both HELLOs have been exchanged."""
        ...

    def on_disconnected(self, peer: NodeId) -> None:
        """The connection is gone."""
        ...

    def on_message(self, peer: NodeId, message: bytes) -> bool:
        """A whole message has arrived (`u16 type || sid || fields`).

        False asks the transport to close the connection: the peer overran its limits or sent
        what no correct node sends.
        """
        ...


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One line of the catalogue that nodes compare (engine design, section 14.3)."""

    key_id: KeyId
    version: int
    record_hash: Hash32
    has_share: bool
    has_document: bool


@dataclass(frozen=True, slots=True, order=True)
class AgedRecord:
    """A record in force, and since when (Unix seconds)."""

    installed_at: int
    key_id: KeyId
    record_hash: Hash32


class RecordStore(Protocol):
    """Keys at rest. Secrets are sealed by the implementation, row by row."""

    async def load(self, key_id: KeyId) -> KeyState:
        """All that is stored about a key; an empty state for an unknown one.

        A row that does not open raises `StorageError`.
        """
        ...

    async def commit(self, writes: Sequence[Write]) -> None:
        """Write all or nothing, durably; raises `VoteConflictError` or `StorageError`."""
        ...

    async def catalogue(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
        """Active records in ascending order of key id, those after `after`."""
        ...

    async def undecided(self) -> Sequence[KeyId]:
        """Keys with a prepared record, a document candidate or a promise: recovery settles them."""
        ...

    async def records(self, after: KeyId | None, limit: int) -> Sequence[CertifiedRecord]:
        """The records of the catalogue, in the same order, and nothing else of these keys.

        For whoever looks at many: to `load` a key takes ten times as long. Records that cannot be
        used are left out.
        """
        ...

    async def absent(self, after: KeyId | None, limit: int) -> Sequence[CatalogueEntry]:
        """Those of the catalogue of which there is no share here.

        The store does not know this node: it may be in the committee of none of them.
        """
        ...

    async def aged(self, after: AgedRecord | None, before: int, limit: int) -> Sequence[AgedRecord]:
        """Active records in force since before that time, the oldest first, those after `after`.

        Also those whose time lies in the future: of these nobody knows the age.
        """
        ...

    async def votes(self, subject: Hash32) -> Sequence["StoredVote"]:
        """This node's own votes on a subject, by round and kind."""
        ...

    async def offences(self) -> Sequence["Offence"]:
        """What other nodes were convicted of, the oldest first."""
        ...

    async def evidence(self, name: Hash32) -> bytes | None:
        """An encoded record of evidence by its hash (`Offence.evidence`)."""
        ...

    async def keep_evidence(self, offence: "Offence", record: bytes) -> None:
        """Keep an offence with its evidence, unless the same one is kept already.

        Of each culprit the newest `MAX_OFFENCES` are kept. Raises `StorageError`.
        """
        ...


MAX_OFFENCES = 16
"""Offences kept of each culprit: what a liar makes others write is bounded."""


@dataclass(frozen=True, slots=True)
class Offence:
    """What a node was convicted of; the evidence itself is kept beside it."""

    culprit: NodeId
    name: Hash32
    """The same for every record about the same deed (`Conviction.offence`)."""
    rule: str
    key_id: KeyId
    session: SessionId | None
    first_seen: int
    """Unix seconds, by this node's clock."""
    evidence: Hash32
    """Hash of the record that came first."""


@dataclass(frozen=True, slots=True)
class StoredVote:
    """A vote this node has cast (`keyserver.sessions.writes.CastVote`)."""

    round: int
    kind: int
    value: Hash32
    evidence: bytes


class AccessPolicy(Protocol):
    """What the chain says about a request (`keyserver.chain.access`)."""

    @property
    def permission_block(self) -> BlockId | None:
        """Where this node would have the permissions of a session read; `None` without a chain."""
        ...

    async def authorise(self, check: Authorise) -> Verdict:
        """Whether the request is authentic on chain and permitted.

        A permission is read at the session's block and at the newest block this node knows.

        For credential kind 3 it waits, up to 20 s, until this node's own view shows the request
        pending. It never raises for trouble with the chain: that is `Verdict.UNAVAILABLE`.
        """
        ...


class NodeSets(Protocol):
    """The node set as this node sees it now."""

    @property
    def snapshot(self) -> NodeSetSnapshot:
        """The last good snapshot."""
        ...


class Successions(Protocol):
    """To which set this node lets the shares of a key go (engine design, sections 13 and 14.4)."""

    def target(
        self, change_id: Hash32, key_id: KeyId, state: KeyState, coordinator: NodeId
    ) -> NodeSet | None:
        """Where the shares of a key are to go; `None` if this node takes no part in that.

        `change_id` names an accepted change that is not over, or is zeros: then the answer is the
        set as it is, if a refresh of this key by this coordinator is due here. `state`: what this
        node has stored about the key.
        """
        ...


class NoSuccessions:
    """Of a node that lets no share go."""

    def target(
        self, change_id: Hash32, key_id: KeyId, state: KeyState, coordinator: NodeId
    ) -> NodeSet | None:
        """None."""
        return None


class Clock(Protocol):
    """Time, so that simulations can have their own."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def unix(self) -> int:
        """Seconds since 1970."""
        ...

    def call_later(self, seconds: float, callback: "TimerCallback") -> "TimerHandle":
        """Run `callback` once, later, on the event loop."""
        ...


class TimerCallback(Protocol):
    """Something to run later."""

    def __call__(self) -> None:
        """Run."""
        ...


class TimerHandle(Protocol):
    """A timer that can be called off."""

    def cancel(self) -> None:
        """Call it off; harmless when it has fired."""
        ...


class LinkService(Protocol):
    """Who answers what peers ask outside sessions (`keyserver.engine.catalogue`)."""

    def on_connected(self, peer: NodeId) -> None:
        """A peer is there: compare catalogues."""
        ...

    def on_link_message(self, peer: NodeId, message: bytes) -> bool:
        """A message of a link type has arrived; false asks to close the connection."""
        ...

    def watch_writes(self, watcher: Callable[[Collection[Write]], None]) -> None:
        """Show somebody everything that is taken over from others, once it is on disk."""
        ...

    def on_given_up(self, kind: SessionKind, key_id: KeyId) -> None:
        """A session that agrees on something was given up, and no other goes on here."""
        ...

    def on_report(self, report: Report) -> None:
        """A session can convict somebody."""
        ...

    @property
    def avoided(self) -> frozenset[NodeId]:
        """Nodes against which there is evidence of late."""
        ...


class ChangeService(Protocol):
    """Who carries out changes of the node set (`keyserver.engine.set_changes`)."""

    @property
    def is_exclusive(self) -> bool:
        """Whether a change has this node for itself: clients have to wait."""
        ...

    def forbids(self, kind: SessionKind, state: KeyState) -> Refusal | None:
        """Why no session of this kind may begin for such a key now; `None` if one may."""
        ...

    async def wait_until_thawed(self) -> None:
        """Wait, not for long, until keys may be generated and document keys stored again."""
        ...

    async def perform(self, work: Any, ended: asyncio.Event) -> Any:
        """Do what a set change asks for (`keyserver.sessions.set_change.works`).

        `ended` is set when the session is over: what was locked for it is free then.
        """
        ...


class SessionObserver(Protocol):
    """Who counts sessions (metrics)."""

    def on_session(self, name: str, role: str, outcome: str, seconds: float) -> None:
        """One role of a session has ended; `outcome` is "completed" or the error's code."""
        ...

    def on_misbehaviour(self, culprits: frozenset[NodeId], what: str, evidence: bytes) -> None:
        """A node was caught, by this node or by a peer that has shown the evidence.

        `what` names the rule (`keyserver.sessions.evidence.Rule`).
        """
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is in this process."""

    me: NodeId
    signer: Signer
    boot_nonce: Nonce32
    random: RandomSource
    policy: Callable[[], Policy]
    """What the operator allows now: the service contracts may move while the node runs."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What the driver acts on."""

    transport: Transport
    store: RecordStore
    access: AccessPolicy
    node_sets: NodeSets
    clock: Clock
    outcomes: OutcomeListener
    observer: SessionObserver
    successions: Successions = field(default_factory=NoSuccessions)
