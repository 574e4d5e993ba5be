from typing import Any

import pytest

from keyserver.crypto.complaints import Complaint, Verdict, judge
from keyserver.crypto.curve import Point, Scalar, mul_base, sign_digest, verify_digest
from keyserver.crypto.dealkey import OneTimeKey, seal_value, shared_from_point
from keyserver.crypto.dkg import Holding, Member, ReceivedDeal, make_deal, receive_deals
from keyserver.crypto.polynomial import SecretPolynomial, interpolate_secret
from keyserver.crypto.proofs import prove_with_nonces
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.transcripts import (
    accept_digest,
    complaint_statement,
    constant_statement,
    deal_hash,
    ready_digest,
    session_hash,
    share_digest,
    tail_hash,
    transcript_hash,
)
from keyserver.crypto.vss import evaluate_commitments, sum_commitments
from tests.vectors.files import load, point, raw, scalar, secret

_V: dict[str, Any] = load("dkg_generation")
_SESSION = raw(_V["h1"])
_NODE_KEYS = {member["node"]: secret(member["secret"]) for member in _V["committee"]}
_PLACES = {member["node"]: Scalar(member["x"]) for member in _V["committee"]}
_ONE_TIME = {a["node"]: OneTimeKey(secret(a["one_time_secret"])) for a in _V["accepts"]}


def _member(node: str) -> Member:
    return Member(point(node), _ONE_TIME[node].public, _PLACES[node])


_MEMBERS = [_member(node) for node in _V["participants"]]


def test_accepting() -> None:
    params = raw(_V["params_hash"])
    for accept in _V["accepts"]:
        node, one_time = point(accept["node"]), point(accept["one_time_public"])
        assert _ONE_TIME[accept["node"]].public == one_time
        digest = accept_digest(params, node, one_time)
        assert digest == raw(accept["digest"])
        assert sign_digest(_NODE_KEYS[accept["node"]], digest) == raw(accept["signature"])
        verify_digest(digest, raw(accept["signature"]), node)
    assert session_hash(params, [(m.node, m.one_time) for m in _MEMBERS]) == _SESSION


@pytest.mark.parametrize("deal", _V["deals"], ids=lambda deal: deal["node"][:6])
def test_dealing(deal: dict[str, Any]) -> None:
    dealer, one_time = point(deal["node"]), _ONE_TIME[deal["node"]]
    polynomial = SecretPolynomial([secret(text) for text in deal["coefficients"]])
    commitments = polynomial.commit()
    assert [c.compressed for c in commitments] == [raw(c) for c in deal["commitments"]]
    statement = constant_statement(_SESSION, dealer, commitments[0])
    pop = prove_with_nonces(statement, [polynomial.constant], [secret(deal["pop_nonce"])])
    assert pop == raw(deal["pop"])
    assert tail_hash(commitments) == raw(deal["tail_hash"])
    named = deal_hash(_SESSION, dealer, commitments[0], pop, raw(deal["tail_hash"]))
    assert named == raw(deal["deal_hash"])
    for share, member in zip(deal["shares"], _MEMBERS, strict=True):
        assert raw(share["to"]) == member.node.compressed
        value = polynomial.evaluate(Scalar(share["x"]))
        assert value == secret(share["share"])
        assert one_time.shared_with(member.one_time) == raw(share["ecdh"])
        assert shared_from_point(one_time.reveal(member.one_time)) == raw(share["ecdh"])
        ciphertext = seal_value(
            value.expose(),
            session_hash=_SESSION,
            shared=raw(share["ecdh"]),
            sender=dealer,
            receiver=member.node,
            bound_to=named,
        )
        assert ciphertext == raw(share["ciphertext"])
        digest = share_digest(_SESSION, dealer, member.node, named, ciphertext)
        assert sign_digest(_NODE_KEYS[deal["node"]], digest) == raw(share["signature"])


def test_a_deal_made_here_differs_in_its_proof_only() -> None:
    deal = _V["deals"][0]
    made = make_deal(
        SecretPolynomial([secret(text) for text in deal["coefficients"]]),
        _MEMBERS,
        dealer=point(deal["node"]),
        one_time=_ONE_TIME[deal["node"]],
        session=_SESSION,
        rng=SeededRandom(0),
    )
    assert [c.compressed for c in made.commitments] == [raw(c) for c in deal["commitments"]]
    assert made.pop != raw(deal["pop"])
    assert made.deal_hash == deal_hash(
        _SESSION, point(deal["node"]), made.commitments[0], made.pop, raw(deal["tail_hash"])
    )


def _received_by(index: int) -> list[ReceivedDeal]:
    return [
        ReceivedDeal(
            dealer=_member(deal["node"]),
            constant=point(deal["commitments"][0]),
            pop=raw(deal["pop"]),
            tail_hash=raw(deal["tail_hash"]),
            ciphertext=raw(deal["shares"][index]["ciphertext"]),
            signature=raw(deal["shares"][index]["signature"]),
        )
        for deal in _V["deals"]
    ]


def _sums() -> list[Point]:
    sums = sum_commitments([[point(c) for c in deal["commitments"]] for deal in _V["deals"]])
    return [total for total in sums if total is not None]


def _receive(index: int) -> Holding:
    node = _V["participants"][index]
    return receive_deals(
        _received_by(index),
        _sums(),
        receiver=_member(node),
        one_time=_ONE_TIME[node],
        session=_SESSION,
    )


def test_receiving_and_finishing() -> None:
    result = _V["result"]
    assert [c.compressed for c in _sums()] == [raw(c) for c in result["commitments"]]
    assert _sums()[0].raw64 == raw(result["joint_public_raw64"])
    for index, expected in enumerate(result["nodes"]):
        holding = _receive(index)
        assert holding.share == secret(expected["share"])
        assert holding.transcript_hash == raw(result["transcript_hash"])
        assert mul_base(holding.share) == point(expected["verification_share"])
        node = point(expected["node"])
        digest = ready_digest(raw(result["record_hash"]), holding.transcript_hash, node)
        assert digest == raw(expected["ready_digest"])
        signature = sign_digest(_NODE_KEYS[expected["node"]], digest)
        assert signature == raw(expected["ready_signature"])
    absent = result["absent_node"]
    assert evaluate_commitments(_sums(), Scalar(absent["x"])) == point(absent["verification_share"])
    named = [(deal.dealer.node, deal.deal_hash(_SESSION)) for deal in _received_by(0)]
    assert transcript_hash(_SESSION, named) == raw(result["transcript_hash"])


def test_every_two_shares_give_the_key() -> None:
    shares = [_receive(index).share for index in range(3)]
    expected = secret(_V["result"]["joint_secret"])
    for pair in ((0, 1), (0, 2), (1, 2)):
        xs = [_MEMBERS[index].x for index in pair]
        assert interpolate_secret(xs, [shares[index] for index in pair]) == expected


def test_complaint() -> None:
    expected = _V["complaint"]
    deal = next(deal for deal in _V["deals"] if deal["node"] == expected["dealer"])
    dealer, accuser = _member(expected["dealer"]), _member(expected["accuser"])
    common = _ONE_TIME[expected["accuser"]].reveal(dealer.one_time)
    assert common == point(expected["opened_point"])
    statement = complaint_statement(
        _SESSION,
        dealer=dealer.node,
        dealer_one_time=dealer.one_time,
        accuser=accuser.node,
        accuser_one_time=accuser.one_time,
        common=common,
    )
    assert statement.context == raw(expected["ctx"])
    witness = _ONE_TIME[expected["accuser"]].secret
    proof = prove_with_nonces(statement, [witness], [secret(expected["nonce"])])
    assert proof == raw(expected["proof"])
    wrong = seal_value(
        scalar(expected["wrong_share"]).to_bytes(),
        session_hash=_SESSION,
        shared=shared_from_point(common),
        sender=dealer.node,
        receiver=accuser.node,
        bound_to=raw(deal["deal_hash"]),
    )
    assert wrong == raw(expected["ciphertext"])
    complaint = Complaint(
        dealer=dealer.node,
        commitments=tuple(point(c) for c in deal["commitments"]),
        pop=raw(deal["pop"]),
        ciphertext=wrong,
        signature=raw(expected["dealer_signature"]),
        common=common,
        proof=proof,
    )
    verdict = judge(complaint, session=_SESSION, dealer=dealer, accuser=accuser)
    assert verdict is Verdict(expected["verdict"])
