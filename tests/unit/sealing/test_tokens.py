"""Forms of tokens."""

import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.sealing.errors import UnauthenticatedError
from keyserver.sealing.tokens import Token

TOKEN = Token.new(SeededRandom(1))
TEXT = TOKEN.text()


def test_a_token_is_read_as_it_was_written() -> None:
    assert Token.read(TEXT) == TOKEN
    assert TOKEN.matches(TOKEN.hash())
    assert not Token.new(SeededRandom(2)).matches(TOKEN.hash())
    assert not Token(TOKEN.token_id, bytes(32)).matches(TOKEN.hash())
    assert not Token("a" * 16, TOKEN.secret).matches(TOKEN.hash())


def test_its_secret_is_not_shown() -> None:
    assert TEXT[22:] not in repr(TOKEN)
    assert TOKEN.secret.hex() not in repr(TOKEN)
    assert repr(TOKEN.secret)[2:-1] not in repr(TOKEN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        TEXT[:-1],
        TEXT + "A",
        TEXT.upper(),
        TEXT.replace("kst1", "kst2"),
        TEXT.replace("_", "-", 1),
        f" {TEXT}",
        f"{TEXT}\n",
        f"{TEXT}=",
        "kst1_0123456789abcdef_" + TEXT[22:],
    ],
)
def test_another_form_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(UnauthenticatedError) as refused:
        Token.read(text)
    assert TEXT[22:-1] not in str(refused.value)


def test_a_secret_has_one_spelling() -> None:
    last = TEXT[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    neighbour = alphabet[alphabet.index(last) ^ 1]
    with pytest.raises(UnauthenticatedError):
        Token.read(TEXT[:-1] + neighbour)
