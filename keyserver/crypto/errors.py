"""Errors of the cryptographic layer.

All of them are final and carry the name the HTTP interface uses for a key, point, signature or
ciphertext that is not what it should be. None of them ever contains a secret value.
"""

from typing import TYPE_CHECKING

from keyserver.errors import KeyServerError

if TYPE_CHECKING:
    from keyserver.crypto.curve import Point, Scalar


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


class InvalidShareError(CryptoError):
    """A share that does not lie on the committed polynomial."""


class InvalidDealError(CryptoError):
    """A deal that was relayed wrongly or is not made as it must be; this alone proves no guilt."""

    def __init__(self, message: str, dealer: "Point | None" = None) -> None:
        super().__init__(message)
        self.dealer = dealer
        """The node whose deal it is; `None` if it is the sum of all deals that is wrong."""


class InvalidSignersError(CryptoError):
    """A group of signers that must not sign together."""


class InvalidPartsError(CryptoError):
    """Parts of a joint result that are wrong, each by its maker's own fault."""

    def __init__(self, message: str, places: "tuple[Scalar, ...]") -> None:
        super().__init__(f"{message}, from {len(places)} of the members")
        self.places = places
        """The places (x-coordinates) of those who made them."""


class SpentError(CryptoError):
    """A secret that works once, and has been used."""


class BoxError(CryptoError):
    """A sealed box that does not open. To a client all kinds look the same."""

    code = "STORAGE_CORRUPT"


class TruncatedBoxError(BoxError):
    """A box that is shorter than any box can be."""


class UnknownBoxFormatError(BoxError):
    """A box of a format or algorithm this version does not know."""


class UnknownTermError(BoxError):
    """A box sealed under a term key that is not at hand."""


class BoxTagError(BoxError):
    """A box that was altered, moved to another place, or sealed under another key."""


class MnemonicError(CryptoError):
    """Words that are no share, or shares that do not fit together."""

    code = "SHARE_MALFORMED"


class InvalidMnemonicError(MnemonicError):
    """A list of words whose checksum, padding or thresholds are wrong."""


class UnknownWordError(MnemonicError):
    """A word that is not in the list of words."""

    def __init__(self, message: str, place: int) -> None:
        super().__init__(message)
        self.place = place
        """Which word, counted from 1."""


class WordCountError(MnemonicError):
    """A number of words that no share has."""

    def __init__(self, message: str, count: int) -> None:
        super().__init__(message)
        self.count = count
        """How many there are."""


class InvalidShareSetError(MnemonicError):
    """Shares that do not give a secret: of several sets, too few or too many, or wrong."""
