"""Which signatures the services take: all valid ones, and nothing that is only close to one."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from keyserver.crypto.curve import ORDER, Point, Scalar, SecretScalar, lincomb, mul_base, recover
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.schnorr import Form, verify
from tests.contracts import signatures
from tests.contracts.chain import Contract, public_of
from tests.contracts.world import (
    CLIENT,
    ECDSA_SIGNING,
    FEE,
    KEY,
    MESSAGE,
    SCHNORR_SIGNING,
    SERVERS,
    Service,
    World,
)

SIGNER = 201
VECTORS = Path(__file__).parents[1] / "vectors" / "data"
FIELD = 2**256 - 2**32 - 977


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def flipped(value: bytes, bit: int) -> bytes:
    changed = bytearray(value)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


class Asked:
    """A request whose public is agreed on."""

    def __init__(self, world: World, service: Service, public: bytes, message: bytes) -> None:
        self.contract: Contract = world.service(service)
        self.scheme = service.noun.removesuffix("Signing")
        self.subject = KEY, world.chain.address(CLIENT), message
        name = f"signMessage{self.scheme}"
        self.contract.send(name, KEY, message, sender=CLIENT, value=FEE)
        common = f"{self.scheme.lower()}SigningCommonRetrieved"
        for server in SERVERS[:3]:
            self.contract.send(common, *self.subject, public, 1, sender=server)
        self.function = f"{self.scheme.lower()}MessageSigned"

    def accepts(self, *answer: bytes) -> bool:
        receipt = self.contract.send(self.function, *self.subject, *answer, sender=SERVERS[4])
        told = [(event.name, event.args) for event in receipt.events]
        return told == [(f"{self.scheme}MessageSigned", (*self.subject, answer[0]))]

    def reason(self, *answer: bytes) -> str:
        args = *self.subject, *answer
        return self.contract.revert_reason(self.function, *args, sender=SERVERS[4])

    def refuses(self, *answer: bytes) -> bool:
        return self.reason(*answer) == "InvalidSignature"


def ecdsa(world: World, public: bytes = public_of(SIGNER), message: bytes = MESSAGE) -> Asked:
    return Asked(world, ECDSA_SIGNING, public, message)


def schnorr(world: World, public: bytes = public_of(SIGNER), message: bytes = MESSAGE) -> Asked:
    return Asked(world, SCHNORR_SIGNING, public, message)


# --- ECDSA


def test_the_published_ecdsa_signatures_are_taken(world: World) -> None:
    vectors = json.loads((VECTORS / "ecdsa.json").read_text())
    alone = [
        (SecretScalar(bytes.fromhex(v["secret"])).public().raw64.hex(), v)
        for v in vectors["single_key"]
    ]
    joint = [(v["joint_public_raw64"], v["signature"]) for v in vectors["vectors"]]
    for public, made in (*alone, *joint):
        asked = ecdsa(world, bytes.fromhex(public), bytes.fromhex(made["message"]))
        assert asked.accepts(signatures.on_chain(bytes.fromhex(made["signature"])))


@pytest.mark.parametrize("message", [bytes(32), b"\xff" * 32, word(ORDER), word(ORDER - 1)])
def test_any_hash_can_be_signed_by_ecdsa(world: World, message: bytes) -> None:
    assert ecdsa(world, message=message).accepts(signatures.ecdsa(SIGNER, message))


def test_what_is_no_ecdsa_signature_is_refused(world: World) -> None:
    asked = ecdsa(world)
    good = signatures.ecdsa(SIGNER, MESSAGE)
    r, s, v = good[:32], good[32:64], good[64:]
    other_v = bytes([55 - good[64]])
    wrong = [
        b"",
        good[:64],
        good + b"\0",
        bytes(65),
        b"\xff" * 65,
        signatures.high_s(good),
        signatures.high_s(good)[:64] + v,
        good[:64] + other_v,
        *(good[:64] + bytes([recovery]) for recovery in (0, 1, 2, 3, 26, 29, 30, 255)),
        bytes(32) + s + v,
        word(ORDER) + s + v,
        word(FIELD) + s + v,
        r + bytes(32) + v,
        r + word(ORDER // 2 + 1) + v,
        r + word(ORDER) + v,
        s + r + v,
    ]
    assert all(asked.refuses(signature) for signature in wrong)
    assert asked.accepts(good)


@pytest.mark.parametrize("s", [ORDER // 2, ORDER // 2 + 1])
def test_s_is_at_most_half_the_order(world: World, s: int) -> None:
    """The key that fits is computed from the signature: x = (s*k - m) / r."""
    nonce = Scalar(12345)
    point = mul_base(nonce).raw64
    r, message = int.from_bytes(point[:32], "big"), int.from_bytes(MESSAGE, "big")
    public = mul_base(Scalar((s * int(nonce) - message) * pow(r, -1, ORDER) % ORDER))
    signature = word(r) + word(s) + bytes([point[63] & 1])
    assert recover(MESSAGE, signature) == public

    asked = ecdsa(world, public.raw64)
    if s == ORDER // 2:
        assert asked.accepts(signatures.on_chain(signature))
    else:
        assert asked.refuses(signatures.on_chain(signature))


def test_no_bit_of_an_ecdsa_signature_may_change(world: World) -> None:
    asked, good = ecdsa(world), signatures.ecdsa(SIGNER, MESSAGE)
    for bit in Random(1).sample(range(8 * len(good)), 24):
        assert asked.refuses(flipped(good, bit)), bit


# --- the original's Schnorr form


def test_the_published_schnorr_signatures_are_taken(world: World) -> None:
    vectors = json.loads((VECTORS / "schnorr.json").read_text())
    taken = 0
    for v in vectors["legacy_single_key"]:
        public = SecretScalar(bytes.fromhex(v["secret"])).public().raw64
        nonce = mul_base(Scalar(int(v["nonce"], 16))).raw64
        asked = schnorr(world, public, bytes.fromhex(v["message"]))
        taken += asked.accepts(bytes.fromhex(v["signature"]), nonce)
    for v in vectors["vectors"]:
        if v["variant"] != "rfc9591":
            public = bytes.fromhex(v["joint_public_raw64"])
            nonce = Point.parse(bytes.fromhex(v["group_commitment"])).raw64
            asked = schnorr(world, public, bytes.fromhex(v["message"]))
            taken += asked.accepts(bytes.fromhex(v["signature"]), nonce)
    assert taken == 2 + sum(v["variant"] != "rfc9591" for v in vectors["vectors"]) > 3


def test_schnorr_signatures_of_several_signers_are_taken(world: World) -> None:
    parities = set()
    for number in range(4):
        polynomial = SecretPolynomial.random(2, SeededRandom(f"key {number}"))
        public = polynomial.commit()[0].raw64
        signature, nonce = signatures.schnorr_jointly(polynomial, (1, 3, 4), MESSAGE)
        assert schnorr(world, public).accepts(signature, nonce)
        parities.add((public[63] & 1, nonce[63] & 1))
    assert {public for public, _ in parities} == {0, 1}


@pytest.mark.parametrize("message", [bytes(32), b"\xff" * 32])
def test_any_hash_can_be_signed_by_schnorr(world: World, message: bytes) -> None:
    assert schnorr(world, message=message).accepts(*signatures.schnorr(SIGNER, message))


def test_any_valid_schnorr_signature_is_taken(world: World) -> None:
    """A second session makes another one for the same message."""
    one, other = (signatures.schnorr(SIGNER, MESSAGE, seed) for seed in ("one", "other"))
    assert one != other
    for answer in (one, other):
        assert schnorr(world).accepts(*answer)


def test_what_is_no_schnorr_signature_is_refused(world: World) -> None:
    asked = schnorr(world)
    good, nonce = signatures.schnorr(SIGNER, MESSAGE)
    other, other_nonce = signatures.schnorr(SIGNER, MESSAGE, "other")
    c, s = good[:32], good[32:]
    negated = nonce[:32] + word(FIELD - int.from_bytes(nonce[32:], "big"))
    wrong: Sequence[tuple[bytes, bytes]] = [
        (b"", nonce),
        (good[:63], nonce),
        (good + b"\0", nonce),
        (bytes(64), nonce),
        (b"\xff" * 64, nonce),
        (bytes(32) + s, nonce),
        (c + bytes(32), nonce),
        (c + word(ORDER), nonce),
        (word(ORDER) + s, nonce),
        (s + c, nonce),
        (c + word(ORDER - int.from_bytes(s, "big")), nonce),
        (good, negated),
        (good, other_nonce),
        (other, nonce),
        (good, nonce[32:] + nonce[:32]),
        (good, bytes(64)),
        (good, b"\xff" * 64),
        # The same x with a y that is on no curve.
        (good, nonce[:32] + word(1)),
        (good, public_of(SIGNER)),
    ]
    assert all(asked.refuses(*answer) for answer in wrong)
    assert asked.accepts(good, nonce)


def test_the_challenge_binds_the_message_to_the_nonce(world: World) -> None:
    """Without knowing the key anybody finds R = s*G + c*P for c and s of their choice."""
    asked, public = schnorr(world), signatures.secret_of(SIGNER).public()
    for c, s in ((1, 1), (7, ORDER - 1), (ORDER - 1, 5)):
        nonce = lincomb(Scalar(s), Scalar(c), public)
        assert nonce is not None
        assert asked.refuses(word(c) + word(s), nonce.raw64)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_nonce_publics_of_another_length_revert(world: World, length: int) -> None:
    good, _ = signatures.schnorr(SIGNER, MESSAGE)
    assert schnorr(world).reason(good, bytes(length)) == "InvalidPoint"


def test_no_bit_of_a_schnorr_answer_may_change(world: World) -> None:
    asked, (good, nonce) = schnorr(world), signatures.schnorr(SIGNER, MESSAGE)
    for bit in Random(2).sample(range(8 * len(good)), 16):
        assert asked.refuses(flipped(good, bit), nonce), bit
    for bit in Random(3).sample(range(8 * len(nonce)), 16):
        assert asked.refuses(good, flipped(nonce, bit)), bit


@pytest.mark.parametrize("s", [0, 5, 2**256 - ORDER - 1])
def test_s_is_below_the_order(world: World, s: int) -> None:
    """The key that fits is computed from the signature: x = (k - s) / c."""
    nonce = Scalar(54321)
    point = mul_base(nonce).raw64
    c = int.from_bytes(keccak256(MESSAGE + point[:32]), "big") % ORDER
    public = mul_base(Scalar((int(nonce) - s) * pow(c, -1, ORDER) % ORDER))
    verify(Form.ORIGINAL, public, MESSAGE, word(c) + word(s))

    asked = schnorr(world, public.raw64)
    assert asked.refuses(word(c) + word(s + ORDER), point)
    assert asked.accepts(word(c) + word(s), point)


@pytest.mark.parametrize("x", [0, 1, 5, ORDER, ORDER + 2, FIELD - 3, FIELD, 2**256 - 1])
def test_publics_that_the_check_cannot_use_let_nothing_through(world: World, x: int) -> None:
    """Of another key, not on the curve, or with x from the order of the group up."""
    good, nonce = signatures.schnorr(SIGNER, MESSAGE)
    for y in (2, 3):
        asked = schnorr(world, word(x) + word(y))
        assert asked.refuses(good, nonce)
        asked.contract.send("deleteSchnorrSigningRequest", *asked.subject)
