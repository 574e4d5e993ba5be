"""Requests that an account signs: one node, one method, one path, one body, one minute.

    Authorization: Keyserver-Eth ts=<unix seconds>,nonce=<32 hex>,sig=0x<130 hex>

Sealing, C16.1, which fixes every byte. The signature is that of an EIP-191 personal message; the
address is recovered from it, not sent. The id of the node is in the text, so that no operator can
repeat a client's request at another node.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from keyserver.crypto.curve import ORDER, SecretScalar, recover, sign_digest
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.crypto.hashing import address_of, keccak256, sha256
from keyserver.crypto.randomness import RandomSource
from keyserver.model.identifiers import Address, NodeId
from keyserver.sealing.errors import UnauthenticatedError
from keyserver.sealing.ports import SignedRequest

SCHEME: Final = "Keyserver-Eth"
"""The authentication scheme, as the header names it."""

FORM: Final = f"{SCHEME} ts=<unix seconds>,nonce=<32 hex>,sig=0x<130 hex>"
"""The whole header, for messages and descriptions."""

NONCE_SIZE: Final = 16
"""Bytes of a nonce."""

_TITLE: Final = "keyserver-request-v1"
_PARAMETERS: Final = re.compile(
    r"ts=(0|[1-9][0-9]{0,11}),nonce=([0-9a-f]{32}),sig=0x([0-9a-fA-F]{130})"
)
_HIGHEST_LOW_S: Final = ORDER // 2
_ETHEREUM_V: Final = 27


@dataclass(frozen=True, slots=True)
class RequestSignature:
    """What the header holds."""

    timestamp: int
    """Unix seconds, by the clock of the signer."""
    nonce: bytes
    """16 bytes."""
    signature: bytes = field(repr=False)
    """`r || s || v`, 65 bytes; v is 0, 1, 27 or 28."""


def read_signature(parameters: str) -> RequestSignature:
    """Read what follows the scheme; raises `UnauthenticatedError` for another form."""
    match = _PARAMETERS.fullmatch(parameters)
    if match is None:
        raise UnauthenticatedError(f"authorization: must have the form {FORM}")
    timestamp, nonce, signature = match.groups()
    return RequestSignature(int(timestamp), bytes.fromhex(nonce), bytes.fromhex(signature))


def signer_of(node_id: NodeId, request: SignedRequest, signed: RequestSignature) -> Address:
    """The account that signed this request to this node.

    A signature of anything else belongs to some account too: one that nobody has. Raises
    `UnauthenticatedError` for a signature that belongs to none, or whose s is not the lower one.
    """
    text = request_text(
        node_id, request.method, request.target, request.body, signed.timestamp, signed.nonce
    )
    return recover_personal(text, signed.signature)


def sign_request(
    key: SecretScalar,
    node_id: NodeId,
    method: str,
    target: str,
    body: bytes,
    *,
    now: int,
    random: RandomSource,
) -> str:
    """The value of the header `Authorization` for one request.

    `target`: path and query as they are sent; `now`: Unix seconds. `node_id` has to be known from
    elsewhere than the node that is asked: one that names another's could use the request there.
    """
    nonce = random.bytes(NONCE_SIZE)
    text = request_text(node_id, method, target, body, now, nonce)
    return f"{SCHEME} ts={now},nonce={nonce.hex()},sig=0x{sign_personal(key, text).hex()}"


def request_text(
    node_id: NodeId, method: str, target: str, body: bytes, timestamp: int, nonce: bytes
) -> str:
    """The seven lines that are signed."""
    lines = (
        _TITLE,
        node_id.hex(),
        method,
        target,
        sha256(body).hex(),
        str(timestamp),
        nonce.hex(),
    )
    return "\n".join(lines)


# --- personal messages (EIP-191) --------------------------------------------------------------


def sign_personal(key: SecretScalar, text: str) -> bytes:
    """Sign a text as wallets do: `r || s || v`, low s, v 27 or 28."""
    signature = sign_digest(key, _personal_digest(text))
    return signature[:64] + bytes([signature[64] + _ETHEREUM_V])


def recover_personal(text: str, signature: bytes) -> Address:
    """The account whose personal signature of the text this is.

    Raises `UnauthenticatedError` unless it has 65 bytes, the lower s, a v of 0, 1, 27 or 28, and
    belongs to some account.
    """
    if len(signature) != 65:
        raise UnauthenticatedError("signature: must have 65 bytes")
    if int.from_bytes(signature[32:64], "big") > _HIGHEST_LOW_S:
        raise UnauthenticatedError("signature: s must be the lower of the two")
    v = signature[64] - _ETHEREUM_V if signature[64] >= _ETHEREUM_V else signature[64]
    if v > 1:
        raise UnauthenticatedError("signature: v must be 27 or 28")
    try:
        signer = recover(_personal_digest(text), signature[:64] + bytes([v]))
    except InvalidSignatureError:
        raise UnauthenticatedError("signature: belongs to no account") from None
    return Address(address_of(signer.raw64))


def _personal_digest(text: str) -> bytes:
    message = text.encode()
    return keccak256(b"\x19Ethereum Signed Message:\n%d" % len(message) + message)
