"""What a dealer makes: its polynomial, committed to and sealed for every receiver."""

from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import make_deal
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.resharing import scaled_polynomial
from keyserver.crypto.transcripts import share_digest
from keyserver.model.identifiers import Hash32
from keyserver.sessions.core import Context
from keyserver.sessions.sharing.messages import Deal, SealedShare, SignedShare
from keyserver.sessions.sharing.phases import Group


def deal_for(ctx: Context, group: Group, one_time: OneTimeKey) -> Deal:
    """This node's deal; of a polynomial of its own, in a redistribution over its own share."""
    receivers = [group.members[node] for node in group.receivers]
    made = make_deal(
        _polynomial(ctx, group),
        receivers,
        dealer=ctx.me.point,
        one_time=one_time,
        session=group.session_hash,
        rng=ctx.random,
        possession=group.terms.before is None,
    )
    shares = []
    for receiver, ciphertext in zip(receivers, made.ciphertexts, strict=True):
        signed = share_digest(
            group.session_hash, ctx.me.point, receiver.node, made.deal_hash, ciphertext
        )
        signature = ctx.signer.sign(Hash32(signed))
        shares.append(SignedShare(SealedShare(ciphertext), signature))
    return Deal(made.commitments, made.pop, tuple(shares))


def _polynomial(ctx: Context, group: Group) -> SecretPolynomial:
    terms = group.terms
    if terms.before is None:
        return SecretPolynomial.random(terms.params.threshold, ctx.random)
    share, places = ctx.key.share, terms.before.coordinates
    assert share is not None  # or it would not have accepted
    return scaled_polynomial(
        share.value,
        share.x,
        [places[node] for node in terms.params.dealers],
        threshold=terms.params.threshold,
        rng=ctx.random,
    )
