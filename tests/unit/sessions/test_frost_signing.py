"""Signing sessions: who signs, who lies, and that nonces serve one package only."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from keyserver.crypto.curve import Scalar
from keyserver.crypto.errors import InvalidPointError
from keyserver.crypto.schnorr import Form, verify
from keyserver.model.identifiers import Hash32, NodeId, Signature
from keyserver.model.keys import CertifiedRecord
from keyserver.model.requests import (
    GenerateServerKey,
    OnChainPublic,
    Request,
    SigningScheme,
    SignMessage,
)
from keyserver.sessions.core import (
    Authorised,
    Completed,
    Context,
    DeniedError,
    Failed,
    GivenUpError,
    KeyState,
    PeerLost,
    Received,
    Refusal,
    Refused,
    Send,
    SessionError,
    StaleError,
    Step,
    TimerFired,
    UnavailableError,
    Verdict,
)
from keyserver.sessions.frost_signing import FROST_SIGNING
from keyserver.sessions.frost_signing.messages import (
    ChosenSigner,
    NonceCommitments,
    Package,
    SignatureShare,
    Signed,
    SignedSigner,
    Unneeded,
)
from keyserver.sessions.frost_signing.phases import (
    AwaitingNonces,
    AwaitingPackage,
    AwaitingSignatureShares,
    AwaitingSigned,
)
from keyserver.sessions.messages import Refuse
from keyserver.sessions.outcomes import SignatureReady, SignatureResult
from keyserver.sessions.runner import Role
from keyserver.simulation import liars
from keyserver.simulation.liars import Lie, Place, at, silent, unsigned
from tests.support.credentials import bound, legacy
from tests.support.delivery import CONTRACT, Delivery, Moment, received
from tests.support.key_life import (
    KEY_ID,
    MESSAGE,
    ON_CHAIN,
    REQUESTER,
    generate,
    lose_share,
    sign,
    try_sign,
)
from tests.support.lying_delivery import over_delivery

Keyed = tuple[Delivery, CertifiedRecord]


def keyed(nodes: int, threshold: int) -> Keyed:
    net = Delivery(nodes)
    return net, generate(net, threshold)


@pytest.fixture
def four() -> Keyed:
    return keyed(4, 1)


@pytest.fixture
def seven() -> Keyed:
    return keyed(7, 2)


def error_of(net: Delivery, record: CertifiedRecord, **how: Any) -> SessionError:
    outcome = try_sign(net, record, **how)
    assert isinstance(outcome, Failed)
    return outcome.error


def participants(net: Delivery) -> dict[NodeId, Any]:
    """How each participant's part has ended."""
    return {
        node: runner.outcome
        for (node, role), runner in net.runners.items()
        if role is Role.PARTICIPANT
    }


def moment_in(net: Delivery, phase: type, kind: type | None = None) -> Moment:
    """The first time that something happened in a phase, or that a message came."""
    for moment in net.moments:
        message = moment.event.message if isinstance(moment.event, Received) else None
        if isinstance(moment.before, phase) and (kind is None or isinstance(message, kind)):
            return moment
    raise AssertionError(f"nothing happened in {phase.__name__}")


# --- signatures ------------------------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "threshold"), [(1, 0), (2, 1), (3, 1), (4, 3), (7, 2)])
@pytest.mark.parametrize("scheme", [SigningScheme.SCHNORR, SigningScheme.FROST])
def test_t_plus_1_nodes_sign(nodes: int, threshold: int, scheme: SigningScheme) -> None:
    net, record = keyed(nodes, threshold)
    credential = legacy(net, SignMessage(KEY_ID, MESSAGE, scheme), REQUESTER, coordinator=nodes - 1)
    outcome = try_sign(net, record, scheme, credential=credential, coordinator=nodes - 1)
    assert isinstance(outcome, Completed)
    result: SignatureResult = outcome.result
    form = Form.RFC9591 if scheme is SigningScheme.FROST else Form.ORIGINAL
    verify(form, record.record.public, MESSAGE, result.signature.encode())
    assert result.recipient == REQUESTER.public()
    assert len(received(net, SignatureShare)) == threshold + 1
    assert all(out == Completed(None) for out in participants(net).values())


def test_a_bound_credential_is_as_good(four: Keyed) -> None:
    net, record = four
    credential = bound(net, SignMessage(KEY_ID, MESSAGE, SigningScheme.FROST), REQUESTER)
    outcome = try_sign(net, record, SigningScheme.FROST, credential=credential)
    assert isinstance(outcome, Completed)


def test_on_chain_every_signer_publishes(four: Keyed) -> None:
    net, record = four
    result = sign(net, record)
    assert result.recipient is None
    outcomes = [out.result for out in participants(net).values() if isinstance(out, Completed)]
    published = [out for out in outcomes if out is not None]
    ready = SignatureReady(CONTRACT, KEY_ID, ON_CHAIN.requester, MESSAGE, result.signature)
    assert published == [ready] * 2
    verify(Form.ORIGINAL, record.record.public, MESSAGE, ready.signature.encode())


def test_rfc_signatures_cannot_be_asked_for_on_chain(four: Keyed) -> None:
    assert error_of(*four, scheme=SigningScheme.FROST).code == "InvalidMessage"


def test_contracts_ask_in_the_name_of_an_account(four: Keyed) -> None:
    """With the other form of their requests signers would not publish what they have signed."""
    net, record = four
    with_a_key = OnChainPublic(CONTRACT, REQUESTER.public())
    error = error_of(net, record, credential=with_a_key)
    assert error.code == "InvalidMessage"


def test_a_coordinator_without_a_share_serves_as_well(four: Keyed) -> None:
    net, record = four
    net.members[0].stored = type(net.members[0].stored)()
    verify(Form.ORIGINAL, record.record.public, MESSAGE, sign(net, record).signature.encode())


def test_who_is_not_chosen_forgets_its_nonces(seven: Keyed) -> None:
    net, record = seven
    sign(net, record)
    told = received(net, Unneeded)
    assert len(told) == 2, "f holders more than needed are asked"
    assert all(isinstance(out, Completed) for out in participants(net).values())


# --- nonces ----------------------------------------------------------------------------------


def test_the_nonces_are_gone_before_the_share_leaves(four: Keyed) -> None:
    net, record = four
    spent: list[bool] = []

    def watch(sender: NodeId, _: NodeId, message: Any) -> Any:
        if isinstance(message, SignatureShare):
            runner = net.runners[sender, Role.PARTICIPANT]
            assert not isinstance(runner.phase, AwaitingPackage)
            spent.extend(
                moment.before.nonces.secret.is_spent
                for moment in net.moments
                if moment.ctx.me == sender and isinstance(moment.before, AwaitingPackage)
            )
        return message

    net.tamper = watch
    sign(net, record)
    assert spent == [True, True]


def test_a_package_is_answered_once(four: Keyed) -> None:
    """Even by the very phase in which it was answered before: the nonces themselves are gone."""
    net, record = four
    sign(net, record)
    moment = moment_in(net, AwaitingPackage, Package)
    with pytest.raises(Refused, match="used already"):
        FROST_SIGNING.step(moment.ctx, moment.before, moment.event)
    assert FROST_SIGNING.step(moment.ctx, moment.after, moment.event) == Step(moment.after)


def test_every_session_has_its_own_nonces(four: Keyed) -> None:
    net, record = four
    sign(net, record)
    sign(net, record)
    points = [p.compressed for made in received(net, NonceCommitments) for p in (made.hiding,)]
    assert len(set(points)) == len(points)


Change = Callable[[Delivery, Place, Package], Package]


def swapped(net: Delivery, place: Place, package: Package) -> Package:
    return Package(package.signers[::-1])


def too_few(net: Delivery, place: Place, package: Package) -> Package:
    return Package(package.signers[:-1])


def twice(net: Delivery, place: Place, package: Package) -> Package:
    return Package((package.signers[0], package.signers[0]))


def with_stranger(net: Delivery, place: Place, package: Package) -> Package:
    signer = replace(package.signers[0].signer, node=NodeId.of(liars.OTHER_POINT))
    return Package((replace(package.signers[0], signer=signer), *package.signers[1:]))


def _altered(net: Delivery, package: Package, node: NodeId, ctx: Context) -> Package:
    """Other commitments of a node, which it has signed."""
    phase = net.runners[ctx.coordinator, Role.COORDINATOR].phase
    other = ChosenSigner(node, liars.OTHER_POINT, liars.OTHER_POINT)
    signed = net.by_id[node].signer.sign(phase.signing.commitment_digest(other))
    return Package(
        tuple(
            SignedSigner(other, signed) if entry.signer.node == node else entry
            for entry in package.signers
        )
    )


def own_altered(net: Delivery, place: Place, package: Package) -> Package:
    return _altered(net, package, place.to, place.ctx)


def other_unsigned(net: Delivery, place: Place, package: Package) -> Package:
    return Package(
        tuple(
            entry
            if entry.signer.node == place.to
            else replace(entry, signature=Signature(bytes(65)))
            for entry in package.signers
        )
    )


def without_it(net: Delivery, place: Place, package: Package) -> Package:
    """As many as there must be, well signed, but not the one who gets it."""
    others = [m.id for m in net.members if m.id not in {e.signer.node for e in package.signers}]
    kept = [entry for entry in package.signers if entry.signer.node != place.to]
    phase = net.runners[place.ctx.coordinator, Role.COORDINATOR].phase
    other = ChosenSigner(others[0], liars.OTHER_POINT, liars.OTHER_POINT)
    signature = net.by_id[others[0]].signer.sign(phase.signing.commitment_digest(other))
    entries = [*kept, SignedSigner(other, signature)]
    places = phase.signing.record.coordinates
    return Package(tuple(sorted(entries, key=lambda e: int(places[e.signer.node]))))


@pytest.mark.parametrize(
    "change",
    [swapped, too_few, twice, with_stranger, own_altered, other_unsigned, without_it],
    ids=lambda change: change.__name__,
)
def test_a_wrong_package_is_not_answered(four: Keyed, change: Change) -> None:
    net, record = four

    def lie(place: Place, package: Package) -> Package:
        return change(net, place, package)

    net.tamper = over_delivery(net, {net.members[0].id: at("Package", lie)})
    error = error_of(net, record)
    assert isinstance(error, UnavailableError)
    assert error.failed, "another attempt may do without the nodes that did not answer"
    assert received(net, SignatureShare) == []
    assert not net.reports


def test_two_packages_get_one_answer(seven: Keyed) -> None:
    """A coordinator that sends another package when it has the share for the first one."""
    net, record = seven
    sign(net, record)
    moment = moment_in(net, AwaitingPackage, Package)
    assert isinstance(moment.event, Received)
    other = _altered(
        net, moment.event.message, _other_signer(moment), _with_running(net, moment.ctx)
    )
    for before in (moment.before, moment.after):
        event = Received(moment.ctx.coordinator, other)
        try:
            again: Step[Any] | None = FROST_SIGNING.step(moment.ctx, before, event)
        except Refused:
            again = None
        assert again is None or again.effects == ()


def _other_signer(moment: Moment) -> NodeId:
    assert isinstance(moment.event, Received)
    nodes: list[NodeId] = [entry.signer.node for entry in moment.event.message.signers]
    return next(node for node in nodes if node != moment.ctx.me)


def _with_running(net: Delivery, ctx: Context) -> Context:
    """The context of a session whose coordinator's phase is looked at again."""
    phase = moment_in(net, AwaitingSignatureShares).before
    net.runners[ctx.coordinator, Role.COORDINATOR].phase = phase
    return ctx


# --- signers that lie ------------------------------------------------------------------------


def another_value(place: Place, share: SignatureShare) -> SignatureShare:
    """Another share, well signed."""
    phase = place.coordinator_phase
    if not isinstance(phase, AwaitingSignatureShares):
        return share
    value = share.value + Scalar(1)
    signed = phase.signing.share_digest(place.ctx.me, phase.package_hash, value)
    return SignatureShare(value, place.signer.sign(signed))


def another_value_unsigned(place: Place, share: SignatureShare) -> SignatureShare:
    return replace(share, value=share.value + Scalar(1))


def test_a_wrong_share_convicts_its_maker(seven: Keyed) -> None:
    net, record = seven
    cheats = {net.members[i].id for i in (0, 1)}
    net.tamper = over_delivery(net, dict.fromkeys(cheats, at("SignatureShare", another_value)))
    error = error_of(net, record)
    assert isinstance(error, UnavailableError)
    assert error.retriable
    assert error.failed == {c for report in net.reports for c in report.culprits}
    assert error.failed
    assert error.failed <= cheats
    result = try_sign(net, record, excluded=error.failed)
    assert isinstance(result, Completed)


@pytest.mark.parametrize(
    "lie",
    [
        at("SignatureShare", another_value_unsigned),
        at("SignatureShare", unsigned),
        at("SignatureShare", silent),
        at("SignatureShare", lambda place, message: Refuse(Refusal.BAD)),
    ],
    ids=("altered", "unsigned", "silent", "refusing"),
)
def test_a_share_that_does_not_come_names_who_failed(four: Keyed, lie: Lie) -> None:
    """Nothing is proven; the next attempt does without the node all the same."""
    net, record = four
    cheat = record.record.nodes[1]
    net.tamper = over_delivery(net, {cheat: lie})
    error = error_of(net, record)
    assert isinstance(error, UnavailableError)
    assert error.failed == {cheat}
    assert net.reports == []
    assert isinstance(try_sign(net, record, excluded=error.failed), Completed)
    assert all(
        isinstance(out, Completed) or isinstance(out.error, GivenUpError)
        for out in participants(net).values()
    )


@pytest.mark.parametrize(
    "lie",
    [
        at("NonceCommitments", unsigned),
        at("NonceCommitments", silent),
        at("NonceCommitments", lambda p, m: replace(m, hiding=liars.OTHER_POINT)),
        at("NonceCommitments", lambda p, m: Refuse(999)),
    ],
    ids=("unsigned", "silent", "altered", "refusing"),
)
def test_wrong_commitments_are_gone_without(seven: Keyed, lie: Lie) -> None:
    net, record = seven
    cheats = {net.members[i].id for i in (1, 2)}
    net.tamper = over_delivery(net, dict.fromkeys(cheats, lie))
    result = sign(net, record)
    verify(Form.ORIGINAL, record.record.public, MESSAGE, result.signature.encode())
    package = received(net, Package)[0]
    assert not cheats & {entry.signer.node for entry in package.signers}
    assert net.reports == []


def other_commitments(place: Place, made: NonceCommitments) -> NonceCommitments:
    """Commitments to what nobody knows, well signed: the share cannot fit them."""
    phase = place.coordinator_phase
    if not isinstance(phase, AwaitingNonces):
        return made
    other = ChosenSigner(place.ctx.me, liars.OTHER_POINT, made.binding)
    signature = place.signer.sign(phase.signing.commitment_digest(other))
    return NonceCommitments(other.hiding, other.binding, signature)


def test_a_node_that_denies_its_commitments_fails_alone(four: Keyed) -> None:
    net, record = four
    cheat = record.record.nodes[1]
    net.tamper = over_delivery(net, {cheat: at("NonceCommitments", other_commitments)})
    error = error_of(net, record)
    assert isinstance(error, UnavailableError)
    assert error.failed == {cheat}


def test_a_wrong_signature_is_not_published(four: Keyed) -> None:
    net, record = four
    lie = at("Signed", lambda _, m: Signed(m.response + Scalar(1)))
    net.tamper = over_delivery(net, {net.members[0].id: lie})
    sign(net, record)
    refused = [out for out in participants(net).values() if isinstance(out, Failed)]
    assert len(refused) == 2
    assert all("Signed" in str(out.error) for out in refused)


# --- who is asked ----------------------------------------------------------------------------


def test_nodes_that_refuse_or_vanish_are_replaced(seven: Keyed) -> None:
    net, record = seven
    net.members[1].verdict = Verdict.UNAVAILABLE
    net.members[2].verdict = Verdict.DENIED
    net.connected -= {net.members[3].id}
    sign(net, record)
    package = received(net, Package)[0]
    signers = {entry.signer.node for entry in package.signers}
    assert not {net.members[i].id for i in (1, 2, 3)} & signers


def test_nodes_with_evidence_against_them_are_asked_last(seven: Keyed) -> None:
    net, record = seven
    net.avoided = frozenset(net.members[i].id for i in (0, 1, 2, 3))
    sign(net, record, coordinator=6)
    signers = {entry.signer.node for entry in received(net, Package)[0].signers}
    assert not signers & net.avoided
    net.avoided = frozenset(net.members[i].id for i in range(1, 7))
    sign(net, record)


def test_too_many_denials_are_final(seven: Keyed) -> None:
    net, record = seven
    for member in net.members[:5]:
        member.verdict = Verdict.DENIED
    error = error_of(net, record)
    assert isinstance(error, DeniedError)
    assert error.code == "ConsensusUnreachable"


def test_denials_by_all_who_are_there_are_final(four: Keyed) -> None:
    """The one who is away alone could not sign: the third denial is waited for, to know that."""
    net, record = four
    for member in net.members:
        member.verdict = Verdict.DENIED
    net.connected = frozenset(member.id for member in net.members[:3])
    error = error_of(net, record)
    assert isinstance(error, DeniedError)
    assert error.code == "ConsensusUnreachable"


def test_denials_of_few_are_not_final(seven: Keyed) -> None:
    net, record = seven
    for member in net.members[:4]:
        member.verdict = Verdict.DENIED
    net.members[5].verdict = Verdict.UNAVAILABLE
    error = error_of(net, record)
    assert (error.code, error.retriable) == ("ConsensusTemporaryUnreachable", True)


def test_too_few_connected_holders(seven: Keyed) -> None:
    net, record = seven
    net.connected = frozenset({net.members[0].id, net.members[1].id})
    error = error_of(net, record)
    assert (error.code, error.retriable) == ("ConsensusUnreachable", True)


def test_silent_holders_run_the_round_out(seven: Keyed) -> None:
    net, record = seven
    quiet = {member.id for member in net.members[:5]}
    net.tamper = lambda sender, _to, message: (
        None if sender in quiet and isinstance(message, NonceCommitments) else message
    )
    error = error_of(net, record)
    assert (error.code, error.retriable) == ("ConsensusTemporaryUnreachable", True)


def test_holders_that_have_lost_their_heads_are_not_a_matter_of_time(seven: Keyed) -> None:
    net, record = seven
    mad = {member.id for member in net.members[:5]}
    net.tamper = lambda sender, _to, message: (
        Refuse(Refusal.BAD) if sender in mad and isinstance(message, NonceCommitments) else message
    )
    error = error_of(net, record)
    assert (error.code, error.retriable) == ("ConsensusUnreachable", True)


def test_holders_of_another_version_are_said_to_be_so(four: Keyed) -> None:
    net, record = four
    other = replace(record.record, version=2)
    stale = replace(record, record=other)
    assert isinstance(error_of(net, stale), StaleError)


def refused_by(net: Delivery, record: CertifiedRecord, denying: int, lost: int) -> tuple[Any, Any]:
    """All seven are asked; so many deny it, so many are lost, nobody else has answered."""
    sign(net, record)
    moment = moment_in(net, AwaitingNonces)
    assert isinstance(moment.before, AwaitingNonces)
    gathering, _ = moment.before.gathering.widened(7)
    phase: Any = replace(moment.before, gathering=gathering)
    nodes = record.record.nodes
    for node in nodes[:denying]:
        refused = Received(node, Refuse(Refusal.DENIED))
        phase = FROST_SIGNING.step(moment.ctx, phase, refused).phase
    for node in nodes[denying : denying + lost]:
        phase = FROST_SIGNING.step(moment.ctx, phase, PeerLost(node)).phase
    return moment.ctx, phase


def test_silence_and_denials_may_become_final(seven: Keyed) -> None:
    """Three refuse for good and two are lost: it is final if the last two refuse as well."""
    net, record = seven
    ctx, phase = refused_by(net, record, 3, 2)
    assert isinstance(phase, AwaitingNonces)
    over = FROST_SIGNING.step(ctx, phase, TimerFired("round")).phase
    assert isinstance(over, Failed)
    assert isinstance(over.error, UnavailableError)
    for node in record.record.nodes[5:]:
        phase = FROST_SIGNING.step(ctx, phase, Received(node, Refuse(Refusal.DENIED))).phase
    assert isinstance(phase, Failed)
    assert isinstance(phase.error, DeniedError)


def test_what_cannot_become_final_is_not_waited_for(seven: Keyed) -> None:
    """Two refuse for good and three are lost: those could sign, whatever the last two say."""
    net, record = seven
    _, phase = refused_by(net, record, 2, 3)
    assert isinstance(phase, Failed)
    assert isinstance(phase.error, UnavailableError)


# --- the opening -----------------------------------------------------------------------------


def test_what_a_holder_refuses_at_once(four: Keyed) -> None:
    net, record = four
    sign(net, record)
    ctx, sender, message = net.openings[-1]
    other = replace(message, record_hash=Hash32(bytes(32)))
    generating = Request.of(GenerateServerKey(KEY_ID, 1), ON_CHAIN)
    ecdsa = Request.of(SignMessage(KEY_ID, MESSAGE, SigningScheme.ECDSA), ON_CHAIN)
    cases = [
        (replace(ctx, key=KeyState()), message, Refusal.NOT_FOUND),
        (replace(ctx, key=replace(ctx.key, share=None)), message, Refusal.TEMPORARY),
        (ctx, other, Refusal.STALE),
        (replace(ctx, request=generating), message, Refusal.BAD),
        (replace(ctx, request=ecdsa), message, Refusal.BAD),
    ]
    for context, opening, refusal in cases:
        with pytest.raises(Refused) as refused:
            FROST_SIGNING.join(context, sender, opening)
        assert refused.value.code is refusal


def test_a_holder_that_lost_its_share_is_replaced(four: Keyed) -> None:
    net, record = four
    lose_share(net, 1)
    sign(net, record)
    signers = {entry.signer.node for entry in received(net, Package)[0].signers}
    assert net.members[1].id not in signers


def test_only_requests_for_signatures_are_coordinated(four: Keyed) -> None:
    net, record = four
    outcome = try_sign(net, record, SigningScheme.ECDSA)
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "InvalidMessage"


# --- late and strange ------------------------------------------------------------------------


def test_late_and_strange_answers_change_nothing(seven: Keyed) -> None:
    net, record = seven
    sign(net, record)
    stranger = NodeId.of(liars.OTHER_POINT)
    made = received(net, NonceCommitments)[0]
    share = received(net, SignatureShare)[0]
    first = moment_in(net, AwaitingNonces)
    second = moment_in(net, AwaitingSignatureShares)
    for event in (
        Received(stranger, made),
        Received(stranger, Refuse(1)),
        Received(stranger, share),
        PeerLost(stranger),
        Authorised(Verdict.ALLOWED),
    ):
        for moment in (first, second):
            assert FROST_SIGNING.step(moment.ctx, moment.before, event) == Step(moment.before)
    unasked = TimerFired("shares")
    assert FROST_SIGNING.step(first.ctx, first.before, unasked) == Step(first.before)
    member = moment_in(net, AwaitingSigned)
    package = Received(member.ctx.coordinator, received(net, Package)[0])
    assert FROST_SIGNING.step(member.ctx, member.before, package) == Step(member.before)


def test_nonces_that_cancel_each_other_fail_the_session(
    four: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can bring it about; the next attempt has others."""

    def unlucky(*_: Any) -> None:
        raise InvalidPointError("signers: the nonces add up to zero")

    monkeypatch.setattr("keyserver.sessions.frost_signing.terms.prepare", unlucky)
    error = error_of(*four)
    assert error.retriable
    assert "add up to zero" in str(error)


def test_a_lost_signer_ends_the_attempt(four: Keyed) -> None:
    net, record = four
    sign(net, record)
    moment = moment_in(net, AwaitingSignatureShares)
    assert isinstance(moment.before, AwaitingSignatureShares)
    waiting = sorted(moment.before.round.waiting)
    for event, failed in (
        (PeerLost(waiting[0]), {waiting[0]}),
        (TimerFired("shares"), set(waiting)),
    ):
        step = FROST_SIGNING.step(moment.ctx, moment.before, event)
        assert isinstance(step.phase, Failed)
        assert isinstance(step.phase.error, UnavailableError)
        assert step.phase.error.failed == failed
        assert not [effect for effect in step.effects if isinstance(effect, Send)]
