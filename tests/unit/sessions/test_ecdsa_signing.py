"""ECDSA sessions: one request per presignature, whoever asks for what, and signers that lie."""

from dataclasses import replace
from typing import Any

import pytest
from coincurve import PublicKey

from keyserver.crypto.curve import ORDER, Scalar
from keyserver.crypto.ecdsa import EcdsaShare, bind, combine
from keyserver.crypto.errors import InvalidPartsError, InvalidScalarError
from keyserver.model.identifiers import Hash32, NodeId, SessionId, Signature
from keyserver.model.keys import CertifiedRecord
from keyserver.model.requests import (
    GenerateServerKey,
    Request,
    SigningScheme,
    SignMessage,
)
from keyserver.sessions.conviction import InvalidEvidenceError, Rule, judge
from keyserver.sessions.core import (
    Authorised,
    Completed,
    DeniedError,
    Failed,
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
from keyserver.sessions.ecdsa_presigning import OwnPresignature
from keyserver.sessions.ecdsa_signing import ECDSA_SIGNING
from keyserver.sessions.ecdsa_signing.evidence import WrongEcdsaShare
from keyserver.sessions.ecdsa_signing.messages import EcdsaPart, EcdsaSigned, EcdsaWhole
from keyserver.sessions.ecdsa_signing.phases import AwaitingParts, AwaitingVerdict, AwaitingWhole
from keyserver.sessions.ecdsa_signing.terms import share_digest
from keyserver.sessions.evidence import decode_evidence, encode_evidence
from keyserver.sessions.messages import Refuse
from keyserver.sessions.outcomes import EcdsaReady, EcdsaResult
from keyserver.sessions.presignature_pool import Owner
from keyserver.sessions.runner import Role
from keyserver.simulation.liars import OTHER_POINT, Lie, Place, at, silent, unsigned
from tests.support.credentials import legacy
from tests.support.delivery import CONTRACT, Delivery, Moment, received
from tests.support.key_life import (
    KEY_ID,
    MESSAGE,
    ON_CHAIN,
    REQUESTER,
    generate,
    presign,
    try_ecdsa,
    try_ecdsa_alone,
)
from tests.support.lying_delivery import over_delivery

Ready = tuple[Delivery, CertifiedRecord, OwnPresignature]


def ready(nodes: int = 4, threshold: int = 1) -> Ready:
    net = Delivery(nodes)
    record = generate(net, threshold)
    return net, record, presign(net, record)


@pytest.fixture
def four() -> Ready:
    return ready()


def participants(net: Delivery) -> list[Any]:
    """How the participants' parts have ended."""
    return [runner.outcome for (_, role), runner in net.runners.items() if role is Role.PARTICIPANT]


def error_of(made: Ready, **how: Any) -> SessionError:
    outcome = try_ecdsa(*made, **how)
    assert isinstance(outcome, Failed)
    return outcome.error


def failed_with(error: SessionError) -> frozenset[NodeId]:
    assert isinstance(error, UnavailableError)
    return error.failed


def moment_in(net: Delivery, phase: type) -> Moment:
    return next(moment for moment in net.moments if isinstance(moment.before, phase))


def signed_by(signature: Signature, message: bytes) -> bytes:
    """Whose signature it is, by another library."""
    return PublicKey.from_signature_and_message(signature, message, hasher=None).format()


# --- signatures ------------------------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "threshold"), [(3, 1), (5, 2)])
def test_the_signers_of_a_presignature_sign(nodes: int, threshold: int) -> None:
    made = ready(nodes, threshold)
    net, record, _ = made
    operation = SignMessage(KEY_ID, MESSAGE, SigningScheme.ECDSA)
    outcome = try_ecdsa(*made, credential=legacy(net, operation, REQUESTER))
    assert isinstance(outcome, Completed)
    result: EcdsaResult = outcome.result
    assert signed_by(result.signature, MESSAGE) == record.record.public.compressed
    assert result.recipient == REQUESTER.public()
    assert participants(net) == [Completed(None)] * (2 * threshold + 1)
    assert [len(member.presignatures) for member in net.members] == [0] * nodes


def test_on_chain_every_signer_publishes(four: Ready) -> None:
    net, _, _ = four
    outcome = try_ecdsa(*four)
    assert isinstance(outcome, Completed)
    assert outcome.result.recipient is None
    signature = outcome.result.signature
    published = EcdsaReady(CONTRACT, KEY_ID, ON_CHAIN.requester, MESSAGE, signature)
    assert participants(net) == [Completed(published)] * 3


@pytest.mark.parametrize("number", [0, ORDER, 2**256 - 1])
def test_any_message_is_signed(four: Ready, number: int) -> None:
    message = Hash32(number.to_bytes(32, "big"))
    outcome = try_ecdsa(*four, message=message)
    assert isinstance(outcome, Completed)
    assert signed_by(outcome.result.signature, message) == four[1].record.public.compressed


def test_a_key_of_threshold_0_needs_no_presignature() -> None:
    net = Delivery(4)
    record = generate(net, 0)
    outcome = try_ecdsa_alone(net, record, 2)
    assert isinstance(outcome, Completed)
    assert signed_by(outcome.result.signature, MESSAGE) == record.record.public.compressed
    assert isinstance(participants(net)[0].result, EcdsaReady)
    operation = SignMessage(KEY_ID, MESSAGE, SigningScheme.ECDSA)
    sealed = try_ecdsa_alone(net, record, 1, credential=legacy(net, operation, REQUESTER))
    assert isinstance(sealed, Completed)
    assert participants(net) == [Completed(None)]


# --- one presignature, one request -----------------------------------------------------------


def test_a_presignature_serves_one_request(four: Ready) -> None:
    net, _, _ = four
    assert isinstance(try_ecdsa(*four), Completed)
    for message in (MESSAGE, Hash32(b"\x01" * 32)):
        before = len(received(net, EcdsaPart))
        assert isinstance(error_of(four, message=message), UnavailableError)
        assert len(received(net, EcdsaPart)) == before


@pytest.mark.parametrize("verdict", [Verdict.DENIED, Verdict.UNAVAILABLE])
def test_a_presignature_is_lost_with_a_request_that_is_refused(
    four: Ready, verdict: Verdict
) -> None:
    net, _, _ = four
    for member in net.members:
        member.verdict = verdict
    error_of(four)
    assert [len(member.presignatures) for member in net.members] == [0] * 4
    for member in net.members:
        member.verdict = Verdict.ALLOWED
    assert isinstance(error_of(four), UnavailableError)


def test_two_interleaved_requests_get_one_answer(four: Ready) -> None:
    """Both are open before either is answered: the presignature is in one of them only."""
    net, _, presignature = four
    try_ecdsa(*four)
    ctx, sender, opening = net.openings[-1]
    again = presign(net, four[1])
    first = replace(opening, presig_id=again.presig_id)
    assert ECDSA_SIGNING.join(ctx, sender, first).effects
    with pytest.raises(Refused, match="no such presignature"):
        ECDSA_SIGNING.join(ctx, sender, first)
    with pytest.raises(Refused, match="no such presignature"):
        ECDSA_SIGNING.join(ctx, sender, replace(opening, presig_id=presignature.presig_id))


def test_an_answer_cannot_be_had_twice_from_the_same_phase(four: Ready) -> None:
    net, _, _ = four
    try_ecdsa(*four)
    moment = moment_in(net, AwaitingVerdict)
    with pytest.raises(Refused, match="used already"):
        ECDSA_SIGNING.step(moment.ctx, moment.before, Authorised(Verdict.ALLOWED))


def test_a_message_of_its_own_for_each_signer_makes_no_signature(four: Ready) -> None:
    """The coordinator opens one session per signer under one presignature, each for another
    message on a line, and adds up what it gets."""
    net, record, _ = four
    try_ecdsa(*four)
    openings = net.openings[-3:]
    made = presign(net, record)
    shares, bounds = [], []
    for number, (ctx, sender, opening) in enumerate(openings):
        message = Hash32((1000 + 7 * number).to_bytes(32, "big"))
        bounds.append(bind(made.public, message))
        request = Request.of(SignMessage(KEY_ID, message, SigningScheme.ECDSA), ON_CHAIN)
        asked = replace(opening, presig_id=made.presig_id, request=request)
        own = replace(ctx, request=request)
        joined: Any = ECDSA_SIGNING.join(own, sender, asked).phase
        answer = ECDSA_SIGNING.step(own, joined, Authorised(Verdict.ALLOWED))
        part = next(e.message for e in answer.effects if isinstance(e, Send))
        assert isinstance(part, EcdsaPart)
        shares.append(EcdsaShare(part.value, bytes(part.proof)))
    for index, bound in enumerate(bounds):
        with pytest.raises(InvalidPartsError) as wrong:
            combine(bound, shares, record.record.commitments)
        places = made.public.presigning.places
        assert wrong.value.places == tuple(x for i, x in enumerate(places) if i != index)


# --- the opening -----------------------------------------------------------------------------


def test_what_a_signer_refuses_at_once(four: Ready) -> None:
    net, record, _ = four
    try_ecdsa(*four)
    ctx, sender, message = net.openings[-1]
    generating = Request.of(GenerateServerKey(KEY_ID, 1), ON_CHAIN)
    frost = Request.of(SignMessage(KEY_ID, MESSAGE, SigningScheme.FROST), ON_CHAIN)
    schnorr = Request.of(SignMessage(KEY_ID, MESSAGE, SigningScheme.SCHNORR), ON_CHAIN)
    stranger = NodeId.of(OTHER_POINT)
    cases = [
        (replace(ctx, key=KeyState()), sender, {}, Refusal.NOT_FOUND),
        (replace(ctx, key=replace(ctx.key, share=None)), sender, {}, Refusal.TEMPORARY),
        (ctx, sender, {"record_hash": Hash32(bytes(32))}, Refusal.STALE),
        (replace(ctx, request=generating), sender, {}, Refusal.BAD),
        (replace(ctx, request=frost), sender, {}, Refusal.BAD),
        (replace(ctx, request=schnorr), sender, {}, Refusal.BAD),
        (ctx, stranger, {}, Refusal.TEMPORARY),
        (ctx, sender, {"presig_id": Hash32(bytes(32))}, Refusal.TEMPORARY),
    ]
    for context, asking, changes, refusal in cases:
        made = presign(net, record)
        opening = replace(message, presig_id=made.presig_id)
        with pytest.raises(Refused) as refused:
            ECDSA_SIGNING.join(context, asking, replace(opening, **changes))
        assert refused.value.code is refusal
        left = context.presignatures.take(made.presig_id, Owner(sender, ctx.boot_nonce), ctx.now)
        assert (left is None) == (asking == sender and "presig_id" not in changes)


def test_a_presignature_of_another_record_is_refused(four: Ready) -> None:
    net, record, _ = four
    try_ecdsa(*four)
    ctx, sender, message = net.openings[-1]
    made = presign(net, record)
    kept = ctx.presignatures.take(made.presig_id, Owner(sender, ctx.boot_nonce), ctx.now)
    assert kept is not None
    public = kept.presignature.public
    other = replace(public, presigning=replace(public.presigning, record_hash=bytes(32)))
    again = replace(kept.presignature, public=other)
    assert ctx.presignatures.keep(again, kept.owner, kept.key_id, ctx.now)
    with pytest.raises(Refused, match="another record"):
        ECDSA_SIGNING.join(ctx, sender, replace(message, presig_id=made.presig_id))


def test_only_what_can_be_is_coordinated(four: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    net, record, _ = four
    outcome = try_ecdsa_alone(net, record, 1)
    assert isinstance(outcome, Failed)
    assert outcome.error.retriable

    def unlucky(*_: Any) -> None:
        raise InvalidScalarError("signature: the nonce has no usable x-coordinate")

    monkeypatch.setattr("keyserver.sessions.ecdsa_signing.coordinator.bind", unlucky)
    assert "x-coordinate" in str(error_of(four))


def test_a_nonce_of_no_use_loses_the_presignature(
    four: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlucky(*_: Any, **__: Any) -> None:
        raise InvalidScalarError("signature: the nonce has no usable x-coordinate")

    monkeypatch.setattr("keyserver.sessions.ecdsa_signing.participant.sign_share", unlucky)
    assert isinstance(error_of(four), UnavailableError)


# --- signers that lie ------------------------------------------------------------------------


def another_value(place: Place, part: EcdsaPart) -> EcdsaPart:
    """Another part, well signed."""
    phase = place.coordinator_phase
    if not isinstance(phase, AwaitingParts):
        return part
    value, presig_id = part.value + Scalar(1), phase.presignature.presig_id
    signed = share_digest(phase.signing, presig_id, place.ctx.me, value, part.proof)
    return EcdsaPart(value, part.proof, place.signer.sign(signed))


def test_a_wrong_part_convicts_its_maker(four: Ready) -> None:
    net, _, _ = four
    cheats = {net.members[i].id for i in (0, 2)}
    net.tamper = over_delivery(net, dict.fromkeys(cheats, at("EcdsaPart", another_value)))
    assert failed_with(error_of(four)) == cheats
    assert {c for report in net.reports for c in report.culprits} == cheats
    conviction = judge(decode_evidence(net.reports[0].evidence))
    assert conviction.rule is Rule.WRONG_SIGNATURE_SHARE


@pytest.mark.parametrize(
    "lie",
    [unsigned, silent, lambda place, m: Refuse(Refusal.BAD)],
    ids=("unsigned", "silent", "refusing"),
)
def test_a_part_that_does_not_come_names_who_failed(four: Ready, lie: Lie) -> None:
    net, _, _ = four
    cheat = net.members[1].id
    net.tamper = over_delivery(net, {cheat: at("EcdsaPart", lie)})
    assert failed_with(error_of(four)) == {cheat}
    assert net.reports == []


def test_a_wrong_signature_is_not_published(four: Ready) -> None:
    net, _, _ = four

    def lie(place: Place, told: EcdsaSigned) -> EcdsaSigned:
        high = bytes(64) if place.to == net.members[0].id else told.signature[:64]
        v = 3 if place.to == net.members[1].id else told.signature[64] ^ 1
        return EcdsaSigned(Signature(high + bytes([v])))

    net.tamper = over_delivery(net, {net.members[0].id: at("EcdsaSigned", lie)})
    assert isinstance(try_ecdsa(*four), Completed)
    assert all(isinstance(out, Failed) for out in participants(net))


def test_a_v_that_contracts_do_not_take_is_refused(
    four: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, _, _ = four
    name = "keyserver.sessions.ecdsa_signing.terms.verify_digest"
    monkeypatch.setattr(name, lambda *_: None)
    lie = at("EcdsaSigned", lambda p, m: EcdsaSigned(Signature(m.signature[:64] + b"\x02")))
    net.tamper = over_delivery(net, {net.members[0].id: lie})
    try_ecdsa(*four)
    refused = [out for out in participants(net) if isinstance(out, Failed)]
    assert len(refused) == 3
    assert all("v must be" in str(out.error) for out in refused)


@pytest.mark.parametrize("lie", [silent, lambda p, m: Refuse(Refusal.TEMPORARY)])
def test_a_lone_signer_that_does_not_sign_is_gone_without(lie: Lie) -> None:
    net = Delivery(4)
    record = generate(net, 0)
    cheat = net.members[2].id
    net.tamper = over_delivery(net, {cheat: at("EcdsaWhole", lie)})
    outcome = try_ecdsa_alone(net, record, 2)
    assert isinstance(outcome, Failed)
    assert failed_with(outcome.error) == {cheat}
    wrong = at("EcdsaWhole", lambda p, m: EcdsaWhole(Signature(bytes(65))))
    net.tamper = over_delivery(net, {cheat: wrong})
    again = try_ecdsa_alone(net, record, 2)
    assert isinstance(again, Failed)
    assert failed_with(again.error) == {cheat}


# --- evidence --------------------------------------------------------------------------------


def test_what_is_altered_in_a_record_convicts_nobody(four: Ready) -> None:
    net, _, _ = four
    cheat = net.members[1].id
    net.tamper = over_delivery(net, {cheat: at("EcdsaPart", another_value)})
    error_of(four)
    record = decode_evidence(net.reports[0].evidence)
    assert isinstance(record, WrongEcdsaShare)
    assert decode_evidence(encode_evidence(record)) == record
    assert judge(record).culprit == cheat
    for wrong in (
        replace(record, product=Scalar(5)),
        replace(record, sid=SessionId(bytes(32))),
        replace(record, message=Hash32(bytes(32))),
        replace(record, maker=net.members[0].id),
        replace(record, maker=net.members[3].id),
        replace(record, value=record.value + Scalar(1)),
        replace(record, signature=Signature(bytes(65))),
        replace(record, agreed=record.agreed[:1]),
    ):
        with pytest.raises(InvalidEvidenceError):
            judge(wrong)


def test_a_right_part_convicts_nobody(four: Ready) -> None:
    net, _, presignature = four
    try_ecdsa(*four)
    moment = next(
        m
        for m in net.moments
        if isinstance(m.event, Received) and isinstance(m.event.message, EcdsaPart)
    )
    phase, event = moment.before, moment.event
    assert isinstance(phase, AwaitingParts)
    assert isinstance(event, Received)
    part = event.message
    record = WrongEcdsaShare(
        presignature.assembly,
        presignature.agreed,
        presignature.public.product,
        phase.signing.sid,
        phase.signing.message,
        event.sender,
        part.value,
        part.proof,
        part.signature,
    )
    with pytest.raises(InvalidEvidenceError, match="holds"):
        judge(record)


# --- refusals --------------------------------------------------------------------------------


def test_too_many_denials_are_final(four: Ready) -> None:
    net, _, _ = four
    for member in net.members[:2]:
        member.verdict = Verdict.DENIED
    error = error_of(four)
    assert isinstance(error, DeniedError)
    assert error.code == "ConsensusUnreachable"


def test_one_denial_is_not_final(four: Ready) -> None:
    net, _, _ = four
    net.members[1].verdict = Verdict.DENIED
    assert failed_with(error_of(four)) == {net.members[1].id}


def test_signers_of_another_version_are_said_to_be_so(four: Ready) -> None:
    net, record, presignature = four
    stale = replace(record, record=replace(record.record, version=2))
    assert isinstance(error_of((net, stale, presignature)), StaleError)


def test_late_and_strange_answers_change_nothing(four: Ready) -> None:
    net, _, _ = four
    try_ecdsa(*four)
    stranger = NodeId.of(OTHER_POINT)
    moment = moment_in(net, AwaitingParts)
    part = received(net, EcdsaPart)[0]
    for event in (
        Received(stranger, part),
        Received(stranger, Refuse(1)),
        PeerLost(stranger),
        TimerFired("other"),
        Received(net.members[1].id, EcdsaWhole(Signature(bytes(65)))),
    ):
        assert ECDSA_SIGNING.step(moment.ctx, moment.before, event) == Step(moment.before)
    member = moment_in(net, AwaitingVerdict)
    event = Received(member.ctx.coordinator, EcdsaSigned(Signature(bytes(65))))
    assert ECDSA_SIGNING.step(member.ctx, member.before, event) == Step(member.before)
    alone = Delivery(4)
    try_ecdsa_alone(alone, generate(alone, 0), 1)
    whole = moment_in(alone, AwaitingWhole)
    lost = ECDSA_SIGNING.step(whole.ctx, whole.before, PeerLost(alone.members[1].id))
    assert isinstance(lost.phase, Failed)
