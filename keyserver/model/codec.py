"""The one canonical binary encoding, for what is hashed, signed, stored and sent.

Engine design, section 2. Encoder and decoder of a frozen dataclass follow from its annotated
fields, in their order; there is no schema beside the class. Parsers are total: exact length, no
trailing bytes, counts checked against the bytes that are left before anything is allocated.

    @dataclass(frozen=True)
    class CommitteeMember:
        node: NodeId                        # 33-byte point of the node key
        x: Scalar                           # 32 bytes

    encode(member); decode(CommitteeMember, data)
"""

import struct
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

from keyserver.crypto.curve import Point, Scalar
from keyserver.crypto.errors import CryptoError
from keyserver.errors import KeyServerError
from keyserver.model.identifiers import FixedBytes, NodeId

T = TypeVar("T")


class CodecError(KeyServerError):
    """Bytes that are not the encoding of the wanted type."""

    code = "InvalidMessage"


class UInt:
    """Marks an `int` field as an unsigned big-endian integer of `size` bytes."""

    def __init__(self, size: int) -> None:
        self.size = size


class Limit:
    """Marks a byte string or a tuple field with the most bytes or items it may have."""

    def __init__(self, most: int) -> None:
        self.most = most


class Uncompressed:
    """Marks a `Point` field as written `x || y`, 64 bytes, instead of 33."""


U8 = Annotated[int, UInt(1)]
U16 = Annotated[int, UInt(2)]
U32 = Annotated[int, UInt(4)]
U64 = Annotated[int, UInt(8)]
RawPoint = Annotated[Point, Uncompressed()]
"""A point written as `raw64`."""

Encoder = Callable[[Any, bytearray], None]
Buffer = bytes | memoryview
Decoder = Callable[[Buffer, int], tuple[Any, int]]
Codec = tuple[Encoder, Decoder, int]
"""Encoder, decoder and the least number of bytes of a value."""

NO_LIMIT: Final = 2**32 - 1

MAX_ITEMS: Final = 256
"""Items of a list that is not marked with a `Limit` of its own: as many as a committee has members.

A longer one is refused before its items are looked at: to parse points takes long.
"""

_CODECS: dict[Any, Codec] = {}


def encode(value: object) -> bytes:
    """The canonical bytes of a dataclass instance."""
    out = bytearray()
    _codec_of(type(value))[0](value, out)
    return bytes(out)


def decode(kind: type[T], data: bytes) -> T:
    """Parse exactly `data` as a `kind`; raises `CodecError`."""
    value, end = decode_prefix(kind, data, 0)
    if end != len(data):
        raise CodecError(f"{kind.__name__}: {len(data) - end} bytes too many")
    return value


def decode_prefix(kind: type[T], data: Buffer, start: int) -> tuple[T, int]:
    """Parse a `kind` at `start`; returns it and where it ends."""
    try:
        value, end = _codec_of(kind)[1](data, start)
    except (CryptoError, ValueError) as problem:
        raise CodecError(f"{kind.__name__}: {problem}") from problem
    return value, end


def _take(data: Buffer, start: int, size: int) -> int:
    end = start + size
    if end > len(data):
        raise CodecError(f"{end - len(data)} bytes are missing")
    return end


def _codec_of(annotation: Any) -> Codec:
    known = _CODECS.get(annotation)
    if known is None:
        known = _CODECS[annotation] = _build(annotation)
    return known


def _build(annotation: Any) -> Codec:
    if get_origin(annotation) is Annotated:
        return _annotated(*get_args(annotation))
    if get_origin(annotation) is tuple:
        return _vector(annotation, MAX_ITEMS)
    if get_origin(annotation) in (Union, UnionType):
        return _optional(annotation)
    if annotation is Point:
        return _POINT
    if annotation is Scalar:
        return _SCALAR
    if annotation is NodeId:
        return _NODE
    if annotation is bytes:
        return _byte_string(NO_LIMIT)
    if isinstance(annotation, type) and issubclass(annotation, FixedBytes):
        return _fixed(annotation)
    if isinstance(annotation, type) and is_dataclass(annotation):
        return _dataclass(annotation)
    raise TypeError(f"no encoding for {annotation!r}")


def _annotated(inner: Any, mark: Any) -> Codec:
    match mark:
        case UInt():
            return _unsigned(mark.size)
        case Uncompressed():
            return _RAW_POINT
        case Limit() if inner is bytes:
            return _byte_string(mark.most)
        case Limit():
            return _vector(inner, mark.most)
    raise TypeError(f"no encoding for {inner!r} marked {mark!r}")


def _unsigned(size: int) -> Codec:
    def write(value: int, out: bytearray) -> None:
        out += value.to_bytes(size, "big")

    def read(data: Buffer, start: int) -> tuple[int, int]:
        end = _take(data, start, size)
        return int.from_bytes(data[start:end], "big"), end

    return write, read, size


def _fixed(kind: type[FixedBytes]) -> Codec:
    size = kind.SIZE
    make = bytes.__new__  # the length is right by construction

    def write(value: bytes, out: bytearray) -> None:
        out += value

    def read(data: Buffer, start: int) -> tuple[FixedBytes, int]:
        end = _take(data, start, size)
        return make(kind, data[start:end]), end

    return write, read, size


def _byte_string(most: int) -> Codec:
    def write(value: bytes, out: bytearray) -> None:
        if len(value) > most:
            raise CodecError(f"byte string of {len(value)} bytes, at most {most}")
        out += struct.pack(">I", len(value))
        out += value

    def read(data: Buffer, start: int) -> tuple[bytes, int]:
        begin = _take(data, start, 4)
        length = int.from_bytes(data[start:begin], "big")
        if length > most:
            raise CodecError(f"byte string of {length} bytes, at most {most}")
        end = _take(data, begin, length)
        return bytes(data[begin:end]), end

    return write, read, 4


def _vector(annotation: Any, most: int) -> Codec:
    write_item, read_item, least = _codec_of(get_args(annotation)[0])

    def write(value: tuple[Any, ...], out: bytearray) -> None:
        if len(value) > most:
            raise CodecError(f"list of {len(value)} items, at most {most}")
        out += struct.pack(">I", len(value))
        for item in value:
            write_item(item, out)

    def read(data: Buffer, start: int) -> tuple[tuple[Any, ...], int]:
        at = _take(data, start, 4)
        count = int.from_bytes(data[start:at], "big")
        if count > most:
            raise CodecError(f"list of {count} items, at most {most}")
        _take(data, at, count * least)
        items = []
        for _ in range(count):
            item, at = read_item(data, at)
            items.append(item)
        return tuple(items), at

    return write, read, 4


def _optional(annotation: Any) -> Codec:
    """`X | None`: a list of at most one item."""
    (inner,) = (arg for arg in get_args(annotation) if arg is not type(None))
    write_list, read_list, least = _vector(tuple[inner, ...], 1)  # type: ignore[valid-type]

    def write(value: Any, out: bytearray) -> None:
        write_list(() if value is None else (value,), out)

    def read(data: Buffer, start: int) -> tuple[Any, int]:
        items, end = read_list(data, start)
        return (items[0] if items else None), end

    return write, read, least


def _dataclass(kind: type) -> Codec:
    hints = get_type_hints(kind, include_extras=True)
    columns = [(field.name, _codec_of(hints[field.name])) for field in fields(kind)]
    writers = [(name, codec[0]) for name, codec in columns]
    readers = [codec[1] for _, codec in columns]

    def write(value: Any, out: bytearray) -> None:
        for name, write_field in writers:
            write_field(getattr(value, name), out)

    def read(data: Buffer, start: int) -> tuple[Any, int]:
        values = []
        for read_field in readers:
            value, start = read_field(data, start)
            values.append(value)
        return kind(*values), start

    return write, read, sum(codec[2] for _, codec in columns)


def _write_point(value: Point, out: bytearray) -> None:
    out += value.compressed


def _read_point(data: Buffer, start: int) -> tuple[Point, int]:
    end = _take(data, start, 33)
    return Point.parse(bytes(data[start:end])), end


def _write_raw_point(value: Point, out: bytearray) -> None:
    out += value.raw64


def _read_raw_point(data: Buffer, start: int) -> tuple[Point, int]:
    end = _take(data, start, 64)
    return Point.from_raw64(bytes(data[start:end])), end


def _write_scalar(value: Scalar, out: bytearray) -> None:
    out += value.to_bytes()


def _read_scalar(data: Buffer, start: int) -> tuple[Scalar, int]:
    end = _take(data, start, 32)
    return Scalar.from_bytes(bytes(data[start:end])), end


def _write_node(value: NodeId, out: bytearray) -> None:
    out.append(2 | (value[63] & 1))
    out += value[:32]


def _read_node(data: Buffer, start: int) -> tuple[NodeId, int]:
    end = _take(data, start, 33)
    return _node_from_compressed(bytes(data[start:end])), end


@lru_cache(maxsize=4096)
def _node_from_compressed(data: bytes) -> NodeId:
    return NodeId.of(Point.parse(data))


_POINT: Codec = (_write_point, _read_point, 33)
_RAW_POINT: Codec = (_write_raw_point, _read_raw_point, 64)
_SCALAR: Codec = (_write_scalar, _read_scalar, 32)
_NODE: Codec = (_write_node, _read_node, 33)
