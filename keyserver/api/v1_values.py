"""Byte strings in the bodies and paths of `/v1`: hexadecimal outside, typed values inside."""

import re
from collections.abc import Callable
from typing import Annotated, Final, TypeVar

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from keyserver.crypto.curve import Point
from keyserver.crypto.errors import InvalidPointError
from keyserver.model.identifiers import Address, FixedBytes, Hash32, KeyId, NodeId, Signature

POINT_FORMAT: Final = "secp256k1-point"
"""JSON Schema format of 64 bytes that are a point of the curve."""

_DIGITS: Final = re.compile(r"[0-9a-fA-F]*")

T = TypeVar("T")
F = TypeVar("F", bound=FixedBytes)


def read_key_id(text: object) -> KeyId:
    """A key id as a path names it: 64 hexadecimal digits, with or without 0x."""
    bare = text.removeprefix("0x") if isinstance(text, str) else ""
    if len(bare) != 2 * KeyId.SIZE or not _DIGITS.fullmatch(bare):
        raise ValueError("must be 64 hexadecimal digits, with or without 0x")
    return KeyId(bytes.fromhex(bare))


def read_bytes(text: object, size: int) -> bytes:
    """Exactly `size` bytes: 0x and hexadecimal digits of any case; raises `ValueError`."""
    digits = text[2:] if isinstance(text, str) and text.startswith("0x") else ""
    if len(digits) != 2 * size or not _DIGITS.fullmatch(digits):
        raise ValueError(f"must be 0x and {2 * size} hexadecimal digits")
    return bytes.fromhex(digits)


def read_point(text: object) -> Point:
    """A point of the curve, `x || y`; raises `ValueError`."""
    try:
        return Point.from_raw64(read_bytes(text, 64))
    except InvalidPointError:
        raise ValueError("must be a point of the curve secp256k1, x then y") from None


def read_node_id(text: object) -> NodeId:
    """A node's public key; raises `ValueError`."""
    return NodeId.of(read_point(text))


def _schema(size: int, **more: str) -> WithJsonSchema:
    pattern = f"^0x[0-9a-fA-F]{{{2 * size}}}$"
    return WithJsonSchema({"type": "string", "pattern": pattern, **more})


def _read_by(kind: type[T], read: Callable[[object], T]) -> PlainValidator:
    """What comes as text is read; what this program made stays as it is."""
    return PlainValidator(lambda value: value if isinstance(value, kind) else read(value))


def _fixed(kind: type[F]) -> PlainValidator:
    return _read_by(kind, lambda text: kind(read_bytes(text, kind.SIZE)))


_HEX: Final = PlainSerializer(lambda value: f"0x{value.hex()}", return_type=str)
_RAW64: Final = PlainSerializer(lambda point: f"0x{point.raw64.hex()}", return_type=str)

PathKeyId = Annotated[
    KeyId,
    PlainValidator(read_key_id),
    WithJsonSchema({"type": "string", "pattern": "^(0x)?[0-9a-fA-F]{64}$"}),
]
PointHex = Annotated[Point, _read_by(Point, read_point), _RAW64, _schema(64, format=POINT_FORMAT)]
NodeIdHex = Annotated[
    NodeId, _read_by(NodeId, read_node_id), _HEX, _schema(64, format=POINT_FORMAT)
]
AddressHex = Annotated[Address, _fixed(Address), _HEX, _schema(Address.SIZE)]
HashHex = Annotated[Hash32, _fixed(Hash32), _HEX, _schema(Hash32.SIZE)]
SignatureHex = Annotated[Signature, _fixed(Signature), _HEX, _schema(Signature.SIZE)]
SealedHex = Annotated[
    bytes, _HEX, WithJsonSchema({"type": "string", "pattern": "^0x([0-9a-f]{2})+$"})
]
"""An ECIES message to the requester; only ever written."""
