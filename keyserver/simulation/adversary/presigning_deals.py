"""What a dealer of a presigning may tell wrongly, under its own signature."""

from dataclasses import replace

from keyserver.crypto.dealkey import seal_value
from keyserver.crypto.presigning import deal_hash
from keyserver.crypto.transcripts import share_digest
from keyserver.model.identifiers import Hash32
from keyserver.sessions.ecdsa_presigning.messages import PresignDeal, SealedNumbers
from keyserver.sessions.ecdsa_presigning.terms import commitments_of, nonce_of
from keyserver.simulation.liars import Lie, Place


def _told(place: Place, deal: PresignDeal, victim: int, *, opens: bool) -> PresignDeal:
    """The same deal with other numbers for one receiver."""
    progress = place.phase.progress
    group, session = progress.group, progress.group.session_hash
    base = nonce_of(progress.agreed, group.terms.record)
    commitments = commitments_of(deal.number, deal.commitments, base)
    named, receiver = deal_hash(session, place.ctx.me.point, commitments), group.members[victim]
    ciphertext = bytes(len(deal.values[victim].ciphertext))
    if opens:
        ciphertext = seal_value(
            (bytes(31) + b"\x05") * commitments.WIDTH,
            session_hash=session,
            shared=progress.one_time.shared_with(receiver.one_time),
            sender=place.ctx.me.point,
            receiver=receiver.node,
            bound_to=named,
            number=deal.number,
        )
    signed = share_digest(session, place.ctx.me.point, receiver.node, named, ciphertext)
    wrong = SealedNumbers(ciphertext, place.signer.sign(Hash32(signed)))
    return replace(deal, values=(*deal.values[:victim], wrong, *deal.values[victim + 1 :]))


def junk(number: int, victim: int = 0) -> Lie:
    """In one round, what one signer gets does not open."""
    return lambda place, deal: (
        _told(place, deal, victim, opens=False) if deal.number == number else deal
    )


def wrong_numbers(number: int, victim: int = 0) -> Lie:
    """In one round, one signer gets numbers that were not committed to."""
    return lambda place, deal: (
        _told(place, deal, victim, opens=True) if deal.number == number else deal
    )
