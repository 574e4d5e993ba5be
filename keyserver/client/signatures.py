"""Signatures of server keys, checked before anybody gets them; plain computation."""

from dataclasses import dataclass
from typing import Final

from keyserver.crypto.curve import Point, verify_digest
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.crypto.hashing import address_of
from keyserver.crypto.schnorr import Form, verify
from keyserver.model.identifiers import Address, Hash32
from keyserver.model.requests import SigningScheme

_FORMS: Final = {SigningScheme.SCHNORR: Form.ORIGINAL, SigningScheme.FROST: Form.RFC9591}

_ETHEREUM_V: Final = 27
"""What Ethereum adds to the recovery id."""


@dataclass(frozen=True, slots=True)
class ServerSignature:
    """A signature of a server key; `check_signature` makes them."""

    scheme: SigningScheme
    public: Point
    """The server key."""
    message: Hash32
    """What is signed, as it is."""
    encoded: bytes
    """`c || s` (Schnorr, 64 bytes), `R || z` (FROST, 65) or `r || s || v` (ECDSA, 65; v 0 or 1)."""

    @property
    def for_ethereum(self) -> bytes:
        """An ECDSA signature as contracts and wallets take it: v is 27 or 28.

        Raises `ValueError` for the other schemes.
        """
        if self.scheme is not SigningScheme.ECDSA:
            raise ValueError("only ECDSA signatures have a form for Ethereum")
        return self.encoded[:64] + bytes([self.encoded[64] + _ETHEREUM_V])

    @property
    def signer(self) -> Address:
        """The server key's own account: whose signature this is for a contract."""
        return Address(address_of(self.public.raw64))


def check_signature(
    scheme: SigningScheme, public: Point, message: Hash32, encoded: bytes
) -> ServerSignature:
    """The signature, if it is one; raises `InvalidSignatureError`.

    ECDSA signatures must have the lower s; v may be a recovery id, or 27 more.
    """
    if scheme is SigningScheme.ECDSA:
        encoded = _with_recovery_id(encoded)
        verify_digest(message, encoded, public)
    else:
        verify(_FORMS[scheme], public, message, encoded)
    return ServerSignature(scheme, public, message, encoded)


def _with_recovery_id(encoded: bytes) -> bytes:
    if len(encoded) != 65:
        raise InvalidSignatureError(f"signature: need 65 bytes, got {len(encoded)}")
    v = encoded[64]
    return encoded[:64] + bytes([v - _ETHEREUM_V if v >= _ETHEREUM_V else v])
