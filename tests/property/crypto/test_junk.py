"""Whatever bytes come in, only a `CryptoError` comes out."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyserver.crypto import boxes, documents, ecies
from keyserver.crypto.complaints import Complaint, Verdict, judge
from keyserver.crypto.credentials import open_signature
from keyserver.crypto.curve import (
    GENERATOR,
    Point,
    Scalar,
    SecretScalar,
    read_secret,
    recover,
    verify_digest,
)
from keyserver.crypto.dealkey import open_value
from keyserver.crypto.dkg import read_share
from keyserver.crypto.errors import CryptoError
from keyserver.crypto.proofs import possession, verify
from tests.property.crypto.strategies import points
from tests.unit.crypto.session_of_four import MEMBERS, SESSION

_SECRET = SecretScalar(b"\x11" * 32)

_PARSERS: dict[str, Callable[[bytes], object]] = {
    "point": Point.parse,
    "raw point": Point.from_raw64,
    "scalar": Scalar.from_bytes,
    "secret": SecretScalar,
    "secret or zero": read_secret,
    "signature": lambda data: recover(bytes(32), data),
    "digest": lambda data: recover(data, bytes(31) + b"\1" + bytes(31) + b"\1\0"),
    "signature of": lambda data: verify_digest(bytes(32), data, GENERATOR),
    "client signature": lambda data: open_signature(bytes(32), data),
    "proof": lambda data: verify(possession(bytes(32), GENERATOR), data),
    "proof context": lambda data: verify(possession(data, GENERATOR), bytes(64)),
    "message": lambda data: ecies.decrypt(_SECRET, data),
    "document": lambda data: documents.decrypt_document(GENERATOR, data),
    "box": lambda data: boxes.open_box({0: bytes(32), 1: bytes(32)}, data, b""),
    "box term": boxes.box_term,
    "sealed value": lambda data: open_value(
        data,
        session_hash=bytes(32),
        shared=bytes(32),
        sender=GENERATOR,
        receiver=GENERATOR,
        bound_to=b"",
    ),
    "sealed share": lambda data: read_share(
        data,
        session=bytes(32),
        shared=bytes(32),
        dealer=GENERATOR,
        receiver=GENERATOR,
        named=bytes(32),
    ),
}

_LENGTHS = (0, 1, 16, 32, 33, 46, 48, 64, 65, 113, 145, 177)
_junk = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(_LENGTHS).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
    st.builds(
        lambda head, tail: head + tail,
        st.sampled_from([b"\2", b"\3", b"\4", b"\1\1\0\0\0\1", b"\1\1\0\0\0\0"]),
        st.sampled_from([n - 1 for n in _LENGTHS if n]).flatmap(
            lambda n: st.binary(min_size=n, max_size=n)
        ),
    ),
)


@pytest.mark.parametrize("name", _PARSERS)
@settings(max_examples=60, deadline=None)
@given(_junk)
@example(bytes(33))
@example(b"\xff" * 65)
def test_junk(name: str, data: bytes) -> None:
    try:
        _PARSERS[name](data)
    except CryptoError:
        return


@settings(max_examples=60, deadline=None)
@given(st.lists(points, max_size=3), _junk, _junk, _junk, points, _junk)
def test_junk_complaints_convict_nobody(
    commitments: list[Point],
    pop: bytes,
    ciphertext: bytes,
    signature: bytes,
    common: Point,
    proof: bytes,
) -> None:
    complaint = Complaint(
        MEMBERS[1].node, tuple(commitments), pop, ciphertext, signature, common, proof
    )
    verdict = judge(complaint, session=SESSION, dealer=MEMBERS[1], accuser=MEMBERS[2])
    assert verdict is Verdict.NOT_PROVEN
