"""Linear proofs: knowledge of scalars `w_j` with `Y_a = sum_j w_j * B_(a,j)` for every equation.

Schnorr's proof of knowledge and the Chaum-Pedersen proof of equal logarithms are instances. Made
non-interactive by hashing (Fiat-Shamir), in the form (challenge, responses). Engine design,
section 2.1, which fixes every byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from keyserver.crypto.curve import (
    GENERATOR,
    MaybePoint,
    Point,
    Scalar,
    SecretScalar,
    add,
    lincomb,
    mul_base,
    mul_public,
    mul_secret,
)
from keyserver.crypto.errors import CryptoError, InvalidProofError
from keyserver.crypto.hashing import hash_to_scalar, tagged_hash
from keyserver.crypto.randomness import RandomSource

_TAG = "tks/1/lin"
_NONCE_TAG = "tks/1/lin-nonce"


@dataclass(frozen=True, slots=True)
class Equation:
    """`result = sum w_j * base_j`, as pairs of the witness's index and its base.

    A point of a statement that came out as infinity is `None`: such a statement is never proven.
    """

    result: MaybePoint
    terms: tuple[tuple[int, MaybePoint], ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """What a proof is about.

    `context` is a 32-byte tagged hash naming purpose, session and prover; `witnesses` says how many
    scalars are known.
    """

    context: bytes
    equations: tuple[Equation, ...]
    witnesses: int = 1

    @property
    def proof_size(self) -> int:
        """The length of a proof in bytes."""
        return 32 * (1 + self.witnesses)

    def encode(self) -> bytes:
        """Return the bytes that are hashed.

        Raises InvalidProofError if a point is infinity or the context is not 32 bytes.
        """
        if len(self.context) != 32:
            raise InvalidProofError("statement: context must be 32 bytes")
        parts = [self.context, bytes([len(self.equations), self.witnesses])]
        for equation in self.equations:
            parts += [_present(equation.result).compressed, bytes([len(equation.terms)])]
            for index, base in equation.terms:
                parts += [bytes([index]), _present(base).compressed]
        return b"".join(parts)


def possession(context: bytes, public: MaybePoint) -> Statement:
    """State knowledge of `w` with `public = w*G` (Schnorr); proofs of 64 bytes."""
    return Statement(context, (Equation(public, ((0, GENERATOR),)),))


def equal_logarithms(
    context: bytes, base1: MaybePoint, value1: MaybePoint, base2: MaybePoint, value2: MaybePoint
) -> Statement:
    """State `value1 = w*base1` and `value2 = w*base2` for one `w` (DLEQ); proofs of 64 bytes."""
    return Statement(context, (Equation(value1, ((0, base1),)), Equation(value2, ((0, base2),))))


def prove(statement: Statement, witnesses: Sequence[SecretScalar], rng: RandomSource) -> bytes:
    """Return the proof `c || z_0 || .. ` for a true statement; constant time in the witnesses.

    The nonces are hedged: hashed from the witnesses, 32 random bytes and the statement, so that a
    random source that repeats itself does not reveal a witness. Raises InvalidProofError for a
    statement with infinity.
    """
    encoded = statement.encode()
    seed = b"".join(witness.expose() for witness in witnesses) + rng.bytes(32) + encoded
    nonces = [
        SecretScalar(tagged_hash(_NONCE_TAG, bytes([index]) + seed))
        for index in range(statement.witnesses)
    ]
    return prove_with_nonces(statement, witnesses, nonces)


def prove_with_nonces(
    statement: Statement, witnesses: Sequence[SecretScalar], nonces: Sequence[SecretScalar]
) -> bytes:
    """Return the proof made with given nonces, one per witness: for published vectors.

    A nonce used twice reveals the witness; everything else calls `prove`.
    """
    first = [_first_message(equation, nonces) for equation in statement.equations]
    challenge = _challenge(statement.encode(), first)
    responses = [
        witness.multiply(challenge).add(nonce).expose()
        for witness, nonce in zip(witnesses, nonces, strict=True)
    ]
    return challenge.to_bytes() + b"".join(responses)


def verify(statement: Statement, proof: bytes) -> None:
    """Check a proof; raises InvalidProofError if it, or its statement, is not what it must be."""
    if len(proof) != statement.proof_size:
        raise InvalidProofError(f"proof: need {statement.proof_size} bytes, got {len(proof)}")
    encoded = statement.encode()
    try:
        challenge, *responses = (
            Scalar.from_bytes(proof[start : start + 32]) for start in range(0, len(proof), 32)
        )
    except CryptoError as error:
        raise InvalidProofError("proof: not made of canonical scalars") from error
    minus = -challenge
    first = [_recomputed(equation, responses, minus) for equation in statement.equations]
    if _challenge(encoded, first) != challenge:
        raise InvalidProofError("proof: does not hold")


def _first_message(equation: Equation, nonces: Sequence[SecretScalar]) -> MaybePoint:
    """`sum r_j * B_j`."""
    return add(
        *(
            mul_base(nonces[index])
            if base == GENERATOR
            else mul_secret(_present(base), nonces[index])
            for index, base in equation.terms
        )
    )


def _recomputed(
    equation: Equation, responses: Sequence[Scalar], minus_challenge: Scalar
) -> MaybePoint:
    """`sum z_j * B_j - c*Y`, the products by the generator and by `Y` being done together."""
    on_generator = Scalar(0)
    others: list[MaybePoint] = []
    for index, base in equation.terms:
        if base == GENERATOR:
            on_generator += responses[index]
        else:
            others.append(mul_public(_present(base), responses[index]))
    result = _present(equation.result)
    if on_generator.is_zero:
        return add(mul_public(result, minus_challenge), *others)
    return add(lincomb(on_generator, minus_challenge, result), *others)


def _challenge(encoded_statement: bytes, first: Sequence[MaybePoint]) -> Scalar:
    encoded = b"".join(_present(point).compressed for point in first)
    return hash_to_scalar(_TAG, encoded_statement + encoded)


def _present(point: MaybePoint) -> Point:
    if point is None:
        raise InvalidProofError("proof: a point is infinity")
    return point
