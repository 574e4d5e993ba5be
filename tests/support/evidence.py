"""Evidence of every kind, from sessions in which somebody lied."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.transcripts import deal_hash, share_digest, tail_hash
from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId
from keyserver.model.requests import RetrieveDocumentKey
from keyserver.sessions.certificates import ready_digest, vote_digest
from keyserver.sessions.evidence import Evidence, Rule, decode_evidence, judge
from keyserver.sessions.sharing.evidence import (
    Sitting,
    WrongPossession,
)
from keyserver.sessions.sharing.messages import Deal, SealedShare
from keyserver.sessions.sharing.phases import AwaitingDeals
from keyserver.sessions.vote_evidence import RECORD, Place, Readiness, SignedVote, TwoVotes
from keyserver.sessions.writes import VoteKind
from keyserver.simulation import liars
from keyserver.simulation.adversary import dealing, retrieval_holders
from keyserver.simulation.adversary.retrieval_coordinators import selecting
from keyserver.simulation.liars import Lie, at
from tests.support.credentials import legacy
from tests.support.delivery import Delivery
from tests.support.key_life import KEY_ID, REQUESTER, generate, store, try_generate, try_retrieve
from tests.support.lying_delivery import over_delivery

NODES, THRESHOLD = 4, 1


@dataclass(frozen=True)
class Sample:
    """A record that convicts, and whom."""

    evidence: Evidence
    culprit: NodeId
    rule: Rule


def reported(net: Delivery) -> list[Sample]:
    """What was reported in the sessions so far."""
    found = []
    for report in net.reports:
        evidence = decode_evidence(report.evidence)
        conviction = judge(evidence)
        assert report.culprits == {conviction.culprit}
        found.append(Sample(evidence, conviction.culprit, conviction.rule))
    return found


def _generated_with(lie: Lie, liar: int) -> Sample:
    net = Delivery(NODES)
    net.tamper = over_delivery(net, {net.members[liar].id: lie})
    try_generate(net, THRESHOLD)
    (sample,) = reported(net)
    assert sample.culprit == net.members[liar].id
    return sample


def _retrieved_with(lie: Lie, liar: int) -> Sample:
    net = Delivery(NODES)
    record = generate(net, THRESHOLD)
    document = store(net, record)
    net.tamper = over_delivery(net, {net.members[liar].id: lie})
    try_retrieve(net, record, document)
    sample, *_ = reported(net)
    assert sample.culprit == net.members[liar].id
    return sample


def _wrong_possession() -> Sample:
    """A deal that is signed as it must be, over the proof of another statement."""
    net = Delivery(NODES)
    generate(net, THRESHOLD)
    moment = next(m for m in net.moments if isinstance(m.before, AwaitingDeals))
    group = moment.before.group
    deal: Deal = moment.event.message  # type: ignore[union-attr]
    dealer, receiver = sorted(group.members)[:2]
    constant, tail = deal.commitments[0], Hash32(tail_hash(deal.commitments))
    session, possession = group.session_hash, bytes(31) + b"\x01" + bytes(31) + b"\x01"
    named = deal_hash(session, dealer.point, constant, possession, tail)
    ciphertext = SealedShare(bytes(48))
    signed = Hash32(share_digest(session, dealer.point, receiver.point, named, ciphertext))
    record = WrongPossession(
        Sitting.of(group),
        dealer,
        receiver,
        constant,
        possession,
        tail,
        ciphertext,
        net.by_id[dealer].signer.sign(signed),
    )
    return Sample(record, dealer, Rule.WRONG_POSSESSION_PROOF)


def _two_readies() -> Sample:
    """READY for the records of two generations of one key."""
    votes, voter = [], Delivery(NODES).members[1]
    for seed in (b"one", b"two"):
        record = generate(Delivery(NODES, random=SeededRandom(seed)), THRESHOLD).record
        signature = voter.signer.sign(ready_digest(record.hash, ZERO_HASH, voter.id))
        votes.append(SignedVote(record.hash, Readiness(record, ZERO_HASH), signature))
    assert votes[0].value != votes[1].value
    place = Place(RECORD, KEY_ID, 1, 0, VoteKind.PREPARE)
    return Sample(TwoVotes(voter.id, place, *votes), voter.id, Rule.TWO_VOTES)


def two_votes(kind: VoteKind, subject_kind: int = RECORD, round_: int = 1) -> Sample:
    """Plain votes for two values in one round."""
    voter = Delivery(NODES).members[3]
    place = Place(subject_kind, KEY_ID, 1, round_, kind)
    votes = [
        SignedVote(
            value,
            None,
            voter.signer.sign(vote_digest(kind, place.subject, round_, value, voter.id)),
        )
        for value in (ZERO_HASH, Hash32(b"\x01" * 32))
    ]
    return Sample(TwoVotes(voter.id, place, *votes), voter.id, Rule.TWO_VOTES)


def _plain_partial() -> Sample:
    """A wrong part in the plain mode."""
    net = Delivery(NODES)
    record = generate(net, THRESHOLD)
    document = store(net, record)
    liar = net.members[1].id
    net.tamper = over_delivery(
        net, {liar: at("Partial", retrieval_holders.signed_with("point", liars.OTHER_POINT))}
    )

    credential = legacy(net, RetrieveDocumentKey(KEY_ID, shadow=False), REQUESTER)
    try_retrieve(net, record, document, credential=credential, shadow=False)
    (sample,) = reported(net)
    return sample


def _others_part_altered(place: Any, partials: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        part if part.node == place.to else type(part)(part.node, liars.OTHER_POINT, *_rest(part))
        for part in partials
    )


def _rest(part: Any) -> tuple[Any, ...]:
    return part.mask, part.proof, part.signature


@lru_cache(maxsize=1)
def samples() -> dict[str, Sample]:
    """One record of every kind, and of every verdict that a kind may have."""
    false_share = at("Deal", dealing.false_shares(frozenset({0}).__contains__))
    return {
        "wrong share": _generated_with(false_share, 2),
        "false complaint": _generated_with(at("Ok", dealing.false_complaint), 1),
        "unproven complaint": _generated_with(at("Ok", dealing.unproven_complaint), 1),
        "wrong possession": _wrong_possession(),
        "too short": _generated_with(at("Deal", dealing.other_degree(-1)), 3),
        "too long": _generated_with(at("Deal", dealing.other_degree(1)), 3),
        "wrong partial": _retrieved_with(
            at("Partial", retrieval_holders.signed_with("point", liars.OTHER_POINT)), 1
        ),
        "wrong plain partial": _plain_partial(),
        "wrong selection": _retrieved_with(at("Select", selecting(_others_part_altered)), 0),
        "two readies": _two_readies(),
        "two prepares": two_votes(VoteKind.PREPARE),
        "two commits": two_votes(VoteKind.COMMIT, round_=0),
        "two statuses": two_votes(VoteKind.STATUS, subject_kind=2),
    }
