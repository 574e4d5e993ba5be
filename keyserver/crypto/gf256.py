"""Arithmetic in the field of 256 elements, and sharing of byte strings in it.

An element is a byte; a byte string is as many elements as it has bytes, all treated alike. Secret
bytes meet neither branches nor tables: factors of them come from the public places of shares only.
Sealing, C5.2; Shamir, "How to share a secret" (1979).
"""

from collections.abc import Mapping
from typing import Final

from keyserver.crypto.errors import CryptoError

AES: Final = 0x11B
"""x^8 + x^4 + x^3 + x + 1: the field of SLIP-39 and of AES."""

_INVERSE_EXPONENT: Final = 254


def multiply(a: int, b: int, polynomial: int = AES) -> int:
    """Return the product of two elements in the field of this polynomial."""
    product = 0
    for bit in range(8):
        product ^= a * (b >> bit & 1)
        a = (a << 1) ^ (a >> 7) * polynomial
    return product


def inverse(a: int, polynomial: int = AES) -> int:
    """Return the inverse of an element; that of 0 is 0."""
    result = 1
    for bit in range(8):
        result = multiply(result, a if _INVERSE_EXPONENT >> bit & 1 else 1, polynomial)
        a = multiply(a, a, polynomial)
    return result


def scale(factor: int, data: bytes, polynomial: int = AES) -> bytes:
    """Return every byte of `data` times a public factor, all bytes at once."""
    every = int.from_bytes(b"\x01" * len(data), "big")
    row = int.from_bytes(data, "big")
    product = 0
    for bit in range(8):
        product ^= row * (factor >> bit & 1)
        tops = row >> 7 & every
        row = (row ^ tops << 7) << 1 ^ tops * (polynomial & 0xFF)
    return product.to_bytes(len(data), "big")


def interpolate(values: Mapping[int, bytes], x: int, polynomial: int = AES) -> bytes:
    """Return the value at place `x` of the polynomials through `values` (place to byte string).

    The degree is one less than the number of values. Raises CryptoError for no values, places
    outside 0 to 255 and values of different lengths.
    """
    sizes = {len(value) for value in values.values()}
    if len(sizes) != 1 or not all(0 <= place <= 255 for place in (*values, x)):
        raise CryptoError("interpolation: need values of one length, at places of 0 to 255")
    result = 0
    for place, value in values.items():
        factor = _lagrange(list(values), place, x, polynomial)
        result ^= int.from_bytes(scale(factor, value, polynomial), "big")
    return result.to_bytes(sizes.pop(), "big")


def _lagrange(places: list[int], place: int, x: int, polynomial: int) -> int:
    """The polynomial that is 1 at `place` and 0 at the other places, at `x`."""
    numerator = denominator = 1
    for other in places:
        if other != place:
            numerator = multiply(numerator, x ^ other, polynomial)
            denominator = multiply(denominator, place ^ other, polynomial)
    return multiply(numerator, inverse(denominator, polynomial), polynomial)
