"""Attacks on our own agreement: records, certificates, votes (engine design, 4 and 7.6)."""

from dataclasses import replace
from typing import Any

import pytest

from keyserver.crypto.curve import ORDER, recover
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.engine.links import (
    Backed,
    Backing,
    CommitVote,
    HeldRecord,
    Holding,
    HoldingRequest,
    Keys,
    Proposal,
    Status,
    StatusVote,
    Subject,
    SubjectKind,
    certificate_hash,
)
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId, Signature
from keyserver.model.keys import (
    CertifiedRecord,
    Decision,
    DocumentKey,
    HoldingCertificate,
    KeyRecord,
    NodeSignature,
    PreparedCertificate,
)
from keyserver.model.requests import OnChainAddress
from keyserver.sessions.agreement import proposer
from keyserver.sessions.certificates import (
    check_decision,
    check_holding,
    check_prepared,
    ready_digest,
    vote_digest,
)
from keyserver.sessions.core import Refused
from keyserver.sessions.sharing.messages import Cert, Commit, Finalize, Ready
from keyserver.sessions.storing.messages import StoreAck, StoreCommit
from keyserver.sessions.writes import VoteKind
from keyserver.simulation.cluster import CONTRACT
from tests.weaknesses import forge
from tests.weaknesses.by_hand import point
from tests.weaknesses.intruder import Intruder, rewriting
from tests.weaknesses.scene import KEY, OTHER_KEY, Scene, failing, perform
from tests.weaknesses.telling import tell


def _own(scene: Scene) -> forge.Signers:
    return {scene.intruder.id: scene.intruder}


def _everybody(scene: Scene) -> forge.Signers:
    return {node.id: node._signer for node in scene.cluster.nodes}


async def _coordinate(scene: Scene, key_id: KeyId = KEY) -> None:
    with failing():
        await scene.intruder.node.api.generate_server_key(
            key_id, 1, OnChainAddress(CONTRACT, scene.author)
        )
    await scene.settle()


def test_own_record_of_an_invented_committee() -> None:
    """A member shows a record with a perfect certificate, by a committee that it has invented, for
    a key id that nobody knows: whoever encrypts to that key encrypts to the attacker."""

    async def play(scene: Scene) -> None:
        strangers = forge.invented(4)
        real = scene.cluster.sets.snapshot.current
        with_us = strangers | _own(scene)
        for record, by in (
            (forge.first_record(KEY, forge.set_of(strangers)), strangers),
            (forge.first_record(KEY, forge.set_of(with_us)), with_us),
            (replace(forge.first_record(KEY, forge.set_of(strangers)), set_id=real.id), strangers),
            (forge.first_record(KEY, real), strangers),
            (forge.first_record(KEY, real), _own(scene)),
        ):
            await tell(scene, forge.facts(forge.certified(record, by, by)))
            await scene.nothing_happened()
        await scene.own_key()
        await scene.all_is_well()

    perform(play)


@pytest.mark.parametrize("together", [1, 2])
def test_own_as_many_reporters_as_may_lie(together: int) -> None:
    """A record is also believed if f + 1 members report it. f members report one of an invented
    committee: up to f of them are not enough."""

    async def play(scene: Scene) -> None:
        strangers = forge.invented(4)
        record = forge.first_record(KEY, forge.set_of(strangers))
        facts = forge.facts(forge.certified(record, strangers, strangers))
        friends = [scene.intruder]
        if together == 2:
            friends.append(Intruder(scene.cluster, scene.cluster.nodes[3]))
        for friend in friends:
            scene.intruder = friend
            await tell(scene, facts)
        liars = {friend.id for friend in friends}
        for node in scene.cluster.nodes:
            if node.id not in liars:
                assert (await node.store.load(KEY)).active is None

    perform(play, nodes=7)


def test_own_certificate_is_kept_back_until_nothing_was_decided() -> None:
    """The coordinator keeps the holding certificate back until the nodes have given the version up,
    and shows it then: to some or all, in the session, as an answer, as a vote, as a fact."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder
        kept: list[Finalize] = []

        def note(_: NodeId, message: Finalize) -> Finalize:
            kept.append(message)
            return message

        silent = lambda *_: None  # noqa: E731
        intruder.rewrite = rewriting(Finalize=note, Cert=silent, Cancel=silent)
        intruder.rewrite_link = lambda *_: None
        await _coordinate(scene)
        readies = intruder.heard(Ready)
        assert len(readies) == 3, "the attacker has a certificate that holds"
        record, transcript = kept[0].record, kept[0].transcript
        signatures = tuple(NodeSignature(node, ready.signature) for node, ready in sorted(readies))
        holding = HoldingCertificate(transcript, signatures)
        check_holding(record, holding, scene.quorums)
        await scene.settle(600)
        states = await scene.states()
        assert all(state.prepared is None and len(state.skipped) == 1 for state in states)
        await _show(scene, record, holding)
        states = await scene.states()
        assert all(state.active is None and state.prepared is None for state in states)
        intruder.rewrite = intruder.rewrite_link = lambda _, message: message
        made = await scene.generate()
        assert made.record.version == 2
        await _show(scene, record, holding)
        await scene.store()
        await scene.all_is_well()

    perform(play)


async def _show(scene: Scene, record: KeyRecord, holding: HoldingCertificate) -> None:
    """A holding certificate, in all ways there are."""
    intruder, subject = scene.intruder, forge.subject_of(record)
    backed = Backed(holding.prepares(record), Backing(record=HeldRecord(record, holding)))
    mine = forge.decision(subject, record.hash, _own(scene))
    certificate = forge.certified(record, _own(scene), _own(scene)).certificate
    certified = CertifiedRecord(record, replace(certificate, holding=holding, decision=mine))
    intruder.reply = lambda question: (
        Holding(question.number, HeldRecord(record, holding))
        if isinstance(question, HoldingRequest)
        else None
    )
    for node in scene.honest:
        for sid in {one.sid for one in intruder.inbox if one.sid is not None}:
            intruder.send(node.id, sid, Cert(holding.signatures))
        for round_ in (1, 2, 9):
            named = certificate_hash(backed.certificate)
            vote = forge.votes(VoteKind.STATUS, subject, round_, named, _own(scene))[0]
            intruder.send_link(node.id, Status(0, subject, round_, backed, vote.signature))
        vote = forge.votes(VoteKind.COMMIT, subject, 0, record.hash, _own(scene))[0]
        intruder.send_link(node.id, CommitVote(0, subject, 0, record.hash, vote.signature))
        intruder.send_link(node.id, Keys(0, (forge.facts(certified),)))
    await scene.settle(300)
    await tell(scene, forge.facts(certified))


def _key_led_by(scene: Scene, leader: NodeId, round_: int) -> KeyId:
    """A key id in whose decision a node proposes in a round."""
    nodes = scene.cluster.sets.snapshot.current.nodes
    return next(
        key_id
        for number in range(256)
        if proposer(key_id := KeyId(bytes([number]) * 32), nodes, round_) == leader
    )


def test_own_proposer_tells_everybody_something_else() -> None:
    """The attacker proposes in the first round: to one node that nothing was prepared, to the
    others the record, each with STATUS votes that are right. Some nodes prepare the one, some the
    other; he signs both. Later rounds must end in one and the same decision everywhere."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder
        key_id = _key_led_by(scene, intruder.id, 1)
        kept: list[Finalize] = []

        def note(_: NodeId, message: Finalize) -> Finalize:
            kept.append(message)
            return message

        silent = lambda *_: None  # noqa: E731
        intruder.rewrite = rewriting(Finalize=note, Cert=silent, Cancel=silent)
        intruder.rewrite_link = silent
        intruder.keeps = lambda heard: isinstance(heard.message, Status)
        await _coordinate(scene, key_id)
        await scene.settle(90)
        statuses = {node: m for node, m in intruder.heard(Status) if m.round == 1}
        assert len(statuses) == 3
        assert all(status.highest is None for status in statuses.values())
        record, subject = kept[0].record, forge.subject_of(kept[0].record)
        readies = tuple(
            NodeSignature(node, ready.signature) for node, ready in sorted(intruder.heard(Ready))
        )
        holding = HoldingCertificate(kept[0].transcript, readies)
        certificate = holding.prepares(record)
        named = certificate_hash(certificate)
        (own,) = forge.votes(VoteKind.STATUS, subject, 1, named, _own(scene))
        others = [StatusVote(node, ZERO_HASH, s.signature) for node, s in statuses.items()]
        nothing = Proposal(0, subject, 1, tuple(others), (), Backing())
        mine = StatusVote(own.node, named, own.signature)
        backing = Backing(record=HeldRecord(record, holding))
        real = Proposal(0, subject, 1, (*others[:2], mine), (certificate,), backing)
        for false in (  # what does not follow from the STATUS votes is not prepared
            replace(nothing, backing=backing),
            replace(real, backing=Backing()),
            replace(real, certificates=()),
            replace(nothing, statuses=(others[0], others[0], others[1])),
            replace(nothing, statuses=tuple(others[:2])),
        ):
            for node in scene.honest:
                intruder.send_link(node.id, false)
        await scene.settle(2)
        assert not intruder.prepare_votes()
        for number, node in enumerate(scene.honest):
            intruder.send_link(node.id, nothing if number == 1 else real)
        await scene.settle(5)
        votes = dict(intruder.prepare_votes())
        assert set(votes.values()) == {ZERO_HASH, record.hash}, "the attack works so far"
        intruder.keeps = lambda _: False
        await scene.settle(2000)
        states = await scene.states(key_id)
        ends = {
            state.active.record.hash if state.active else ("nothing", len(state.skipped))
            for state in states
        }
        assert len(ends) == 1
        assert all(state.prepared is None for state in states), "it is decided"

    perform(play)


def test_own_votes_are_used_for_something_else() -> None:
    """Every vote that honest nodes sign in a whole life of a key is tried in the place of every
    other: READY as PREPARE or COMMIT, the STORE_ACK as READY, in another round, for another node,
    another key, another value. Each is good for what it was given for, and for nothing else."""

    async def play(scene: Scene) -> None:
        everything: list[tuple[NodeId, Signature]] = []
        intruder = scene.intruder
        finals: list[Finalize] = []

        def note(_: NodeId, message: Finalize) -> Finalize:
            finals.append(message)
            return message

        intruder.rewrite = rewriting(Finalize=note)
        await _coordinate(scene)
        made = await scene.victim.api.find_record(KEY)
        assert made is not None
        document = scene.document_for(made.record.public)
        with failing():
            await intruder.node.api.store_document_key(
                KEY, document, OnChainAddress(CONTRACT, scene.author)
            )
        await scene.settle()
        by_kind: dict[type, list[tuple[NodeId, Signature]]] = {
            kind: [(node, message.signature) for node, message in heard]
            for kind, heard in (
                (Ready, intruder.heard(Ready)),
                (Commit, intruder.heard(Commit)),
                (StoreAck, intruder.heard(StoreAck)),
                (StoreCommit, intruder.heard(StoreCommit)),
            )
        }
        assert all(len(found) == 3 for found in by_kind.values())
        record, transcript = finals[0].record, finals[0].transcript
        subjects = {
            SubjectKind.RECORD: Subject(SubjectKind.RECORD, KEY, 1),
            SubjectKind.DOCUMENT: Subject(SubjectKind.DOCUMENT, KEY, 1),
        }
        values = {
            SubjectKind.RECORD: record.hash,
            SubjectKind.DOCUMENT: document.hash_under(record.hash),
        }
        meant: dict[type, set[tuple[str, SubjectKind, int]]] = {
            Ready: {("ready", SubjectKind.RECORD, 0)},
            Commit: {("COMMIT", SubjectKind.RECORD, 0)},
            StoreAck: {("PREPARE", SubjectKind.DOCUMENT, 0)},
            StoreCommit: {("COMMIT", SubjectKind.DOCUMENT, 0)},
        }
        for kind, found in by_kind.items():
            good = set()
            for node, signature in found:
                for what, subject_kind, round_, digest in _digests(
                    subjects, values, transcript, node
                ):
                    if _signed_by(digest, signature) == node:
                        good.add((what, subject_kind, round_))
                everything.append((node, signature))
            assert good == meant[kind]

    perform(play)


def _digests(
    subjects: dict[SubjectKind, Subject],
    values: dict[SubjectKind, Hash32],
    transcript: Hash32,
    node: NodeId,
) -> list[tuple[str, SubjectKind, int, Hash32]]:
    """All that a signature of this node could be taken for."""
    found: list[tuple[str, SubjectKind, int, Hash32]] = []
    for kind, subject in subjects.items():
        for value in (*values.values(), ZERO_HASH):
            for round_ in range(3):
                found += [
                    (vote.name, kind, round_, vote_digest(vote, subject.hash, round_, value, node))
                    for vote in VoteKind
                ]
        found.append(("ready", kind, 0, ready_digest(values[kind], transcript, node)))
    return found


def _signed_by(digest: Hash32, signature: Signature) -> NodeId | None:
    try:
        return NodeId.of(recover(digest, signature))
    except InvalidSignatureError:
        return None


SUBJECT = Subject(SubjectKind.RECORD, KEY, 1)


def _mixed_rounds(scene: Scene, record: KeyRecord) -> Decision:
    parts = list(_everybody(scene).items())
    early = forge.votes(VoteKind.COMMIT, SUBJECT, 0, record.hash, dict(parts[:2]))
    late = forge.votes(VoteKind.COMMIT, SUBJECT, 1, record.hash, dict(parts[2:]))
    return Decision(1, record.hash, early + late)


def _mixed_values(scene: Scene, record: KeyRecord) -> Decision:
    parts = list(_everybody(scene).items())
    one = forge.votes(VoteKind.COMMIT, SUBJECT, 0, record.hash, dict(parts[:2]))
    other = forge.votes(VoteKind.COMMIT, SUBJECT, 0, ZERO_HASH, dict(parts[2:]))
    return Decision(0, record.hash, one + other)


def _one_twice(scene: Scene, record: KeyRecord) -> Decision:
    parts = list(_everybody(scene).items())
    one, two = forge.votes(VoteKind.COMMIT, SUBJECT, 0, record.hash, dict(parts[:2]))
    return Decision(0, record.hash, (one, two, two))


def _other_name(scene: Scene, record: KeyRecord) -> Decision:
    parts = list(_everybody(scene).items())
    one, two, three = forge.votes(VoteKind.COMMIT, SUBJECT, 0, record.hash, dict(parts[:3]))
    return Decision(0, record.hash, (one, two, replace(three, node=parts[3][0])))


def _prepares(scene: Scene, record: KeyRecord) -> Decision:
    return forge.decision(SUBJECT, record.hash, _everybody(scene), as_kind=VoteKind.PREPARE)


def _other_version(scene: Scene, record: KeyRecord) -> Decision:
    return forge.decision(replace(SUBJECT, count=2), record.hash, _everybody(scene))


def _malleable(scene: Scene, record: KeyRecord) -> Decision:
    """The other s of every signature: valid ECDSA, but not the one form that counts."""
    honest = forge.decision(SUBJECT, record.hash, _everybody(scene))
    return replace(
        honest,
        signatures=tuple(replace(s, signature=_flipped(s.signature)) for s in honest.signatures),
    )


def _flipped(signature: Signature) -> Signature:
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return Signature(signature[:32] + s.to_bytes(32, "big") + bytes([signature[64] ^ 1]))


def _ethereum_v(scene: Scene, record: KeyRecord) -> Decision:
    honest = forge.decision(SUBJECT, record.hash, _everybody(scene))
    shifted = tuple(
        replace(s, signature=Signature(s.signature[:64] + bytes([s.signature[64] + 27])))
        for s in honest.signatures
    )
    return replace(honest, signatures=shifted)


def _empty(_: Scene, record: KeyRecord) -> Decision:
    return Decision(0, record.hash, ())


FALSE_DECISIONS = [
    _mixed_rounds,
    _mixed_values,
    _one_twice,
    _other_name,
    _prepares,
    _other_version,
    _malleable,
    _ethereum_v,
    _empty,
]


@pytest.mark.parametrize("made", FALSE_DECISIONS, ids=lambda made: made.__name__.strip("_"))
def test_own_certificates_that_almost_hold(made: Any) -> None:
    """A decision made of votes that honest nodes have given, but not for this: of two rounds, for
    two values, one of them twice, under another name, PREPARE for COMMIT, of another version; and
    the same votes in another encoding of their signatures."""

    async def play(scene: Scene) -> None:
        real = scene.cluster.sets.snapshot.current
        record = forge.first_record(KEY, real)
        everybody = _everybody(scene)
        right = forge.certified(record, everybody, everybody)
        false = replace(right, certificate=replace(right.certificate, decision=made(scene, record)))
        with pytest.raises(Refused):
            check_decision(SUBJECT.hash, false.certificate.decision, real.nodes, scene.quorums)
        await tell(scene, forge.facts(false))
        await scene.nothing_happened()
        await tell(scene, forge.facts(right))
        assert all(state.active == right for state in await scene.states()), "the right one does"

    perform(play)


def test_own_prepared_certificates_that_almost_hold() -> None:
    """The same for what stands behind a vote of a round: READY for a document, another round's
    votes, too few of them, one of them twice."""

    async def play(scene: Scene) -> None:
        everybody, nodes = _everybody(scene), scene.cluster.sets.snapshot.current.nodes
        value = Hash32(b"\x0d" * 32)
        document = Subject(SubjectKind.DOCUMENT, KEY, 1)
        right = forge.prepared(document, 1, value, everybody)
        check_prepared(document.hash, right, nodes, scene.quorums)
        one, two, *_ = right.signatures
        record = forge.first_record(KEY, scene.cluster.sets.snapshot.current)
        readies = forge.holding(record, everybody)
        for false in (
            replace(right, round=2),
            replace(right, value=ZERO_HASH),
            replace(right, signatures=(one, two)),
            replace(right, signatures=(one, two, two)),
            replace(right, signatures=forge.holding(record, everybody).signatures),
            replace(right, transcript=forge.TRANSCRIPT),
            PreparedCertificate(1, record.hash, readies.transcript, readies.signatures),
            replace(right, signatures=forge.decision(document, value, everybody).signatures),
        ):
            with pytest.raises(Refused):
                check_prepared(document.hash, false, nodes, scene.quorums)

    perform(play)


def test_own_document_key_slipped_in() -> None:
    """A member attaches a document key of its own to a key that has none, and to a later version:
    with its own votes, with those for another document, another attempt, or another key."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        made = await scene.generate(key_id=OTHER_KEY)
        mine = DocumentKey(point(61), point(62))
        (state, *_) = await scene.states()
        assert state.document is not None
        real = state.document
        own = forge.stored(made.record, mine, _own(scene))
        named = replace(real, document=mine)
        for document in (
            own,
            replace(own, decision=replace(real.decision, value=own.decision.value)),
            real,
            named,
            replace(real, record_hash=made.record.hash),
            replace(named, record_hash=made.record.hash),
            replace(real, attempt=2, record_hash=made.record.hash),
        ):
            await tell(scene, forge.facts(made, document=document))
            moved = forge.successor(
                made.record,
                scene.cluster.sets.snapshot.current,
                document=mine.hash_under(made.record.hash),
            )
            await tell(
                scene, forge.facts(forge.certified(moved, _own(scene), _own(scene)), document=own)
            )
            states = await scene.states(OTHER_KEY)
            assert all(state.document is None for state in states)
            assert {s.active.record.hash for s in states if s.active} == {made.record.hash}
        await scene.store(OTHER_KEY)
        await scene.all_is_well(OTHER_KEY)

    perform(play)
