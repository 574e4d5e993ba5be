"""What holds for every session type of the registry, whatever it does."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyserver.crypto.randomness import SeededRandom
from keyserver.model.codec import CodecError
from keyserver.model.identifiers import NodeId, SessionId
from keyserver.model.requests import RetrieveDocumentKey
from keyserver.sessions.core import (
    Authorised,
    Completed,
    Context,
    Event,
    Failed,
    PeerLost,
    Received,
    Refusal,
    Refused,
    Report,
    Send,
    SessionType,
    TimerFired,
    Verdict,
)
from keyserver.sessions.ecdsa_presigning.phases import AwaitingPresigned
from keyserver.sessions.ecdsa_signing.phases import AwaitingVerdict
from keyserver.sessions.frost_signing.phases import AwaitingPackage
from keyserver.sessions.messages import Cancel, Refuse
from keyserver.sessions.registry import MESSAGE_TABLE, OPENINGS, SESSION_TYPES
from keyserver.sessions.runner import Role, Runner
from keyserver.sessions.set_change.works import MoveKeys
from keyserver.sessions.wire import pack
from keyserver.simulation import liars
from keyserver.simulation.adversary import dealing, presigning_deals, share_additions
from keyserver.simulation.liars import at, honest
from tests.support import late_nodes, set_change_sessions, successions
from tests.support.credentials import legacy
from tests.support.delivery import Delivery, Moment
from tests.support.key_life import (
    KEY_ID,
    REQUESTER,
    generate,
    lose_share,
    presign,
    retrieve,
    sign,
    store,
    try_add_share,
    try_ecdsa,
    try_ecdsa_alone,
    try_presign,
    try_retrieve,
)
from tests.support.lying_delivery import over_delivery

SID = SessionId(b"\x51" * 32)


@cache
def _lives() -> tuple[Delivery, ...]:
    """Sessions of all types, with and without a quarrel."""
    peaceful = Delivery(4)
    record = generate(peaceful, 1)
    document = store(peaceful, record)
    retrieve(peaceful, record, document)
    credential = legacy(peaceful, RetrieveDocumentKey(KEY_ID, shadow=False), REQUESTER)
    try_retrieve(peaceful, record, document, credential=credential, shadow=False)
    sign(peaceful, record)
    quarrel = Delivery(7)
    for member in quarrel.members:
        member.policy = replace(member.policy, generation_quorum=5)
    lie = liars.at("Deal", dealing.false_shares(frozenset({0}).__contains__))
    quarrel.tamper = over_delivery(quarrel, {quarrel.members[5].id: lie})
    generate(quarrel, 2)
    return peaceful, quarrel, *_additions(), _change(), *_redistributions(), *_signatures()


def _signatures() -> tuple[Delivery, ...]:
    """ECDSA signatures with a presignature and without, and a presigning with a quarrel."""
    net = Delivery(4)
    record = generate(net, 1)
    try_ecdsa(net, record, presign(net, record))
    lie = at("PresignDeal", presigning_deals.junk(1))
    net.tamper = over_delivery(net, {net.members[1].id: lie})
    try_presign(net, record)
    alone = Delivery(4)
    try_ecdsa_alone(alone, generate(alone, 0), 1)
    return net, alone


def _additions() -> tuple[Delivery, ...]:
    """Share additions with and without a quarrel, the first record of each made before."""
    lives = []
    for lie in (honest, at("AddMask", share_additions.false_values)):
        net, record = late_nodes.quarrel(lie)
        try_add_share(net, record, late_nodes.LATE, late_nodes.DONORS)
        lives.append(net)
    return tuple(lives)


def _change() -> Delivery:
    """A set change that lasts as long as the nodes hold the lock, then one that is carried out."""
    net = Delivery(4)
    change = set_change_sessions.change_of(net, [1, 2, 3])
    slow = set_change_sessions.engines(net, change)
    slow[net.members[0].id].script[MoveKeys] = lambda _: None
    set_change_sessions.carry_out(net, change)
    set_change_sessions.engines(net, change)
    set_change_sessions.carry_out(net, change)
    return net


def _redistributions() -> tuple[Delivery, ...]:
    """One that a dealer leaves and another node joins, with and without a quarrel."""
    lives = []
    for lie in (honest, at("Deal", dealing.false_share_for_one)):
        net, record = successions.with_key(5, range(4), 1)
        net.tamper = over_delivery(net, {net.members[1].id: lie})
        successions.redistribute(net, record, [1, 2, 3, 4], dealers=[0, 1])
        lives.append(net)
    return tuple(lives)


@cache
def _messages() -> dict[type, Any]:
    """One real message of every class."""
    found: dict[type, Any] = {Refuse: Refuse(Refusal.BUSY), Cancel: Cancel(Refusal.TEMPORARY)}
    for net in _lives():
        for data in net.sent:
            message = MESSAGE_TABLE.unpack(data)[1]
            found.setdefault(type(message), message)
    return found


@cache
def _phases() -> dict[tuple[str, Role, str], Moment]:
    """One moment in every phase of every role."""
    found: dict[tuple[str, Role, str], Moment] = {}
    for net in _lives():
        for moment in net.moments:
            session_type = _type_of(moment.ctx)
            key = (session_type.name, moment.role, type(moment.before).__name__)
            if not isinstance(moment.before, Completed | Failed):
                found.setdefault(key, moment)
    return found


def _type_of(ctx: Context) -> SessionType[Any]:
    return next(session_type for session_type in SESSION_TYPES if session_type.kind == ctx.kind)


def _all_phase_names(session_type: SessionType[Any]) -> set[str]:
    return {name for kind, _, name in _phases() if kind == session_type.name}


def test_every_message_was_seen() -> None:
    """The runs below reach all of them; otherwise the tests here would show less than they say."""
    assert set(_messages()) == set(MESSAGE_TABLE.classes.values())


PHASES = {
    "generation": {
        "AwaitingAccepts", "AwaitingDeals", "AwaitingOks", "AwaitingReadies", "AwaitingCommits",
        "AwaitingVerdict", "AwaitingStart", "AwaitingShares", "AwaitingCommitments",
        "AwaitingFewerShares", "AwaitingFinalize", "AwaitingCert", "AwaitingInstalled",
    },
    "redistribution": {
        "AwaitingPromises", "AwaitingDeals", "AwaitingOks", "AwaitingReadies", "AwaitingPrepares",
        "AwaitingCommits", "AwaitingHandover", "AwaitingShares", "AwaitingCommitments",
        "AwaitingFewerShares", "AwaitingFinalize", "AwaitingCert", "AwaitingCertified",
        "AwaitingPrepared", "AwaitingInstalled",
    },
    "set_change": {
        "AwaitingAccepts", "Surveying", "Moving", "AwaitingFrozen", "MovingRest",
        "AwaitingExecuted", "AwaitingJudgement", "Locked", "Settling", "Frozen", "Concluding",
    },
    "storing": {
        "AwaitingAcks", "AwaitingCommits", "AwaitingVerdict", "AwaitingCert", "AwaitingDecision",
    },
    "retrieval": {
        "AwaitingPartials", "AwaitingShadows", "AwaitingVerdict", "AwaitingSelect", "AwaitingDone",
    },
    "frost_signing": {
        "AwaitingNonces", "AwaitingSignatureShares", "AwaitingVerdict", "AwaitingPackage",
        "AwaitingSigned",
    },
    "ecdsa_presigning": {
        "AwaitingAccepts", "AwaitingDeals", "AwaitingAgreed", "AwaitingProducts", "AwaitingKept",
        "AwaitingStart", "AwaitingDealt", "AwaitingAllAgreed", "AwaitingLists",
        "AwaitingPresigned",
    },
    "ecdsa_signing": {
        "AwaitingParts", "AwaitingWhole", "AwaitingVerdict", "AwaitingVerdictAlone",
        "AwaitingSigned",
    },
    "share_addition": {
        "AwaitingAccepts", "AwaitingMasks", "AwaitingBlinded",
        "AwaitingStart", "AwaitingMasked", "AwaitingCommitments",
    },
}  # fmt: skip


def test_every_phase_was_reached() -> None:
    assert {t.name: _all_phase_names(t) for t in SESSION_TYPES} == PHASES


@pytest.mark.parametrize("kind", MESSAGE_TABLE.classes.values(), ids=lambda kind: kind.__name__)
def test_a_message_survives_the_codec(kind: type) -> None:
    message = _messages()[kind]
    data = pack(SID, message)
    assert MESSAGE_TABLE.unpack(data) == (SID, message)
    assert pack(*MESSAGE_TABLE.unpack(data)) == data
    for cut in (0, 1, 33, len(data) - 1):
        with pytest.raises(CodecError):
            MESSAGE_TABLE.unpack(data[:cut])
    with pytest.raises(CodecError):
        MESSAGE_TABLE.unpack(data + b"\0")


@given(st.data())
def test_altered_messages_never_crash_the_decoder(data: st.DataObject) -> None:
    message = data.draw(st.sampled_from(sorted(_messages(), key=lambda kind: kind.__name__)))
    packed = bytearray(pack(SID, _messages()[message]))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(packed) - 1))
        packed[place] = data.draw(st.integers(0, 255))
    try:
        _, parsed = MESSAGE_TABLE.unpack(bytes(packed))
    except CodecError:
        return
    assert pack(SessionId(bytes(packed[2:34])), parsed) == bytes(packed)


def _events(moment: Moment) -> Sequence[Event]:
    """Every message from everybody who may send it, and everything else that happens."""
    stranger = NodeId.of(liars.OTHER_POINT)
    to_coordinator = moment.role is Role.COORDINATOR
    senders = [moment.ctx.coordinator, *moment.ctx.node_set.nodes[1:3], stranger]
    if not to_coordinator:
        senders = senders[:1]
    events: list[Event] = [
        Received(sender, message)
        for sender in senders
        for message in _messages().values()
        if to_coordinator == message.TO_COORDINATOR or isinstance(message, Cancel | Refuse)
    ]
    events += [PeerLost(node) for node in (*moment.ctx.node_set.nodes, stranger)]
    names = ("idle", "round", "more", "grace", "shadows", "unknown")
    events += [TimerFired(name) for name in names]
    return events + [Authorised(verdict) for verdict in Verdict]


def _at(moment: Moment) -> Runner:
    runner = Runner(_type_of(moment.ctx), moment.ctx, moment.role)
    runner.phase = moment.before
    return runner


PLACES = [
    (name, role, phase)
    for name, phases in PHASES.items()
    for phase in sorted(phases)
    for role in Role
]


@pytest.mark.parametrize(("name", "role", "phase"), PLACES, ids=lambda part: str(part))
def test_any_event_in_any_phase_is_taken_ignored_or_refused(
    name: str, role: Role, phase: str
) -> None:
    """Never another exception, never blame without a proof, never a message to a stranger."""
    moment = _phases().get((name, role, phase))
    if moment is None:
        assert (name, Role.COORDINATOR, phase) in _phases() or (
            name,
            Role.PARTICIPANT,
            phase,
        ) in _phases()
        return
    members = set(moment.ctx.node_set.nodes)
    members.update(moment.ctx.target.nodes if moment.ctx.target is not None else ())
    for event in _events(moment):
        runner = _at(moment)
        for effect in runner.handle(event):
            if isinstance(effect, Send):
                assert effect.to in members
            if isinstance(effect, Report):
                assert effect.evidence
                assert moment.ctx.me not in effect.culprits
        for again in (event, TimerFired("round")):
            runner.handle(again)


@pytest.mark.parametrize("opening", OPENINGS, ids=lambda kind: kind.__name__)
def test_an_opening_of_another_session_is_refused(opening: type) -> None:
    session_type = OPENINGS[opening]
    for net in _lives():
        for ctx, sender, message in net.openings:
            if isinstance(message, opening):
                continue
            runner = Runner(session_type, ctx, Role.PARTICIPANT)
            effects = runner.join(sender, _messages()[opening])
            assert isinstance(runner.outcome, Failed)
            assert [type(effect) for effect in effects] == [Send]


def _run_of_everything() -> list[bytes]:
    net = Delivery(4)
    record = generate(net, 1)
    document = store(net, record)
    retrieve(net, record, document)
    sign(net, record)
    lose_share(net, 2)
    try_add_share(net, record, 2)
    return net.sent


def test_equal_inputs_give_equal_bytes() -> None:
    assert _run_of_everything() == _run_of_everything()


def test_equal_events_in_a_phase_give_equal_effects() -> None:
    """But for nonces and presignatures, which a replay finds gone."""
    for moment in _phases().values():
        if isinstance(moment.before, AwaitingPackage | AwaitingPresigned | AwaitingVerdict):
            with pytest.raises(Refused, match="one-time secret"):
                _replayed(moment)
            continue
        first, second = _replayed(moment), _replayed(moment)
        assert first == second


def _replayed(moment: Moment) -> list[bytes]:
    ctx = replace(moment.ctx, random=SeededRandom(3))
    step = _type_of(ctx).step(ctx, moment.before, moment.event)
    return [
        pack(SID, effect.message) + effect.to if isinstance(effect, Send) else repr(effect).encode()
        for effect in step.effects
    ]
