"""Worked examples of presigning and threshold ECDSA (engine design, section 12)."""

from typing import Any

import pytest

from keyserver.crypto.curve import (
    Point,
    Scalar,
    SecretScalar,
    mul_base,
    mul_secret,
    sign_digest,
    verify_digest,
)
from keyserver.crypto.dealkey import OneTimeKey, _key
from keyserver.crypto.dkg import Member
from keyserver.crypto.ecdsa import (
    Bound,
    EcdsaShare,
    bind,
    combine,
    encode_signature,
    share_statement,
    sign_share,
)
from keyserver.crypto.hashing import address_of
from keyserver.crypto.masks import Opening, ZeroMask, evaluate_mask
from keyserver.crypto.polynomial import SecretPolynomial, interpolate
from keyserver.crypto.presignatures import (
    DealtNumbers,
    Presignature,
    Presigning,
    ProductShare,
    PublicPresignature,
    check_product,
    combine_products,
    finish,
    product_share,
    product_statement,
)
from keyserver.crypto.presigning import (
    FirstCommitments,
    FirstPolynomials,
    SecondCommitments,
    SecondPolynomials,
    check_signers,
    make_deal,
    presigning_params_hash,
)
from keyserver.crypto.proofs import prove_with_nonces, verify
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.transcripts import accept_digest, session_hash, share_digest
from keyserver.crypto.vss import evaluate_commitments
from keyserver.model.codec import decode
from keyserver.model.identifiers import Hash32, NodeId, Nonce32
from keyserver.model.keys import KeyRecord
from keyserver.sessions.core import SessionKind
from keyserver.sessions.identity import session_id
from tests.vectors.files import load, point, raw, scalar, secret

_FILE: dict[str, Any] = load("ecdsa")
RNG = SeededRandom("ecdsa vectors")


def points(texts: list[str]) -> tuple[Point, ...]:
    return tuple(point(text) for text in texts)


def opening(texts: list[str]) -> Opening:
    return Opening(secret(texts[0]), secret(texts[1]))


def mask(coefficients: dict[str, list[str]]) -> ZeroMask:
    values, blinding = (
        SecretPolynomial([secret(text) for text in coefficients[name][1:]])
        for name in ("f", "f_prime")
    )
    return ZeroMask(values, blinding)


class Example:
    """One vector with its values parsed."""

    def __init__(self, vector: dict[str, Any]) -> None:
        self.vector = vector
        self.threshold: int = vector["threshold"]
        self.key = SecretPolynomial([secret(text) for text in vector["key_coefficients"]])
        self.commitments = self.key.commit()
        self.record_hash = raw(vector["record_hash"])
        given = vector["presignature"]
        self.given: dict[str, Any] = given
        self.session: dict[str, Any] = given["session"]
        masks = given["mask_commitments"]
        self.people: list[dict[str, Any]] = given["participants"]
        self.signers = tuple((point(one["node"]), Scalar(one["x"])) for one in self.people)
        self.presigning = Presigning(
            raw(given["presig_id"]),
            self.record_hash,
            self.signers,
            FirstCommitments(
                points(given["k_commitments"]),
                points(masks["z"]),
                points(masks["d"]),
                points(masks["e"]),
            ),
            SecondCommitments(point(given["R"]), points(given["a_commitments"])),
        )
        self.product = scalar(given["w"])
        self.signature: dict[str, Any] = vector["signature"]
        self.message = raw(self.signature["message"])

    def dealt(self, index: int) -> DealtNumbers:
        one = self.people[index]
        z, d, e = (opening(one[name]) for name in "zde")
        return DealtNumbers(secret(one["k"]), z, d, e, secret(one["a"]))

    def product_shares(self) -> list[ProductShare]:
        return [ProductShare(scalar(one["w"]), raw(one["w_proof"])) for one in self.people]

    def presignature(self, index: int) -> Presignature:
        return finish(self.presigning, self.signers[index], self.dealt(index), self.product)

    def bound(self) -> Bound:
        return bind(PublicPresignature(self.presigning, self.product), self.message)


@pytest.fixture(params=_FILE["vectors"], ids=lambda vector: vector["name"])
def example(request: pytest.FixtureRequest) -> Example:
    return Example(request.param)


@pytest.mark.parametrize("case", _FILE["single_key"])
def test_how_signatures_are_written(case: dict[str, Any]) -> None:
    public = secret(case["secret"]).public()
    nonce, s = secret(case["nonce"]).public(), scalar(case["s_before_low_s"])
    signature = encode_signature(nonce, s)
    assert signature == raw(case["signature"])
    verify_digest(raw(case["message"]), signature, public)
    assert address_of(public.raw64) == raw(case["address"])


def test_the_record_and_the_signers(example: Example) -> None:
    record = decode(KeyRecord, raw(example.vector["record"]))
    assert record.hash == example.record_hash
    committee = {(member.node.point, member.x) for member in record.committee}
    assert len(committee) == example.vector["committee_size"]
    for node, _ in example.signers:
        check_signers(example.signers, committee, threshold=example.threshold, own=node)


def test_the_session(example: Example) -> None:
    session = example.session
    sid = session_id(
        SessionKind.PRESIGNING,
        NodeId.of(point(session["coordinator"])),
        Nonce32(raw(session["boot_nonce"])),
        session["counter"],
        Hash32(raw(session["request_hash"])),
    )
    assert sid == raw(session["sid"])
    params = presigning_params_hash(sid, example.record_hash, example.signers)
    assert params == raw(session["psparams_hash"])
    accepted = []
    for accept in session["accepts"]:
        node, one_time = point(accept["node"]), OneTimeKey(secret(accept["one_time_secret"]))
        assert one_time.public == point(accept["one_time_public"])
        digest = accept_digest(params, node, one_time.public)
        assert digest == raw(accept["digest"])
        assert sign_digest(secret(accept["node_secret"]), digest) == raw(accept["signature"])
        accepted.append((node, one_time.public))
    assert session_hash(params, accepted) == raw(session["h1"])


def test_the_deals_between_two(example: Example) -> None:
    sealing = example.session["sealing_example"]
    h1, dealer = raw(example.session["h1"]), point(sealing["from_node"])
    accepts = {accept["node"]: accept for accept in example.session["accepts"]}
    receivers = [
        Member(node, point(accepts[node.compressed.hex()]["one_time_public"]), x)
        for node, x in example.signers
    ]
    index = [member.node for member in receivers].index(point(sealing["to_node"]))
    receiver = receivers[index]
    own = accepts[sealing["from_node"]]
    one_time = OneTimeKey(secret(own["one_time_secret"]))
    shared = one_time.shared_with(receiver.one_time)
    assert shared == raw(sealing["ecdh"])
    first, second = sealing["round_1"], sealing["round_2"]
    masks = first["mask_coefficients"]
    polynomials = FirstPolynomials(
        SecretPolynomial([secret(text) for text in first["k_coefficients"]]),
        *(mask(masks[name]) for name in "zde"),
    )
    multiplier = SecretPolynomial([secret(text) for text in second["a_coefficients"]])
    one = make_deal(polynomials, receivers, dealer=dealer, one_time=one_time, session=h1)
    assert one.commitments.nonce == points(first["K"])
    assert one.commitments.product_mask == points(first["Z"])
    assert one.commitments.fixed_mask == points(first["D"])
    assert one.commitments.scaled_mask == points(first["E"])
    two = make_deal(
        SecondPolynomials(point(example.given["R"]), multiplier),
        receivers,
        dealer=dealer,
        one_time=one_time,
        session=h1,
    )
    assert two.commitments.multiplier == points(second["A"])
    sealed = (
        (1, first, one.deal_hash, one.ciphertexts[index]),
        (2, second, two.deal_hash, two.ciphertexts[index]),
    )
    for number, expected, named, ciphertext in sealed:
        assert named == raw(expected["deal_hash"])
        assert _key(h1, shared, dealer, receiver.node, number) == raw(expected["key"])
        assert ciphertext == raw(expected["ciphertext"])
        signed = share_digest(h1, dealer, receiver.node, named, ciphertext)
        verify_digest(signed, raw(expected["signature"]), dealer)


def test_what_each_signer_was_dealt(example: Example) -> None:
    first, second = example.presigning.first, example.presigning.second
    assert first.fits(example.threshold)
    assert second.fits(example.threshold)
    assert secret(example.given["nonce_k"]).public() == example.presigning.nonce
    assert example.presigning.nonce == point(example.given["R"])
    for one, (_, x) in zip(example.people, example.signers, strict=True):
        numbers = [secret(one["k"]), *(secret(text) for name in "zde" for text in one[name])]
        assert first.holds(numbers, x)
        assert second.holds([secret(one["a"])], x)
        assert evaluate_commitments(first.nonce, x) == point(one["K"])
        assert evaluate_commitments(second.multiplier, x) == point(one["A"])
        assert evaluate_mask(first.product_mask, x) == point(one["Z"])
        assert evaluate_mask(first.fixed_mask, x) == point(one["D"])
        assert evaluate_mask(first.scaled_mask, x) == point(one["E"])
        assert not first.holds([*numbers[:-1], numbers[0]], x)
        assert not second.holds([secret(one["k"])], x)


def test_the_product(example: Example) -> None:
    for index, (one, signer) in enumerate(zip(example.people, example.signers, strict=True)):
        dealt = example.dealt(index)
        share = product_share(example.presigning, signer, dealt, RNG)
        assert share.value == scalar(one["w"])
        statement = product_statement(example.presigning, signer, share.value)
        assert statement.context == raw(one["ctx"])
        verify(statement, share.proof)
        opened = dealt.product_mask
        witnesses = [dealt.nonce, opened.value, opened.blinding]
        nonces = [secret(text) for text in one["proof_nonces"]]
        assert prove_with_nonces(statement, witnesses, nonces) == raw(one["w_proof"])
    assert combine_products(example.presigning, example.product_shares()) == example.product
    check_product(example.presigning, example.product)


def test_what_is_kept(example: Example) -> None:
    for index, one in enumerate(example.people):
        kept = example.presignature(index).secret.take()
        assert kept.inverse_nonce == secret(one["h"])
        assert mul_secret(example.presigning.nonce, kept.inverse_nonce) == point(one["H"])


def test_the_bound_nonce(example: Example) -> None:
    bound = example.bound()
    assert bound.scale == scalar(example.signature["delta"])
    assert bound.nonce == point(example.signature["R_prime"])
    assert bound.r == scalar(example.signature["r"])


def test_the_signature(example: Example) -> None:
    bound, shares = example.bound(), []
    for index, (one, signer) in enumerate(
        zip(example.signature["shares"], example.signers, strict=True)
    ):
        key_share = example.key.evaluate(signer[1])
        assert key_share == secret(one["key_share"])
        share = sign_share(
            example.presignature(index),
            key_share,
            record_hash=example.record_hash,
            message=example.message,
            rng=RNG,
        )
        assert share.value == scalar(one["signature_share"])
        statement = share_statement(bound, signer, key_share.public(), share.value)
        assert statement.context == raw(one["ctx"])
        signed, masked, product = statement.equations
        assert (signed.result, masked.result) == (point(one["Q"]), point(one["M"]))
        assert product.terms[0][1] == point(one["U"])
        verify(statement, share.proof)
        witnesses = [secret(one[name]) for name in ("u", "mu", "nu")]
        check_witnesses(one, witnesses)
        nonces = [secret(text) for text in one["proof_nonces"]]
        assert prove_with_nonces(statement, witnesses, nonces) == raw(one["proof"])
        shares.append(EcdsaShare(share.value, raw(one["proof"])))
    s = interpolate([x for _, x in example.signers], [share.value for share in shares])
    assert s == scalar(example.signature["s_before_low_s"])
    signature = combine(bound, shares, example.commitments)
    assert signature == raw(example.signature["signature"])
    assert address_of(example.commitments[0].raw64) == raw(example.signature["address"])


def check_witnesses(one: dict[str, Any], witnesses: list[SecretScalar]) -> None:
    known, value, blinding = witnesses
    assert mul_base(known) == point(one["Q"])
    masked = ZeroMask(SecretPolynomial([value]), SecretPolynomial([blinding])).commit()
    assert masked == (point(one["M"]),)
