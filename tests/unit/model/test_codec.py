"""The canonical encoding: exact bytes, total parsers."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from keyserver.crypto.curve import GENERATOR, ORDER, Point, Scalar
from keyserver.model.codec import (
    U8,
    U16,
    U32,
    U64,
    CodecError,
    Limit,
    RawPoint,
    decode,
    decode_prefix,
    encode,
)
from keyserver.model.identifiers import KeyId, NodeId


@dataclass(frozen=True)
class Inner:
    a: U8
    b: U16


@dataclass(frozen=True)
class Everything:
    small: U8
    short: U16
    word: U32
    long: U64
    key_id: KeyId
    node: NodeId
    point: Point
    raw: RawPoint
    scalar: Scalar
    blob: bytes
    bounded: Annotated[bytes, Limit(3)]
    inner: Inner
    many: tuple[Inner, ...]
    few: Annotated[tuple[Inner, ...], Limit(1)]
    maybe: Inner | None


def everything() -> Everything:
    node = NodeId.of(GENERATOR)
    inner = Inner(1, 2)
    return Everything(
        1,
        2,
        3,
        4,
        KeyId(b"\x05" * 32),
        node,
        GENERATOR,
        GENERATOR,
        Scalar(6),
        b"seven",
        b"abc",
        inner,
        (inner, Inner(3, 4)),
        (inner,),
        inner,
    )


def test_bytes_are_those_of_the_table() -> None:
    encoded = encode(everything())
    point = GENERATOR.compressed
    expected = b"".join(
        [
            b"\x01",
            b"\x00\x02",
            b"\x00\x00\x00\x03",
            b"\x00" * 7 + b"\x04",
            b"\x05" * 32,
            point,
            point,
            GENERATOR.raw64,
            b"\x00" * 31 + b"\x06",
            b"\x00\x00\x00\x05seven",
            b"\x00\x00\x00\x03abc",
            b"\x01\x00\x02",
            b"\x00\x00\x00\x02\x01\x00\x02\x03\x00\x04",
            b"\x00\x00\x00\x01\x01\x00\x02",
            b"\x00\x00\x00\x01\x01\x00\x02",
        ]
    )
    assert encoded == expected
    assert decode(Everything, encoded) == everything()


def test_every_prefix_and_every_suffix_is_refused() -> None:
    encoded = encode(everything())
    for end in range(len(encoded)):
        with pytest.raises(CodecError):
            decode(Everything, encoded[:end])
    with pytest.raises(CodecError, match="1 bytes too many"):
        decode(Everything, encoded + b"\0")


def test_a_prefix_can_be_read_where_more_follows() -> None:
    value, end = decode_prefix(Inner, memoryview(b"\xff\x01\x00\x02\xff"), 1)
    assert (value, end) == (Inner(1, 2), 4)


@dataclass(frozen=True)
class OnePoint:
    point: Point


@dataclass(frozen=True)
class OneScalar:
    scalar: Scalar


@dataclass(frozen=True)
class OneNode:
    node: NodeId


@dataclass(frozen=True)
class Listed:
    items: tuple[OneScalar, ...]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (OnePoint, b"\x04" + bytes(32)),
        (OnePoint, b"\x02" + b"\xff" * 32),
        (OneNode, b"\x00" * 33),
        (OneScalar, ORDER.to_bytes(32, "big")),
        (OneScalar, b"\xff" * 32),
    ],
)
def test_values_off_the_curve_or_above_the_order_are_refused(kind: type, data: bytes) -> None:
    with pytest.raises(CodecError):
        decode(kind, data)


def test_a_count_is_checked_before_anything_is_allocated() -> None:
    with pytest.raises(CodecError, match="at most 256"):
        decode(Listed, b"\xff\xff\xff\xff" + bytes(64))
    with pytest.raises(CodecError, match="missing"):
        decode(Listed, b"\0\0\x01\0" + bytes(64))


@pytest.mark.parametrize(
    "change",
    [
        {"bounded": b"abcd"},
        {"few": (Inner(1, 2), Inner(1, 2))},
    ],
)
def test_limits_hold_for_writing_too(change: dict[str, Any]) -> None:
    fields = {name: getattr(everything(), name) for name in Everything.__annotations__}
    with pytest.raises(CodecError, match="at most"):
        encode(Everything(**{**fields, **change}))


@dataclass(frozen=True)
class Bounded:
    blob: Annotated[bytes, Limit(2)]


@dataclass(frozen=True)
class BoundedList:
    items: Annotated[tuple[Inner, ...], Limit(1)]


def test_limits_hold_for_reading() -> None:
    with pytest.raises(CodecError, match="at most 2"):
        decode(Bounded, b"\0\0\0\x03abc")
    with pytest.raises(CodecError, match="at most 1"):
        decode(BoundedList, b"\0\0\0\x02" + bytes(6))


@dataclass(frozen=True)
class PlainList:
    items: tuple[Inner, ...]


def test_a_list_without_a_mark_is_as_long_as_a_committee_at_most() -> None:
    longest = PlainList((Inner(1, 2),) * 256)
    assert decode(PlainList, encode(longest)) == longest
    with pytest.raises(CodecError, match="at most 256"):
        encode(PlainList((*longest.items, Inner(1, 2))))
    with pytest.raises(CodecError, match="at most 256"):
        decode(PlainList, b"\0\0\x01\x01" + bytes(3 * 257))


@dataclass(frozen=True)
class Unknown:
    value: dict[str, int]


@dataclass(frozen=True)
class Marked:
    value: Annotated[int, "meaningless"]


def test_a_field_without_an_encoding_is_a_mistake_in_the_source() -> None:
    with pytest.raises(TypeError, match="no encoding"):
        encode(Unknown({}))
    with pytest.raises(TypeError, match="no encoding"):
        encode(Marked(1))
