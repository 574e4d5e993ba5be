"""The audit log's entries: JSON lines, each naming the hash of the one before (sealing, C14).

    hash = SHA-256("keyserver.audit.v1" || 00 || canonical JSON of the entry without its hash)

Now and then the node signs the newest hash (a *checkpoint*), so that who cannot use the node's key
cannot write the past anew. `keyserver.sealing.audit_verification` checks all of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from keyserver.crypto.boxes import canonical_json
from keyserver.crypto.curve import recover
from keyserver.crypto.hashing import keccak256, sha256
from keyserver.model.identifiers import NodeId
from keyserver.sealing.audit_details import (
    CHECKPOINT,
    Detail,
    check_action,
    check_actor,
    check_details,
)
from keyserver.sealing.json_text import read_json
from keyserver.sealing.ports import SYSTEM, Actor, ActorKind, AuditOutcome

FORMAT: Final = 1
HASH_SIZE: Final = 32

_ENTRY: Final = b"keyserver.audit.v1\0"
_CHECKPOINT: Final = b"keyserver.audit.v1/checkpoint\0"
_FIELDS: Final = frozenset(
    ("v", "seq", "ts", "replica", "actor", "action", "outcome", "details", "prev", "hash")
)

Signer = Callable[[bytes], bytes]
"""Signs 32 bytes with the node's key: 65 bytes `r || s || v`, v 0 or 1, low s."""


class BadEntryError(ValueError):
    """A line that is no entry, or not the next one; the message says why."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry of a log: what the next one follows."""

    seq: int = 0
    """0 before the first."""
    digest: bytes = bytes(HASH_SIZE)
    """Its hash; zeros before the first."""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, before it has its place in a log."""

    action: str
    outcome: AuditOutcome
    actor: Actor
    details: Mapping[str, Detail]
    ts: int
    """Milliseconds since 1970."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for an action, actor or detail that may not be in the log."""
        if self.action != CHECKPOINT:
            check_action(self.action)
            check_actor(self.actor)
            check_details(self.details)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a log."""

    fields: Mapping[str, Any]
    """As written, hash included."""

    @property
    def head(self) -> Head:
        """This entry, to follow."""
        return Head(self.fields["seq"], bytes.fromhex(self.fields["hash"]))

    @property
    def line(self) -> bytes:
        """Canonical JSON and a line feed."""
        return canonical_json(dict(self.fields)) + b"\n"


def next_entry(head: Head, replica: str, event: Event) -> Entry:
    """Put an event behind the head of a log."""
    fields: dict[str, Any] = {
        "v": FORMAT,
        "seq": head.seq + 1,
        "ts": event.ts,
        "replica": replica,
        "actor": {"kind": event.actor.kind.value, "id": event.actor.name},
        "action": event.action,
        "outcome": event.outcome.value,
        "details": dict(event.details),
        "prev": head.digest.hex(),
    }
    return Entry(fields | {"hash": entry_hash(fields).hex()})


def entry_hash(fields: Mapping[str, Any]) -> bytes:
    """The hash of an entry, 32 bytes; a field `hash` does not count."""
    hashed = {name: value for name, value in fields.items() if name != "hash"}
    return sha256(_ENTRY + canonical_json(hashed))


def checkpoint_event(head: Head, sign: Signer, ts: int) -> Event:
    """Sign the head of a log; the entry made of this must follow it at once."""
    digest = checkpoint_digest(head)
    signature = sign(digest)
    details: dict[str, Detail] = {
        "seq": head.seq,
        "head": head.digest.hex(),
        "node_id": NodeId.of(recover(digest, signature)).hex(),
        "signature": signature.hex(),
    }
    return Event(CHECKPOINT, AuditOutcome.OK, SYSTEM, details, ts)


def checkpoint_digest(head: Head) -> bytes:
    """What is signed of a head: 32 bytes."""
    return keccak256(_CHECKPOINT + head.digest + head.seq.to_bytes(8, "big"))


def parse_line(line: bytes) -> Entry:
    """Read a line without its line feed.

    Raises `BadEntryError` for what is no entry as this program writes them, or has another hash.
    """
    try:
        fields = read_json(line)
    except ValueError:
        raise BadEntryError("it is not JSON") from None
    _check_form(fields)
    if _written(fields) != line:
        raise BadEntryError("it is not written as this program writes entries")
    if entry_hash(fields).hex() != fields["hash"]:
        raise BadEntryError("its hash does not fit its content")
    return Entry(fields)


def check_follows(head: Head, entry: Entry) -> None:
    """Raise `BadEntryError` unless the entry is the next after this head."""
    seq = entry.fields["seq"]
    if seq != head.seq + 1:
        raise BadEntryError(f"it has number {seq} where {head.seq + 1} was to follow")
    if entry.fields["prev"] != head.digest.hex():
        raise BadEntryError("it does not follow the line before: that has another hash")


def _written(fields: Mapping[str, Any]) -> bytes | None:
    try:
        return canonical_json(dict(fields))
    except UnicodeEncodeError:
        return None


def _check_form(fields: object) -> None:
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        raise BadEntryError("it does not have the fields of an entry")
    if fields["v"] != FORMAT or isinstance(fields["v"], bool):
        raise BadEntryError("it is of a format that this program does not know")
    if not all(_is_count(fields[name]) for name in ("seq", "ts")) or not all(
        isinstance(fields[name], str) for name in ("replica", "action")
    ):
        raise BadEntryError("a field has a value of the wrong type")
    if not all(_is_hash(fields[name]) for name in ("prev", "hash")):
        raise BadEntryError("a hash is not 64 hexadecimal digits")
    if fields["outcome"] not in {outcome.value for outcome in AuditOutcome}:
        raise BadEntryError("its outcome is none that there is")
    _check_actor(fields["actor"])
    _check_details(fields["details"])


def _check_actor(actor: object) -> None:
    kinds = {kind.value for kind in ActorKind}
    if not isinstance(actor, dict) or actor.keys() != {"kind", "id"}:
        raise BadEntryError("its actor has no kind and id")
    if actor["kind"] not in kinds or not isinstance(actor["id"], str | None):
        raise BadEntryError("its actor is of no known kind, or has an id that is no text")


def _check_details(details: object) -> None:
    if not isinstance(details, dict) or not all(
        isinstance(value, str | int | None) for value in details.values()
    ):
        raise BadEntryError("its details are no texts, numbers and switches")
    # Canonical JSON has no others, and must not be asked for them.
    if not all(name.isascii() for name in details) or not all(
        abs(value) < 1 << 53 for value in details.values() if isinstance(value, int)
    ):
        raise BadEntryError("its details have a name or a number that no entry has")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
