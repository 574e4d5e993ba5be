"""The original's paths: what a method and a path ask for.

Pure; the grammar is that of the HTTP interface, section 3. Whatever does not parse is `None`: the
server answers all of it alike.
"""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from keyserver.model.identifiers import Hash32, KeyId
from keyserver.model.requests import Operation

MAX_THRESHOLD: Final = 2**64 - 1
"""The largest threshold that parses."""

_HEX: Final = re.compile(r"[0-9a-fA-F]*")
_THRESHOLD: Final = re.compile(r"\+?0*([0-9]{1,20})")
_PREFIXES: Final = frozenset({"shadow", "schnorr", "ecdsa", "server"})
_SIGNATURE_SIZE: Final = 65
_POINT_SIZE: Final = 64


@dataclass(frozen=True, slots=True)
class Generate:
    """Rows 1 and 3: generate a server key, with or without a document key."""

    key_id: KeyId
    signature: bytes = field(repr=False)
    threshold: int
    with_document_key: bool

    @property
    def operation(self) -> Operation:
        """The operation's number."""
        both = self.with_document_key
        return Operation.GENERATE_BOTH if both else Operation.GENERATE_SERVER_KEY


@dataclass(frozen=True, slots=True)
class Store:
    """Row 2: store a document key; the points may lie off the curve."""

    key_id: KeyId
    signature: bytes = field(repr=False)
    common: bytes
    encrypted: bytes

    @property
    def operation(self) -> Operation:
        """The operation's number."""
        return Operation.STORE_DOCUMENT_KEY


@dataclass(frozen=True, slots=True)
class RetrieveKey:
    """Row 4: the public half of a server key."""

    key_id: KeyId
    signature: bytes = field(repr=False)

    @property
    def operation(self) -> Operation:
        """The operation's number."""
        return Operation.RETRIEVE_SERVER_KEY


@dataclass(frozen=True, slots=True)
class RetrieveDocument:
    """Rows 5 and 6: a document key, in plain or in shadow form."""

    key_id: KeyId
    signature: bytes = field(repr=False)
    shadow: bool

    @property
    def operation(self) -> Operation:
        """The operation's number."""
        return Operation.RETRIEVE_SHADOW if self.shadow else Operation.RETRIEVE_PLAIN


@dataclass(frozen=True, slots=True)
class Sign:
    """Rows 7 and 8: a signature of a message hash."""

    key_id: KeyId
    signature: bytes = field(repr=False)
    message_hash: Hash32
    ecdsa: bool

    @property
    def operation(self) -> Operation:
        """The operation's number."""
        return Operation.SIGN_ECDSA if self.ecdsa else Operation.SIGN_SCHNORR


@dataclass(frozen=True, slots=True)
class ChangeNodeSet:
    """Row 9: the administrator's signatures over old and new set; the new set is in the body."""

    old_signature: bytes = field(repr=False)
    new_signature: bytes = field(repr=False)


KeyCall = Generate | Store | RetrieveKey | RetrieveDocument | Sign
"""What is asked about one key, signed by its requester."""

Call = KeyCall | ChangeNodeSet


def parse(method: str, raw_path: bytes) -> Call | None:
    """What is asked for; `raw_path` is the path as sent, without the query."""
    try:
        path = unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not path.startswith("/"):
        return None
    segments = path.lstrip("/").split("/")
    if segments[0] == "admin":
        return _admin(method, segments)
    prefix, fields = "", segments
    if segments[0] in _PREFIXES:
        prefix, fields = segments[0], segments[1:]
    if len(fields) < 2:
        return None
    key_id, signature = _hex(fields[0], KeyId.SIZE), _hex(fields[1], _SIGNATURE_SIZE)
    if key_id is None or signature is None:
        return None
    return _key_call(method, prefix, KeyId(key_id), signature, fields[2:])


def _admin(method: str, segments: list[str]) -> ChangeNodeSet | None:
    if method != "POST" or len(segments) != 4 or segments[1] != "servers_set_change":
        return None
    old, new = (_hex(segment, _SIGNATURE_SIZE) for segment in segments[2:])
    return None if old is None or new is None else ChangeNodeSet(old, new)


def _key_call(
    method: str, prefix: str, key_id: KeyId, signature: bytes, rest: list[str]
) -> KeyCall | None:
    match method, prefix, rest:
        case "POST", "" | "shadow", [digits]:
            threshold = _threshold(digits)
            if threshold is None:
                return None
            return Generate(key_id, signature, threshold, with_document_key=not prefix)
        case "POST", "shadow", [first, second]:
            common, encrypted = _hex(first, _POINT_SIZE), _hex(second, _POINT_SIZE)
            if common is None or encrypted is None:
                return None
            return Store(key_id, signature, common, encrypted)
        case "GET", "server", []:
            return RetrieveKey(key_id, signature)
        case "GET", "" | "shadow", []:
            return RetrieveDocument(key_id, signature, shadow=bool(prefix))
        case "GET", "schnorr" | "ecdsa", [digits]:
            message_hash = _hex(digits, Hash32.SIZE)
            if message_hash is None:
                return None
            return Sign(key_id, signature, Hash32(message_hash), ecdsa=prefix == "ecdsa")
    return None


def _hex(text: str, size: int) -> bytes | None:
    """`size` bytes in hexadecimal of any case, without 0x and without white space."""
    if len(text) != 2 * size or not _HEX.fullmatch(text):
        return None
    return bytes.fromhex(text)


def _threshold(text: str) -> int | None:
    """Decimal digits, with or without a plus sign, as a number of at most 64 bits."""
    match = _THRESHOLD.fullmatch(text)
    if match is None:
        return None
    value = int(match[1])
    return value if value <= MAX_THRESHOLD else None
