import pytest

from keyserver.net.errors import FramingError
from keyserver.net.framing import (
    FIRST,
    LAST,
    MAX_FRAGMENT,
    MAX_FRAME,
    MAX_MESSAGE,
    FrameReader,
    FrameWriter,
    MessageReader,
    MessageWriter,
)
from tests.unit.net.peers import keys_of_both_ends

OURS, THEIRS = keys_of_both_ends()


def read_frames(*frames: bytes) -> MessageReader:
    """A reader that has received frames with this data."""
    writer, reader = FrameWriter(OURS), MessageReader(THEIRS)
    for data in frames:
        reader.receive(writer.frame(data))
    return reader


def round_trip(message: bytes) -> bytes | None:
    writer, reader = MessageWriter(OURS), MessageReader(THEIRS)
    for frame in writer.frames(message):
        reader.receive(frame)
    return reader.next_message()


@pytest.mark.parametrize(
    "size",
    [1, 2, MAX_FRAGMENT - 1, MAX_FRAGMENT, MAX_FRAGMENT + 1, 2 * MAX_FRAGMENT, MAX_MESSAGE],
)
def test_messages_of_every_size_arrive(size: int) -> None:
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert round_trip(message) == message


@pytest.mark.parametrize("size", [0, MAX_MESSAGE + 1])
def test_messages_that_nobody_may_send(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 4194304 bytes"):
        MessageWriter(OURS).frames(bytes(size))


def test_a_frame_has_a_largest_size() -> None:
    reader = FrameReader(THEIRS)
    reader.receive(FrameWriter(OURS).frame(bytes(MAX_FRAME)))
    assert reader.next_frame() == bytes(MAX_FRAME)
    with pytest.raises(ValueError, match="at most 65535"):
        FrameWriter(OURS).frame(bytes(MAX_FRAME + 1))


def test_fragments_carry_flags() -> None:
    opener = FrameReader(THEIRS)
    for frame in MessageWriter(OURS).frames(bytes(2 * MAX_FRAGMENT + 1)):
        opener.receive(frame)
    flags = []
    while (data := opener.next_frame()) is not None:
        flags.append(data[0])
    assert flags == [FIRST, 0, LAST]


def test_several_messages_in_one_piece() -> None:
    writer, reader = MessageWriter(OURS), MessageReader(THEIRS)
    messages = [b"one", b"two", b"three"]
    reader.receive(b"".join(frame for message in messages for frame in writer.frames(message)))
    assert [reader.next_message() for _ in range(4)] == [*messages, None]
    assert reader.frames_received == 3


def test_an_incomplete_message_is_no_message_but_a_sign_of_life() -> None:
    reader = read_frames(bytes([FIRST]) + b"begin")
    assert reader.next_message() is None
    assert reader.frames_received == 1


def test_half_a_frame_is_no_sign_of_life() -> None:
    reader = MessageReader(THEIRS)
    reader.receive(FrameWriter(OURS).frame(bytes([FIRST | LAST, 1]))[:-1])
    assert reader.next_message() is None
    assert reader.frames_received == 0


BAD = {
    "no flags": ([b""], "holds no fragment"),
    "empty fragment": ([bytes([FIRST | LAST])], "holds no fragment"),
    "unknown flag": ([bytes([FIRST | LAST | 4, 0])], "flags 0x07 are not known"),
    "high flag": ([bytes([FIRST | LAST | 0x80, 0])], "flags 0x83 are not known"),
    "middle without a first": ([bytes([0, 0])], "out of place"),
    "last without a first": ([bytes([LAST, 0])], "out of place"),
    "first twice": ([bytes([FIRST, 0]), bytes([FIRST, 0])], "out of place"),
    "whole message inside another": ([bytes([FIRST, 0]), bytes([3, 0])], "out of place"),
}


@pytest.mark.parametrize(("frames", "text"), BAD.values(), ids=BAD.keys())
def test_violations(frames: list[bytes], text: str) -> None:
    reader = read_frames(*frames)
    with pytest.raises(FramingError, match=text):
        reader.next_message()


def test_a_message_that_never_ends_is_refused_at_the_limit() -> None:
    writer, reader = FrameWriter(OURS), MessageReader(THEIRS)
    for number in range(MAX_MESSAGE // MAX_FRAGMENT):
        reader.receive(writer.frame(bytes([0 if number else FIRST]) + bytes(MAX_FRAGMENT)))
        assert reader.next_message() is None
    reader.receive(writer.frame(bytes([0]) + bytes(MAX_FRAGMENT)))
    with pytest.raises(FramingError, match="more than 4194304 bytes"):
        reader.next_message()


@pytest.mark.parametrize("position", [0, 17, 18, 22])
def test_a_changed_byte_is_noticed(position: int) -> None:
    frame = bytearray(FrameWriter(OURS).frame(b"\x03body"))
    frame[position] ^= 1
    reader = MessageReader(THEIRS)
    reader.receive(bytes(frame))
    with pytest.raises(FramingError, match="does not authenticate"):
        reader.next_message()


def test_a_frame_cannot_be_repeated_left_out_or_reflected() -> None:
    writer = FrameWriter(OURS)
    first, second = writer.frame(b"\x03a"), writer.frame(b"\x03b")
    for before, frames in ((1, [first, first]), (0, [second]), (0, [second, first])):
        reader = MessageReader(THEIRS)
        reader.receive(b"".join(frames))
        assert [reader.next_message() for _ in range(before)] == [b"a"] * before
        with pytest.raises(FramingError):
            reader.next_message()
    reflected = MessageReader(OURS)
    reflected.receive(first)
    with pytest.raises(FramingError):
        reflected.next_message()
