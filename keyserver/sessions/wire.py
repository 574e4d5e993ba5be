"""Session messages as bytes: `u16 type || sid(32) || fields` (engine design, section 5.2)."""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

from keyserver.model.codec import CodecError, decode
from keyserver.model.identifiers import SessionId
from keyserver.sessions.core import Message, SessionType
from keyserver.sessions.messages import Cancel, Refuse

HEADER_SIZE = 34
"""Type and session id."""

LINK_TYPES = range(0x0100)
"""Types that belong to the connection or to the catalogue, not to a session."""


class MessageTable:
    """All message classes by their type number."""

    def __init__(self, session_types: Iterable[SessionType[Any]]) -> None:
        """Collect the classes; two of one number are a mistake in the source (`ValueError`)."""
        classes: dict[int, type[Message]] = {}
        kinds: list[type[Message]] = [Refuse, Cancel]
        for session_type in session_types:
            kinds.extend(session_type.messages)
        for kind in kinds:
            if classes.setdefault(kind.TYPE, kind) is not kind:
                raise ValueError(f"message type {kind.TYPE:#06x} is used twice")
        self.classes: Mapping[int, type[Message]] = classes

    def unpack(self, data: bytes) -> tuple[SessionId, Message]:
        """Parse a whole message; raises `CodecError`."""
        if len(data) < HEADER_SIZE:
            raise CodecError("message is shorter than its header")
        number = message_type(data)
        kind = self.classes.get(number)
        if kind is None:
            raise CodecError(f"message type {number:#06x} is not known")
        return SessionId(data[2:HEADER_SIZE]), decode(kind, data[HEADER_SIZE:])


def message_type(data: bytes) -> int:
    """The type number of a message of at least two bytes."""
    return int(struct.unpack_from(">H", data)[0])


def pack(sid: SessionId, message: Message) -> bytes:
    """The bytes of a message."""
    return struct.pack(">H", message.TYPE) + sid + message.encoded
