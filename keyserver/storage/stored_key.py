"""What is stored about one key, and what each write makes of it; pure.

Both record stores, the one in a database and the one in memory, load a `StoredKey`, apply the
writes of a commit with `applied`, and keep the result: the rules of engine design, sections 7.5,
7.6, 8 and 15, are written once, here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar, assert_never

from keyserver.crypto.errors import InvalidShareError
from keyserver.crypto.vss import check_share
from keyserver.engine.ports import VoteConflictError
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId
from keyserver.model.keys import (
    CertifiedDocumentKey,
    CertifiedRecord,
    Decision,
    HoldingCertificate,
    KeyRecord,
    KeyShare,
)
from keyserver.sessions.core import DocumentCandidate, KeyState, PreparedRecord
from keyserver.sessions.writes import (
    CastVote,
    DropShares,
    Promise,
    PutActive,
    PutDocument,
    PutDocumentCandidate,
    PutDocumentNothing,
    PutHolding,
    PutNothing,
    PutPrepared,
    PutPromise,
    PutShare,
    VoteKind,
    Write,
)

T = TypeVar("T")

KeyWrite = (
    PutPromise
    | PutPrepared
    | PutHolding
    | PutActive
    | PutShare
    | DropShares
    | PutNothing
    | PutDocument
    | PutDocumentCandidate
    | PutDocumentNothing
)
"""Every write that changes a key; the other one is `CastVote`."""


@dataclass(frozen=True, slots=True)
class OwnShare:
    """This node's share of one version, and the record that it belongs to."""

    record_hash: Hash32
    share: KeyShare


@dataclass(frozen=True, slots=True)
class OpenRecord:
    """An undecided record; `transcript` is that of this node's READY or of the certificate."""

    record: KeyRecord
    transcript: Hash32
    holding: HoldingCertificate | None = None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """All rows of one key. An empty one stands for an unknown key."""

    active: CertifiedRecord | None = None
    open_records: Mapping[tuple[int, Hash32], OpenRecord] = field(default_factory=dict)
    """Undecided records by version and hash: at most one this node is READY for, and beside it
    another one that came with its holding certificate."""
    shares: Mapping[int, OwnShare] = field(default_factory=dict)
    """By version: of the active record and of the undecided one."""
    damaged: frozenset[int] = frozenset()
    """Versions whose share is there, but cannot be used: as good as absent, and erased like one."""
    skipped: Mapping[int, Decision] = field(default_factory=dict)
    """Versions after the active one that were decided as *nothing*."""
    document: CertifiedDocumentKey | None = None
    candidate: DocumentCandidate | None = None
    skipped_attempts: Mapping[int, Decision] = field(default_factory=dict)
    promise: Promise | None = None
    """For an undecided version."""
    installed_at: int = field(default=0, compare=False)
    """When the active record was written here, in Unix seconds."""
    has_lost_record: bool = False
    """Whether the active record is there, but cannot be used: as good as unknown."""

    @property
    def state(self) -> KeyState:
        """The same, as sessions see it."""
        version = self.active.record.version if self.active else 0
        first_attempt = self.active.record.first_attempt if self.active else 1
        own = self.shares.get(version)
        return KeyState(
            active=self.active,
            share=own.share if own else None,
            prepared=self._prepared(),
            skipped=_run_from(version + 1, self.skipped),
            document=self.document,
            document_candidate=self.candidate,
            document_skipped=_run_from(first_attempt, self.skipped_attempts),
            promise=self.promise,
            installed_at=self.installed_at,
        )

    @property
    def has_damage(self) -> bool:
        """Whether the share of the active record is there, but cannot be used."""
        return self.active is not None and self.active.record.version in self.damaged

    @property
    def is_undecided(self) -> bool:
        """Whether recovery has something to settle."""
        return bool(self.open_records or self.candidate or self.promise)

    def _prepared(self) -> PreparedRecord | None:
        """The undecided record that matters: the one with a holding certificate, if any.

        Beside it no other record of the version can get one (engine design, section 7.7).
        """
        if not self.open_records:
            return None
        ordered = sorted(
            self.open_records.items(), key=lambda item: (item[1].holding is None, item[0])
        )
        (version, record_hash), chosen = ordered[0]
        own = self.shares.get(version)
        fits = own is not None and own.record_hash == record_hash
        share = own.share if own is not None and fits else None
        return PreparedRecord(chosen.record, share, chosen.transcript, chosen.holding)


def key_of(write: KeyWrite) -> KeyId:
    """The key that a write changes."""
    match write:
        case PutPrepared() | PutHolding():
            return write.record.key_id
        case PutActive():
            return write.record.record.key_id
        case (
            PutPromise()
            | PutShare()
            | DropShares()
            | PutNothing()
            | PutDocument()
            | PutDocumentCandidate()
            | PutDocumentNothing()
        ):
            return write.key_id
    assert_never(write)


def grouped(writes: Iterable[Write]) -> tuple[list[CastVote], dict[KeyId, list[KeyWrite]]]:
    """The votes, and the other writes by key, both in their order."""
    votes: list[CastVote] = []
    by_key: dict[KeyId, list[KeyWrite]] = {}
    for write in writes:
        if isinstance(write, CastVote):
            votes.append(write)
        else:
            by_key.setdefault(key_of(write), []).append(write)
    return votes, by_key


def applied(key: StoredKey, writes: Iterable[KeyWrite], *, now: int = 0) -> StoredKey:
    """The key after these writes, made at `now` (Unix seconds).

    Raises `VoteConflictError` for a write that contradicts the key.
    """
    for write in writes:
        key = _apply(key, write, now)
    return key


def _apply(key: StoredKey, write: KeyWrite, now: int) -> StoredKey:
    match write:
        case PutPromise():
            return _put_promise(key, write)
        case PutPrepared():
            return _put_prepared(key, write)
        case PutHolding():
            return _put_holding(key, write)
        case PutActive():
            return _put_active(key, write.record, now)
        case PutShare():
            return _put_share(key, write)
        case DropShares():
            return replace(key, shares={}, damaged=frozenset())
        case PutNothing():
            return _put_nothing(key, write)
        case PutDocument():
            return _put_document(key, write.document)
        case PutDocumentCandidate():
            return _put_candidate(key, write)
        case PutDocumentNothing():
            return _put_attempt_nothing(key, write)
    assert_never(write)


def _put_promise(key: StoredKey, write: PutPromise) -> StoredKey:
    wanted = Promise(write.version, write.params_hash, write.document)
    if key.promise == wanted:
        return key
    name = f"key {write.key_id.hex()}: version {write.version}"
    if write.version != key.state.next_version:
        raise VoteConflictError(f"{name} is not the first undecided one")
    if key.promise is not None:
        raise VoteConflictError(f"{name} is promised to another session")
    stored = key.document.document.hash if key.document is not None else ZERO_HASH
    if write.document != stored:
        raise VoteConflictError(f"{name} is not accepted with another document key than stored")
    if key.candidate is not None:
        raise VoteConflictError(f"{name} is not accepted while a document key is being stored")
    return replace(key, promise=wanted)


def _put_prepared(key: StoredKey, write: PutPrepared) -> StoredKey:
    record = write.record
    _check_undecided(key, record)
    name = (record.version, record.hash)
    for other in key.open_records:
        if other != name:
            raise VoteConflictError(
                f"key {record.key_id.hex()}: version {other[0]} is prepared with record "
                f"{other[1].hex()}, not with version {record.version}, {record.hash.hex()}"
            )
    own = key.shares.get(record.version)
    if own is not None and own.share != write.share:
        raise VoteConflictError(
            f"key {record.key_id.hex()}: version {record.version} has another share already"
        )
    known = key.open_records.get(name)
    entry = OpenRecord(record, write.transcript, known.holding if known else None)
    return replace(
        key,
        open_records={**key.open_records, name: entry},
        shares={**key.shares, record.version: OwnShare(record.hash, write.share)},
        damaged=key.damaged - {record.version},
    )


def _put_holding(key: StoredKey, write: PutHolding) -> StoredKey:
    record = write.record
    if key.active is not None and key.active.record.hash == record.hash:
        return key
    _check_undecided(key, record)
    name = (record.version, record.hash)
    for version, record_hash in key.open_records:
        other = key.open_records[version, record_hash]
        if version != record.version or (other.holding is not None and record_hash != record.hash):
            raise VoteConflictError(
                f"key {record.key_id.hex()}: version {version}, record {record_hash.hex()}, "
                f"is undecided; no place for version {record.version}, {record.hash.hex()}"
            )
    known = key.open_records.get(name) or OpenRecord(record, write.holding.transcript)
    entry = replace(known, holding=known.holding or write.holding)
    return replace(key, open_records={**key.open_records, name: entry})


def _check_undecided(key: StoredKey, record: KeyRecord) -> None:
    decided = key.active.record.version if key.active else 0
    if record.version <= decided or record.version in key.skipped:
        raise VoteConflictError(
            f"key {record.key_id.hex()}: version {record.version} is decided already"
        )


def _put_active(key: StoredKey, certified: CertifiedRecord, now: int) -> StoredKey:
    record = certified.record
    if key.active is not None:
        current = key.active.record
        if current.hash == record.hash or current.version > record.version:
            return key
        if current.version == record.version:
            raise VoteConflictError(
                f"key {record.key_id.hex()}: version {record.version} was decided as record "
                f"{current.hash.hex()}, not {record.hash.hex()}"
            )
    if record.version in key.skipped:
        raise VoteConflictError(
            f"key {record.key_id.hex()}: version {record.version} was decided as nothing"
        )
    return replace(
        key,
        active=certified,
        open_records={
            name: entry for name, entry in key.open_records.items() if name[0] > record.version
        },
        shares={
            version: own
            for version, own in key.shares.items()
            if version > record.version or own.record_hash == record.hash
        },
        damaged=frozenset(version for version in key.damaged if version >= record.version),
        skipped=_after(record.version, key.skipped),
        candidate=_under(record, key.candidate),
        skipped_attempts=_after(record.first_attempt - 1, key.skipped_attempts),
        promise=_promise_after(record.version, key.promise),
        installed_at=now,
        has_lost_record=False,
    )


def _under(record: KeyRecord, candidate: DocumentCandidate | None) -> DocumentCandidate | None:
    """What was voted for under an earlier record is decided: a quorum has said so (section 13)."""
    if candidate is None or candidate.record_hash == record.hash:
        return candidate
    return None


def _promise_after(version: int, promise: Promise | None) -> Promise | None:
    return promise if promise is not None and promise.version > version else None


def _put_share(key: StoredKey, write: PutShare) -> StoredKey:
    record = key.active.record if key.active is not None else None
    if record is None or record.hash != write.record_hash:
        raise VoteConflictError(
            f"key {write.key_id.hex()}: a share of record {write.record_hash.hex()}, which is not "
            "the one in force"
        )
    if write.share.x not in record.coordinates.values():
        raise VoteConflictError(f"key {write.key_id.hex()}: the share is not that of a member")
    try:
        check_share(record.commitments, write.share.x, write.share.value)
    except InvalidShareError as problem:
        raise VoteConflictError(f"key {write.key_id.hex()}: {problem}") from problem
    own = OwnShare(record.hash, write.share)
    return replace(
        key,
        shares={**key.shares, record.version: own},
        damaged=key.damaged - {record.version},
    )


def _put_nothing(key: StoredKey, write: PutNothing) -> StoredKey:
    if key.active is not None and write.version <= key.active.record.version:
        if write.version == key.active.record.version:
            raise VoteConflictError(
                f"key {write.key_id.hex()}: version {write.version} was decided as a record"
            )
        return key
    if write.version in key.skipped:
        return key
    return replace(
        key,
        open_records={
            name: entry for name, entry in key.open_records.items() if name[0] != write.version
        },
        shares={v: own for v, own in key.shares.items() if v != write.version},
        damaged=key.damaged - {write.version},
        skipped={**key.skipped, write.version: write.decision},
        promise=_promise_after(write.version, key.promise),
    )


def _put_document(key: StoredKey, certified: CertifiedDocumentKey) -> StoredKey:
    if key.document is not None:
        if key.document.document != certified.document:
            raise VoteConflictError("another document key was decided before")
        return key
    if certified.attempt in key.skipped_attempts:
        raise VoteConflictError(f"attempt {certified.attempt} was decided as nothing")
    return replace(key, document=certified, candidate=None)


def _put_candidate(key: StoredKey, write: PutDocumentCandidate) -> StoredKey:
    wanted = DocumentCandidate(write.attempt, write.record_hash, write.document)
    if key.candidate == wanted:
        return key
    if key.document is not None or write.attempt in key.skipped_attempts:
        raise VoteConflictError(
            f"key {write.key_id.hex()}: storing attempt {write.attempt} is decided already"
        )
    if key.promise is not None:
        raise VoteConflictError(
            f"key {write.key_id.hex()}: no document key while version {key.promise.version} is "
            "undecided"
        )
    if key.candidate is not None:
        raise VoteConflictError(
            f"key {write.key_id.hex()}: another document key has this node's vote in attempt "
            f"{key.candidate.attempt}"
        )
    return replace(key, candidate=wanted)


def _put_attempt_nothing(key: StoredKey, write: PutDocumentNothing) -> StoredKey:
    if key.document is not None and key.document.attempt == write.attempt:
        raise VoteConflictError(
            f"key {write.key_id.hex()}: attempt {write.attempt} was decided as a document key"
        )
    if write.attempt in key.skipped_attempts:
        return key
    is_candidate = key.candidate is not None and key.candidate.attempt == write.attempt
    return replace(
        key,
        candidate=None if is_candidate else key.candidate,
        skipped_attempts={**key.skipped_attempts, write.attempt: write.decision},
    )


def _after(version: int, decisions: Mapping[int, T]) -> dict[int, T]:
    return {number: item for number, item in decisions.items() if number > version}


def _run_from(first: int, decisions: Mapping[int, T]) -> tuple[T, ...]:
    """The decisions for `first`, `first + 1`, ... without a gap."""
    found = []
    while first in decisions:
        found.append(decisions[first])
        first += 1
    return tuple(found)


def check_vote(cast: Mapping[tuple[int, VoteKind], CastVote], vote: CastVote) -> bool:
    """Whether a vote is new, given this node's earlier ones on the same subject.

    False means that the same vote was cast before. Raises `VoteConflictError` for another value
    in the same round and kind, and for a PREPARE or COMMIT below a round with an own STATUS
    (engine design, section 7.6).
    """
    if vote.kind is not VoteKind.STATUS:
        left = max((number for number, kind in cast if kind is VoteKind.STATUS), default=0)
        if vote.round < left:
            raise VoteConflictError(
                f"subject {vote.subject.hex()}: no {vote.kind.name} in round {vote.round} after "
                f"STATUS in round {left}"
            )
    earlier = cast.get((vote.round, vote.kind))
    if earlier is None:
        return True
    if earlier.value != vote.value:
        raise VoteConflictError(
            f"subject {vote.subject.hex()}: {vote.kind.name} of round {vote.round} was cast for "
            f"{earlier.value.hex()}, not for {vote.value.hex()}"
        )
    return False
