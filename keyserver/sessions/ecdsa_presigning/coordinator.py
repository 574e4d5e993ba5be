"""The coordinator's part of a presigning (engine design, section 12.2).

Every signer is needed: the session ends with the first one that fails, and the caller tries again
with others. The coordinator need not be a signer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from keyserver.crypto.curve import Scalar
from keyserver.crypto.errors import InvalidDealError, InvalidPartsError
from keyserver.crypto.presignatures import (
    ProductShare,
    PublicPresignature,
    combine_products,
)
from keyserver.crypto.presigning import (
    FirstCommitments,
    SecondCommitments,
    deal_hash,
    sum_first,
    sum_second,
)
from keyserver.crypto.transcripts import share_digest
from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.keys import CertifiedRecord
from keyserver.sessions.conviction import Evidence, is_signed, reports_of
from keyserver.sessions.core import (
    Completed,
    Context,
    Effect,
    Event,
    Failed,
    PeerLost,
    Received,
    Refusal,
    Refused,
    Send,
    SetTimer,
    StaleError,
    Step,
    TimerFired,
    UnavailableError,
)
from keyserver.sessions.ecdsa_presigning.evidence import (
    Assembly,
    SignedAgreement,
    WrongPresigningDeal,
    WrongProduct,
)
from keyserver.sessions.ecdsa_presigning.messages import (
    AllAgreed,
    PresignAccept,
    PresignAgreed,
    PresignatureKept,
    PresignComplaint,
    PresignDeal,
    PresignDeals,
    Presigned,
    PresignInvestigate,
    PresignLists,
    PresignPropose,
    PresignStart,
    ProductPart,
    RelayedNumbers,
)
from keyserver.sessions.ecdsa_presigning.participant import check_request
from keyserver.sessions.ecdsa_presigning.phases import (
    AwaitingAccepts,
    AwaitingAgreed,
    AwaitingDeals,
    AwaitingKept,
    AwaitingProducts,
    CoordinatorPhase,
    Phase,
)
from keyserver.sessions.ecdsa_presigning.terms import (
    SECOND,
    Agreement,
    Group,
    commitments_of,
    lists_of,
    nonce_of,
    presigning_of,
    product_digest,
    terms_of,
)
from keyserver.sessions.identity import check_signature
from keyserver.sessions.messages import Refuse
from keyserver.sessions.rounds import Round
from keyserver.sessions.sharing.messages import Accepted
from keyserver.sessions.sharing.terms import check_one_time_key


@dataclass(frozen=True, slots=True)
class Target:
    """For which key, and with whom: 2t + 1 holders in canonical order."""

    record: CertifiedRecord
    signers: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class OwnPresignature:
    """A finished presignature, as its coordinator keeps it; nothing in it is secret."""

    public: PublicPresignature
    assembly: Assembly
    agreed: tuple[Agreement, ...]
    """The outcomes of both rounds: what convicts a signer of a wrong share later."""

    @property
    def presig_id(self) -> Hash32:
        """The name under which every signer keeps its share."""
        return Hash32(self.public.presigning.presig_id)

    @property
    def signers(self) -> tuple[NodeId, ...]:
        """Who has to sign, in order."""
        return tuple(entry.node for entry in self.assembly.signers)


def _timer(nodes: int) -> SetTimer:
    return SetTimer("round", 10 + 0.1 * nodes)


def start(ctx: Context, target: Target) -> Step[Phase]:
    """Propose to the signers; raises a `SessionError` or `Refused` if that is pointless."""
    check_request(ctx)
    terms = terms_of(ctx.sid, target.record.record, target.signers)
    missing = frozenset(terms.signers) - ctx.connected
    if missing:
        raise UnavailableError("signers are not connected", failed=missing)
    key_id, record_hash = terms.record.key_id, terms.record.hash
    propose = PresignPropose(ctx.counter, key_id, record_hash, terms.signers)
    sends = [Send(node, propose) for node in terms.signers]
    waiting = AwaitingAccepts(terms, Round.among(terms.signers))
    return Step(waiting, (_timer(len(terms.signers)), *sends))


def step(ctx: Context, phase: CoordinatorPhase, event: Event) -> Step[Phase]:
    """What follows from an event; an answer that is late or not asked for changes nothing."""
    match phase, event:
        case _, Received(sender, Refuse() as refuse):
            return _on_lost(phase, sender, refuse.refusal)
        case _, PeerLost(sender):
            return _on_lost(phase, sender)
        case _, TimerFired("round"):
            return Step(_failed("signers have not answered", phase.round.waiting))
        case _, Received(sender, _) if not phase.round.expects(sender):
            return Step(phase)
        case AwaitingAccepts(), Received(sender, PresignAccept() as accept):
            return _on_accept(phase, sender, accept)
        case AwaitingDeals(), Received(sender, PresignDeal() as deal):
            return _on_deal(phase, sender, deal)
        case AwaitingAgreed(), Received(sender, PresignInvestigate()):
            return _on_investigate(phase, sender)
        case AwaitingAgreed(), Received(sender, PresignComplaint() as complaint):
            return _on_complaint(phase, sender, complaint)
        case AwaitingAgreed(), Received(sender, PresignAgreed() as agreed):
            return _on_agreed(phase, sender, agreed)
        case AwaitingProducts(), Received(sender, ProductPart() as part):
            return _on_product(phase, sender, part)
        case AwaitingKept(), Received(sender, PresignatureKept() as kept):
            return _on_kept(phase, sender, kept)
        case _:
            return Step(phase)


def _failed(why: str, signers: frozenset[NodeId]) -> Failed:
    """Another attempt without these may succeed."""
    return Failed(UnavailableError(why, failed=signers))


def _on_lost(phase: CoordinatorPhase, node: NodeId, refusal: Refusal | None = None) -> Step[Phase]:
    """A signer is needed until it has its share."""
    needed = phase.round.waiting if isinstance(phase, AwaitingKept) else phase.round.expected
    if node not in needed:
        return Step(phase)
    if refusal is Refusal.STALE:
        stale = StaleError("a signer has another version", failed=frozenset({node}))
        return Step(Failed(stale))
    return Step(_failed("a signer takes no part", frozenset({node})))


def _to_all(group: Group, message: object) -> tuple[Effect, ...]:
    nodes = group.terms.signers
    return (_timer(len(nodes)), *(Send(node, message) for node in nodes))


# --- starting --------------------------------------------------------------------------------


def _on_accept(phase: AwaitingAccepts, sender: NodeId, accept: PresignAccept) -> Step[Phase]:
    terms = phase.terms
    check_one_time_key(terms.params_hash, _accepted(sender, accept))
    round_ = phase.round.add(sender, accept)
    if not round_.is_complete:
        return Step(replace(phase, round=round_))
    accepted = tuple(_accepted(node, round_.answers[node]) for node in terms.signers)
    group = Group.of(terms, [entry.one_time for entry in accepted])
    waiting = AwaitingDeals(group, (), (), Round.among(terms.signers))
    return Step(waiting, _to_all(group, PresignStart(accepted)))


def _accepted(node: NodeId, accept: PresignAccept) -> Accepted:
    return Accepted(node, accept.one_time, accept.proof, accept.signature)


# --- deals -----------------------------------------------------------------------------------


def _on_deal(phase: AwaitingDeals, sender: NodeId, deal: PresignDeal) -> Step[Phase]:
    group = phase.group
    if deal.number != len(phase.agreed) + 1 or len(deal.values) != len(group.members):
        raise Refused(Refusal.BAD, "a deal of another round, or of another size")
    try:
        fits = _commitments(phase, deal).fits(group.threshold)
    except InvalidDealError as problem:
        raise Refused(Refusal.BAD, str(problem)) from problem
    if not fits:
        raise Refused(Refusal.BAD, "a deal has the wrong number of commitments")
    round_ = phase.round.add(sender, deal)
    if not round_.is_complete:
        return Step(replace(phase, round=round_))
    return _hand_round(phase, round_.answers)


def _commitments(
    phase: AwaitingDeals | AwaitingAgreed, deal: PresignDeal
) -> FirstCommitments | SecondCommitments:
    base = nonce_of(phase.agreed, phase.group.terms.record)
    return commitments_of(deal.number, deal.commitments, base)


def _hand_round(phase: AwaitingDeals, dealt: Mapping[NodeId, PresignDeal]) -> Step[Phase]:
    """Give every signer its part of all deals, and the sums."""
    group, number = phase.group, len(phase.agreed) + 1
    in_order = [dealt[node] for node in group.terms.signers]
    lists = [_commitments(phase, deal) for deal in in_order]
    try:
        sums = _sum(lists)
    except InvalidDealError as problem:
        return Step(_failed(str(problem), frozenset()))
    names = tuple(
        Hash32(deal_hash(group.session_hash, member.node, commitments))
        for member, commitments in zip(group.members, lists, strict=True)
    )
    agreement = Agreement(names, lists_of(sums))
    effects: list[Effect] = [_timer(len(group.members))]
    for place, node in enumerate(group.terms.signers):
        relayed = tuple(
            RelayedNumbers(named, deal.values[place])
            for named, deal in zip(names, in_order, strict=True)
        )
        effects.append(Send(node, PresignDeals(number, relayed, agreement.sums)))
    waiting = AwaitingAgreed(
        group,
        (*phase.agreed, agreement),
        phase.signed,
        MappingProxyType(dict(dealt)),
        Round.among(group.terms.signers),
    )
    return Step(waiting, tuple(effects))


def _sum(
    lists: list[FirstCommitments | SecondCommitments],
) -> FirstCommitments | SecondCommitments:
    firsts = [one for one in lists if isinstance(one, FirstCommitments)]
    seconds = [one for one in lists if isinstance(one, SecondCommitments)]
    return sum_first(firsts) if firsts else sum_second(seconds)


# --- when a signer finds something wrong -----------------------------------------------------


def _on_investigate(phase: AwaitingAgreed, sender: NodeId) -> Step[Phase]:
    """It may be a signature, which convicts nobody, or numbers."""
    if sender in phase.investigating:
        return Step(phase)
    unsigned = _unsigned_deal(phase, sender)
    if unsigned is not None:
        return Step(_failed("a deal is not signed", frozenset({unsigned})))
    signers = phase.group.terms.signers
    lists = tuple(phase.dealt[node].commitments for node in signers)
    asked = replace(phase, investigating=phase.investigating | {sender})
    answer = Send(sender, PresignLists(len(phase.agreed), lists))
    return Step(asked, (_timer(len(signers)), answer))


def _unsigned_deal(phase: AwaitingAgreed, receiver: NodeId) -> NodeId | None:
    """The first dealer whose numbers for a signer do not carry its signature."""
    group, names = phase.group, phase.agreed[-1].deals
    place = group.index(receiver)
    for dealer, named in zip(group.terms.signers, names, strict=True):
        value = phase.dealt[dealer].values[place]
        signed = share_digest(
            group.session_hash, dealer.point, receiver.point, named, value.ciphertext
        )
        if not is_signed(signed, value.signature, dealer):
            return dealer
    return None


def _on_complaint(
    phase: AwaitingAgreed, sender: NodeId, complaint: PresignComplaint
) -> Step[Phase]:
    """Either the complaint convicts the dealer, or the accuser is not needed any more."""
    group, dealer = phase.group, complaint.dealer
    if sender not in phase.investigating:
        return Step(phase)
    if dealer not in group.terms.signers:
        raise Refused(Refusal.BAD, "the complaint is about a node that dealt nothing")
    deal, at = phase.dealt[dealer], group.index(dealer)
    evidence = WrongPresigningDeal(
        Assembly.of(group),
        tuple(
            SignedAgreement(agreement, signatures[at])
            for agreement, signatures in zip(phase.agreed, phase.signed, strict=False)
        ),
        dealer,
        sender,
        deal.commitments,
        deal.values[group.index(sender)],
        complaint.opened,
        complaint.proof,
    )
    reports = reports_of(evidence)
    if not reports:
        raise Refused(Refusal.BAD, "the complaint convicts nobody")
    return Step(_failed("a signer has dealt wrong numbers", frozenset({dealer})), reports)


# --- what all agree on -----------------------------------------------------------------------


def _on_agreed(phase: AwaitingAgreed, sender: NodeId, agreed: PresignAgreed) -> Step[Phase]:
    group, number = phase.group, len(phase.agreed)
    base = nonce_of(phase.agreed, group.terms.record)
    check_signature(phase.agreed[-1].transcript(group, number, base), agreed.signature, sender)
    round_ = phase.round.add(sender, agreed)
    if not round_.is_complete:
        return Step(replace(phase, round=round_))
    signatures = tuple(round_.answers[node].signature for node in group.terms.signers)
    effects = _to_all(group, AllAgreed(number, signatures))
    again: Round[PresignDeal] = Round.among(group.terms.signers)
    if number < SECOND:
        waiting = AwaitingDeals(group, phase.agreed, (*phase.signed, signatures), again)
        return Step(waiting, effects)
    presigning = presigning_of(group, phase.agreed)
    answers: Round[ProductPart] = Round.among(group.terms.signers)
    return Step(AwaitingProducts(group, phase.agreed, presigning, answers), effects)


# --- the product -----------------------------------------------------------------------------


def _on_product(phase: AwaitingProducts, sender: NodeId, part: ProductPart) -> Step[Phase]:
    signed = product_digest(phase.presigning.presig_id, sender, part.value, part.proof)
    check_signature(signed, part.signature, sender)
    round_ = phase.round.add(sender, part)
    if not round_.is_complete:
        return Step(replace(phase, round=round_))
    parts = [round_.answers[node] for node in phase.group.terms.signers]
    shares = [ProductShare(each.value, bytes(each.proof)) for each in parts]
    try:
        product = combine_products(phase.presigning, shares)
    except InvalidPartsError as wrong:
        return _naming(phase, round_, wrong.places)
    public = PublicPresignature(phase.presigning, product)
    waiting = AwaitingKept(
        public, phase.group, phase.agreed, Round.among(phase.group.terms.signers)
    )
    return Step(waiting, _to_all(phase.group, Presigned(product)))


def _naming(
    phase: AwaitingProducts, round_: Round[ProductPart], places: tuple[Scalar, ...]
) -> Step[Phase]:
    coordinates = phase.group.terms.record.coordinates
    wrong = [node for node in phase.group.terms.signers if coordinates[node] in places]
    records: list[Evidence] = [
        WrongProduct(
            Assembly.of(phase.group),
            phase.agreed,
            node,
            round_.answers[node].value,
            round_.answers[node].proof,
            round_.answers[node].signature,
        )
        for node in wrong
    ]
    reports = tuple(report for record in records for report in reports_of(record))
    return Step(_failed("signers have given wrong parts", frozenset(wrong)), reports)


def _on_kept(phase: AwaitingKept, sender: NodeId, kept: PresignatureKept) -> Step[Phase]:
    round_ = phase.round.add(sender, kept)
    if not round_.is_complete:
        return Step(replace(phase, round=round_))
    made = OwnPresignature(phase.presignature, Assembly.of(phase.group), phase.agreed)
    return Step(Completed(made))
