"""Errors of the cryptographic layer.

All of them are final and carry the name the HTTP interface uses for a key, point, signature or
ciphertext that is not what it should be. None of them ever contains a secret value.
"""

from keyserver.errors import KeyServerError


class CryptoError(KeyServerError):
    """A value that cannot be used, or a check that failed, in a computation with keys."""

    code = "EthKey"


class InvalidPointError(CryptoError):
    """Bytes that are no curve point, or a sum at infinity where a point is needed."""


class InvalidScalarError(CryptoError):
    """A number outside its range, or a secret that became zero."""


class InvalidSignatureError(CryptoError):
    """A signature that is malformed, or not made by the expected key."""


class InvalidProofError(CryptoError):
    """A proof that is malformed or does not hold for its statement."""


class DecryptionError(CryptoError):
    """A ciphertext that is malformed or was not made for this key."""
