"""What the liars have seen together, and what they can make of it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations, islice
from typing import Any

from keyserver.crypto import ecies
from keyserver.crypto.curve import Point, Scalar, SecretScalar, add, mul_public, mul_secret, negate
from keyserver.crypto.dealkey import OneTimeKey, open_value, shared_from_point
from keyserver.crypto.errors import CryptoError
from keyserver.crypto.polynomial import interpolate_secret, lagrange_at
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.transcripts import deal_hash, tail_hash
from keyserver.model.codec import CodecError
from keyserver.model.identifiers import NodeId, SessionId
from keyserver.model.keys import DocumentKey, KeyRecord, KeyShare
from keyserver.sessions.registry import MESSAGE_TABLE
from keyserver.sessions.retrieval.messages import Mode, Partial, Shadow
from keyserver.sessions.sharing.messages import Complaint, Deal, Shares
from keyserver.sessions.sharing.phases import Group
from keyserver.sessions.wire import LINK_TYPES, message_type
from keyserver.simulation.adversary.retrieval_coordinators import FRIEND


class Drawn(SeededRandom):
    """A random source that remembers what was drawn from it; the first is the boot nonce."""

    __slots__ = ("_calls", "_seed")
    drawn: dict[bytes, list[bytes]] = {}  # noqa: RUF012 - one for the whole cluster

    def __init__(self, seed: int | str | bytes) -> None:
        super().__init__(seed)
        self._calls = 0
        self._seed = seed if isinstance(seed, bytes) else b""

    def bytes(self, n: int) -> bytes:
        drawn = super().bytes(n)
        self._calls += 1
        if n == 32 and self._calls > 1:
            self.drawn.setdefault(self._seed, []).append(drawn)
        return drawn


@dataclass
class View:
    """All that reached the liars, and all secrets that their own code had."""

    liars: frozenset[NodeId]
    received: list[tuple[NodeId, bytes]] = field(default_factory=list)
    one_time: dict[SessionId, dict[NodeId, OneTimeKey]] = field(default_factory=dict)
    groups: dict[SessionId, Group] = field(default_factory=dict)

    def hear(self, sender: NodeId, to: NodeId, message: bytes) -> None:
        """A message has arrived somewhere."""
        if to in self.liars and sender not in self.liars:
            self.received.append((sender, message))

    def note(self, sid: SessionId, me: NodeId, phase: Any) -> None:
        """What a liar's own session knows at some time."""
        one_time = getattr(phase, "one_time", None)
        if one_time is not None:
            self.one_time.setdefault(sid, {})[me] = one_time
        group = getattr(phase, "group", None)
        if group is not None:
            self.groups[sid] = group

    def messages(self, *kinds: type) -> Iterator[tuple[NodeId, SessionId, Any]]:
        """Session messages of these kinds that honest nodes sent to liars."""
        for sender, data in self.received:
            if message_type(data) in LINK_TYPES:
                continue
            try:
                sid, message = MESSAGE_TABLE.unpack(data)
            except CodecError:
                continue
            if isinstance(message, kinds):
                yield sender, sid, message

    # --- generation ------------------------------------------------------------------------------

    def opened(self) -> dict[tuple[SessionId, NodeId], set[NodeId]]:
        """Of each honest dealer's deal, for whom the liars can open the share."""
        found: dict[tuple[SessionId, NodeId], set[NodeId]] = {}
        for sid, dealer, receivers, named, ciphertext in self._sealed():
            if dealer in self.liars:
                continue
            for receiver in receivers:
                if self._opens(sid, dealer, receiver, named, ciphertext):
                    found.setdefault((sid, dealer), set()).add(receiver)
        return found

    def _sealed(self) -> Iterator[tuple[SessionId, NodeId, list[NodeId], bytes, bytes]]:
        for sender, sid, message in self.messages(Shares, Deal):
            group = self.groups.get(sid)
            if group is None:
                continue
            everybody = list(group.receivers)
            if isinstance(message, Deal):
                tail = tail_hash(message.commitments)
                constant = message.commitments[0]
                named = deal_hash(
                    group.session_hash, sender.point, constant, message.possession, tail
                )
                for receiver, share in zip(everybody, message.shares, strict=True):
                    yield sid, sender, [receiver], named, share.ciphertext
                continue
            for entry in message.deals:
                named = deal_hash(
                    group.session_hash,
                    entry.dealer.point,
                    entry.constant,
                    entry.possession,
                    entry.tail_hash,
                )
                yield sid, entry.dealer, everybody, named, entry.ciphertext

    def _opens(
        self, sid: SessionId, dealer: NodeId, receiver: NodeId, named: bytes, ciphertext: bytes
    ) -> bool:
        group = self.groups[sid]
        for shared in self._shared_secrets(sid, dealer, receiver):
            try:
                open_value(
                    ciphertext,
                    session_hash=group.session_hash,
                    shared=shared,
                    sender=dealer.point,
                    receiver=receiver.point,
                    bound_to=named,
                )
            except CryptoError:
                continue
            return True
        return False

    def _shared_secrets(self, sid: SessionId, dealer: NodeId, receiver: NodeId) -> Iterator[bytes]:
        members = self.groups[sid].members
        for one_time in (
            *self.one_time.get(sid, {}).values(),
            OneTimeKey(SecretScalar.from_int(99)),
        ):
            for node in (dealer, receiver):
                if node in members:
                    yield one_time.shared_with(members[node].one_time)
        for _, about, complaint in self.messages(Complaint):
            if about == sid:
                yield shared_from_point(complaint.opened)

    # --- retrieval -------------------------------------------------------------------------------

    def document_keys(
        self, record: KeyRecord, document: DocumentKey, shares: dict[NodeId, KeyShare]
    ) -> Iterator[Point | None]:
        """Whatever the liars can decrypt from the parts that they have been given."""
        own = {node: mul_secret(document.common, share.value) for node, share in shares.items()}
        by_session: dict[SessionId, dict[NodeId, Point]] = {}
        for sender, sid, partial in self.messages(Partial):
            by_session.setdefault(sid, {})[sender] = partial.point
        for parts in by_session.values():
            together = list((own | parts).items())
            for chosen in islice(combinations(together, record.required_nodes), 100):
                yield _decrypted(record, document, dict(chosen))

    def readable_shadows(self) -> int:
        """How many shadows of honest nodes were sealed to somebody whose key the liars have."""
        return sum(_opens(FRIEND, shadow.sealed) for _, _, shadow in self.messages(Shadow))


def _opens(secret: SecretScalar, sealed: bytes) -> bool:
    try:
        ecies.decrypt(secret, sealed)
    except CryptoError:
        return False
    return True


def _decrypted(
    record: KeyRecord, document: DocumentKey, parts: dict[NodeId, Point]
) -> Point | None:
    xs = [record.coordinates[node] for node in parts]
    total: Point | None = document.encrypted
    for factor, part in zip(lagrange_at(xs), parts.values(), strict=True):
        total = _minus(total, mul_public(part, factor))
    return total


def _minus(a: Point | None, b: Point | None) -> Point | None:
    if b is None:
        return a
    return negate(b) if a is None else add(a, negate(b))


def interpolated(shares: list[KeyShare]) -> Iterator[Point]:
    """The public keys of all secrets that follow from some of these shares."""
    for count in range(1, len(shares) + 1):
        for chosen in combinations(shares, count):
            xs: list[Scalar] = [share.x for share in chosen]
            yield interpolate_secret(xs, [share.value for share in chosen]).public()


__all__ = ["Drawn", "Mode", "View", "interpolated"]
