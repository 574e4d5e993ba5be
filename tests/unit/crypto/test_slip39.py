from dataclasses import replace

import pytest
from shamir_mnemonic.rs1024 import create_checksum

from keyserver.crypto.errors import (
    CryptoError,
    InvalidMnemonicError,
    InvalidShareSetError,
    UnknownWordError,
    WordCountError,
)
from keyserver.crypto.gf256 import interpolate, inverse, multiply, scale
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.slip39 import Share, combine, parse_mnemonic, split
from keyserver.crypto.slip39_words import WORDS

SECRET = bytes(range(32))
SHARES = split(SECRET, threshold=2, count=3, identifier=77, rng=SeededRandom("shares"))
TEXT = SHARES[0].mnemonic()


# --- the field --------------------------------------------------------------------------------


@pytest.mark.parametrize("polynomial", [0x11B, 0x11D])
def test_every_element_has_its_inverse(polynomial: int) -> None:
    assert inverse(0, polynomial) == 0
    for element in range(1, 256):
        assert multiply(element, inverse(element, polynomial), polynomial) == 1


@pytest.mark.parametrize("polynomial", [0x11B, 0x11D])
def test_bytes_are_scaled_one_by_one(polynomial: int) -> None:
    row = bytes(range(256))
    for factor in (0, 1, 2, 0x53, 0xFF):
        products = bytes(multiply(factor, byte, polynomial) for byte in row)
        assert scale(factor, row, polynomial) == products


@pytest.mark.parametrize(
    ("values", "x"), [({}, 0), ({1: b"a", 2: b"bc"}, 0), ({256: b"a"}, 0), ({1: b"a"}, -1)]
)
def test_what_cannot_be_interpolated_is_refused(values: dict[int, bytes], x: int) -> None:
    with pytest.raises(CryptoError, match="interpolation"):
        interpolate(values, x)


def test_a_polynomial_goes_through_its_values() -> None:
    values = {0: b"ab", 7: b"cd", 255: b"ef"}
    assert {x: interpolate(values, x) for x in values} == values


# --- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        TEXT.upper(),
        "\n\t " + TEXT.replace(" ", "  \r\n") + " ",
        " ".join(word[:4] for word in TEXT.split()),
        " ".join(word[:4].title() for word in TEXT.split()),
    ],
)
def test_words_may_be_spelled_carelessly(text: str) -> None:
    assert parse_mnemonic(text) == SHARES[0]


def test_an_unknown_word_is_named_by_its_place() -> None:
    words = TEXT.split()
    words[6] = "peanutbutter"
    with pytest.raises(UnknownWordError, match="word 7") as caught:
        parse_mnemonic(" ".join(words))
    assert caught.value.place == 7
    assert "peanut" not in str(caught.value)


def test_five_letters_are_neither_a_word_nor_its_beginning() -> None:
    words = TEXT.split()
    words[2] = "acade"
    with pytest.raises(UnknownWordError, match="word 3"):
        parse_mnemonic(" ".join(words))


@pytest.mark.parametrize("count", [0, 1, 19])
def test_too_few_words_are_counted(count: int) -> None:
    with pytest.raises(WordCountError, match=f"{count} words") as caught:
        parse_mnemonic(" ".join(TEXT.split()[:count]))
    assert caught.value.count == count


@pytest.mark.parametrize("extendable", [True, False])
def test_a_number_of_words_that_no_share_has(extendable: bool) -> None:
    """14 words of value have 12 bits of padding."""
    longer = replace(SHARES[0], extendable=extendable, value=bytes(16)).mnemonic().split()
    odd = _with_checksum([*longer[:-3], "academic"], extendable=extendable)
    with pytest.raises(WordCountError, match="no share has 21 words"):
        parse_mnemonic(odd)


def test_padding_must_be_zero() -> None:
    words = TEXT.split()
    first_value_word = WORDS.index(words[4]) | 1 << 9
    odd = [*words[:4], WORDS[first_value_word], *words[5:-3]]
    with pytest.raises(InvalidMnemonicError, match="padding"):
        parse_mnemonic(_with_checksum(odd, extendable=True))


def test_more_groups_needed_than_there_are() -> None:
    odd = replace(SHARES[0], group_threshold=2)
    with pytest.raises(InvalidMnemonicError, match="group threshold"):
        parse_mnemonic(odd.mnemonic())


def _with_checksum(words: list[str], *, extendable: bool) -> str:
    numbers = [WORDS.index(word) for word in words]
    customization = b"shamir_extendable" if extendable else b"shamir"
    checksum = create_checksum(numbers, customization)
    return " ".join([*words, *(WORDS[number] for number in checksum)])


# --- sets -------------------------------------------------------------------------------------


def test_two_of_three() -> None:
    for left_out in range(3):
        assert combine(share for share in SHARES if share.member_index != left_out) == SECRET


def test_a_single_share_is_the_secret_encrypted() -> None:
    (only,) = split(SECRET, threshold=1, count=1, identifier=1, rng=SeededRandom(0))
    assert combine([only]) == SECRET
    assert only.value != SECRET


@pytest.mark.parametrize(("threshold", "count"), [(0, 1), (1, 2), (3, 2), (2, 17)])
def test_impossible_numbers_of_shares(threshold: int, count: int) -> None:
    with pytest.raises(InvalidShareSetError, match="threshold"):
        split(SECRET, threshold=threshold, count=count, identifier=1, rng=SeededRandom(0))


@pytest.mark.parametrize("size", [0, 14, 17, 33])
def test_impossible_secrets(size: int) -> None:
    with pytest.raises(InvalidShareSetError, match="at least 16 bytes"):
        split(bytes(size), threshold=2, count=2, identifier=1, rng=SeededRandom(0))


FOREIGN = split(SECRET, threshold=2, count=3, identifier=78, rng=SeededRandom(3))


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ((), "no shares"),
        (SHARES[:1], "1 shares, need 2"),
        (SHARES, "3 shares, need 2"),
        ((SHARES[0], SHARES[0]), "two shares of one member"),
        ((SHARES[0], FOREIGN[1]), "not of one set"),
        ((SHARES[0], replace(SHARES[1], extendable=False)), "not of one set"),
        ((SHARES[0], replace(SHARES[1], value=bytes(16))), "not of one set"),
        ((SHARES[0], replace(SHARES[1], member_threshold=3)), "different thresholds"),
        ((SHARES[0], replace(SHARES[1], value=bytes(32))), "digest"),
        (tuple(replace(share, group_threshold=2) for share in SHARES[:2]), "need 2 groups"),
    ],
)
def test_shares_that_do_not_fit_are_refused(shares: tuple[Share, ...], said: str) -> None:
    with pytest.raises(InvalidShareSetError, match=said):
        combine(shares)


def test_another_passphrase_gives_another_secret() -> None:
    """As the standard wants it, so that nobody can tell."""
    shares = split(
        SECRET,
        threshold=2,
        count=2,
        identifier=9,
        rng=SeededRandom(4),
        passphrase=b"a",
        iteration_exponent=1,
    )
    assert combine(shares, b"a") == SECRET
    assert combine(shares, b"b") != SECRET
    assert shares[0].iteration_exponent == 1


def test_a_share_does_not_print_its_value() -> None:
    assert SHARES[0].value.hex() not in repr(SHARES[0])
    assert repr(SHARES[0].value)[2:12] not in repr(SHARES[0])
