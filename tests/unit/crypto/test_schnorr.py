"""Joint Schnorr signatures, with nonces that work once and signers that lie."""

import pytest

from keyserver.crypto.curve import ORDER, Point, Scalar, SecretScalar, mul_base
from keyserver.crypto.errors import (
    InvalidPartsError,
    InvalidPointError,
    InvalidScalarError,
    InvalidSignatureError,
    InvalidSignersError,
    SpentError,
)
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.one_time import OneTime
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.schnorr import (
    Form,
    NonceCommitment,
    Nonces,
    SigningPackage,
    aggregate,
    check_part,
    commit,
    prepare,
    sign_part,
    verify,
)

RNG = SeededRandom("schnorr")
POLYNOMIAL = SecretPolynomial.random(2, RNG)
KEY = POLYNOMIAL.commit()
PUBLIC = KEY[0]
PLACES = (Scalar(1), Scalar(2), Scalar(7))
MESSAGE = bytes(range(32))

both_forms = pytest.mark.parametrize("form", list(Form))


def nonces_of(form: Form, places: tuple[Scalar, ...] = PLACES) -> list[Nonces]:
    return [commit(form, x, POLYNOMIAL.evaluate(x), RNG) for x in places]


def package_of(nonces: list[Nonces], message: bytes = MESSAGE) -> SigningPackage:
    return prepare(nonces[0].form, PUBLIC, message, [made.commitment for made in nonces])


def parts_of(nonces: list[Nonces], package: SigningPackage) -> list[Scalar]:
    return [sign_part(made, POLYNOMIAL.evaluate(made.commitment.x), package) for made in nonces]


@both_forms
def test_three_of_three_sign(form: Form) -> None:
    nonces = nonces_of(form)
    package = package_of(nonces)
    signature = aggregate(package, parts_of(nonces, package), KEY)
    assert len(signature.encode()) == (64 if form is Form.ORIGINAL else 65)
    verify(form, PUBLIC, MESSAGE, signature.encode())
    for public, message in ((mul_base(Scalar(3)), MESSAGE), (PUBLIC, MESSAGE[::-1])):
        with pytest.raises(InvalidSignatureError):
            verify(form, public, message, signature.encode())


def test_the_formula_of_the_original_holds() -> None:
    """What the verifying contract computes: the nonce is given, and the key recovers to it."""
    nonces = nonces_of(Form.ORIGINAL)
    package = package_of(nonces)
    signature = aggregate(package, parts_of(nonces, package), KEY)
    written = signature.encode()
    digest = keccak256(MESSAGE + signature.nonce.raw64[:32])
    assert int.from_bytes(written[:32], "big") == int.from_bytes(digest, "big") % ORDER


def test_any_message_is_signed_by_the_form_of_the_rfc() -> None:
    nonces = nonces_of(Form.RFC9591)
    package = package_of(nonces, b"")
    aggregate(package, parts_of(nonces, package), KEY)
    with pytest.raises(InvalidSignatureError):
        package_of(nonces_of(Form.ORIGINAL), MESSAGE[1:])
    with pytest.raises(InvalidSignatureError):
        verify(Form.ORIGINAL, PUBLIC, MESSAGE[1:], bytes(64))


def test_nonces_answer_once() -> None:
    nonces = nonces_of(Form.RFC9591)
    package = package_of(nonces)
    parts_of(nonces, package)
    assert all(made.secret.is_spent for made in nonces)
    with pytest.raises(SpentError):
        parts_of(nonces, package)
    with pytest.raises(SpentError):
        parts_of(nonces, package_of(nonces, b"another message"))


def test_the_answer_to_a_wrong_list_is_none_and_the_nonces_are_gone() -> None:
    first = nonces_of(Form.RFC9591)
    second = nonces_of(Form.RFC9591)
    own, share = first[0], POLYNOMIAL.evaluate(PLACES[0])
    with pytest.raises(InvalidSignersError, match="not the nonces"):
        sign_part(own, share, package_of(second))
    with pytest.raises(SpentError):
        sign_part(own, share, package_of(first))
    with pytest.raises(InvalidSignersError, match="not among"):
        sign_part(first[1], share, package_of(nonces_of(Form.RFC9591, (PLACES[0], PLACES[2]))))
    original = prepare(Form.ORIGINAL, PUBLIC, MESSAGE, [made.commitment for made in first])
    with pytest.raises(InvalidSignersError):
        sign_part(first[2], POLYNOMIAL.evaluate(PLACES[2]), original)


def test_nonces_are_fresh_and_do_not_print() -> None:
    one, two = (commit(Form.RFC9591, PLACES[0], POLYNOMIAL.constant, RNG) for _ in range(2))
    assert one.commitment.hiding != two.commitment.hiding
    assert one.commitment.hiding != one.commitment.binding
    text = repr(one)
    hiding, binding = one.secret.take()
    assert hiding.expose().hex() not in text
    assert binding.expose().hex() not in text
    assert repr(hiding.expose())[2:-1] not in text


def test_a_repeated_random_source_gives_other_nonces_for_another_share() -> None:
    one, two = (
        commit(Form.RFC9591, PLACES[0], POLYNOMIAL.evaluate(x), SeededRandom("the same"))
        for x in PLACES[:2]
    )
    assert one.commitment.hiding != two.commitment.hiding


@both_forms
def test_every_wrong_part_is_named(form: Form) -> None:
    nonces = nonces_of(form)
    package = package_of(nonces)
    parts = parts_of(nonces, package)
    for wrong in ({0}, {1}, {0, 2}):
        spoiled = [part + Scalar(int(i in wrong)) for i, part in enumerate(parts)]
        with pytest.raises(InvalidPartsError) as refused:
            aggregate(package, spoiled, KEY)
        assert refused.value.places == tuple(PLACES[i] for i in sorted(wrong))


def test_two_errors_that_cancel_out_do_no_harm() -> None:
    nonces = nonces_of(Form.RFC9591)
    package = package_of(nonces)
    parts = parts_of(nonces, package)
    shifted = [parts[0] + Scalar(1), parts[1] - Scalar(1), parts[2]]
    assert aggregate(package, shifted, KEY) == aggregate(package, parts, KEY)


def test_zero_is_a_wrong_part() -> None:
    nonces = nonces_of(Form.RFC9591)
    package = package_of(nonces)
    assert not check_part(package, 0, Scalar(0), KEY)


def test_a_part_may_be_zero() -> None:
    """Nobody can bring it about; were it so, the part would be right."""
    nonces = nonces_of(Form.RFC9591, (PLACES[0],))
    package = package_of(nonces)
    d, e = nonces[0].secret.take()
    bound = d.add(e.multiply(package.binding_factors[0]))
    share = bound.negate().multiply(package.challenge.inverse())
    again = Nonces(Form.RFC9591, nonces[0].commitment, OneTime((d, e)))
    part = sign_part(again, share, package)
    assert part == Scalar(0)
    assert check_part(package, 0, part, [share.public()])
    assert not check_part(package, 0, part, [mul_base(Scalar(1))])


def test_a_share_of_zero_has_no_say() -> None:
    """The key's polynomial is zero at the place 1: a part there is right without a share."""
    nonces = nonces_of(Form.RFC9591, (PLACES[0],))
    package = package_of(nonces)
    d, e = nonces[0].secret.take()
    part = d.add(e.multiply(package.binding_factors[0]))
    key = SecretPolynomial([SecretScalar.from_int(1), SecretScalar.from_int(ORDER - 1)]).commit()
    assert check_part(package, 0, Scalar.from_bytes(part.expose()), key)


def test_too_few_signers_make_no_signature() -> None:
    """All parts are right, but two places do not determine a polynomial of degree 2."""
    nonces = nonces_of(Form.RFC9591, PLACES[:2])
    package = package_of(nonces)
    with pytest.raises(InvalidSignatureError):
        aggregate(package, parts_of(nonces, package), KEY)
    with pytest.raises(InvalidSignersError):
        aggregate(package, [], KEY)


@pytest.mark.parametrize(
    "places", [(), (0, 1, 2), (1, 1, 2), (2, 1, 3)], ids=("none", "zero", "twice", "disorder")
)
def test_places_are_ascending_and_not_zero(places: tuple[int, ...]) -> None:
    commitments = [NonceCommitment(Scalar(x), PUBLIC, PUBLIC) for x in places]
    with pytest.raises(InvalidSignersError):
        prepare(Form.RFC9591, PUBLIC, MESSAGE, commitments)


def test_nonces_that_add_up_to_zero_are_refused() -> None:
    """The binding factors depend on the commitments; only a broken hash brings this about."""
    made = nonces_of(Form.RFC9591, (PLACES[0],))[0]
    minus = made.commitment.binding
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "keyserver.crypto.schnorr.hash_to_field", lambda domain, message: Scalar(ORDER - 1)
        )
        with pytest.raises(InvalidPointError):
            prepare(Form.RFC9591, PUBLIC, MESSAGE, [NonceCommitment(PLACES[0], minus, minus)])


def test_a_challenge_of_zero_is_refused() -> None:
    made = nonces_of(Form.ORIGINAL, (PLACES[0],))[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keyserver.crypto.schnorr.keccak256", lambda data: bytes(32))
        with pytest.raises(InvalidScalarError):
            package_of([made])


@both_forms
@pytest.mark.parametrize("size", [0, 32, 63, 66])
def test_signatures_of_another_length_are_refused(form: Form, size: int) -> None:
    with pytest.raises(InvalidSignatureError):
        verify(form, PUBLIC, MESSAGE, b"\x02" * size)


def test_a_signature_whose_nonce_would_be_infinity_is_refused() -> None:
    """`z*G + c*Y = 0` for `z = -c*x`."""
    x = SecretScalar.from_int(5)
    public: Point = x.public()
    signature = Scalar(3).to_bytes() + Scalar(ORDER - 15).to_bytes()
    with pytest.raises(InvalidSignatureError):
        verify(Form.ORIGINAL, public, MESSAGE, signature)
