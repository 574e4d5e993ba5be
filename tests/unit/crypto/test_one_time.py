"""What is taken once is gone."""

import copy
import pickle

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.errors import SpentError
from keyserver.crypto.one_time import OneTime


def test_it_is_taken_once() -> None:
    secret = SecretScalar.from_int(5)
    held = OneTime(secret)
    before = held.is_spent
    assert held.take() is secret
    assert (before, held.is_spent) == (False, True)
    for _ in range(2):
        with pytest.raises(SpentError):
            held.take()


def test_it_does_not_print() -> None:
    held = OneTime("the secret")
    assert repr(held) == "OneTime(<redacted>)"
    assert "secret" not in f"{held}"
    held.take()
    assert repr(held) == "OneTime(spent)"


def test_there_is_no_second_one() -> None:
    held = OneTime(7)
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            duplicate(held)
    assert not held.is_spent
