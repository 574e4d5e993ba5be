"""Junk never brings anything but the declared errors; whatever is sent arrives, however cut."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.crypto.curve import SecretScalar
from keyserver.net.errors import FramingError, HandshakeError, LinkError
from keyserver.net.framing import MAX_FRAGMENT, FrameWriter, MessageReader, MessageWriter
from keyserver.net.handshake import AwaitingActOne, begin
from keyserver.net.link import LINK_TYPES, message_type, unpack
from tests.unit.net.peers import keys_of_both_ends, node_key

OURS, THEIRS = keys_of_both_ends()
EPHEMERAL = SecretScalar.from_int(99)
JUNK = st.binary(max_size=80) | st.binary(min_size=49, max_size=49).map(lambda b: b"\x00" + b)
BORDERS = st.sampled_from([1, MAX_FRAGMENT, 2 * MAX_FRAGMENT, 3 * MAX_FRAGMENT])


@given(JUNK)
def test_acts(junk: bytes) -> None:
    initiator, act_one = begin(node_key(1), node_key(2).public, EPHEMERAL)
    with pytest.raises(HandshakeError):
        initiator.receive(junk)
    with pytest.raises(HandshakeError):
        AwaitingActOne(node_key(2), EPHEMERAL).receive(junk)
    responder, _ = AwaitingActOne(node_key(2), EPHEMERAL).receive(act_one)
    with pytest.raises(HandshakeError):
        responder.receive(junk.ljust(66, b"\x00"), lambda _: True)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_raw_bytes_after_the_handshake(pieces: list[bytes]) -> None:
    reader = MessageReader(THEIRS)
    for piece in pieces:
        reader.receive(piece)
        try:
            assert reader.next_message() is None
        except FramingError:
            return
    assert sum(map(len, pieces)) < 18


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_authentic_frames_of_junk(frames: list[bytes]) -> None:
    writer, reader = FrameWriter(OURS), MessageReader(THEIRS)
    reader.receive(b"".join(map(writer.frame, frames)))
    joined = b"".join(frame[1:] for frame in frames)
    try:
        while (message := reader.next_message()) is not None:
            assert message
            assert message in joined
    except FramingError:
        pass


@given(st.binary(max_size=300) | st.binary(max_size=200).map(lambda b: b"\x00\x01" + bytes(32) + b))
def test_link_messages(junk: bytes) -> None:
    for kind in LINK_TYPES.values():
        try:
            assert message_type(junk) == unpack(kind, junk).TYPE
        except LinkError:
            continue


@settings(max_examples=40)
@given(BORDERS, st.integers(-3, 3), st.data())
def test_fragments_however_cut(border: int, offset: int, data: st.DataObject) -> None:
    sizes = [max(1, border + offset), data.draw(st.integers(1, 300))]
    messages = [bytes([number]) * size for number, size in enumerate(sizes)]
    writer, reader = MessageWriter(OURS), MessageReader(THEIRS)
    stream = b"".join(frame for message in messages for frame in writer.frames(message))
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    received = []
    for start, end in pairwise([0, *sorted(cuts), len(stream)]):
        reader.receive(stream[start:end])
        while (message := reader.next_message()) is not None:
            received.append(message)
    assert received == messages
