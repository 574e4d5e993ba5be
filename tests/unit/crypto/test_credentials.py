import pytest

from keyserver.crypto import credentials
from keyserver.crypto.credentials import credential_statement, open_signature
from keyserver.crypto.curve import ORDER, Point, SecretScalar, sign_digest
from keyserver.crypto.errors import InvalidPointError, InvalidProofError, InvalidSignatureError
from keyserver.crypto.proofs import prove, verify
from keyserver.crypto.randomness import SeededRandom

_KEY = SecretScalar(b"\x31" * 32)
_DIGEST = b"\x32" * 32
_OPENED = open_signature(_DIGEST, sign_digest(_KEY, _DIGEST))
_CONTEXT = bytes(32)
_RNG = SeededRandom("credentials")


def _prove(digest: bytes = _DIGEST) -> bytes:
    statement = credential_statement(_CONTEXT, digest, _OPENED.requester, _OPENED.nonce_point)
    return prove(statement, [_OPENED.response], _RNG)


def test_a_high_s_is_as_good() -> None:
    signature = sign_digest(_KEY, _DIGEST)
    s = ORDER - int.from_bytes(signature[32:64], "big")
    high = signature[:32] + s.to_bytes(32, "big") + bytes([signature[64] ^ 1])
    opened = open_signature(_DIGEST, high)
    assert opened.requester == _KEY.public()
    statement = credential_statement(_CONTEXT, _DIGEST, opened.requester, opened.nonce_point)
    verify(statement, prove(statement, [opened.response], _RNG))


def test_another_key_or_point_or_digest_does_not_verify() -> None:
    proof = _prove()
    other = SecretScalar(b"\x33" * 32).public()
    for digest, requester, nonce_point in (
        (b"\x34" * 32, _OPENED.requester, _OPENED.nonce_point),
        (_DIGEST, other, _OPENED.nonce_point),
        (_DIGEST, _OPENED.requester, other),
    ):
        with pytest.raises(InvalidProofError):
            verify(credential_statement(_CONTEXT, digest, requester, nonce_point), proof)


def test_a_nonce_point_beyond_the_order_is_opened() -> None:
    """With v of 2 or 3 the point's x-coordinate is r + q."""
    for x in range(ORDER + 1, ORDER + 64):
        try:
            expected = Point.parse(b"\x03" + x.to_bytes(32, "big"))
            break
        except InvalidPointError:
            continue
    signature = (x - ORDER).to_bytes(32, "big") + bytes(31) + b"\5" + b"\3"
    opened = open_signature(_DIGEST, signature)
    assert opened.nonce_point == expected
    statement = credential_statement(_CONTEXT, _DIGEST, opened.requester, expected)
    verify(statement, prove(statement, [opened.response], _RNG))


def test_r_of_zero_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No known point has the x-coordinate q: the order is made to fit one."""
    x = int.from_bytes(_OPENED.nonce_point.raw64[:32], "big")
    monkeypatch.setattr(credentials, "ORDER", x)
    with pytest.raises(InvalidSignatureError, match="r is zero"):
        credential_statement(_CONTEXT, _DIGEST, _OPENED.requester, _OPENED.nonce_point)


def test_the_sum_at_infinity_does_not_verify() -> None:
    """A requester `X = -(z/r)*G` makes `T` infinity, whatever the proof."""
    r = int.from_bytes(_OPENED.nonce_point.raw64[:32], "big") % ORDER
    z = int.from_bytes(_DIGEST, "big") % ORDER
    requester = SecretScalar.from_int(-z * pow(r, -1, ORDER) % ORDER).public()
    statement = credential_statement(_CONTEXT, _DIGEST, requester, _OPENED.nonce_point)
    assert statement.equations[0].result is None
    with pytest.raises(InvalidProofError, match="infinity"):
        verify(statement, _prove())


def test_the_response_does_not_print() -> None:
    assert _OPENED.response.expose().hex() not in repr(_OPENED)
