"""The handshake, and the frames after it."""

from random import Random

from keyserver.crypto.curve import SecretScalar
from keyserver.model.codec import CodecError
from keyserver.model.identifiers import Hash32, Nonce32
from keyserver.net.cipher import seal
from keyserver.net.errors import FramingError, HandshakeError, LinkError
from keyserver.net.framing import MAX_FRAGMENT, MAX_MESSAGE, FrameWriter, MessageReader
from keyserver.net.handshake import (
    AwaitingActOne,
    AwaitingActThree,
    AwaitingActTwo,
    TransportKeys,
    begin,
)
from keyserver.net.link import LINK_TYPES, Hello, check_hello, message_type, pack, unpack
from keyserver.net.node_key import LocalNodeKey
from tests.fuzz.mutation import altered


def _key(number: int) -> LocalNodeKey:
    return LocalNodeKey(SecretScalar.from_int(number))


class Handshake:
    """Acts that were altered, or made by somebody who knows how, towards both sides."""

    def __init__(self) -> None:
        self._ours, self._theirs = _key(2), _key(3)
        ephemeral, other = SecretScalar.from_int(99), SecretScalar.from_int(98)
        self._initiator, self._act_one = begin(self._theirs, self._ours.public, ephemeral)
        self._responder = AwaitingActOne(self._ours, other)
        self._waiting, self._act_two = self._responder.receive(self._act_one)
        self._act_three, _ = self._initiator.receive(self._act_two)

    def feed(self, random: Random) -> str:
        try:
            return self._tell(random)
        except HandshakeError:
            return "refused"

    def _tell(self, random: Random) -> str:
        valid = (self._act_one, self._act_two, self._act_three)
        match random.randrange(4):
            case 0:
                act = altered(random, self._act_one, valid)
                self._responder.receive(act)
                return self._accepted(act, self._act_one)
            case 1:
                act = altered(random, self._act_two, valid)
                self._initiator.receive(act)
                return self._accepted(act, self._act_two)
            case 2:
                act = altered(random, self._act_three, valid)
                self._waiting.receive(act, lambda _: True)
                return self._accepted(act, self._act_three)
        return self._claimed_identity(random)

    def _accepted(self, act: bytes, valid: bytes) -> str:
        assert act == valid, "an altered act was accepted"
        return "unaltered"

    def _claimed_identity(self, random: Random) -> str:
        """A third act sealed as it must be, around a key that its maker does not have."""
        waiting = self._waiting
        public = altered(random, self._theirs.public.compressed, [])[:33].ljust(33, b"\x02")
        sealed = seal(waiting._sealing_key, 1, waiting._transcript.digest, public)
        act = b"\x00" + sealed + self._act_three[-16:]
        waiting.receive(act, lambda _: True)
        return self._accepted(act, self._act_three)

    def close(self) -> None:
        assert isinstance(self._initiator, AwaitingActTwo)
        assert isinstance(self._waiting, AwaitingActThree)


class Frames:
    """Streams that were altered on their way, and authentic frames of a peer that sends junk."""

    def __init__(self) -> None:
        self._out = TransportKeys(b"\x11" * 32, b"\x22" * 32, b"\x33" * 32)
        self._in = TransportKeys(b"\x22" * 32, b"\x11" * 32, b"\x33" * 32)
        self._cluster = Hash32(b"\x44" * 32)
        hello = Hello(1, self._cluster, self._cluster, Nonce32(bytes(32)), 0, 1, b"fuzz")
        self._messages = [pack(hello), *(bytes([0, kind]) + bytes(60) for kind in range(16))]

    def feed(self, random: Random) -> str:
        writer, reader = FrameWriter(self._out), MessageReader(self._in)
        frames = [writer.frame(self._data(random)) for _ in range(random.randrange(1, 5))]
        stream, is_altered = b"".join(frames), random.random() < 0.4
        if is_altered:
            stream = altered(random, stream, frames)
        try:
            found = self._read(random, reader, stream)
        except FramingError:
            return "altered, refused" if is_altered else "authentic, refused"
        for message in found:
            self._take(message)
        return "message" if found else "nothing yet"

    def _data(self, random: Random) -> bytes:
        flags = random.choice((0, 1, 2, 3, 3, 3, random.randrange(256)))
        message = random.choice(self._messages)
        if random.random() < 0.5:
            message = altered(random, message, self._messages)
        if random.random() < 0.002:
            message = message.ljust(MAX_FRAGMENT, b"\x00")
        return (bytes([flags]) + message)[: MAX_FRAGMENT + 1] if random.random() < 0.98 else b""

    def _read(self, random: Random, reader: MessageReader, stream: bytes) -> list[bytes]:
        found, at = [], 0
        while at < len(stream):
            step = random.choice((1, 17, 18, 19, 70_000))
            reader.receive(stream[at : at + step])
            at += step
            while (message := reader.next_message()) is not None:
                found.append(message)
            assert len(reader._partial) <= MAX_MESSAGE
            assert len(reader._frames._buffer) <= 2 * 70_000
        return found

    def _take(self, message: bytes) -> None:
        try:
            kind = LINK_TYPES.get(message_type(message))
            if kind is not None:
                told = unpack(kind, message)
                if isinstance(told, Hello):
                    check_hello(told, self._cluster)
        except (LinkError, CodecError):
            pass

    def close(self) -> None:
        return
