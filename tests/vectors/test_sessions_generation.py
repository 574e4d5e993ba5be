"""The vector of a generation, through the session code: two of four, one node offline.

The random source hands out the vector's secrets. Proofs are hedged, so those of the vector cannot
come out of the sessions; they are put in place of what a node sends. Everything that follows from
them must be the vector's to the byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.model.codec import encode
from keyserver.model.identifiers import (
    Address,
    Hash32,
    KeyId,
    NodeId,
    Nonce32,
    SessionId,
    Signature,
)
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import GenerateServerKey, Proof, Request
from keyserver.sessions.bound_uses import BoundUses
from keyserver.sessions.certificates import ready_digest
from keyserver.sessions.core import (
    Authorised,
    Completed,
    Context,
    KeyState,
    Received,
    Send,
    SessionKind,
    Verdict,
)
from keyserver.sessions.identity import session_id
from keyserver.sessions.presignature_pool import PresignaturePool
from keyserver.sessions.runner import Role, Runner
from keyserver.sessions.sharing import GENERATION
from keyserver.sessions.sharing.evidence import signed_complaint
from keyserver.sessions.sharing.messages import (
    Accept,
    Complaint,
    Deal,
    Finalize,
    Ok,
    Ready,
    SealedShare,
    Shares,
    SignedShare,
    Start,
)
from keyserver.sessions.sharing.phases import (
    AwaitingAccepts,
    AwaitingDeals,
    AwaitingOks,
    AwaitingReadies,
)
from keyserver.sessions.sharing.terms import generation_params, terms_of
from keyserver.sessions.writes import PutPrepared
from tests.support.delivery import POLICY, KeySigner
from tests.support.key_life import ON_CHAIN
from tests.vectors.files import load, point, raw, secret

_V: dict[str, Any] = load("dkg_generation")
_RESULT = _V["result"]
_SECRETS = {raw(m["node"]): secret(m["secret"]) for m in _V["committee"]}
_NODES = tuple(NodeId(raw(member["raw64"])) for member in _V["committee"])
_SET = NodeSet(_V["chain_id"], Address(raw(_V["contract"])), _NODES)
_TAKING_PART = [NodeId.of(point(node)) for node in _V["participants"]]
_SID = SessionId(raw(_V["sid"]))


@dataclass(frozen=True)
class _VectorRequest(Request):
    """The vector gives the hash of its request, not the request."""

    @property
    def hash(self) -> Hash32:
        return Hash32(raw(_V["request_hash"]))


_REQUEST = _VectorRequest(
    **{
        name: getattr(Request.of(GenerateServerKey(KeyId(raw(_V["key_id"])), 1), ON_CHAIN), name)
        for name in ("operation_number", "key_id", "payload", "auth")
    }
)


@dataclass
class ScriptedRandom:
    """Hands out given secrets first."""

    script: list[bytes]
    rest: SeededRandom = field(default_factory=lambda: SeededRandom(1))

    def bytes(self, n: int) -> bytes:
        return self.script.pop(0) if self.script else self.rest.bytes(n)


def _script(node: NodeId) -> list[bytes]:
    """One-time key, hedge of its proof, then the coefficients of the polynomial."""
    name = node.point.compressed
    accept = next((a for a in _V["accepts"] if raw(a["node"]) == name), None)
    deal = next((d for d in _V["deals"] if raw(d["node"]) == name), None)
    if accept is None or deal is None:
        return []
    coefficients = [raw(coefficient) for coefficient in deal["coefficients"]]
    return [raw(accept["one_time_secret"]), bytes(32), *coefficients]


def _context(me: NodeId) -> Context:
    source = _V["sid_input"]
    return Context(
        me=me,
        sid=_SID,
        kind=SessionKind(source["kind"]),
        coordinator=NodeId.of(point(source["coordinator"])),
        boot_nonce=Nonce32(raw(source["boot_nonce"])),
        counter=source["counter"],
        request=_REQUEST,
        signer=KeySigner(_SECRETS[me.point.compressed]),
        random=ScriptedRandom(_script(me)),
        node_set=_SET,
        connected=frozenset(_TAKING_PART),
        key=KeyState(),
        policy=replace(POLICY, generation_quorum=3),
        now=0,
        bound_uses=BoundUses(),
        presignatures=PresignaturePool(),
    )


def _as_in_the_vector(sender: NodeId, message: Any) -> Any:
    """A message with the vector's proof, and what was signed over it."""
    if not isinstance(message, Deal):
        return message
    deal = next(d for d in _V["deals"] if raw(d["node"]) == sender.point.compressed)
    assert [c.compressed for c in message.commitments] == [raw(c) for c in deal["commitments"]]
    shares = tuple(
        SignedShare(SealedShare(raw(s["ciphertext"])), Signature(raw(s["signature"])))
        for s in deal["shares"]
    )
    return Deal(message.commitments, raw(deal["pop"]), shares)


@pytest.fixture(scope="module")
def run() -> tuple[Mapping[tuple[NodeId, Role], Runner], list[Any], list[Any]]:
    """A whole session; returns the runners, all phases of the coordinator, all messages."""
    me = _TAKING_PART[0]
    author = Address(raw(_V["author"]))
    request = replace(_REQUEST, auth=b"\x03" + ON_CHAIN.contract + author)
    runners: dict[tuple[NodeId, Role], Runner] = {}
    context = replace(_context(me), request=request)
    runners[me, Role.COORDINATOR] = Runner(GENERATION, context, Role.COORDINATOR)
    queue = [(me, e) for e in runners[me, Role.COORDINATOR].start(None)]
    phases, seen = [runners[me, Role.COORDINATOR].phase], []
    while queue:
        sender, effect = queue.pop(0)
        seen.append((sender, effect))
        if not isinstance(effect, Send):
            continue
        message = _as_in_the_vector(sender, effect.message)
        role = Role.COORDINATOR if message.TO_COORDINATOR else Role.PARTICIPANT
        runner = runners.get((effect.to, role))
        if runner is None:
            context = replace(_context(effect.to), request=request)
            runner = runners[effect.to, role] = Runner(GENERATION, context, role)
            effects = runner.join(sender, message)
            effects += _allow(runner)
        else:
            effects = runner.handle(Received(sender, message))
        queue += [(effect.to, following) for following in effects]
        phases.append(runners[me, Role.COORDINATOR].phase)
    return runners, phases, seen


def _allow(runner: Runner) -> tuple[Any, ...]:
    return runner.handle(Authorised(Verdict.ALLOWED))


def _sent(run: Any, kind: type) -> dict[NodeId, Any]:
    messages = [(sender, e.message) for sender, e in run[2] if isinstance(e, Send)]
    return {sender: message for sender, message in messages if isinstance(message, kind)}


def test_session_id_and_parameters() -> None:
    source = _V["sid_input"]
    assert (
        session_id(
            SessionKind(source["kind"]),
            NodeId.of(point(source["coordinator"])),
            Nonce32(raw(source["boot_nonce"])),
            source["counter"],
            Hash32(raw(source["request_hash"])),
        )
        == _SID
    )
    assert _SET.id == raw(_V["set_id"])
    params = generation_params(
        _context(_TAKING_PART[0]), Address(raw(_V["author"])), _V["threshold"], ()
    )
    assert encode(params) == raw(_V["params"])
    assert terms_of(params, ()).params_hash == raw(_V["params_hash"])


def test_accepting(run: Any) -> None:
    for node, accept in _sent(run, Accept).items():
        vector = next(a for a in _V["accepts"] if raw(a["node"]) == node.point.compressed)
        assert accept.one_time.compressed == raw(vector["one_time_public"])
        assert accept.signature == raw(vector["signature"])
    started = _sent(run, Start)[_TAKING_PART[0]]
    assert [entry.node for entry in started.accepted] == _TAKING_PART
    accepts = next(p for p in run[1] if isinstance(p, AwaitingAccepts))
    assert accepts.terms.params_hash == raw(_V["params_hash"])
    dealing = next(p for p in run[1] if isinstance(p, AwaitingDeals))
    assert dealing.group.session_hash == raw(_V["h1"])


def test_sharing_and_transcript(run: Any) -> None:
    oks = next(p for p in run[1] if isinstance(p, AwaitingOks))
    assert [c.compressed for c in oks.sharing.commitments] == [
        raw(c) for c in _RESULT["commitments"]
    ]
    assert oks.sharing.transcript == raw(_RESULT["transcript_hash"])
    shares = _sent(run, Shares)[_TAKING_PART[0]]
    for entry, vector in zip(shares.deals, _V["deals"], strict=True):
        assert entry.dealer.point.compressed == raw(vector["node"])
        assert entry.tail_hash == raw(vector["tail_hash"])
        assert entry.possession == raw(vector["pop"])
    for ok in _sent(run, Ok).values():
        assert ok.transcript == raw(_RESULT["transcript_hash"])


def test_record_and_ready(run: Any) -> None:
    record = _sent(run, Finalize)[_TAKING_PART[0]].record
    assert encode(record) == raw(_RESULT["record"])
    assert record.hash == raw(_RESULT["record_hash"])
    assert record.public.raw64 == raw(_RESULT["joint_public_raw64"])
    ready = _sent(run, Ready)
    transcript = Hash32(raw(_RESULT["transcript_hash"]))
    for vector in _RESULT["nodes"]:
        node = NodeId.of(point(vector["node"]))
        assert ready_digest(record.hash, transcript, node) == raw(vector["ready_digest"])
        assert ready[node].signature == raw(vector["ready_signature"])
        share = record.verification_share(node)
        assert share is not None
        assert share.compressed == raw(vector["verification_share"])
    absent = record.verification_share(NodeId.of(point(_RESULT["absent_node"]["node"])))
    assert absent is not None
    assert absent.compressed == raw(_RESULT["absent_node"]["verification_share"])


def test_what_each_node_keeps(run: Any) -> None:
    kept = {
        sender: write
        for sender, effect in run[2]
        for write in getattr(effect, "writes", ())
        if isinstance(write, PutPrepared)
    }
    for vector in _RESULT["nodes"]:
        share = kept[NodeId.of(point(vector["node"]))].share
        assert share.value == secret(vector["share"])
        assert int(share.x) == vector["x"]
    readies = next(p for p in run[1] if isinstance(p, AwaitingReadies))
    assert readies.record.hash == raw(_RESULT["record_hash"])
    for runner in run[0].values():
        assert isinstance(runner.outcome, Completed)


def test_complaint(run: Any) -> None:
    """The coordinator judges the vector's complaint as the vector says."""
    vector = _V["complaint"]
    deal = next(d for d in _V["deals"] if d["node"] == vector["dealer"])
    complaint = Complaint(
        NodeId.of(point(vector["dealer"])),
        tuple(point(c) for c in deal["commitments"]),
        raw(deal["pop"]),
        SealedShare(raw(vector["ciphertext"])),
        Signature(raw(vector["dealer_signature"])),
        point(vector["opened_point"]),
        Proof(raw(vector["proof"])),
        Signature(bytes(65)),
    )
    oks = next(p for p in run[1] if isinstance(p, AwaitingOks))
    accuser = NodeId.of(point(vector["accuser"]))
    signed = signed_complaint(oks.sharing.group.session_hash, accuser, complaint)
    signature = KeySigner(_SECRETS[accuser.point.compressed]).sign(signed)
    complaint = replace(complaint, accuser_signature=signature)
    ctx = _context(_TAKING_PART[0])
    after = GENERATION.step(ctx, oks, Received(accuser, complaint))
    (report,) = [e for e in after.effects if hasattr(e, "culprits")]
    assert report.culprits == frozenset({NodeId.of(point(vector[vector["verdict"]]))})
