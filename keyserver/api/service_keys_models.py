"""Bodies and answers of `/v1/keys` (sealing, C15 and C18)."""

import base64
import binascii
from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import Field, PlainValidator, WithJsonSchema

from keyserver.api.path_names import decode_name
from keyserver.api.v1_models import Answer, Body
from keyserver.sealing.errors import BadNameError
from keyserver.sealing.service_keys.data import MOST_DATA, Ciphertext
from keyserver.sealing.service_keys.model import ServiceKey, ServiceLine, Version
from keyserver.sealing.service_keys.names import check_key_id, check_name

LARGEST_PAGE: Final = 1000
MOST_BASE64: Final = -(-MOST_DATA // 3) * 4
"""Characters."""


def _read_service(text: object) -> str:
    """The name of a service, as a path has it; raises `ValueError`."""
    try:
        return check_name("service", decode_name("service", str(text)))
    except BadNameError as error:
        raise ValueError(str(error).removeprefix("service: ")) from None


def _read_key_id(text: object) -> str:
    try:
        return check_key_id(str(text))
    except BadNameError as error:
        raise ValueError(str(error).removeprefix("id: ")) from None


def _read_base64(text: object) -> bytes:
    """Bytes in base64 with padding; raises `ValueError`."""
    if not isinstance(text, str) or len(text) > MOST_BASE64:
        raise ValueError(f"must be base64 of {MOST_DATA} bytes at most")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64 with padding") from None


def _read_ciphertext(text: object) -> Ciphertext:
    try:
        return Ciphertext.read(str(text))
    except BadNameError as error:
        raise ValueError(str(error).removeprefix("ciphertext: ")) from None


Service = Annotated[
    str,
    PlainValidator(_read_service),
    WithJsonSchema({"type": "string", "minLength": 1}),
    Path(description="the name of the service: 1 to 256 bytes of UTF-8, percent-encoded"),
]
KeyUuid = Annotated[
    str,
    PlainValidator(_read_key_id),
    WithJsonSchema({"type": "string", "format": "uuid"}),
    Path(description="the id of a key"),
]
Limit = Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="entries at most")]
Base64Bytes = Annotated[
    bytes,
    PlainValidator(_read_base64),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "maxLength": MOST_BASE64}),
]


# --- bodies -----------------------------------------------------------------------------------


class Encrypt(Body):
    """Data to encrypt."""

    plaintext: Annotated[Base64Bytes, Field(description="64 KiB at most", examples=["aGVsbG8="])]
    aad: Annotated[
        Base64Bytes, Field(description="associated data: needed again to decrypt, not contained")
    ] = b""


class Decrypt(Body):
    """Data that was encrypted here."""

    ciphertext: Annotated[
        Ciphertext,
        PlainValidator(_read_ciphertext),
        WithJsonSchema({"type": "string"}),
        Field(description="`ksb1.<key id>.<base64url>`"),
    ]
    aad: Annotated[Base64Bytes, Field(description="the same as when it was encrypted")] = b""


# --- answers ----------------------------------------------------------------------------------

Milliseconds = Annotated[int, Field(description="milliseconds since 1970")]


class Key(Answer):
    """A service key."""

    id: Annotated[str, Field(description="keep it with what you encrypt")]
    key: Annotated[str, Field(description="32 bytes, 64 hexadecimal digits")]
    service: str
    owner: Annotated[str, Field(description="whose key it is; compare it with whom you meant")]
    created_at: Milliseconds
    expires_at: Milliseconds
    current: Annotated[
        bool, Field(description="false: it still decrypts, but encrypt with a newer one")
    ]

    @classmethod
    def of(cls, key: ServiceKey) -> "Key":
        """What a client is told of a key: everything."""
        version = key.version
        return cls(
            id=version.key_id,
            key=key.key.expose().hex(),
            service=version.pair.service,
            owner=version.pair.owner,
            created_at=version.created_at,
            expires_at=version.expires_at,
            current=key.is_current,
        )


class ServiceEntry(Answer):
    """A service that the owner has keys for."""

    service: str
    keys: Annotated[int, Field(description="versions")]
    expires_at: Milliseconds

    @classmethod
    def of(cls, line: ServiceLine) -> "ServiceEntry":
        """What a client is told of a service."""
        return cls(service=line.service, keys=line.keys, expires_at=line.expires_at)


class ServiceList(Answer):
    """Services of an owner."""

    owner: str
    services: list[ServiceEntry]
    next_after: Annotated[str | None, Field(description="`after` of the next page, if any")]


class VersionEntry(Answer):
    """A version of a service's key, without the key."""

    id: str
    seq: Annotated[int, Field(description="number of the version, from 1")]
    created_at: Milliseconds
    expires_at: Milliseconds
    origin: Annotated[str, Field(description="`made` here, or `imicros`")]

    @classmethod
    def of(cls, version: Version) -> "VersionEntry":
        """What a client is told of a version."""
        return cls(
            id=version.key_id,
            seq=version.seq,
            created_at=version.created_at,
            expires_at=version.expires_at,
            origin=version.origin,
        )


class VersionList(Answer):
    """Versions of a service's key, the newest first."""

    owner: str
    service: str
    versions: list[VersionEntry]
    next_before: Annotated[int | None, Field(description="`before` of the next page, if any")]


class Encrypted(Answer):
    """Data, encrypted."""

    ciphertext: str


class Decrypted(Answer):
    """Data, decrypted."""

    plaintext: Annotated[str, Field(description="base64")]
