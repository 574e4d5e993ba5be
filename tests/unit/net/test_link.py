import pytest

from keyserver.model.codec import CodecError
from keyserver.model.identifiers import Hash32
from keyserver.net.errors import LinkError
from keyserver.net.link import (
    FIRST_ENGINE_TYPE,
    LINK_TYPES,
    Hello,
    LinkMessage,
    Ping,
    Pong,
    check_hello,
    message_type,
    pack,
    unpack,
)
from tests.unit.net.peers import CLUSTER, hello


def test_type_numbers_are_pinned() -> None:
    assert {0x0001: Hello, 0x0002: Ping, 0x0003: Pong} == LINK_TYPES
    assert all(number < FIRST_ENGINE_TYPE == 0x10 for number in LINK_TYPES)


def test_bytes_are_pinned() -> None:
    assert pack(Ping(5)).hex() == "0002" + "00" * 32 + "0000000000000005"
    assert pack(Pong(2**64 - 1)).hex() == "0003" + "00" * 32 + "ff" * 8
    names = "07" * 32 + "08" * 32 + "01" * 32
    numbers = "0000000000000000" + "000000006553f100"
    expected = "0001" + "00" * 32 + "0001" + names + numbers + "00000002" + b"ks".hex()
    assert pack(hello(software=b"ks")).hex() == expected


@pytest.mark.parametrize("message", [hello(software=b"x" * 64), Ping(1), Pong(2)])
def test_round_trip(message: LinkMessage) -> None:
    assert unpack(type(message), pack(message)) == message


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"", "0 bytes"),
        (b"\x00\x02" + bytes(31), "33 bytes"),
        (pack(Pong(1)), "expected Ping"),
        (pack(Ping(1))[:-1], "missing"),
        (pack(Ping(1)) + b"\x00", "too many"),
        (b"\x00\x02" + b"\x01" + bytes(31) + bytes(8), "names a session"),
    ],
)
def test_malformed(message: bytes, text: str) -> None:
    with pytest.raises(LinkError, match=text):
        unpack(Ping, message)


def test_software_is_limited() -> None:
    with pytest.raises(CodecError):
        pack(hello(software=b"x" * 65))
    whole = pack(hello(software=b"x" * 64))
    longer = whole[:-68] + (65).to_bytes(4, "big") + b"x" * 65
    with pytest.raises(LinkError, match="65 bytes, at most 64"):
        unpack(Hello, longer)


def test_only_link_types_must_not_name_a_session() -> None:
    assert message_type(b"\x01\x00" + bytes([9]) * 32) == 0x0100
    assert message_type(b"\x00\x10" + bytes(32)) == 0x0010
    with pytest.raises(LinkError, match="0x00ff names a session"):
        message_type(b"\x00\xff" + bytes([9]) * 32)


def test_hello_of_another_protocol_or_cluster() -> None:
    check_hello(hello(), CLUSTER)
    with pytest.raises(LinkError, match="protocol 2, not 1"):
        check_hello(hello(protocol=2), CLUSTER)
    with pytest.raises(LinkError, match="cluster 0909"):
        check_hello(hello(cluster_id=Hash32(bytes([9]) * 32)), CLUSTER)
