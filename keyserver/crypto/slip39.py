"""SLIP-39: a secret as several lists of words, some of which give it back.

Splitting makes one group of shares, k of n; combining takes several groups as well. The passphrase
of the standard is supported for the published test cases; this project always leaves it empty.
Sealing, C5.2; SatoshiLabs Improvement Proposal 39.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from keyserver.crypto.errors import (
    InvalidMnemonicError,
    InvalidShareSetError,
    UnknownWordError,
    WordCountError,
)
from keyserver.crypto.gf256 import interpolate
from keyserver.crypto.randomness import RandomSource
from keyserver.crypto.slip39_words import WORDS

MAX_SHARES: Final = 16
"""Members of a group, and groups."""

MIN_WORDS: Final = 20
MAX_IDENTIFIER: Final = (1 << 15) - 1

_MIN_SECRET: Final = 16
_WORD_BITS: Final = 10
_HEADER_WORDS: Final = 4
_CHECKSUM_WORDS: Final = 3
_DIGEST_SIZE: Final = 4
_DIGEST_AT: Final = 254
_SECRET_AT: Final = 255
_ROUNDS: Final = 4
_ITERATIONS: Final = 2500

_GENERATOR: Final = (
    0xE0E040, 0x1C1C080, 0x3838100, 0x7070200, 0xE0E0009,
    0x1C0C2412, 0x38086C24, 0x3090FC48, 0x21B1F890, 0x3F3F120,
)  # fmt: skip

_INDEX: Final[Mapping[str, int]] = {word: number for number, word in enumerate(WORDS)} | {
    word[:4]: number for number, word in enumerate(WORDS)
}


@dataclass(frozen=True, slots=True)
class Share:
    """One member's share of a split secret."""

    identifier: int
    """Of the set of shares; 15 bits."""
    extendable: bool
    iteration_exponent: int
    group_index: int
    group_threshold: int
    group_count: int
    member_index: int
    member_threshold: int
    value: bytes = field(repr=False)
    """At least 16 bytes, an even number: secret."""

    def mnemonic(self) -> str:
        """Return the share as words: 33 for a secret of 32 bytes."""
        bits = 0
        for number, width in (
            (self.identifier, 15),
            (self.extendable, 1),
            (self.iteration_exponent, 4),
            (self.group_index, 4),
            (self.group_threshold - 1, 4),
            (self.group_count - 1, 4),
            (self.member_index, 4),
            (self.member_threshold - 1, 4),
        ):
            bits = bits << width | number
        value_words = -(-8 * len(self.value) // _WORD_BITS)
        bits = bits << value_words * _WORD_BITS | int.from_bytes(self.value, "big")
        words = _split_words(bits, _HEADER_WORDS + value_words)
        checked = _polymod([*_customization(self.extendable), *words, 0, 0, 0]) ^ 1
        return " ".join(WORDS[word] for word in [*words, *_split_words(checked, _CHECKSUM_WORDS)])


def parse_mnemonic(text: str) -> Share:
    """Read a share: words between white space, in any case, each whole or its first four letters.

    Raises UnknownWordError and WordCountError, which say where, and InvalidMnemonicError for a
    wrong checksum, padding or threshold. None of them contains any of the words.
    """
    words = [_word(number, word) for number, word in enumerate(text.split(), start=1)]
    if len(words) < MIN_WORDS:
        raise WordCountError(f"{len(words)} words, need at least {MIN_WORDS}", len(words))
    extendable = bool(words[1] >> 4 & 1)
    if _polymod([*_customization(extendable), *words]) != 1:
        raise InvalidMnemonicError("the checksum does not hold: some word is wrong")
    header = _join_words(words[:_HEADER_WORDS])
    share = Share(
        identifier=header >> 25,
        extendable=extendable,
        iteration_exponent=header >> 20 & 15,
        group_index=header >> 16 & 15,
        group_threshold=(header >> 12 & 15) + 1,
        group_count=(header >> 8 & 15) + 1,
        member_index=header >> 4 & 15,
        member_threshold=(header & 15) + 1,
        value=_value(words[_HEADER_WORDS:-_CHECKSUM_WORDS]),
    )
    if share.group_threshold > share.group_count:
        raise InvalidMnemonicError("the group threshold is above the number of groups")
    return share


def split(
    secret: bytes,
    *,
    threshold: int,
    count: int,
    identifier: int,
    rng: RandomSource,
    passphrase: bytes = b"",
    iteration_exponent: int = 0,
) -> tuple[Share, ...]:
    """Share a secret of at least 16 bytes, an even number: any `threshold` of `count` restore it.

    Shares are extendable. Raises InvalidShareSetError unless 1 <= threshold <= count <= 16, and
    threshold 1 with one share only.
    """
    if not 1 <= threshold <= count <= MAX_SHARES or (threshold == 1 and count > 1):
        raise InvalidShareSetError(
            f"need 1 < threshold <= shares <= {MAX_SHARES}, or a single share"
        )
    if len(secret) < _MIN_SECRET or len(secret) % 2:
        raise InvalidShareSetError(f"need a secret of at least {_MIN_SECRET} bytes, an even number")
    first = Share(
        identifier=identifier,
        extendable=True,
        iteration_exponent=iteration_exponent,
        group_index=0,
        group_threshold=1,
        group_count=1,
        member_index=0,
        member_threshold=threshold,
        value=b"",
    )
    encrypted = _encrypt(secret, passphrase, first)
    values = _split_value(encrypted, threshold, count, rng)
    return tuple(replace(first, member_index=i, value=value) for i, value in enumerate(values))


def combine(shares: Iterable[Share], passphrase: bytes = b"") -> bytes:
    """Return the secret of shares that fit together, exactly as many as are needed.

    Raises InvalidShareSetError for shares of different sets, too few, too many, and for a digest
    that does not hold.
    """
    given = list(shares)
    if not given:
        raise InvalidShareSetError("no shares")
    first = given[0]
    if any(_common(share) != _common(first) for share in given):
        raise InvalidShareSetError("the shares are not of one set")
    groups: dict[int, list[Share]] = {}
    for share in given:
        groups.setdefault(share.group_index, []).append(share)
    if len(groups) != first.group_threshold:
        raise InvalidShareSetError(
            f"shares of {len(groups)} groups, need {first.group_threshold} groups"
        )
    values = {index: _group_value(index, members) for index, members in groups.items()}
    return _decrypt(_recover(first.group_threshold, values), passphrase, first)


# --- words ------------------------------------------------------------------------------------


def _word(number: int, word: str) -> int:
    found = _INDEX.get(word.lower())
    if found is None:
        raise UnknownWordError(f"word {number} is not in the list of words", number)
    return found


def _value(words: Sequence[int]) -> bytes:
    padding = len(words) * _WORD_BITS % 16
    size = len(words) * _WORD_BITS // 16 * 2
    if padding > 8 or size < _MIN_SECRET:
        count = len(words) + _HEADER_WORDS + _CHECKSUM_WORDS
        raise WordCountError(f"no share has {count} words", count)
    number = _join_words(words)
    if number >> 8 * size:
        raise InvalidMnemonicError("the padding is not zero")
    return number.to_bytes(size, "big")


def _join_words(words: Sequence[int]) -> int:
    number = 0
    for word in words:
        number = number << _WORD_BITS | word
    return number


def _split_words(number: int, count: int) -> list[int]:
    return [number >> _WORD_BITS * at & 1023 for at in reversed(range(count))]


def _customization(extendable: bool) -> bytes:
    return b"shamir_extendable" if extendable else b"shamir"


def _polymod(values: Iterable[int]) -> int:
    """The checksum RS1024: 1 for a valid list of words."""
    check = 1
    for value in values:
        top = check >> 20
        check = (check & 0xFFFFF) << 10 ^ value
        for bit, generator in enumerate(_GENERATOR):
            check ^= generator * (top >> bit & 1)
    return check


# --- values -----------------------------------------------------------------------------------


def _common(share: Share) -> tuple[int, ...]:
    """What all shares of a set have alike."""
    return (
        share.identifier,
        share.extendable,
        share.iteration_exponent,
        share.group_threshold,
        share.group_count,
        len(share.value),
    )


def _group_value(index: int, members: Sequence[Share]) -> bytes:
    threshold = members[0].member_threshold
    if any(share.member_threshold != threshold for share in members):
        raise InvalidShareSetError(f"group {index}: the shares name different thresholds")
    values = {share.member_index: share.value for share in members}
    if len(values) != len(members):
        raise InvalidShareSetError(f"group {index}: two shares of one member")
    if len(values) != threshold:
        raise InvalidShareSetError(f"group {index}: {len(values)} shares, need {threshold}")
    return _recover(threshold, values)


def _split_value(secret: bytes, threshold: int, count: int, rng: RandomSource) -> tuple[bytes, ...]:
    if threshold == 1:
        return (secret,) * count
    pad = rng.bytes(len(secret) - _DIGEST_SIZE)
    known = {at: rng.bytes(len(secret)) for at in range(threshold - 2)}
    known |= {_DIGEST_AT: _digest(pad, secret) + pad, _SECRET_AT: secret}
    return tuple(known[at] if at in known else interpolate(known, at) for at in range(count))


def _recover(threshold: int, values: Mapping[int, bytes]) -> bytes:
    if threshold == 1:
        return next(iter(values.values()))
    secret = interpolate(values, _SECRET_AT)
    digest = interpolate(values, _DIGEST_AT)
    if not hmac.compare_digest(digest[:_DIGEST_SIZE], _digest(digest[_DIGEST_SIZE:], secret)):
        raise InvalidShareSetError("the digest does not hold: a share is wrong")
    return secret


def _digest(pad: bytes, secret: bytes) -> bytes:
    return hmac.digest(pad, secret, "sha256")[:_DIGEST_SIZE]


def _encrypt(secret: bytes, passphrase: bytes, share: Share) -> bytes:
    return _feistel(secret, passphrase, share, range(_ROUNDS))


def _decrypt(encrypted: bytes, passphrase: bytes, share: Share) -> bytes:
    return _feistel(encrypted, passphrase, share, reversed(range(_ROUNDS)))


def _feistel(data: bytes, passphrase: bytes, share: Share, rounds: Iterable[int]) -> bytes:
    salt = b"" if share.extendable else b"shamir" + share.identifier.to_bytes(2, "big")
    iterations = _ITERATIONS << share.iteration_exponent
    half = len(data) // 2
    left, right = data[:half], data[half:]
    for number in rounds:
        key = hashlib.pbkdf2_hmac(
            "sha256", bytes([number]) + passphrase, salt + right, iterations, half
        )
        left, right = right, bytes(a ^ b for a, b in zip(left, key, strict=True))
    return right + left
