import copy
import pickle

import pytest

from keyserver.crypto.curve import (
    ORDER,
    Scalar,
    SecretScalar,
    mul_base,
    read_secret,
    sum_secrets,
)
from keyserver.crypto.errors import CryptoError, InvalidScalarError
from keyserver.crypto.randomness import SeededRandom

_LARGEST = SecretScalar.from_int(ORDER - 1)
_ONE = SecretScalar.from_int(1)
_ODD = SecretScalar(bytes(range(1, 33)))


def test_scalar_arithmetic_is_modulo_the_order() -> None:
    a, b = Scalar(5), Scalar(ORDER - 3)
    assert int(a + b) == 2
    assert int(a - Scalar(6)) == ORDER - 1
    assert int(a * b) == ORDER - 15
    assert int(-a) == ORDER - 5
    assert int(-Scalar(0)) == 0
    assert a * a.inverse() == Scalar(1)


def test_scalar_bytes_are_canonical() -> None:
    assert Scalar.from_bytes(bytes(31) + b"\7") == Scalar(7)
    assert Scalar(258).to_bytes() == bytes(30) + b"\1\2"
    assert Scalar(0).is_zero
    assert not Scalar(1).is_zero


@pytest.mark.parametrize("value", [-1, ORDER, 1 << 256])
def test_scalar_range(value: int) -> None:
    with pytest.raises(InvalidScalarError, match="0 <= value < q"):
        Scalar(value)


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(33)])
def test_scalar_length(data: bytes) -> None:
    with pytest.raises(InvalidScalarError, match="need 32 bytes"):
        Scalar.from_bytes(data)


def test_scalar_zero_has_no_inverse() -> None:
    with pytest.raises(InvalidScalarError, match="inverse"):
        Scalar(0).inverse()


def test_scalar_is_a_value() -> None:
    assert {Scalar(1), Scalar(1), Scalar(2)} == {Scalar(2), Scalar(1)}
    assert Scalar(1) != 1
    assert repr(Scalar(16)) == "Scalar(0x10)"


@pytest.mark.parametrize("data", [bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32])
def test_secret_range(data: bytes) -> None:
    with pytest.raises(InvalidScalarError, match="1 <= value < q"):
        SecretScalar(data)


@pytest.mark.parametrize("data", [b"", bytes(31), b"\1" * 33])
def test_secret_length(data: bytes) -> None:
    with pytest.raises(InvalidScalarError, match="need 32 bytes"):
        SecretScalar(data)


@pytest.mark.parametrize("value", [0, -1, ORDER])
def test_secret_from_int_range(value: int) -> None:
    with pytest.raises(InvalidScalarError, match="1 <= value < q"):
        SecretScalar.from_int(value)


def test_secret_arithmetic() -> None:
    assert _ONE.add(_ONE) == SecretScalar.from_int(2)
    assert _ONE.add(Scalar(0)) == _ONE
    assert _LARGEST.add(Scalar(3)) == SecretScalar.from_int(2)
    assert _LARGEST.multiply(Scalar(2)) == SecretScalar.from_int(ORDER - 2)
    assert _LARGEST.multiply(_LARGEST) == _ONE
    assert _ONE.negate() == _LARGEST
    assert _ODD.public() == mul_base(Scalar.from_bytes(_ODD.expose()))


def test_secret_arithmetic_leaves_its_operands_alone() -> None:
    before = _ODD.expose()
    _ODD.add(_ONE)
    _ODD.multiply(Scalar(9))
    _ODD.negate()
    sum_secrets([_ODD, _ONE])
    assert _ODD.expose() == before


def test_secret_never_becomes_zero() -> None:
    with pytest.raises(InvalidScalarError, match="sum is zero"):
        _LARGEST.add(_ONE)
    with pytest.raises(InvalidScalarError, match="factor is zero"):
        _LARGEST.multiply(Scalar(0))


def test_secret_equality_is_by_value_and_type() -> None:
    assert SecretScalar(_ODD.expose()) == _ODD
    assert _ODD != _ONE
    assert Scalar.from_bytes(_ODD.expose()) != _ODD
    assert _ODD.expose() != _ODD


def test_secret_does_not_leave_by_accident() -> None:
    exposed = _ODD.expose()
    for text in (repr(_ODD), str(_ODD), f"{_ODD}", f"{[_ODD]}", f"{_ODD!r:>40}"):
        assert exposed.hex() not in text
        assert "redacted" in text
    with pytest.raises(TypeError, match="unhashable"):
        hash(_ODD)
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            leave(_ODD)
    with pytest.raises(TypeError, match="not supported"):
        sorted([_ODD, _ONE])  # type: ignore[type-var]
    with pytest.raises(TypeError):
        bytes(_ODD)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        int(_ODD)  # type: ignore[call-overload]


def test_errors_do_not_tell_the_value() -> None:
    secret = b"\xff" * 32
    with pytest.raises(CryptoError) as refused:
        SecretScalar(secret)
    assert secret.hex() not in str(refused.value)
    with pytest.raises(CryptoError) as refused:
        SecretScalar.from_int(ORDER + 5)
    assert str(ORDER + 5) not in str(refused.value)


def test_secret_is_overwritten_on_release() -> None:
    secret = SecretScalar(b"\5" * 32)
    key = secret._key
    assert bytes(key) == b"\5" * 32
    del secret
    assert bytes(key) == bytes(32)


def test_random_secret_skips_what_is_out_of_range() -> None:
    class Stubborn:
        def __init__(self) -> None:
            self.left = [bytes(32), b"\xff" * 32, b"\1" * 32]

        def bytes(self, n: int) -> bytes:
            assert n == 32
            return self.left.pop(0)

    source = Stubborn()
    assert SecretScalar.random(source).expose() == b"\1" * 32
    assert not source.left


def test_read_secret() -> None:
    assert read_secret(bytes(32)) is None
    assert read_secret(_ODD.expose()) == _ODD
    for junk in (b"", bytes(31), b"\xff" * 32):
        with pytest.raises(InvalidScalarError):
            read_secret(junk)


def test_sum_of_secrets_passes_through_zero() -> None:
    assert sum_secrets([]) is None
    assert sum_secrets([None, None]) is None
    assert sum_secrets([None, _ODD, None]) == _ODD
    assert sum_secrets([_ONE, _LARGEST]) is None
    assert sum_secrets([_ONE, _LARGEST, _ODD, _ONE]) == _ODD.add(_ONE)


def test_seeded_secrets_repeat() -> None:
    assert SecretScalar.random(SeededRandom(3)) == SecretScalar.random(SeededRandom(3))
    assert SecretScalar.random(SeededRandom(3)) != SecretScalar.random(SeededRandom(4))
