"""The vectors of redistribution: removal with joining, refresh, and disjoint committees."""

from typing import Any

import pytest

from keyserver.crypto.curve import Point, Scalar, mul_base, sign_digest, verify_digest
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import Holding, Member, ReceivedDeal, make_deal
from keyserver.crypto.errors import InvalidDealError
from keyserver.crypto.polynomial import SecretPolynomial, interpolate_secret, lagrange_at
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.resharing import (
    dealt_constant,
    receive_redistribution,
    scaled_polynomial,
)
from keyserver.crypto.transcripts import ready_digest, session_hash, share_digest
from keyserver.crypto.vss import evaluate_commitments, sum_commitments
from keyserver.model.codec import decode, encode
from keyserver.model.identifiers import Hash32
from keyserver.model.keys import DocumentKey, KeyRecord
from keyserver.sessions.identity import digest
from keyserver.sessions.sharing.messages import ShareParams
from keyserver.sessions.sharing.terms import record_of
from tests.vectors.files import load, point, point64, raw, secret

_VECTORS: list[dict[str, Any]] = load("resharing")["vectors"]
every = pytest.mark.parametrize("v", _VECTORS, ids=lambda v: v["name"].split(":")[0])


def _one_time(v: dict[str, Any], node: str) -> OneTimeKey:
    (secret_text,) = (o["secret"] for o in v["one_time"] if o["node"] == node)
    return OneTimeKey(secret(secret_text))


def _member(v: dict[str, Any], node: str) -> Member:
    """A leaving dealer has no place in the new committee."""
    places = {m["node"]: Scalar(m["x"]) for m in v["new_committee"]}
    return Member(point(node), _one_time(v, node).public, places.get(node, Scalar(0)))


def _old(v: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {node["node"]: node for node in v["old_nodes"]}


def _places(v: dict[str, Any]) -> list[Scalar]:
    return [Scalar(_old(v)[dealer]["x"]) for dealer in v["dealers"]]


def _key_of(v: dict[str, Any], node: str) -> Any:
    every_node = [*v["old_nodes"], *v["new_committee"]]
    return next(secret(n["secret"]) for n in every_node if n["node"] == node)


@every
def test_parameters(v: dict[str, Any]) -> None:
    params = decode(ShareParams, raw(v["params"]))
    assert encode(params) == raw(v["params"])
    assert digest("tks/1/params", encode(params)) == raw(v["params_hash"])
    assert [dealer.point for dealer in params.dealers] == [point(d) for d in v["dealers"]]
    announced = [(point(o["node"]), _one_time(v, o["node"]).public) for o in v["one_time"]]
    assert session_hash(raw(v["params_hash"]), announced) == raw(v["h1"])


@every
def test_dealing(v: dict[str, Any]) -> None:
    session = raw(v["h1"])
    old_commitments = [point(c) for c in v["old_commitments"]]
    receivers = [_member(v, m["node"]) for m in v["new_committee"]]
    for deal, factor in zip(v["deals"], lagrange_at(_places(v)), strict=True):
        old = _old(v)[deal["node"]]
        own = Scalar(old["x"])
        assert evaluate_commitments(old_commitments, own) == point(old["verification_share"])
        assert factor.to_bytes() == raw(deal["lagrange"])
        expected = dealt_constant(old_commitments, own, _places(v))
        assert expected == point(deal["expected_constant_commitment"])
        fresh = scaled_polynomial(
            secret(old["share"]),
            own,
            _places(v),
            threshold=v["new_threshold"],
            rng=SeededRandom(0),
        )
        assert fresh.constant == secret(deal["coefficients"][0])
        assert fresh.degree == v["new_threshold"]
        made = make_deal(
            SecretPolynomial([secret(c) for c in deal["coefficients"]]),
            receivers,
            dealer=point(deal["node"]),
            one_time=_one_time(v, deal["node"]),
            session=session,
            rng=SeededRandom(0),
            possession=False,
        )
        assert [c.compressed for c in made.commitments] == [raw(c) for c in deal["commitments"]]
        assert made.pop == b""
        assert made.deal_hash == raw(deal["deal_hash"])
        assert list(made.ciphertexts) == [raw(s["ciphertext"]) for s in deal["shares"]]
        for share, receiver in zip(deal["shares"], receivers, strict=True):
            signed = share_digest(
                session,
                point(deal["node"]),
                receiver.node,
                made.deal_hash,
                raw(share["ciphertext"]),
            )
            assert sign_digest(_key_of(v, deal["node"]), signed) == raw(share["signature"])
            verify_digest(signed, raw(share["signature"]), point(deal["node"]))


def _sums(v: dict[str, Any]) -> list[Point]:
    sums = sum_commitments([[point(c) for c in deal["commitments"]] for deal in v["deals"]])
    return [total for total in sums if total is not None]


def _receive(v: dict[str, Any], index: int, public: Point) -> Holding:
    node = v["new_committee"][index]["node"]
    deals = [
        ReceivedDeal(
            dealer=_member(v, deal["node"]),
            constant=point(deal["commitments"][0]),
            pop=raw(deal["pop"]),
            tail_hash=raw(deal["tail_hash"]),
            ciphertext=raw(deal["shares"][index]["ciphertext"]),
            signature=raw(deal["shares"][index]["signature"]),
        )
        for deal in v["deals"]
    ]
    return receive_redistribution(
        deals,
        _sums(v),
        public=public,
        receiver=_member(v, node),
        one_time=_one_time(v, node),
        session=raw(v["h1"]),
    )


@every
def test_receiving(v: dict[str, Any]) -> None:
    result = v["result"]
    public = point(v["old_commitments"][0])
    assert [c.compressed for c in _sums(v)] == [raw(c) for c in result["commitments"]]
    assert _sums(v)[0] == public
    held = []
    for index, expected in enumerate(result["nodes"]):
        holding = _receive(v, index, public)
        assert holding.share == secret(expected["share"])
        assert mul_base(holding.share) == point(expected["verification_share"])
        assert holding.transcript_hash == raw(result["transcript_hash"])
        node = point(expected["node"])
        signed = ready_digest(raw(result["record_hash"]), holding.transcript_hash, node)
        assert signed == raw(expected["ready_digest"])
        assert sign_digest(_key_of(v, expected["node"]), signed) == raw(expected["ready_signature"])
        held.append((Scalar(v["new_committee"][index]["x"]), holding.share))
    used = held[-v["new_threshold"] - 1 :]
    if len(used) > 1:
        total = interpolate_secret([x for x, _ in used], [share for _, share in used])
        assert total == secret(v["joint_secret"])


@every
def test_deals_of_another_key_are_refused(v: dict[str, Any]) -> None:
    with pytest.raises(InvalidDealError, match="another public key"):
        _receive(v, 0, point(v["dealers"][0]))


@every
def test_record(v: dict[str, Any]) -> None:
    points = v["document_key"]
    document = DocumentKey(
        point64(points["common_point_raw64"]), point64(points["encrypted_point_raw64"])
    )
    assert document.hash == raw(points["doc_hash"])
    record = record_of(decode(ShareParams, raw(v["params"])), tuple(_sums(v)), document.hash)
    assert encode(record) == raw(v["result"]["record"])
    assert record.hash == raw(v["result"]["record_hash"])
    assert record.previous == Hash32(raw(v["prev_record_hash"]))
    assert decode(KeyRecord, raw(v["result"]["record"])) == record
