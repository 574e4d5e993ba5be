"""Pieces of messages that an attacker makes by hand, well formed and well signed."""

from collections.abc import Sequence
from typing import Any

from keyserver.crypto.curve import ORDER, Point, Scalar, SecretScalar, add, mul_public
from keyserver.crypto.dealkey import OneTimeKey, seal_value
from keyserver.crypto.dkg import Member
from keyserver.crypto.proofs import prove
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.transcripts import (
    accept_digest,
    constant_statement,
    deal_hash,
    one_time_statement,
    share_digest,
    tail_hash,
)
from keyserver.model.identifiers import Hash32, NodeId, SessionId, Signature
from keyserver.model.requests import Proof
from keyserver.sessions.runner import Role, Runner
from keyserver.sessions.sharing.messages import Accept, DealtShare, SealedShare, SignedShare
from keyserver.sessions.sharing.phases import Group
from tests.weaknesses.intruder import Intruder

RANDOM = SeededRandom(b"attacker")


def secret(number: int) -> SecretScalar:
    return SecretScalar.from_int(number)


def point(number: int) -> Point:
    return secret(number).public()


def running(intruder: Intruder, role: Role) -> Runner:
    """The attacker's own code in the session whose message it alters."""
    session = intruder.node.api._driver._table.get((intruder.sid, role))
    assert session is not None
    assert session.runner is not None
    return session.runner


def phase(intruder: Intruder, sid: SessionId, role: Role) -> Any:
    """Where the attacker's own code stands in a session."""
    assert sid == intruder.sid
    return running(intruder, role).phase


def accept(intruder: Intruder, params_hash: bytes, one_time: OneTimeKey) -> Accept:
    """A right ACCEPT with a one-time key of one's own."""
    me = intruder.id.point
    statement = one_time_statement(params_hash, me, one_time.public)
    proof = Proof(prove(statement, [one_time.secret], RANDOM))
    digest = Hash32(accept_digest(params_hash, me, one_time.public))
    return Accept(one_time.public, proof, intruder.sign(digest))


def sealed_share(
    intruder: Intruder, group: Group, dealt: bytes, receiver: Member, value: bytes, key: OneTimeKey
) -> SignedShare:
    """A share for a receiver, sealed and signed as part of the deal that `dealt` names."""
    me = intruder.id.point
    ciphertext = seal_value(
        value,
        session_hash=group.session_hash,
        shared=key.shared_with(receiver.one_time),
        sender=me,
        receiver=receiver.node,
        bound_to=dealt,
    )
    digest = Hash32(share_digest(group.session_hash, me, receiver.node, dealt, ciphertext))
    return SignedShare(SealedShare(ciphertext), intruder.sign(digest))


def dealt_share(
    intruder: Intruder,
    group: Group,
    commitments: Sequence[Point],
    possession: bytes,
    receiver: Member,
    value: bytes,
    key: OneTimeKey,
) -> DealtShare:
    """The attacker's part of SHARES for one receiver."""
    tail = tail_hash(commitments)
    named = deal_hash(group.session_hash, intruder.id.point, commitments[0], possession, tail)
    share = sealed_share(intruder, group, named, receiver, value, key)
    return DealtShare(
        intruder.id, commitments[0], possession, Hash32(tail), share.ciphertext, share.signature
    )


def possession_of(intruder: Intruder, group: Group, constant: SecretScalar) -> bytes:
    statement = constant_statement(group.session_hash, intruder.id.point, constant.public())
    return prove(statement, [constant], RANDOM)


def plus(*points: Point) -> Point:
    total = add(*points)
    assert total is not None
    return total


def times(p: Point, k: int) -> Point:
    product = mul_public(p, Scalar(k % ORDER))
    assert product is not None
    return product


def commitments_through(values: Sequence[tuple[int, Point]]) -> tuple[Point, ...]:
    """The commitments of the polynomial that takes these values, in the exponent."""
    xs = [x for x, _ in values]
    columns = [_basis(x, [other for other in xs if other != x]) for x in xs]
    return tuple(
        plus(
            *(
                times(p, column[k])
                for (_, p), column in zip(values, columns, strict=True)
                if column[k]
            )
        )
        for k in range(len(values))
    )


def _basis(x: int, others: Sequence[int]) -> list[int]:
    """Coefficients of the Lagrange polynomial that is 1 at `x` and 0 at the others."""
    coefficients, scale = [1], 1
    for other in others:
        shifted = [0, *coefficients]
        coefficients = [a - other * b for a, b in zip(shifted, [*coefficients, 0], strict=True)]
        scale = scale * (x - other) % ORDER
    inverse = pow(scale, -1, ORDER)
    return [coefficient * inverse % ORDER for coefficient in coefficients]


def replacing(parts: Sequence[DealtShare], own: DealtShare) -> tuple[DealtShare, ...]:
    return tuple(own if part.dealer == own.dealer else part for part in parts)


def without(nodes: Sequence[NodeId], one: NodeId) -> list[NodeId]:
    return [node for node in nodes if node != one]


def accept_signature(intruder: Intruder, params_hash: bytes, one_time: Point) -> Signature:
    """What an ACCEPT with this one-time key is signed with."""
    return intruder.sign(Hash32(accept_digest(params_hash, intruder.id.point, one_time)))


def signed_share(
    intruder: Intruder, group: Group, dealt: bytes, receiver: Member, ciphertext: bytes
) -> SignedShare:
    """A sealed share with the signature that it is part of a deal."""
    me = intruder.id.point
    digest = Hash32(share_digest(group.session_hash, me, receiver.node, dealt, ciphertext))
    return SignedShare(SealedShare(ciphertext), intruder.sign(digest))
