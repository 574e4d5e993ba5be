"""The worked examples of share addition (engine design, section 14.1)."""

from typing import Any

import pytest

from keyserver.crypto.curve import Scalar, mul_base, sign_digest, verify_digest
from keyserver.crypto.dealkey import OneTimeKey, _key
from keyserver.crypto.dkg import Member
from keyserver.crypto.polynomial import lagrange_at
from keyserver.crypto.share_addition import (
    ReceivedMask,
    add_masks,
    add_params_hash,
    blinded_hash,
    blinded_is_right,
    make_mask,
    open_blinded,
    recover_share,
    seal_blinded,
    vanishes,
    vanishing_polynomial,
)
from keyserver.crypto.transcripts import accept_digest, session_hash, share_digest
from keyserver.crypto.vss import evaluate_commitments, sum_commitments
from keyserver.model.codec import encode
from keyserver.model.identifiers import KeyId, NodeId, Nonce32
from keyserver.model.requests import AddShare, NodeCredential, Request
from keyserver.sessions.core import SessionKind
from keyserver.sessions.identity import session_id
from tests.vectors.files import load, point, raw, scalar, secret, small

CASES: list[dict[str, Any]] = load("share_addition")["vectors"]


class Example:
    """One vector with its values parsed."""

    def __init__(self, vector: dict[str, Any]) -> None:
        self.vector = vector
        self.session: dict[str, Any] = vector["session"]
        self.h1 = raw(self.session["h1"])
        self.x = Scalar(vector["new_x"])
        self.one_time = {
            entry["node"]: OneTimeKey(secret(entry["one_time_secret"]))
            for entry in self.session["accepts"]
        }
        self.node_keys = {
            entry["node"]: secret(entry["node_secret"]) for entry in self.session["accepts"]
        }
        self.members = [
            Member(point(donor["node"]), self.one_time[donor["node"]].public, Scalar(donor["x"]))
            for donor in vector["donors"]
        ]
        new_node = self.session["new_node"]
        self.late = Member(point(new_node), self.one_time[new_node].public, self.x)
        self.commitments = [point(text) for text in vector["commitments"]]
        self.lists = [[point(text) for text in d["delta_commitments"]] for d in vector["donors"]]
        self.sums = tuple(total for total in sum_commitments(self.lists) if total is not None)


@pytest.fixture(params=CASES, ids=lambda vector: f"t{vector['threshold']}")
def example(request: pytest.FixtureRequest) -> Example:
    return Example(request.param)


def test_the_session(example: Example) -> None:
    session = example.session
    request = Request.of(AddShare(KeyId(raw(session["key_id"]))), NodeCredential())
    assert encode(request) == raw(session["request"])
    assert request.hash == raw(session["request_hash"])
    late = NodeId.of(example.late.node)
    nonce = Nonce32(raw(session["boot_nonce"]))
    sid = session_id(SessionKind.SHARE_ADDITION, late, nonce, session["counter"], request.hash)
    assert sid == raw(session["sid"])
    donors = [(member.node, member.x) for member in example.members]
    params = add_params_hash(sid, raw(session["record_hash"]), example.late.node, donors)
    assert params == raw(session["addparams_hash"])
    for accept in session["accepts"]:
        node, one_time = point(accept["node"]), example.one_time[accept["node"]].public
        assert one_time == point(accept["one_time_public"])
        digest = accept_digest(params, node, one_time)
        assert digest == raw(accept["digest"])
        verify_digest(digest, raw(accept["signature"]), node)
        assert sign_digest(example.node_keys[accept["node"]], digest) == raw(accept["signature"])
    pairs = [(point(a["node"]), point(a["one_time_public"])) for a in session["accepts"]]
    assert session_hash(params, pairs) == example.h1


def test_the_masks(example: Example) -> None:
    sealing = {entry["node"]: entry for entry in example.session["sealing"]}
    for donor, member in zip(example.vector["donors"], example.members, strict=True):
        coefficients = [secret(text) for text in donor["delta_coefficients"]]
        polynomial = vanishing_polynomial(coefficients[1:], example.x)
        assert polynomial.constant == coefficients[0]
        made = make_mask(
            polynomial,
            example.members,
            dealer=member.node,
            one_time=example.one_time[donor["node"]],
            session=example.h1,
        )
        assert [point.compressed.hex() for point in made.commitments] == donor["delta_commitments"]
        assert vanishes(made.commitments, example.x)
        assert not vanishes(made.commitments, member.x)
        expected = sealing[donor["node"]]
        assert made.mask_hash == raw(expected["deal_hash"])
        assert [ct.hex() for ct in made.ciphertexts] == [
            entry["ciphertext"] for entry in expected["step_2"]
        ]
        for receiver in example.members:
            value = polynomial.evaluate(receiver.x)
            assert value == secret(donor["delta_shares"][receiver.node.compressed.hex()])


def test_the_key_of_the_second_message(example: Example) -> None:
    for entry in example.session["sealing"]:
        step = entry["step_3"]
        assert point(step["to"]) == example.late.node
        shared = example.one_time[entry["node"]].shared_with(example.late.one_time)
        assert shared == raw(step["ecdh"])
        key = _key(example.h1, shared, point(entry["node"]), example.late.node, 2)
        assert key == raw(step["key"])


def test_the_blinded_values_and_the_share(example: Example) -> None:
    sealing = {entry["node"]: entry for entry in example.session["sealing"]}
    blinded = []
    for index, donor in enumerate(example.vector["donors"]):
        receiver, own = example.members[index], example.one_time[donor["node"]]
        masks = []
        for dealer in example.members:
            entry = sealing[dealer.node.compressed.hex()]
            named, ciphertext = raw(entry["deal_hash"]), raw(entry["step_2"][index]["ciphertext"])
            signed = share_digest(example.h1, dealer.node, receiver.node, named, ciphertext)
            key = example.node_keys[dealer.node.compressed.hex()]
            masks.append(ReceivedMask(dealer, named, ciphertext, sign_digest(key, signed)))
        total = add_masks(
            masks,
            example.sums,
            receiver=receiver,
            one_time=own,
            session=example.h1,
            late=example.x,
        )
        bound_to = blinded_hash(example.h1, receiver.node, example.sums)
        sealed = seal_blinded(
            secret(donor["share"]),
            total,
            bound_to=bound_to,
            donor=receiver.node,
            late=example.late,
            one_time=own,
            session=example.h1,
        )
        opened = open_blinded(
            sealed,
            bound_to=bound_to,
            donor=receiver.node,
            late=example.late.node,
            shared=example.one_time[example.session["new_node"]].shared_with(own.public),
            session=example.h1,
        )
        assert opened == secret(donor["blinded"])
        assert opened is not None
        assert mul_base(opened) == point(donor["blinded_public"])
        assert blinded_is_right(opened, example.commitments, example.sums, receiver.x)
        assert not blinded_is_right(small(7), example.commitments, example.sums, receiver.x)
        blinded.append((receiver.x, opened))
    factors = lagrange_at([x for x, _ in blinded], example.x)
    assert factors == [scalar(d["lagrange_at_new_x"]) for d in example.vector["donors"]]
    share = recover_share(blinded, example.commitments, example.x)
    assert share == secret(example.vector["new_share"])
    verification = evaluate_commitments(example.commitments, example.x)
    assert verification == point(example.vector["new_verification_share"])
