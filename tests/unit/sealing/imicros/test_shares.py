"""Shares of imicros-keys: what is refused, and that the odd one out is named."""

from itertools import combinations

import pytest

from keyserver.sealing.imicros import verify_hash
from keyserver.sealing.imicros.errors import ImicrosShareError, VerifyHashError
from keyserver.sealing.imicros.shares import ImicrosShare, combine, parse_share
from keyserver.sealing.imicros.verify_hash import VerifyHash, parse_verify_hash
from tests.support.imicros import MASTER, SHARES, VERIFY_HASH
from tests.vectors.files import load

GOOD = parse_verify_hash(VERIFY_HASH)
SETS = {one["name"]: one["shares"] for one in load("sealing")["secretsjs"]["sets"]}
FOREIGN: list[str] = SETS["imicros-5-3"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vectors have the real rounds; here what is done with the answer is looked at."""
    monkeypatch.setattr(VerifyHash, "confirms", lambda _, key: key == MASTER.text)


def shares(*texts: str) -> list[ImicrosShare]:
    return [parse_share(text) for text in texts]


def mistyped(text: str, place: int = -1) -> str:
    digits = list(text)
    digits[place] = "0" if digits[place] != "0" else "1"
    return "".join(digits)


@pytest.mark.parametrize("count", [3, 4, 5])
def test_any_three_or_more_make_the_key(count: int) -> None:
    for some in combinations(SHARES, count):
        assert combine(shares(*some), GOOD) == MASTER


def test_upper_case_is_the_same_share() -> None:
    assert combine(shares(*(text.upper() for text in SHARES[:3])), GOOD) == MASTER
    with pytest.raises(ImicrosShareError, match="number 1 was given 2 times"):
        combine(shares(SHARES[0], SHARES[0].upper(), SHARES[1]), GOOD)


@pytest.mark.parametrize("count", [0, 2])
def test_too_few(count: int) -> None:
    with pytest.raises(ImicrosShareError, match=f"need 3 to 5 different ones, got {count}"):
        combine(shares(*SHARES[:count]), GOOD)


def test_too_many() -> None:
    sixth = load("sealing")["secretsjs"]["new_share"]["share"]
    with pytest.raises(ImicrosShareError, match="got 6"):
        combine(shares(*SHARES, sixth), GOOD)


@pytest.mark.parametrize("odd", range(5))
def test_the_odd_one_of_five_is_named(odd: int) -> None:
    for wrong in (mistyped(SHARES[odd]), mistyped(SHARES[odd], 20), FOREIGN[odd]):
        texts = [*SHARES[:odd], wrong, *SHARES[odd + 1 :]]
        with pytest.raises(ImicrosShareError, match=rf"number {odd + 1} \(.*leave it out"):
            combine(shares(*texts), GOOD)


@pytest.mark.parametrize("odd", range(4))
def test_the_odd_one_of_four_is_named(odd: int) -> None:
    texts = [*SHARES[:odd], mistyped(SHARES[odd]), *SHARES[odd + 1 : 4]]
    with pytest.raises(ImicrosShareError, match=rf"number {odd + 1} \("):
        combine(shares(*texts), GOOD)


def test_two_odd_ones_of_five_are_named() -> None:
    with pytest.raises(ImicrosShareError, match=r"number 4 and number 5 \("):
        combine(shares(*SHARES[:3], *FOREIGN[3:]), GOOD)


def test_one_wrong_digit_of_three_is_noticed_but_not_named() -> None:
    with pytest.raises(ImicrosShareError, match=r"a digit is mistyped.*four or five"):
        combine(shares(SHARES[0], SHARES[1], mistyped(SHARES[2])), GOOD)


def test_shares_of_two_sets_make_no_key() -> None:
    with pytest.raises(ImicrosShareError, match="they make no key"):
        combine(shares(SHARES[0], SHARES[1], FOREIGN[2]), GOOD)


def test_a_hash_of_another_deployment_is_told_from_wrong_shares() -> None:
    with pytest.raises(ImicrosShareError, match=r"agree with one another.*another key"):
        combine(shares(*FOREIGN[:4]), GOOD)


@pytest.mark.parametrize(
    "text", ["", "8" + "g" * 162, "9" + "0" * 162, "800" + "0" * 160, "٨" * 163, "8" + "ﬀ" * 162]
)
def test_texts_that_are_no_shares(text: str) -> None:
    with pytest.raises(ImicrosShareError) as problem:
        parse_share(text)
    assert not text or text not in str(problem.value)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "need 112"),
        (VERIFY_HASH[:-2], "need 112"),
        (VERIFY_HASH[:-1] + "g", "hexadecimal digits only"),
        (VERIFY_HASH[:-4] + "  00", "must begin with|hexadecimal"),
        ("0" * 112, "must begin with"),
    ],
)
def test_texts_that_are_no_verify_hashes(text: str, rule: str) -> None:
    with pytest.raises(VerifyHashError, match=rule):
        parse_verify_hash(text)


def test_nothing_shows_a_secret() -> None:
    share = parse_share(SHARES[0])
    assert share.value.hex() not in repr(share)
    assert MASTER.text not in repr(MASTER)
    assert repr(MASTER.value) not in repr(MASTER)
    assert verify_hash.ROUNDS == 100_000
