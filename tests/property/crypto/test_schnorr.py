"""Any t + 1 holders sign, in both forms; nobody who answers right is ever named."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.crypto.curve import ORDER, Scalar
from keyserver.crypto.errors import InvalidPartsError, InvalidSignatureError
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.schnorr import Form, aggregate, commit, prepare, sign_part, verify
from tests.property.crypto.strategies import nonzero, places, seeds

_FEW = settings(max_examples=25, deadline=None)

_signed = st.integers(0, 4).flatmap(
    lambda t: st.tuples(st.just(t), places(t + 1), st.sampled_from(Form), seeds)
)


@_FEW
@given(_signed, st.binary(min_size=32, max_size=32), st.data())
def test_any_signers_sign_and_liars_are_named(
    case: tuple[int, list[Scalar], Form, int], message: bytes, data: st.DataObject
) -> None:
    threshold, signers, form, seed = case
    rng = SeededRandom(seed)
    polynomial = SecretPolynomial.random(threshold, rng)
    key = polynomial.commit()
    nonces = [commit(form, x, polynomial.evaluate(x), rng) for x in sorted(signers, key=int)]
    package = prepare(form, key[0], message, [made.commitment for made in nonces])
    parts = [sign_part(made, polynomial.evaluate(made.commitment.x), package) for made in nonces]
    verify(form, key[0], message, aggregate(package, parts, key).encode())
    liar = data.draw(st.integers(0, threshold))
    parts[liar] += data.draw(nonzero)
    with pytest.raises(InvalidPartsError) as refused:
        aggregate(package, parts, key)
    assert refused.value.places == (package.commitments[liar].x,)


@_FEW
@given(st.sampled_from(Form), st.binary(max_size=80), st.integers(1, ORDER - 1))
def test_junk_is_no_signature(form: Form, junk: bytes, key: int) -> None:
    public = SecretPolynomial.random(0, SeededRandom(key)).commit()[0]
    with pytest.raises(InvalidSignatureError):
        verify(form, public, bytes(32), junk)
