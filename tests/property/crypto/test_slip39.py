"""SLIP-39: any k of n open, nothing less does, and nothing mistyped gets through (sealing, C23)."""

import random
from itertools import combinations

import pytest
import shamir_mnemonic
from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.crypto.errors import InvalidShareSetError, MnemonicError
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.slip39 import Share, combine, parse_mnemonic, split
from keyserver.crypto.slip39_words import WORDS

SIZES = [(k, n) for n in range(2, 17) for k in range(2, n + 1)]


def shared(k: int, n: int, seed: object = 0) -> tuple[bytes, tuple[Share, ...]]:
    rng = SeededRandom(f"{k} of {n}, {seed}")
    secret = rng.bytes(32)
    return secret, split(secret, threshold=k, count=n, identifier=n, rng=rng)


@pytest.mark.parametrize("n", range(2, 17))
def test_any_k_of_n_open_and_fewer_do_not(n: int) -> None:
    for k in range(2, n + 1):
        secret, shares = shared(k, n)
        chosen = random.Random(k).sample(shares, k)
        assert combine(chosen) == secret
        for fewer in (chosen[:-1], chosen[1:]):
            with pytest.raises(InvalidShareSetError):
                combine(fewer)


@pytest.mark.parametrize(("k", "n"), [(2, 4), (3, 5)])
def test_every_choice_of_shares_opens(k: int, n: int) -> None:
    secret, shares = shared(k, n)
    for chosen in combinations(shares, k):
        assert combine(chosen) == secret
    for chosen in combinations(shares, k - 1):
        with pytest.raises(InvalidShareSetError):
            combine(chosen)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SIZES))
def test_another_implementation_opens_our_shares(seed: int, size: tuple[int, int]) -> None:
    k, n = size
    secret, shares = shared(k, n, seed)
    texts = [share.mnemonic() for share in random.Random(seed).sample(shares, k)]
    assert shamir_mnemonic.combine_mnemonics(texts) == secret


@settings(max_examples=12, deadline=None)
@given(
    st.binary(min_size=16, max_size=16) | st.binary(min_size=32, max_size=32),
    st.binary(max_size=8),
    st.booleans(),
    st.sampled_from([(k, n) for k, n in SIZES if n < 6]),
)
def test_we_open_what_another_implementation_shares(
    secret: bytes, passphrase: bytes, extendable: bool, size: tuple[int, int]
) -> None:
    """In two groups of three, one of them as drawn."""
    groups = [size, (1, 1), (2, 3)]
    printable = bytes(32 + byte % 95 for byte in passphrase)
    made = shamir_mnemonic.generate_mnemonics(
        2, groups, secret, printable, extendable=extendable, iteration_exponent=0
    )
    k = size[0]
    chosen = [parse_mnemonic(text) for text in [*made[0][:k], *made[2][:2]]]
    assert combine(chosen, printable) == secret
    with pytest.raises(InvalidShareSetError):
        combine(chosen[:-1], printable)


def test_every_changed_word_is_refused(request: pytest.FixtureRequest) -> None:
    _, shares = shared(3, 5)
    words = shares[1].mnemonic().split()
    step = 1 if request.config.getoption("--full-matrix") else 23
    for place, right in enumerate(words):
        for wrong in WORDS[place % step :: step]:
            if wrong != right:
                changed = [*words[:place], wrong, *words[place + 1 :]]
                with pytest.raises(MnemonicError):
                    parse_mnemonic(" ".join(changed))


def test_every_swap_of_two_words_is_refused() -> None:
    _, shares = shared(3, 5)
    words = shares[0].mnemonic().split()
    for one, other in combinations(range(len(words)), 2):
        if words[one] != words[other]:
            swapped = list(words)
            swapped[one], swapped[other] = words[other], words[one]
            with pytest.raises(MnemonicError):
                parse_mnemonic(" ".join(swapped))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300) | st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join))
def test_junk_is_refused_by_an_error_of_its_own(text: str) -> None:
    with pytest.raises(MnemonicError):
        parse_mnemonic(text)
