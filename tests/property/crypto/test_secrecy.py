from hypothesis import given, settings

from keyserver.crypto.curve import GENERATOR, SecretScalar
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import Holding
from keyserver.crypto.elgamal import ShadowPartial
from keyserver.crypto.polynomial import SecretPolynomial
from tests.property.crypto.strategies import secrets


@settings(max_examples=60, deadline=None)
@given(secrets)
def test_nothing_that_holds_a_secret_prints_it(secret: SecretScalar) -> None:
    one_time = OneTimeKey(secret)
    one_time.shared_with(GENERATOR)
    holders = (
        secret,
        one_time,
        SecretPolynomial([secret, secret]),
        Holding(secret, b"T" * 32),
        ShadowPartial(secret, GENERATOR, GENERATOR, secret),
    )
    exposed = secret.expose()
    number = str(int.from_bytes(exposed, "big"))
    telling = [exposed.hex(), repr(exposed)[2:-1]]
    if len(number) > 10:
        telling += [number, f"{int(number):x}"]
    for holder in holders:
        for text in (repr(holder), str(holder), f"{holder}"):
            assert not any(trace in text for trace in telling)
