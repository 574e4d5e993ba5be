"""FROST(secp256k1, SHA-256): signers, coordinators and verifiers of two implementations mixed."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from keyserver.crypto.curve import ORDER, Point, Scalar, SecretScalar
from keyserver.crypto.errors import InvalidPartsError, InvalidSignatureError
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.schnorr import (
    Form,
    NonceCommitment,
    Nonces,
    SigningPackage,
    aggregate,
    check_part,
    commit,
    commit_with,
    prepare,
    sign_part,
    verify,
)
from keyserver.crypto.vss import evaluate_commitments
from keyserver.model.requests import SigningScheme
from tests.e2e.published.driver import ClientRaisedError
from tests.interop.made import Committee
from tests.interop.noble import Key, Noble, NobleNonces, needs_noble

pytestmark = [pytest.mark.e2e, needs_noble]

RNG = SeededRandom(b"frost with another implementation")
MESSAGES = (b"", b"\x00", bytes(range(32)), b"\xff" * 300)


def ours(threshold: int) -> Key:
    """A key that our nodes have generated, with our coordinates."""
    committee = Committee.of(threshold)
    record, shares = committee.record.record, committee.shares
    points = {x: evaluate_commitments(record.commitments, x) for x in shares}
    known = {x: point for x, point in points.items() if point is not None}
    return Key(threshold, record.commitments, shares, known)


def dealt(threshold: int, noble: Noble) -> Key:
    return noble.deal(threshold, [Scalar(x) for x in range(1, 2 * threshold + 2)])


def generated(threshold: int, noble: Noble) -> Key:
    places = [SecretScalar.random(RNG).expose() for _ in range(2 * threshold + 1)]
    return noble.generate(threshold, [Scalar.from_bytes(place) for place in places])


@dataclass
class Mixed:
    """A signing in which the first signers are the other implementation's, the rest ours."""

    noble: Noble
    key: Key
    message: bytes
    nonces: Sequence[NobleNonces | Nonces]

    @classmethod
    def begin(cls, noble: Noble, key: Key, message: bytes, theirs: int) -> "Mixed":
        """Round one."""
        places = sorted(key.shares, key=int)[-key.threshold - 1 :]
        nonces: list[NobleNonces | Nonces] = []
        for i, x in enumerate(places):
            share = key.shares[x]
            if i < theirs:
                nonces.append(noble.commit(x, share))
            else:
                nonces.append(commit(Form.RFC9591, x, SecretScalar(share), RNG))
        return cls(noble, key, message, nonces)

    @property
    def commitments(self) -> list[NonceCommitment]:
        return [one.commitment for one in self.nonces]

    @property
    def package(self) -> SigningPackage:
        return prepare(Form.RFC9591, self.key.public, self.message, self.commitments)

    def parts(self) -> list[Scalar]:
        """Round two, once."""
        return [self._part(one) for one in self.nonces]

    def _part(self, one: NobleNonces | Nonces) -> Scalar:
        if isinstance(one, NobleNonces):
            return self.noble.sign_part(one, self.key, self.commitments, self.message)
        share = SecretScalar(self.key.shares[one.commitment.x])
        return sign_part(one, share, self.package)

    def accepted(self, index: int, part: Scalar) -> tuple[bool, bool]:
        """What we think of a part, and what they do."""
        x = self.nonces[index].commitment.x
        theirs = self.noble.accepts_part(self.key, self.commitments, self.message, x, part)
        return check_part(self.package, index, part, self.key.commitments), theirs

    def aggregates(self, parts: Sequence[Scalar]) -> tuple[bytes, bytes]:
        """Our signature and theirs."""
        theirs = self.noble.aggregate(self.key, self.commitments, self.message, parts)
        return aggregate(self.package, parts, self.key.commitments).encode(), theirs


@pytest.mark.parametrize("threshold", [1, 2, 4])
@pytest.mark.parametrize("origin", ["ours", "dealt", "generated"])
def test_signers_of_both_make_one_signature(origin: str, threshold: int, noble: Noble) -> None:
    if origin == "ours":
        key = ours(threshold)
    else:
        key = (dealt if origin == "dealt" else generated)(threshold, noble)
    for theirs in {0, 1, threshold, threshold + 1}:
        message = MESSAGES[theirs % len(MESSAGES)]
        signing = Mixed.begin(noble, key, message, theirs)
        parts = signing.parts()
        for i, part in enumerate(parts):
            assert signing.accepted(i, part) == (True, True)
        first, second = signing.aggregates(parts)
        assert first == second
        assert noble.accepts_frost(key.public, message, first)
        verify(Form.RFC9591, key.public, message, first)


@pytest.mark.parametrize("wrong", [0, 2], ids=["theirs", "ours"])
def test_both_find_the_wrong_part(wrong: int, noble: Noble) -> None:
    signing = Mixed.begin(noble, dealt(2, noble), b"message", 1)
    parts = signing.parts()
    parts[wrong] += Scalar(1)
    for i, part in enumerate(parts):
        assert signing.accepted(i, part) == (i != wrong, i != wrong)
    with pytest.raises(InvalidPartsError) as named:
        aggregate(signing.package, parts, signing.key.commitments)
    assert named.value.places == (signing.nonces[wrong].commitment.x,)
    with pytest.raises(ClientRaisedError):
        noble.aggregate(signing.key, signing.commitments, signing.message, parts)


def test_both_hash_nonces_alike(noble: Noble) -> None:
    x, share, hiding, binding = Scalar(7), RNG.bytes(32), RNG.bytes(32), RNG.bytes(32)
    made = commit_with(Form.RFC9591, x, SecretScalar(share), hiding=hiding, binding=binding)
    assert noble.commit(x, share, hiding, binding).commitment == made.commitment


@pytest.mark.parametrize("threshold", [1, 2, 3])
def test_a_signature_of_our_sessions_is_accepted(threshold: int, noble: Noble) -> None:
    committee, message = Committee.of(threshold), RNG.bytes(32)
    signature = committee.schnorr(message, SigningScheme.FROST).encode()
    assert noble.accepts_frost(committee.public, message, signature)
    other = Committee.of(1).public if threshold != 1 else Committee.of(2).public
    assert not noble.accepts_frost(other, message, signature)
    assert not noble.accepts_frost(committee.public, message[::-1], signature)


def changed(signature: bytes) -> list[bytes]:
    """Each of them no signature, for another reason."""
    nonce, z = signature[:33], int.from_bytes(signature[33:], "big")
    return [
        bytes([nonce[0] ^ 1]) + signature[1:],
        b"\x04" + signature[1:],
        b"\x02" + b"\xff" * 32 + signature[33:],
        nonce + ((z + 1) % ORDER).to_bytes(32, "big"),
        nonce + ((ORDER - z) % ORDER).to_bytes(32, "big"),
        nonce + bytes(32),
        nonce + ORDER.to_bytes(32, "big"),
        Point.parse(nonce).raw64 + signature[33:],
        signature[:-1],
        signature + b"\x00",
        b"",
    ]


def test_both_refuse_what_is_no_signature(noble: Noble) -> None:
    committee, message = Committee.of(1), RNG.bytes(32)
    signature = committee.schnorr(message, SigningScheme.FROST).encode()
    for wrong in changed(signature):
        assert not accepted(noble, committee.public, message, wrong)
        with pytest.raises(InvalidSignatureError):
            verify(Form.RFC9591, committee.public, message, wrong)


def accepted(noble: Noble, public: Point, message: bytes, signature: bytes) -> bool:
    try:
        return noble.accepts_frost(public, message, signature)
    except ClientRaisedError:
        return False
