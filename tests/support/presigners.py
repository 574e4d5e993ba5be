"""The 2t + 1 holders of a key who presign and sign; every step of theirs a test may spoil."""

from collections.abc import Sequence

from keyserver.crypto.curve import Point, Scalar, SecretScalar, sign_digest
from keyserver.crypto.dealkey import OneTimeKey, seal_value
from keyserver.crypto.dkg import Member
from keyserver.crypto.ecdsa import Bound, EcdsaShare, bind, sign_share
from keyserver.crypto.hashing import sha256
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.presignatures import (
    DealtNumbers,
    Presignature,
    Presigning,
    ProductShare,
    PublicPresignature,
    combine_products,
    finish,
    product_share,
)
from keyserver.crypto.presigning import (
    C,
    Commitments,
    FirstCommitments,
    FirstPolynomials,
    Polynomials,
    PresigningDeal,
    SealedDeal,
    SecondCommitments,
    SecondPolynomials,
    Signer,
    deal_hash,
    make_deal,
    presignature_id,
    presigning_params_hash,
    presigning_transcript,
    receive_deals,
    sum_first,
    sum_second,
)
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.transcripts import session_hash, share_digest

RECORD_HASH = sha256(b"the record")

FirstDeal = PresigningDeal[FirstCommitments]
SecondDeal = PresigningDeal[SecondCommitments]


class Presigners:
    """Nodes with a key of threshold t, at the places 1 to 2t + 1 or at given ones."""

    def __init__(
        self, threshold: int, seed: object = 0, places: Sequence[Scalar] | None = None
    ) -> None:
        self.rng = SeededRandom(f"presigners {seed}")
        self.threshold = threshold
        count = 2 * threshold + 1
        xs = [Scalar(x) for x in range(1, count + 1)] if places is None else list(places)
        self.key = SecretPolynomial.random(threshold, self.rng)
        keys = [SecretScalar.random(self.rng) for _ in xs]
        self.node_keys = sorted(keys, key=lambda key: key.public().raw64)
        self.one_time = [OneTimeKey.random(self.rng) for _ in xs]
        self.members = [
            Member(key.public(), one_time.public, x)
            for key, one_time, x in zip(self.node_keys, self.one_time, xs, strict=True)
        ]
        params = presigning_params_hash(sha256(b"session"), RECORD_HASH, self.signers)
        self.session = session_hash(params, [(m.node, m.one_time) for m in self.members])

    @property
    def signers(self) -> tuple[Signer, ...]:
        return tuple((member.node, member.x) for member in self.members)

    @property
    def indices(self) -> range:
        return range(len(self.members))

    def first_deals(self) -> list[FirstDeal]:
        return [
            self.deal(FirstPolynomials.random(self.threshold, self.rng), dealer)
            for dealer in self.indices
        ]

    def second_deals(self, base: Point) -> list[SecondDeal]:
        return [
            self.deal(SecondPolynomials.random(self.threshold, base, self.rng), dealer)
            for dealer in self.indices
        ]

    def deal(self, polynomials: Polynomials[C], dealer: int) -> PresigningDeal[C]:
        return make_deal(
            polynomials,
            self.members,
            dealer=self.members[dealer].node,
            one_time=self.one_time[dealer],
            session=self.session,
        )

    def signed(self, dealer: int, receiver: int, deal_hash: bytes, ciphertext: bytes) -> bytes:
        digest = share_digest(
            self.session,
            self.members[dealer].node,
            self.members[receiver].node,
            deal_hash,
            ciphertext,
        )
        return sign_digest(self.node_keys[dealer], digest)

    def received(
        self, deals: Sequence[PresigningDeal[Commitments]], receiver: int
    ) -> list[SealedDeal]:
        """What one signer gets in a round, signed by the dealers."""
        return [
            SealedDeal(
                self.members[dealer],
                deal.deal_hash,
                deal.ciphertexts[receiver],
                self.signed(dealer, receiver, deal.deal_hash, deal.ciphertexts[receiver]),
            )
            for dealer, deal in enumerate(deals)
        ]

    def numbers(
        self, received: Sequence[SealedDeal], sums: Commitments, receiver: int
    ) -> tuple[SecretScalar, ...]:
        return receive_deals(
            received,
            sums,
            signers=self.members,
            threshold=self.threshold,
            receiver=self.members[receiver],
            one_time=self.one_time[receiver],
            session=self.session,
        )

    def sealed(self, commitments: Commitments, dealer: int, receiver: int, text: bytes) -> bytes:
        """Any bytes, sealed as a round's numbers from one signer to another would be."""
        named = self.named(commitments, dealer)
        return seal_value(
            text,
            session_hash=self.session,
            shared=self.one_time[dealer].shared_with(self.members[receiver].one_time),
            sender=self.members[dealer].node,
            receiver=self.members[receiver].node,
            bound_to=named,
            number=commitments.NUMBER,
        )

    def named(self, commitments: Commitments, dealer: int) -> bytes:
        return deal_hash(self.session, self.members[dealer].node, commitments)

    def share(self, index: int) -> SecretScalar:
        return self.key.evaluate(self.members[index].x)


class Presigned:
    """What comes of two rounds in which nobody cheats."""

    def __init__(self, signers: Presigners) -> None:
        self.signers = signers
        first_deals = signers.first_deals()
        first = sum_first([deal.commitments for deal in first_deals])
        second_deals = signers.second_deals(first.nonce[0])
        second = sum_second([deal.commitments for deal in second_deals])
        transcripts = [
            presigning_transcript(
                signers.session,
                [(member.node, name) for member, name in zip(signers.members, names, strict=True)],
                sums,
            )
            for names, sums in (
                ([deal.deal_hash for deal in first_deals], first),
                ([deal.deal_hash for deal in second_deals], second),
            )
        ]
        self.presigning = Presigning(
            presignature_id(transcripts[0], transcripts[1]),
            RECORD_HASH,
            signers.signers,
            first,
            second,
        )
        self.dealt = [
            DealtNumbers.of(
                signers.numbers(signers.received(first_deals, index), first, index),
                signers.numbers(signers.received(second_deals, index), second, index),
            )
            for index in signers.indices
        ]

    def product_shares(self) -> list[ProductShare]:
        signers = self.signers
        return [
            product_share(self.presigning, signer, dealt, signers.rng)
            for signer, dealt in zip(signers.signers, self.dealt, strict=True)
        ]

    def product(self) -> Scalar:
        return combine_products(self.presigning, self.product_shares())

    def presignatures(self) -> list[Presignature]:
        product = self.product()
        return [
            finish(self.presigning, signer, dealt, product)
            for signer, dealt in zip(self.signers.signers, self.dealt, strict=True)
        ]

    def bound(self, message: bytes) -> Bound:
        return bind(PublicPresignature(self.presigning, self.product()), message)

    def sign(self, message: bytes) -> list[EcdsaShare]:
        """Everybody's part of a signature, with this presignature."""
        return [self.part(made, message) for made in self.presignatures()]

    def part(self, presignature: Presignature, message: bytes) -> EcdsaShare:
        index = self.signers.signers.index(presignature.own)
        return sign_share(
            presignature,
            self.signers.share(index),
            record_hash=RECORD_HASH,
            message=message,
            rng=self.signers.rng,
        )
