"""What the audit log knows about the time of a backup, and about what was done since."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from keyserver.sealing.audit import BadEntryError, Entry, parse_line
from keyserver.sealing.ports import AuditOutcome, SealVersion
from keyserver.storage.backup_file import AuditHead, Manifest

NEW_KEYS: Final = ("keys.create", "keys.rotate", "keys.owner.restore")
"""Actions that make versions of service keys, or bring some in: imports and restored exports."""

TAKEN_AWAY: Final = ("token.revoke", "grant.revoke", "keys.owner.delete")
"""Actions that a restore undoes, to the good of those they were meant against."""

_TAIL: Final = 64 * 1024
"""Bytes in which the last entries of a file are."""


def newest_entry(file: Path) -> AuditHead | None:
    """Where a file of the audit log ends; `None` for one without entries, or that is not there."""
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - _TAIL))
        lines = opened.read().split(b"\n")
    for line in reversed(lines):
        entry = _parsed(line)
        if entry is not None:
            return AuditHead(file.name, entry.head.seq, entry.head.digest.hex())
    return None


def done_since(
    manifest: Manifest, files: Sequence[Path], replaced: SealVersion | None
) -> Iterator[str]:
    """What is lost by going back to a backup, as far as the audit log and the store before know."""
    then = SealVersion(manifest.epoch, manifest.keyring_version)
    newest = replaced or then
    done: Counter[str] = Counter()
    new_sets: dict[str, SealVersion] = {}
    for entry in _entries(files):
        if entry.fields["action"] == "seal.rekey.commit":
            _note_set(entry, new_sets)
        if entry.fields["outcome"] != AuditOutcome.OK.value:
            continue
        newest = max(newest, _version(entry, then))
        if entry.fields["ts"] > manifest.created_at:
            done[entry.fields["action"]] += _count(entry)
    newest = max(newest, *new_sets.values(), then)
    if newest.epoch > then.epoch:
        yield (
            f"the store had shares of set {newest.epoch}; it is back at set {then.epoch}, and "
            "opens with the shares of that set alone. If those were replaced because they had "
            "leaked, replace them again (`keyserver seal rekey`)"
        )
    elif newest > then:
        yield (
            f"the keyring had version {newest.keyring_version}; it is back at "
            f"{then.keyring_version}: rotations since the backup are undone"
        )
    if new_keys := sum(done[action] for action in NEW_KEYS):
        yield (
            f"versions of service keys that were made, imported or restored since the backup are "
            f"gone ({new_keys}): what was encrypted with those made here can no longer be "
            "read; import or restore the others again"
        )
    if taken_away := sum(done[action] for action in TAKEN_AWAY):
        yield (
            f"tokens and grants that were revoked, and owners that were deleted, since the backup "
            f"are there again ({taken_away}): the audit log names them; do the same again"
        )


def _count(entry: Entry) -> int:
    """How often an entry's action was done: of keys that came in, how many there were."""
    if entry.fields["action"] != "keys.owner.restore":
        return 1
    keys = entry.fields["details"].get("keys")
    return keys if isinstance(keys, int) else 1


def _version(entry: Entry, unknown: SealVersion) -> SealVersion:
    """Which seal an entry tells of that was in force."""
    details = entry.fields["details"]
    epoch, version = details.get("epoch"), details.get("version")
    if entry.fields["action"] != "seal.unsealed":
        return unknown
    if not isinstance(epoch, int) or not isinstance(version, int):
        return unknown
    return SealVersion(epoch, version)


def _note_set(entry: Entry, new_sets: dict[str, SealVersion]) -> None:
    """Note a set of shares that came into force, perhaps without opening anything yet.

    The entry is written before that is done; one of the same rekey follows if it fails.
    """
    details = entry.fields["details"]
    rekey, epoch = details.get("rekey"), details.get("epoch")
    if not isinstance(rekey, str):
        return
    if entry.fields["outcome"] != AuditOutcome.OK.value:
        new_sets.pop(rekey, None)
    elif isinstance(epoch, int):
        new_sets[rekey] = SealVersion(epoch, 0)  # the keyring goes on; it does not matter here


def _entries(files: Sequence[Path]) -> Iterator[Entry]:
    """All entries that can be read; `keyserver audit verify` tells of the others."""
    for file in files:
        if not file.is_file():
            continue
        with file.open("rb") as lines:
            for line in lines:
                entry = _parsed(line.removesuffix(b"\n"))
                if entry is not None:
                    yield entry


def _parsed(line: bytes) -> Entry | None:
    try:
        return parse_line(line)
    except BadEntryError:
        return None
