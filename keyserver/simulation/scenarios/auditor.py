"""Watches every message of a run and what is on disk when an honest node sends it.

An honest node must never take part in what nobody asked for, must have on disk what it has voted
before it says so, must vote once, and must rely on nothing that a liar has made up. All of that
shows on the wire, long before it shows in the result. The auditor sees everything, knows who lies,
and relies on none of the product's own checks.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from keyserver.engine import links
from keyserver.model.codec import CodecError, decode
from keyserver.model.identifiers import Hash32, NodeId, Nonce32, SessionId
from keyserver.model.keys import KeyRecord, PreparedCertificate
from keyserver.model.requests import BoundCredential, Operation, Request
from keyserver.sessions.certificates import document_subject, record_subject
from keyserver.sessions.core import SessionKind
from keyserver.sessions.ecdsa_signing.messages import EcdsaPart, EcdsaRequest, EcdsaWhole
from keyserver.sessions.frost_signing.messages import NonceCommitments, SignRequest
from keyserver.sessions.registry import MESSAGE_TABLE, OPENINGS
from keyserver.sessions.retrieval.messages import (
    NO_MASK,
    DecRequest,
    MaskPoint,
    Partial,
    Select,
    Shadow,
)
from keyserver.sessions.retrieval.parts import select_hash
from keyserver.sessions.sharing.messages import (
    Accept,
    Commit,
    Deal,
    Finalize,
    Ok,
    Propose,
    Ready,
    Shares,
    Start,
)
from keyserver.sessions.storing.messages import StoreAck, StoreCommit, StorePropose
from keyserver.sessions.wire import LINK_TYPES, message_type
from keyserver.sessions.writes import VoteKind
from keyserver.simulation.cluster import Cluster
from keyserver.simulation.scenarios.dealing_audit import DealingAudit
from keyserver.simulation.scenarios.invariants import (
    check_holding_of,
    check_prepared_value,
    check_shares_of,
)
from keyserver.simulation.scenarios.people import People, requester
from keyserver.simulation.scenarios.signing_audit import SigningAudit
from keyserver.simulation.scenarios.violation import Violation, require

T = TypeVar("T")

_SAID_ONCE = (Accept, Deal, StoreAck, Partial, Ready, Commit, StoreCommit)
"""What an honest node says at most once in a session."""

_Openings = Propose | StorePropose | DecRequest | SignRequest | EcdsaRequest


class Auditor:
    """Finds the first thing that an honest node must not have done."""

    def __init__(self, cluster: Cluster, people: People, liars: frozenset[NodeId]) -> None:
        self._cluster = cluster
        self._people = people
        self._liars = liars
        self._parsed: dict[bytes, tuple[SessionId, Any] | None] = {}
        self._heard: dict[tuple[SessionId, NodeId, type], Any] = {}
        """The last message of a type that reached a node in a session."""
        self._openers: dict[SessionId, NodeId] = {}
        self._selects: dict[tuple[SessionId, NodeId, Hash32], Select] = {}
        self._said: set[tuple[SessionId, NodeId, int, type]] = set()
        self._votes: dict[tuple[NodeId, Hash32, int, VoteKind], Hash32] = {}
        self._uses: dict[tuple[NodeId, int, Nonce32], NodeId] = {}
        self._masks: dict[tuple[NodeId, MaskPoint], SessionId] = {}
        self._partials: dict[tuple[SessionId, NodeId], Partial] = {}
        self._moving: set[SessionId] = set()
        """Sessions that move or renew shares, which are checked by what comes of them."""
        self._dealing = DealingAudit(liars)
        self.signing = SigningAudit(cluster, liars)
        """What it has seen of signatures."""
        self._found = asyncio.Event()
        self.violation: Violation | None = None
        cluster.network.watch(self._on_send)
        cluster.network.overhear(self._on_arrive)

    async def guard(self, work: Awaitable[T]) -> T:
        """Wait for `work`, but not longer than until something is found; raises it."""
        task, found = asyncio.ensure_future(work), asyncio.ensure_future(self._found.wait())
        try:
            await asyncio.wait([task, found], return_when=asyncio.FIRST_COMPLETED)
            if self.violation is not None:
                raise self.violation
            return await task
        finally:
            for pending in (task, found):
                pending.cancel()
            await asyncio.gather(task, found, return_exceptions=True)

    # --- what is seen ---------------------------------------------------------------------------

    def _on_arrive(self, sender: NodeId, to: NodeId, data: bytes) -> None:
        parsed = self._parse(data)
        if parsed is not None:
            sid, message = parsed
            self.signing.on_arrive(to, sid, message)
            opened = OPENINGS.get(type(message))
            if opened is not None and opened.kind is SessionKind.REDISTRIBUTION:
                self._moving.add(sid)
            if isinstance(message, _Openings):
                self._openers.setdefault(sid, sender)
            if isinstance(message, Select):
                named = select_hash(sid, message.partials)
                self._selects[sid, to, named] = message
            elif not message.TO_COORDINATOR:
                self._heard[sid, to, type(message)] = message

    def _on_send(self, sender: NodeId, _to: NodeId, data: bytes) -> None:
        try:
            if message_type(data) in LINK_TYPES:
                if sender not in self._liars:
                    self._on_link(sender, data)
                return
            parsed = self._parse(data)
            assert parsed is not None, "an honest node's message parses"
            self._on_message(sender, *parsed)
        except Violation as violation:
            if self.violation is None:
                self.violation = violation
                self._found.set()

    def _parse(self, data: bytes) -> tuple[SessionId, Any] | None:
        if message_type(data) in LINK_TYPES:
            return None
        if data not in self._parsed:
            if len(self._parsed) > 4096:
                self._parsed.clear()
            try:
                self._parsed[data] = MESSAGE_TABLE.unpack(data)
            except CodecError:
                self._parsed[data] = None
        return self._parsed[data]

    def _on_message(self, sender: NodeId, sid: SessionId, message: Any) -> None:
        if sid in self._moving:
            return
        self._dealing.on_send(sender, sid, message)
        self.signing.on_send(sender, sid, message)
        if sender in self._liars:
            return
        if isinstance(message, _SAID_ONCE):
            said = (sid, sender, self._cluster.node(sender).boots, type(message))
            again = said in self._said
            require(not again, "a session was opened twice", _at(sender, message))
            self._said.add(said)
        match message:
            case Accept():
                self._check_asked(sender, sid, Propose)
            case Deal():
                propose = self._of(sid, sender, Propose)
                self._dealing.check_deal(sender, sid, propose, self._of(sid, sender, Start))
            case Ok():
                self._dealing.check_ok(
                    sender,
                    sid,
                    self._of(sid, sender, Propose),
                    self._of(sid, sender, Start),
                    self._of(sid, sender, Shares),
                )
            case Ready():
                self._check_ready(sender, self._of(sid, sender, Finalize).record)
            case Commit():
                self._check_commit(sender, self._of(sid, sender, Finalize).record)
            case StoreAck():
                self._check_stored(sender, sid, VoteKind.PREPARE)
            case StoreCommit():
                self._check_stored(sender, sid, VoteKind.COMMIT)
            case Partial():
                self._check_partial(sender, sid, message)
            case Shadow():
                self._check_shadow(sender, sid, message)
            case NonceCommitments():
                self._check_permitted(sender, self._check_asked(sender, sid, SignRequest))
            case EcdsaPart() | EcdsaWhole():
                self._check_permitted(sender, self._check_asked(sender, sid, EcdsaRequest))

    def _of(self, sid: SessionId, node: NodeId, kind: type[T]) -> T:
        heard = self._heard.get((sid, node, kind))
        require(heard is not None, "a node answers what it was not asked", kind.__name__)
        assert isinstance(heard, kind)
        return heard

    # --- requests -------------------------------------------------------------------------------

    def _check_asked(self, node: NodeId, sid: SessionId, kind: type[_Openings]) -> Any:
        opening = self._of(sid, node, kind)
        request: Request = opening.request
        made = self._people.made(request, self._openers[sid])
        require(made, "a node takes part in what nobody asked for", _at(node, opening))
        return opening

    # --- votes ----------------------------------------------------------------------------------

    def _check_ready(self, node: NodeId, record: KeyRecord) -> None:
        self._check_record_vote(node, VoteKind.PREPARE, record)
        stored = self._cluster.node(node).disk.platter.state.keys.get(record.key_id)
        open_record = (record.version, record.hash)
        on_disk = stored is not None and (
            open_record in stored.open_records or stored.active is not None
        )
        require(on_disk, "READY left before the share was on disk", node.short)
        own = stored.shares.get(record.version) if stored is not None else None
        if own is not None and own.record_hash == record.hash:
            check_shares_of(record, [own.share])

    def _check_commit(self, node: NodeId, record: KeyRecord) -> None:
        self._check_record_vote(node, VoteKind.COMMIT, record)
        stored = self._cluster.node(node).disk.platter.state.keys[record.key_id]
        held = stored.open_records.get((record.version, record.hash))
        if held is not None:
            sure = held.holding is not None
            require(sure, "a node commits without a holding certificate", node.short)
            assert held.holding is not None
            check_holding_of(record, held.holding, len(self._cluster.nodes))

    def _check_record_vote(self, node: NodeId, kind: VoteKind, record: KeyRecord) -> None:
        self._check_vote(node, record_subject(record.key_id, record.version), 0, kind, record.hash)

    def _check_stored(self, node: NodeId, sid: SessionId, kind: VoteKind) -> None:
        opening: StorePropose = self._check_asked(node, sid, StorePropose)
        request = opening.request
        stored = self._cluster.node(node).disk.platter.state.keys[request.key_id]
        assert stored.active is not None
        author = stored.active.record.author
        asked_by = requester(request.credential())
        require(asked_by == author, "a document key of another than the author is stored")
        if request.operation_number == Operation.STORE_DOCUMENT_KEY:
            wanted = request.operation().document  # type: ignore[union-attr]
            require(opening.document == wanted, "a document key is stored that nobody asked for")
        value = opening.document.hash_under(opening.record_hash)
        subject = document_subject(request.key_id, opening.attempt)
        self._check_vote(node, subject, 0, kind, value)
        if kind is VoteKind.COMMIT:
            vote = self._cluster.node(node).disk.platter.state.votes[subject][0, kind]
            prepared = decode(PreparedCertificate, vote.evidence)
            committee = stored.active.record.nodes
            check_prepared_value(subject, prepared, frozenset(committee), len(committee))

    def _check_vote(
        self, node: NodeId, subject: Hash32, round_: int, kind: VoteKind, value: Hash32
    ) -> None:
        before = self._votes.setdefault((node, subject, round_, kind), value)
        require(before == value, "a node votes twice in one round", kind.name)
        cast = self._cluster.node(node).disk.platter.state.votes.get(subject, {})
        written = cast.get((round_, kind))
        on_disk = written is not None and written.value == value
        require(on_disk, "a vote left before it was on disk", f"{kind.name} of {node.short}")

    def _on_link(self, node: NodeId, data: bytes) -> None:
        if message_type(data) < links.DigestRequest.TYPE:
            return
        message = links.unpack_link(data)
        match message:
            case links.PrepareVote():
                kind, value = VoteKind.PREPARE, message.value
            case links.CommitVote():
                kind, value = VoteKind.COMMIT, message.value
            case links.Entered():
                kind, value = VoteKind.STATUS, message.certificate
            case links.Status():
                certificate = message.highest.certificate if message.highest else None
                kind, value = VoteKind.STATUS, links.certificate_hash(certificate)
            case _:
                return
        self._check_vote(node, message.subject.hash, message.round, kind, value)

    # --- retrieval ------------------------------------------------------------------------------

    def _check_partial(self, node: NodeId, sid: SessionId, partial: Partial) -> None:
        opening: DecRequest = self._check_asked(node, sid, DecRequest)
        credential = opening.request.credential()
        if isinstance(credential, BoundCredential):
            self._check_use(node, credential, self._openers[sid])
        self._check_permitted(node, opening)
        plain = opening.request.operation_number == Operation.RETRIEVE_PLAIN
        fits = plain == (partial.mask == NO_MASK)
        require(fits, "a key is opened in another way than asked for", node.short)
        if not plain:
            first = self._masks.setdefault((node, partial.mask), sid)
            require(first == sid, "a mask was used for two sessions", node.short)
        self._partials[sid, node] = partial

    def _check_permitted(self, node: NodeId, opening: _Openings) -> None:
        allowed = requester(opening.request.credential()) in self._people.readers
        require(allowed, "a key is used for somebody without permission", node.short)

    def _check_use(self, node: NodeId, used: BoundCredential, coordinator: NodeId) -> None:
        process = node, self._cluster.node(node).boots, used.nonce
        first = self._uses.setdefault(process, coordinator)
        require(first == coordinator, "a credential is used through two nodes", node.short)

    def _check_shadow(self, node: NodeId, sid: SessionId, shadow: Shadow) -> None:
        """What honest nodes have said stands in the selection as they said it."""
        select = self._selects[sid, node, shadow.select_hash]
        named = [entry.node for entry in select.partials]
        once = len(set(named)) == len(named) and node in named
        require(once, "an impossible selection was accepted", node.short)
        for entry in select.partials:
            if entry.node in self._liars:
                continue
            said = self._partials.get((sid, entry.node))
            same = said is not None and (said.point, said.mask, said.proof) == (
                entry.point,
                entry.mask,
                entry.proof,
            )
            if entry.node != self._openers[sid]:
                require(same, "an altered part was accepted", node.short)


def _at(node: NodeId, message: object) -> str:
    return f"{type(message).__name__} at {node.short}"
