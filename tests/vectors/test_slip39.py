"""The published vectors of SLIP-39, those of the fields, and the project's own shares."""

import hashlib
from typing import Any

import pytest

from keyserver.crypto.errors import MnemonicError
from keyserver.crypto.gf256 import interpolate, inverse, multiply
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.slip39 import combine, parse_mnemonic, split
from keyserver.crypto.slip39_words import WORDS
from tests.vectors.files import load

VECTORS = load("sealing")
SLIP39 = VECTORS["slip39"]
SEAL = VECTORS["seal_v1"]
FIELDS = VECTORS["gf256"]


def test_the_words_are_the_published_ones() -> None:
    assert list(WORDS) == SLIP39["wordlist"]
    lines = "".join(f"{word}\n" for word in WORDS).encode()
    assert hashlib.sha256(lines).hexdigest() == SLIP39["wordlist_sha256_of_newline_ended_lines"]
    assert len({word[:4] for word in WORDS}) == 1024


@pytest.mark.parametrize("case", SLIP39["official"], ids=lambda case: case["description"][:40])
def test_the_published_cases(case: Any) -> None:
    try:
        shares = [parse_mnemonic(text) for text in case["mnemonics"]]
        secret: str | None = combine(shares, SLIP39["passphrase"].encode()).hex()
    except MnemonicError:
        secret = None
    assert secret == case["master_secret"]


@pytest.mark.parametrize("case", SLIP39["official"], ids=lambda case: case["description"][:40])
def test_a_published_share_is_written_as_it_was_read(case: Any) -> None:
    for text in case["mnemonics"]:
        try:
            share = parse_mnemonic(text)
        except MnemonicError:
            continue
        assert share.mnemonic() == text


@pytest.mark.parametrize("epoch", [1, 2])
def test_the_projects_shares_open_and_are_written(epoch: int) -> None:
    seal = SEAL if epoch == 1 else SEAL["rekey"]
    slot = seal["seal_record"]["slots"][0]
    shares = [parse_mnemonic(text) for text in seal["mnemonics"]]
    assert [share.mnemonic() for share in shares] == seal["mnemonics"]
    assert [
        {"group": share.group_index, "member": share.member_index, "value": share.value.hex()}
        for share in shares
    ] == seal["share_values"]
    threshold = slot["params"]["groups"][0]["threshold"]
    assert combine(shares[-threshold:]).hex() == seal["unseal_secret"]


@pytest.mark.parametrize("case", FIELDS["mul"], ids=str)
def test_products(case: Any) -> None:
    polynomial = int(case["field"], 16)
    assert multiply(case["a"], case["b"], polynomial) == case["product"]


@pytest.mark.parametrize("case", FIELDS["inv"], ids=str)
def test_inverses(case: Any) -> None:
    assert inverse(case["a"], int(case["field"], 16)) == case["inverse"]


def test_a_set_with_its_secret_at_zero() -> None:
    found = FIELDS["xy_set"]
    points = {bytes.fromhex(text)[-1]: bytes.fromhex(text)[:-1] for text in found["shares"]}
    assert interpolate(dict(list(points.items())[1:4]), 0).hex() == found["secret"]
    two = dict(list(points.items())[:2])
    assert interpolate(two, 0).hex() == found["two_of_three"]


def test_splitting_is_a_function_of_the_random_bytes() -> None:
    secret = bytes(range(32))
    one, again = (
        split(secret, threshold=2, count=3, identifier=5, rng=SeededRandom(1)) for _ in range(2)
    )
    assert one == again
    assert (
        one[0].mnemonic()
        != split(secret, threshold=2, count=3, identifier=5, rng=SeededRandom(2))[0].mnemonic()
    )
