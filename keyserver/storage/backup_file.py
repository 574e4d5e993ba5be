"""The file of a backup: a tar archive with a manifest and one part for each table.

A part has a line for each row, a JSON list of its values in the order that the manifest names;
bytes are base64. The same for SQLite and PostgreSQL. Secrets are in it as the database has them, in
boxes that the node's shares or key open (sealing, C4); the whole may be encrypted with age besides.
"""

import base64
import binascii
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

import pyrage

from keyserver.errors import KeyServerError
from keyserver.sealing.json_text import read_json

FORMAT: Final = 1
KIND: Final = "keyserver-backup"
MANIFEST_NAME: Final = "manifest.json"
MAX_MANIFEST: Final = 16 << 20
MAX_LINE: Final = 64 << 20
"""Bytes of a row: more than any that a node writes, and no more than memory has room for."""

_AGE: Final = b"age-encryption.org/v1"
_NO_KEY: Final = "No matching keys found"
"""What the library says of a key that is none of the recipients'."""
_BLOCK: Final = 1 << 20
_HASH: Final = re.compile("[0-9a-f]{64}")
_SEAL_ID: Final = re.compile("[0-9a-f]{32}")
_NODE_ID: Final = re.compile("[0-9a-f]{128}")
_SCHEMA: Final = re.compile("[0-9]{4}")
_NAME: Final = re.compile("[a-z][a-z0-9_]{0,62}")

Value = str | int | bool | bytes | None
"""What a row may hold."""

_INTEGERS: Final = 1 << 63

KINDS: Final = ("bytes", "integer", "text", "boolean")
"""What a column may hold, besides nothing."""


class BackupError(KeyServerError):
    """A backup that cannot be made, read or restored."""


class BackupUnopenedError(BackupError):
    """A backup of which nothing can be said: not there, or what was given does not open it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One table of a backup."""

    table: str
    columns: tuple[tuple[str, str], ...]
    """Name and kind of each."""
    rows: int
    size: int
    """Bytes."""
    sha256: str

    @property
    def name(self) -> str:
        """Of the archive's member."""
        return f"tables/{self.table}.jsonl"


@dataclass(frozen=True, slots=True)
class AuditHead:
    """The last entry of a file of the audit log when the backup was made."""

    file: str
    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of."""

    created_at: int
    """Milliseconds since 1970."""
    software: str
    schema: str
    """Number of the tables' form (`keyserver.storage.migrations`)."""
    seal_id: str
    node_id: str
    epoch: int
    """Of the set of shares that opens it."""
    keyring_version: int
    terms: tuple[int, ...]
    """Those that boxes were made with."""
    opens_with: tuple[str, ...]
    """The kinds of slots of the seal record."""
    audit: tuple[AuditHead, ...]
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(part.rows for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """The manifest as the archive has it."""
        return {"kind": KIND, "format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, text: bytes) -> "Manifest":
        """Read a manifest; raises `BackupError`."""
        try:
            data = read_json(text)
            if (data.pop("kind"), data.pop("format")) != (KIND, FORMAT):
                raise BackupError("the file is no backup of a format that this program knows")
            _check_manifest(data)
            lists: dict[str, Any] = {
                "parts": tuple(_part(each) for each in data.pop("parts")),
                "audit": tuple(AuditHead(**each) for each in data.pop("audit")),
                "terms": tuple(data.pop("terms")),
                "opens_with": tuple(data.pop("opens_with")),
            }
            return cls(**lists, **data)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BackupError("the backup's manifest is damaged") from None


def _check_manifest(data: Mapping[str, Any]) -> None:
    """Raise `ValueError` or `TypeError` for a value that is not what its name stands for."""
    numbers = (data["created_at"], data["epoch"], data["keyring_version"], *data["terms"])
    texts = (data["software"], *data["opens_with"])
    tables = [part["table"] for part in data["parts"]]
    if not all(_is_count(number) for number in numbers):
        raise ValueError("numbers")
    if not all(isinstance(each, str) for each in texts):
        raise ValueError("texts")
    if not _SEAL_ID.fullmatch(data["seal_id"]) or not _NODE_ID.fullmatch(data["node_id"]):
        raise ValueError("ids")
    if not _SCHEMA.fullmatch(data["schema"]) or len(set(tables)) != len(tables):
        raise ValueError("tables")


def _part(data: Mapping[str, Any]) -> Part:
    columns = tuple((name, kind) for name, kind in data["columns"])
    names = [data["table"], *(name for name, _ in columns)]
    if not all(_NAME.fullmatch(name) for name in names) or not _HASH.fullmatch(data["sha256"]):
        raise ValueError("names")
    if not all(kind in KINDS for _, kind in columns):
        raise ValueError("kinds")
    if not _is_count(data["rows"]) or not _is_count(data["size"]):
        raise ValueError("numbers")
    return Part(**{**data, "columns": columns})


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53


# --- rows -------------------------------------------------------------------------------------


def encode_row(values: Sequence[Value]) -> bytes:
    """A row as a line."""
    shown = [
        base64.b64encode(each).decode() if isinstance(each, bytes) else each for each in values
    ]
    return json.dumps(shown, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def decode_row(part: Part, line: bytes) -> dict[str, Value]:
    """A row by the names of its columns; raises `BackupError`."""
    try:
        values = read_json(line)
        return {
            name: _decoded(kind, value)
            for (name, kind), value in zip(part.columns, values, strict=True)
        }
    except (ValueError, TypeError, binascii.Error):
        # no cause: its text may quote the row
        raise BackupError(f"{part.name}: a line is no row of this table") from None


def _decoded(kind: str, value: Value) -> Value:
    match kind, value:
        case _, None:
            return None
        case "bytes", str():
            return base64.b64decode(value, validate=True)
        case "text", str():
            value.encode()  # no half characters
            return value
        case "boolean", bool():
            return value
        case "integer", int() if not isinstance(value, bool) and -_INTEGERS <= value < _INTEGERS:
            return value
    raise ValueError("value")


class PartWriter:
    """Writes the rows of one table into a file."""

    def __init__(self, folder: Path, table: str, columns: Sequence[tuple[str, str]]) -> None:
        self._file = (folder / f"{table}.jsonl").open("xb")
        self._table, self._columns = table, tuple(columns)
        self._rows = self._size = 0
        self._hash = hashlib.sha256()

    def write(self, values: Sequence[Value]) -> None:
        """One more row; raises `BackupError` for one that could not be read back."""
        line = encode_row(values)
        if len(line) > MAX_LINE:
            raise BackupError(f"{self._table}: a row is longer than {MAX_LINE} bytes")
        self._file.write(line)
        self._hash.update(line)
        self._rows += 1
        self._size += len(line)

    def close(self) -> Part:
        """No more rows."""
        self._file.close()
        return Part(self._table, self._columns, self._rows, self._size, self._hash.hexdigest())


# --- writing ----------------------------------------------------------------------------------


def write_archive(out: Path, manifest: Manifest, folder: Path, recipients: Sequence[str]) -> None:
    """Make the file out of the parts in a folder, for its owner only, on disk on return.

    `recipients`: to encrypt it to, with age. Raises `BackupError`; a file that is there stays.
    """
    keys = [_recipient(each) for each in recipients]
    archive = folder / "archive"
    with archive.open("xb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        text = json.dumps(manifest.to_json(), indent=1).encode()
        tar.addfile(_member(MANIFEST_NAME, len(text), manifest), io.BytesIO(text))
        for part in manifest.parts:
            with (folder / f"{part.table}.jsonl").open("rb") as rows:
                tar.addfile(_member(part.name, part.size, manifest), rows)
    if keys:
        encrypted = folder / "encrypted"
        with archive.open("rb") as plain, encrypted.open("xb") as target:
            pyrage.encrypt_io(plain, target, keys)
        archive = encrypted
    _put_in_place(archive, out)


def check_recipients(recipients: Sequence[str]) -> None:
    """Raise `BackupError` for what is no age recipient."""
    for recipient in recipients:
        _recipient(recipient)


def _recipient(text: str) -> Any:
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise BackupError(f"{text!r} is no age recipient (age1…)") from None


def _member(name: str, size: int, manifest: Manifest) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, manifest.created_at // 1000
    return member


def _put_in_place(made: Path, out: Path) -> None:
    descriptor = os.open(made, os.O_RDONLY)
    try:
        os.fchmod(descriptor, 0o600)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(made, out)  # unlike a renaming, it never takes the place of a file
    except FileExistsError:
        raise BackupError(f"{out}: is there already; a backup is never overwritten") from None
    made.unlink()
    directory = os.open(out.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


# --- reading ----------------------------------------------------------------------------------


class Archive:
    """A backup that is open; the manifest is read, the parts are not checked yet."""

    def __init__(self, tar: tarfile.TarFile, manifest: Manifest) -> None:
        self._tar = tar
        self.manifest = manifest

    def part(self, table: str) -> Part | None:
        """A table of the backup."""
        return next((part for part in self.manifest.parts if part.table == table), None)

    def check(self) -> None:
        """Compare every part with the manifest; raises `BackupError` for one that is altered."""
        names = [MANIFEST_NAME, *(part.name for part in self.manifest.parts)]
        if self._tar.getnames() != names:
            raise BackupError("the parts of the backup are not those that its manifest lists")
        for part in self.manifest.parts:
            found = hashlib.sha256()
            rows = size = 0
            with self._open(part) as file:
                while block := file.read(_BLOCK):
                    found.update(block)
                    rows += block.count(b"\n")
                    size += len(block)
            if (found.hexdigest(), rows, size) != (part.sha256, part.rows, part.size):
                raise BackupError(f"{part.name}: was altered, or is incomplete")

    def rows(self, part: Part) -> Iterator[dict[str, Value]]:
        """The rows of a table; raises `BackupError` for a line that is none."""
        with self._open(part) as file:
            while line := file.readline(MAX_LINE + 1):
                if len(line) > MAX_LINE:
                    raise BackupError(f"{part.name}: a line is longer than {MAX_LINE} bytes")
                yield decode_row(part, line)

    def _open(self, part: Part) -> IO[bytes]:
        try:
            return _open_member(self._tar, self._tar.getmember(part.name))
        except KeyError:
            raise BackupError(f"{part.name}: is missing") from None


def is_encrypted(path: Path) -> bool:
    """Whether the file is encrypted with age; raises `BackupUnopenedError`."""
    try:
        with path.open("rb") as file:
            return file.read(len(_AGE)) == _AGE
    except OSError as problem:
        raise BackupUnopenedError(f"{path}: {problem.strerror}") from problem


@contextmanager
def open_archive(path: Path, identities: Sequence[Any] = ()) -> Iterator[Archive]:
    """Open a backup; `identities`: of age, for an encrypted one.

    Raises `BackupError`, `BackupUnopenedError` where nothing is wrong with the file.
    """
    with tempfile.TemporaryDirectory(prefix="keyserver-backup-") as folder:
        plain = _decrypted(path, Path(folder), identities) if is_encrypted(path) else path
        try:
            with tarfile.open(plain, mode="r:") as tar:
                yield Archive(tar, _manifest(tar, path))
        except (tarfile.TarError, EOFError, OSError) as problem:
            raise BackupError(f"{path}: is no backup, or is damaged: {problem}") from problem


def _manifest(tar: tarfile.TarFile, path: Path) -> Manifest:
    first = tar.next()
    if first is None or first.name != MANIFEST_NAME:
        raise BackupError(f"{path}: is no backup: it does not begin with a manifest")
    with _open_member(tar, first) as file:
        return Manifest.from_json(file.read(MAX_MANIFEST))


def _open_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    """Its content; raises `BackupError` for a link, a folder or anything else without any.

    Nor may it have holes: a few bytes of the archive would stand for any number.
    """
    has_content = member.isreg() and not member.issparse()
    file = tar.extractfile(member) if has_content else None
    if file is None:
        raise BackupError(f"{member.name}: is no file")
    return file


def _decrypted(path: Path, folder: Path, identities: Sequence[Any]) -> Path:
    if not identities:
        text = f"{path}: is encrypted with age; give the file with a key that opens it"
        raise BackupUnopenedError(text)
    plain = folder / "archive"
    try:
        with path.open("rb") as file, plain.open("xb") as target:
            pyrage.decrypt_io(file, target, list(identities))
    except pyrage.DecryptError as problem:
        if str(problem) == _NO_KEY:
            raise BackupUnopenedError(f"{path}: does not open with this key of age") from None
        raise BackupError(f"{path}: is damaged: {problem}") from None
    except OSError as problem:  # the library's, for what was altered after the beginning
        raise BackupError(f"{path}: is damaged, or was not decrypted: {problem}") from None
    return plain
