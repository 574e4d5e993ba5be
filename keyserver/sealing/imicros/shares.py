"""Shares as secrets.js-grempe 2.0.0 writes them, and the master key in them (sealing, A4).

    "8" || id, 2 digits || 80 bytes, 160 digits          163 hexadecimal digits

The field has 256 elements and the polynomial x^8 + x^4 + x^3 + x^2 + 1. The 80 bytes at place 0 are
fifteen zeros, a one, and the 64 bytes of the key. A digit mistyped in the last 64 bytes makes
another key just as well formed, so no key counts before the verify hash has confirmed it.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from keyserver.crypto.gf256 import interpolate
from keyserver.sealing.imicros.errors import ImicrosShareError
from keyserver.sealing.imicros.verify_hash import VerifyHash

POLYNOMIAL: Final = 0x11D
THRESHOLD: Final = 3
MAX_SHARES: Final = 5
"""imicros-keys makes five shares, three of which make the key."""

SHARE_DIGITS: Final = 163
KEY_SIZE: Final = 64

_SHARE: Final = re.compile(r"8[0-9a-f]{162}")
_BEFORE_KEY: Final = bytes(15) + b"\x01"


@dataclass(frozen=True, slots=True)
class ImicrosShare:
    """One share."""

    number: int
    """Its place, 1 to 255."""
    value: bytes = field(repr=False)
    """80 bytes."""


@dataclass(frozen=True, slots=True)
class MasterKey:
    """The master key of a deployment, 64 bytes."""

    value: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """128 lower-case hexadecimal digits: what imicros-keys computes with."""
        return self.value.hex()


def parse_share(text: str) -> ImicrosShare:
    """Read a share of 163 hexadecimal digits, of either case.

    Raises `ImicrosShareError` saying what is wrong, never quoting the text.
    """
    if len(text) != SHARE_DIGITS:
        raise ImicrosShareError(
            f"share: need {SHARE_DIGITS} hexadecimal digits, got {len(text)} characters"
        )
    if not _SHARE.fullmatch(text.lower()):
        raise ImicrosShareError("share: must be 8 and then hexadecimal digits only")
    number = int(text[1:3], 16)
    if number == 0:
        raise ImicrosShareError("share: its number (digits 2 and 3) is 00, which none has")
    return ImicrosShare(number, bytes.fromhex(text[3:]))


def combine(shares: Sequence[ImicrosShare], verify_hash: VerifyHash) -> MasterKey:
    """Make the master key of 3 to 5 shares, confirmed by the verify hash.

    Raises `ImicrosShareError` for too few or too many shares, one given twice, shares that make no
    key or another one, and for the odd one among four or five, by its number.
    """
    _check_numbers(shares)
    votes = Counter(_at_zero(three) for three in combinations(shares, THRESHOLD))
    well_formed = [value for value, _ in votes.most_common() if value.startswith(_BEFORE_KEY)]
    if not well_formed:
        raise ImicrosShareError(
            "shares: they make no key; one or more are of another deployment or mistyped"
        )
    for value in well_formed:
        key = MasterKey(value[len(_BEFORE_KEY) :])
        if verify_hash.confirms(key.text):
            _check_all_fit(shares, value)
            return key
    raise ImicrosShareError(_none_confirmed(len(shares), len(votes)))


def _check_numbers(shares: Sequence[ImicrosShare]) -> None:
    if not THRESHOLD <= len(shares) <= MAX_SHARES:
        raise ImicrosShareError(
            f"shares: need {THRESHOLD} to {MAX_SHARES} different ones, got {len(shares)}"
        )
    for number, times in Counter(share.number for share in shares).items():
        if times > 1:
            raise ImicrosShareError(f"shares: number {number} was given {times} times")


def _at_zero(shares: Sequence[ImicrosShare]) -> bytes:
    return interpolate({share.number: share.value for share in shares}, 0, POLYNOMIAL)


def _check_all_fit(shares: Sequence[ImicrosShare], secret: bytes) -> None:
    """Name the shares that are not of the three or more that make this secret."""
    good = next(three for three in combinations(shares, THRESHOLD) if _at_zero(three) == secret)
    places: Mapping[int, bytes] = {share.number: share.value for share in good}
    odd = [
        str(share.number)
        for share in shares
        if interpolate(places, share.number, POLYNOMIAL) != share.value
    ]
    if odd:
        raise ImicrosShareError(
            f"shares: number {' and number '.join(odd)} (digits 2 and 3, in decimal) does not "
            "belong to the others, which make the right key: leave it out"
        )


def _none_confirmed(shares: int, different: int) -> str:
    if shares > THRESHOLD and different == 1:
        return (
            "shares: they agree with one another, but the verify hash is of another key; look for "
            "the one that `init` answered together with these shares"
        )
    return (
        "shares: the key they make is not the one of the verify hash; a digit is mistyped, a share "
        "or the verify hash is of another deployment. With four or five shares the wrong one is "
        "named"
    )
