"""Frames and messages after the handshake, bytes in and bytes out (engine design, section 5.2).

A frame is its sealed length (18 bytes) and its sealed data, as in BOLT #8. The data of a frame is
a byte of flags and a fragment; the fragments of one message are contiguous. Empty fragments are
refused: they would let a peer send for ever without ending or growing a message.

Any `FramingError` is final: the connection must be closed.
"""

import struct
from collections.abc import Iterator
from typing import Final

from keyserver.crypto.errors import DecryptionError
from keyserver.net.cipher import TAG_SIZE, RotatingKey
from keyserver.net.errors import FramingError
from keyserver.net.handshake import TransportKeys

MAX_FRAME: Final = 0xFFFF
"""Most bytes of data in a frame."""

MAX_FRAGMENT: Final = MAX_FRAME - 1
MAX_MESSAGE: Final = 4 * 1024 * 1024
"""Most bytes of a message."""

FIRST: Final = 1
"""Flag of the first fragment of a message."""

LAST: Final = 2
"""Flag of the last fragment of a message."""

_LENGTH: Final = struct.Struct(">H")
_SEALED_LENGTH: Final = _LENGTH.size + TAG_SIZE


class FrameWriter:
    """Seals the frames of one direction."""

    __slots__ = ("_key",)

    def __init__(self, keys: TransportKeys) -> None:
        self._key = RotatingKey(keys.sending, keys.chaining)

    def frame(self, data: bytes) -> bytes:
        """The next frame; raises `ValueError` for more than 65 535 bytes of data."""
        if len(data) > MAX_FRAME:
            raise ValueError(f"a frame holds at most {MAX_FRAME} bytes, got {len(data)}")
        return self._key.seal(_LENGTH.pack(len(data))) + self._key.seal(data)


class FrameReader:
    """Opens the frames of one direction, from bytes cut anywhere.

    Holds at most one incomplete frame besides what was last received, if `next_frame` is called
    until it has none before more is received.
    """

    __slots__ = ("_buffer", "_key", "_length")

    def __init__(self, keys: TransportKeys) -> None:
        self._key = RotatingKey(keys.receiving, keys.chaining)
        self._buffer = bytearray()
        self._length: int | None = None

    def receive(self, data: bytes) -> None:
        """Take bytes from the connection."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The data of the next whole frame, `None` if more bytes are needed.

        Raises `FramingError`.
        """
        if self._length is None:
            sealed = self._take(_SEALED_LENGTH)
            if sealed is None:
                return None
            (self._length,) = _LENGTH.unpack(self._opened(sealed))
        sealed = self._take(self._length + TAG_SIZE)
        if sealed is None:
            return None
        self._length = None
        return self._opened(sealed)

    def _take(self, size: int) -> bytes | None:
        if len(self._buffer) < size:
            return None
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _opened(self, sealed: bytes) -> bytes:
        try:
            return self._key.open_sealed(sealed)
        except DecryptionError as problem:
            raise FramingError("a frame does not authenticate") from problem


class MessageWriter:
    """Cuts messages into frames."""

    __slots__ = ("_frames",)

    def __init__(self, keys: TransportKeys) -> None:
        self._frames = FrameWriter(keys)

    def frames(self, message: bytes) -> Iterator[bytes]:
        """The frames of a message; all must be sent, in order, before those of the next.

        Raises `ValueError` for an empty message or one of more than 4 MiB.
        """
        if not 0 < len(message) <= MAX_MESSAGE:
            raise ValueError(f"a message has 1 to {MAX_MESSAGE} bytes, got {len(message)}")
        return self._cut(message)

    def _cut(self, message: bytes) -> Iterator[bytes]:
        for start in range(0, len(message), MAX_FRAGMENT):
            end = start + MAX_FRAGMENT
            flags = (FIRST if start == 0 else 0) | (LAST if end >= len(message) else 0)
            yield self._frames.frame(bytes([flags]) + message[start:end])


class MessageReader:
    """Joins frames to messages; holds at most one incomplete message."""

    __slots__ = ("_frames", "_partial", "frames_received")

    def __init__(self, keys: TransportKeys) -> None:
        self._frames = FrameReader(keys)
        self._partial = bytearray()
        self.frames_received = 0
        """How many whole frames have arrived: a sign of life."""

    def receive(self, data: bytes) -> None:
        """Take bytes from the connection; call `next_message` until it has none."""
        self._frames.receive(data)

    def next_message(self) -> bytes | None:
        """The next whole message, `None` if more bytes are needed; raises `FramingError`."""
        while (data := self._frames.next_frame()) is not None:
            self.frames_received += 1
            self._check(data)
            self._partial += memoryview(data)[1:]
            if data[0] & LAST:
                message = bytes(self._partial)
                self._partial = bytearray()
                return message
        return None

    def _check(self, data: bytes) -> None:
        if len(data) < 2:
            raise FramingError("a frame holds no fragment")
        if data[0] & ~(FIRST | LAST):
            raise FramingError(f"flags {data[0]:#04x} are not known")
        if bool(data[0] & FIRST) == bool(self._partial):
            raise FramingError("a fragment is out of place")
        if len(self._partial) + len(data) - 1 > MAX_MESSAGE:
            raise FramingError(f"a message has more than {MAX_MESSAGE} bytes")
