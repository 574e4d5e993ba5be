"""Bodies and answers of `/v1` (HTTP interface, section 13)."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from keyserver.api.v1_values import AddressHex, HashHex, NodeIdHex, PointHex, SealedHex
from keyserver.model.keys import KeyRecord
from keyserver.sessions.outcomes import ShadowResult

MOST_NODES: Final = 256
"""Nodes of a set (engine design, section 16)."""


class Body(BaseModel):
    """What a client sends: nothing but the fields named, of exactly their types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Answer(BaseModel):
    """What a client is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- bodies -----------------------------------------------------------------------------------


def whole(value: object) -> object:
    """JSON has one kind of number: 1.0 is the integer 1, as JSON Schema says."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


ThresholdField = Annotated[
    int,
    Field(
        ge=0,
        le=65_535,
        description="t: t + 1 nodes are needed to use the key; less than the number of nodes",
        examples=[1],
    ),
    BeforeValidator(whole),
]


class Generate(Body):
    """How many nodes a key needs."""

    threshold: ThresholdField


class Store(Body):
    """A document key, encrypted to the server key."""

    common_point: Annotated[PointHex, Field(description="k·G for a secret k of your own")]
    encrypted_point: Annotated[
        PointHex, Field(description="the document key plus k times the server key")
    ]


class Nothing(Body):
    """No fields: the body is empty, or `{}`."""


class Exclusions(Body):
    """Nodes that must not take part."""

    exclude: Annotated[
        list[NodeIdHex],
        Field(
            max_length=MOST_NODES,
            description="ids of nodes whose shadows did not fit their commitments",
        ),
    ] = []


class Sign(Body):
    """What to sign, and how."""

    scheme: Annotated[
        Literal["schnorr", "frost", "ecdsa"],
        Field(
            description="the original's Schnorr form, RFC 9591 (secp256k1, SHA-256), or ECDSA",
            examples=["ecdsa"],
        ),
    ]
    message_hash: Annotated[
        HashHex,
        Field(description="32 bytes, signed as they are", examples=[f"0x{'4d' * 32}"]),
    ]


# --- answers ----------------------------------------------------------------------------------


class Node(Answer):
    """A node, and the domain under which requests to its network are signed."""

    node_id: Annotated[NodeIdHex, Field(description="the node's public key")]
    address: Annotated[AddressHex, Field(description="the node's account")]
    chain_id: Annotated[int, Field(description="of the signing domain; 0 without a chain")]
    verifying_contract: Annotated[AddressHex, Field(description="of the signing domain")]
    version: Annotated[str, Field(description="of the program")]


class ServerKey(Answer):
    """A server key."""

    public: Annotated[PointHex, Field(description="its public key")]
    threshold: ThresholdField
    author: Annotated[
        AddressHex, Field(description="whose signature generated it; compare it with your account")
    ]

    @classmethod
    def of(cls, record: KeyRecord) -> "ServerKey":
        """What a client is told of a key."""
        return cls(public=record.public, threshold=record.threshold, author=record.author)


class Stored(Answer):
    """Done; there is nothing to tell."""


class SealedDocumentKey(Answer):
    """A document key."""

    encrypted_key: Annotated[
        SealedHex, Field(description="ECIES to your public key, 177 bytes; plaintext x, y")
    ]


class Shadow(Answer):
    """A document key that only the requester can put together."""

    decrypted_secret: Annotated[PointHex, Field(description="the masked document key")]
    common_point: Annotated[PointHex, Field(description="what the sum of the shadows is times")]
    decrypt_shadows: Annotated[
        tuple[SealedHex, ...],
        Field(description="t + 1 scalars of 32 bytes, each in an ECIES message to your public key"),
    ]
    shadow_commitments: Annotated[
        tuple[PointHex, ...],
        Field(description="each scalar times G, in the same order: compare after decrypting"),
    ]
    shadow_nodes: Annotated[
        tuple[NodeIdHex, ...], Field(description="who made each; name those that lied in `exclude`")
    ]

    @classmethod
    def of(cls, shadow: ShadowResult) -> "Shadow":
        """What a client is told of a retrieval."""
        return cls(
            decrypted_secret=shadow.decrypted_secret,
            common_point=shadow.common_point,
            decrypt_shadows=shadow.shadows,
            shadow_commitments=shadow.shadow_commitments,
            shadow_nodes=shadow.nodes,
        )


class SealedSignature(Answer):
    """A signature."""

    encrypted_signature: Annotated[
        SealedHex,
        Field(
            description="ECIES to your public key, 177 bytes (schnorr) or 178; plaintext c, s "
            "(schnorr, 32 bytes each), R compressed, z (frost, 33 and 32) or r, s, v (ecdsa, 32, "
            "32 and 1: v is 0 or 1, s at most half of the order)"
        ),
    ]


class ErrorBody(Answer):
    """What went wrong."""

    code: Annotated[str, Field(description="a constant name", examples=["ACCESS_DENIED"])]
    message: Annotated[str, Field(description="for people: what it means and what to do")]
    retriable: Annotated[
        bool, Field(description="whether to repeat it later, with a new credential")
    ]


class Error(Answer):
    """The body of every answer but 200."""

    error: ErrorBody
