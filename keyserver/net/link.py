"""The connection's own messages and the table of link types (engine design, section 5.4).

Every message between nodes is `u16 type || sid(32) || fields`. Types below 0x0100 belong to the
link and carry a session id of zeros.
"""

import struct
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, TypeVar

from keyserver.model.codec import U16, U64, CodecError, Limit, decode, encode
from keyserver.model.identifiers import Hash32, Nonce32
from keyserver.net.errors import LinkError

PROTOCOL: Final = 1
"""Version of everything that is said after the handshake."""

HEADER_SIZE: Final = 34
"""Type and session id."""

FIRST_ENGINE_TYPE: Final = 0x0010
"""Link types from here on (catalogue, recovery) are the engine's, as session messages are."""

FIRST_SESSION_TYPE: Final = 0x0100

MAX_SOFTWARE: Final = 64

_NO_SESSION: Final = bytes(32)


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message, in both directions."""

    TYPE: ClassVar[int] = 0x0001

    protocol: U16
    cluster_id: Hash32
    set_id: Hash32
    """The sender's current node set."""
    boot_nonce: Nonce32
    """Random per start of the sender's process."""
    features: U64
    unix_seconds: U64
    """The sender's clock."""
    software: Annotated[bytes, Limit(MAX_SOFTWARE)]


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a sign of life."""

    TYPE: ClassVar[int] = 0x0002

    number: U64


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a `Ping`, with its number."""

    TYPE: ClassVar[int] = 0x0003

    number: U64


LinkMessage = Hello | Ping | Pong
M = TypeVar("M", bound=LinkMessage)

LINK_TYPES: Final[dict[int, type[LinkMessage]]] = {
    Hello.TYPE: Hello,
    Ping.TYPE: Ping,
    Pong.TYPE: Pong,
}
"""The link's own types; 0x0010 to 0x00ff are the engine's. Numbers are never used again."""


def pack(message: LinkMessage) -> bytes:
    """The bytes of a link message."""
    return struct.pack(">H", message.TYPE) + _NO_SESSION + encode(message)


def unpack(kind: type[M], message: bytes) -> M:
    """Parse a whole message as a `kind`; raises `LinkError`."""
    if message_type(message) != kind.TYPE:
        raise LinkError(f"expected {kind.__name__}, got type {message_type(message):#06x}")
    try:
        return decode(kind, message[HEADER_SIZE:])
    except CodecError as problem:
        raise LinkError(str(problem)) from problem


def message_type(message: bytes) -> int:
    """The type of a message; raises `LinkError` if its header is malformed."""
    if len(message) < HEADER_SIZE:
        raise LinkError(f"a message has {len(message)} bytes, its header alone {HEADER_SIZE}")
    number = int.from_bytes(message[:2], "big")
    if number < FIRST_SESSION_TYPE and message[2:HEADER_SIZE] != _NO_SESSION:
        raise LinkError(f"link message {number:#06x} names a session")
    return number


def check_hello(hello: Hello, cluster_id: Hash32) -> None:
    """Raise `LinkError` unless the peer speaks our protocol and belongs to our cluster."""
    if hello.protocol != PROTOCOL:
        raise LinkError(f"peer speaks protocol {hello.protocol}, not {PROTOCOL}")
    if hello.cluster_id != cluster_id:
        raise LinkError(f"peer belongs to cluster {hello.cluster_id.hex()[:16]}..")
