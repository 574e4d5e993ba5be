"""Checks an audit log: every line's hash, its place in the chain, every checkpoint (sealing, C14).

What this can show: no line of the file was altered, removed, inserted or moved, up to the last
checkpoint not even by somebody who wrote the whole file anew, unless he has the node's key.
What it cannot show: that lines at the end were cut off. For that one has to know of a later entry
from elsewhere: a backup's manifest has the head of its time, and `expected_head` asks for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from keyserver.crypto.curve import recover, verify_digest
from keyserver.crypto.errors import CryptoError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.audit import (
    BadEntryError,
    Entry,
    Head,
    check_follows,
    checkpoint_digest,
    parse_line,
)
from keyserver.sealing.audit_details import CHECKPOINT

OTHER_SIGNER: Final = "it is a checkpoint signed by node"
"""How the reason begins where a signature is good, and another node's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a log shows."""

    head: Head
    """The last good entry."""
    last_ts: int | None
    """When it was written, milliseconds."""
    checkpoints: int
    node_id: NodeId | None
    """Whose key signed the checkpoints."""
    unsigned: int
    """Entries after the last checkpoint, which vouches for all before it."""
    bad_line: int | None = None
    """The first line that is wrong, counted from 1."""
    reason: str | None = None
    """What is wrong."""

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong."""
        return self.reason is None


def verify(
    lines: Iterable[bytes], *, node_id: NodeId | None = None, expected_head: bytes | None = None
) -> Verdict:
    """Check a log from its first line on; `lines` have their line feeds.

    `node_id`: whose signatures checkpoints must have; without it all must be of one and the same.
    `expected_head`: the hash of an entry that must be there, known from elsewhere.
    """
    checker = _Checker(node_id)
    found = expected_head is None
    for number, line in enumerate(lines, start=1):
        try:
            checker.take(line)
        except BadEntryError as problem:
            return checker.verdict(bad_line=number, reason=str(problem))
        found = found or checker.head.digest == expected_head
    if not found:
        return checker.verdict(
            reason="the entry with the expected hash is not there: lines at the end were cut off, "
            "or it is of another log"
        )
    return checker.verdict()


class _Checker:
    """Goes through a log."""

    def __init__(self, node_id: NodeId | None) -> None:
        self.head = Head()
        self._node_id = node_id
        self._signer: NodeId | None = None
        self._last_ts: int | None = None
        self._checkpoints = 0
        self._unsigned = 0

    def take(self, line: bytes) -> None:
        """Check the next line; raises `BadEntryError`."""
        if not line.endswith(b"\n"):
            raise BadEntryError("it is incomplete: no line feed at its end")
        entry = parse_line(line[:-1])
        check_follows(self.head, entry)
        if entry.fields["action"] == CHECKPOINT:
            self._check_signature(entry)
            self._checkpoints += 1
            self._unsigned = 0
        else:
            self._unsigned += 1
        self.head = entry.head
        self._last_ts = entry.fields["ts"]

    def verdict(self, bad_line: int | None = None, reason: str | None = None) -> Verdict:
        """What was found up to here."""
        return Verdict(
            self.head,
            self._last_ts,
            self._checkpoints,
            self._signer,
            self._unsigned,
            bad_line,
            reason,
        )

    def _check_signature(self, entry: Entry) -> None:
        details = entry.fields["details"]
        if (details.get("seq"), details.get("head")) != (self.head.seq, self.head.digest.hex()):
            raise BadEntryError("it is a checkpoint of another entry than the one before it")
        signer = _signer_of(self.head, details.get("signature"))
        if details.get("node_id") != signer.hex():
            raise BadEntryError("it is a checkpoint that names another node than signed it")
        expected = self._node_id or self._signer or signer
        if signer != expected:
            raise BadEntryError(f"{OTHER_SIGNER} 0x{signer.hex()}, not 0x{expected.hex()}")
        self._signer = signer


def _signer_of(head: Head, signature: object) -> NodeId:
    digest = checkpoint_digest(head)
    try:
        raw = bytes.fromhex(signature) if isinstance(signature, str) else b""
        signer = recover(digest, raw)
        verify_digest(digest, raw, signer)
    except (ValueError, CryptoError):
        raise BadEntryError("it is a checkpoint without a valid signature") from None
    return NodeId.of(signer)
