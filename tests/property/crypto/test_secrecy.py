from hypothesis import given, settings

from keyserver.crypto.curve import GENERATOR, Scalar, SecretScalar
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import Holding
from keyserver.crypto.elgamal import ShadowPartial
from keyserver.crypto.masks import Opening, ZeroMask
from keyserver.crypto.one_time import OneTime
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.presignatures import DealtNumbers, PresignatureShare
from keyserver.crypto.presigning import FirstPolynomials, SecondPolynomials
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.schnorr import Form, commit
from tests.property.crypto.strategies import secrets


@settings(max_examples=60, deadline=None)
@given(secrets)
def test_nothing_that_holds_a_secret_prints_it(secret: SecretScalar) -> None:
    one_time = OneTimeKey(secret)
    one_time.shared_with(GENERATOR)
    polynomial = SecretPolynomial([secret, secret])
    holders = (
        secret,
        one_time,
        polynomial,
        Holding(secret, b"T" * 32),
        ShadowPartial(secret, GENERATOR, GENERATOR, secret),
        OneTime((secret, secret)),
        Opening(secret, secret),
        ZeroMask(polynomial, polynomial),
        FirstPolynomials(polynomial, *[ZeroMask(polynomial, polynomial)] * 3),
        SecondPolynomials(GENERATOR, polynomial),
        DealtNumbers.of([secret] * 7, [secret]),
        PresignatureShare(secret, Opening(secret, secret), Opening(secret, secret)),
        commit(Form.RFC9591, Scalar(1), secret, SeededRandom(0)),
    )
    exposed = secret.expose()
    number = str(int.from_bytes(exposed, "big"))
    telling = [exposed.hex(), repr(exposed)[2:-1]]
    if len(number) > 10:
        telling += [number, f"{int(number):x}"]
    for holder in holders:
        for text in (repr(holder), str(holder), f"{holder}"):
            assert not any(trace in text for trace in telling)
