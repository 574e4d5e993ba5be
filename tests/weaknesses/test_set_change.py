"""Attacks on changes of the node set that nobody has ordered: W15 to W19.

Proposals of redistributions, records that follow others, orders to erase, the administrator's path,
bodies that do not parse under every type of message. Nothing may be accepted, nothing stored,
nothing erased, nothing secret said. Attacks in changes that are really carried out are in
`test_changes_played`.
"""

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

from keyserver.engine.links import Subject, SubjectKind
from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId, SessionId
from keyserver.model.keys import KeyShare, NodeSignature
from keyserver.model.node_set import Migration
from keyserver.model.requests import (
    NodeCredential,
    OnChainAddress,
    OnChainPublic,
    Operation,
    Request,
)
from keyserver.sessions.core import SessionKind
from keyserver.sessions.messages import Cancel
from keyserver.sessions.sharing.messages import Accept, Deal, Propose
from keyserver.sessions.writes import CastVote, PutActive, PutHolding, PutPrepared, VoteKind
from keyserver.simulation.cluster import CONTRACT
from keyserver.storage.database import Database
from keyserver.storage.records import SqlRecordStore
from tests.support.asgi import call
from tests.support.client_node import sign_id
from tests.support.scripted_node import ScriptedNode, app_of
from tests.support.stored_values import boxes
from tests.weaknesses import forge
from tests.weaknesses.asking import ON_CHAIN, Asker, request_of, template
from tests.weaknesses.by_hand import secret
from tests.weaknesses.scene import KEY, OTHER_KEY, Scene, failing, perform
from tests.weaknesses.telling import tell


def _signers(scene: Scene) -> forge.Signers:
    return {node.id: node._signer for node in scene.cluster.nodes}


def _own(scene: Scene) -> forge.Signers:
    return {scene.intruder.id: scene.intruder}


def test_w15_forged_successor_of_a_record() -> None:
    """A member announces that a key has moved: to nodes it invented, and to the same nodes with
    other shares. It signs with its own key and the invented ones, several times for itself, and
    with votes that others gave for something else."""

    async def play(scene: Scene) -> None:
        made = await scene.generate()
        await scene.store()
        strangers, record = forge.invented(4), made.record
        moved = forge.successor(record, forge.set_of(strangers))
        same = forge.successor(record, scene.cluster.sets.snapshot.current)
        everybody, mine = _signers(scene), _own(scene)
        (own,) = forge.decision(forge.subject_of(moved), moved.hash, mine).signatures
        thrice = replace(
            forge.certified(moved, strangers, mine).certificate,
            decision=replace(
                forge.decision(forge.subject_of(moved), moved.hash, mine),
                signatures=(own, own, own),
            ),
        )
        old_votes = replace(
            forge.certified(moved, strangers, mine).certificate,
            decision=replace(made.certificate.decision, value=moved.hash),
        )
        tries = [
            forge.certified(moved, strangers, strangers),
            forge.certified(moved, strangers, mine),
            forge.certified(moved, strangers, mine | strangers),
            replace(forge.certified(moved, strangers, mine), certificate=thrice),
            replace(forge.certified(moved, strangers, mine), certificate=old_votes),
            forge.certified(same, mine, everybody),  # nobody but the attacker holds a share
            forge.certified(replace(same, author=moved.author), everybody, mine),
        ]
        for certified in tries:
            await tell(scene, forge.facts(certified))
            states = await scene.states()
            assert {s.active.record.hash for s in states if s.active} == {record.hash}
            assert all(state.share is not None for state in states)
        await scene.all_is_well()

    perform(play)


def test_w15_redistribution_that_nobody_ordered() -> None:
    """A member proposes a redistribution, to get everybody to deal shares of their shares to it:
    as the kind of the session, in the parameters, as an operation of a node's own."""

    async def play(scene: Scene) -> None:
        made = await scene.generate()
        await scene.store()
        intruder, kept = scene.intruder, list[Propose]()

        def keep(_: NodeId, message: object) -> None:
            if isinstance(message, Propose):
                kept.append(message)

        intruder.rewrite = keep
        with failing():
            await intruder.node.api.generate_server_key(
                OTHER_KEY, 1, OnChainAddress(CONTRACT, scene.author)
            )
        await scene.settle()
        template = kept[0]
        intruder.inbox.clear()
        reshare = Request(int(Operation.RESHARE), KEY, bytes(64), _auth(NodeCredential()))
        generate = replace(template.request, key_id=KEY)
        for request in (reshare, generate):
            for kind in SessionKind:
                counter = intruder.next_counter()
                sid = intruder.session(SessionKind.GENERATION, counter, request)
                params = replace(
                    template.params,
                    kind=int(kind),
                    sid=sid,
                    key_id=KEY,
                    version=2,
                    previous=made.record.hash,
                    dealers=tuple(node.id for node in scene.honest[:2]),
                    request_hash=request.hash,
                )
                message = Propose(int(kind), counter, request, params, ())
                for node in scene.honest:
                    intruder.send(node.id, sid, message)
        await scene.settle(30)
        assert not intruder.heard(Accept)
        assert not intruder.heard(Deal)
        await _send_unknown_types(scene, 0x0200)
        await scene.all_is_well()

    perform(play)


def _auth(credential: object) -> bytes:
    assert isinstance(credential, NodeCredential)
    return b"\x04"


async def _send_unknown_types(scene: Scene, first: int) -> None:
    """All message types of a kind, and some that do not exist, with bodies that might fit."""
    scene.intruder.inbox.clear()
    sid = SessionId(b"\x77" * 32)
    for number in range(first, first + 0x20):
        for node in scene.honest:
            for body in (b"", bytes(64), KEY + bytes(200)):
                scene.intruder.send_bytes(node.id, number.to_bytes(2, "big") + sid + body)
        await scene.settle(2)  # connections that were closed come back
    assert not [one for one in scene.intruder.inbox if one.sid is not None]


async def test_w16_old_shares_die_with_their_version(tmp_path: Path) -> None:
    """A thief takes a node's files after a key has moved on to its next version, with the sealing
    key, to use the old share: not even the sealed one is in the database or its log any more."""
    file = tmp_path / "keys.db"
    members = forge.invented(4)
    first = forge.first_record(KEY, forge.set_of(members))
    second = forge.successor(first, forge.set_of(members))
    x = first.committee[0].x
    old, new = KeyShare(x, secret(0x5EC1)), KeyShare(x, secret(0x5EC2))
    database = await Database.open(f"sqlite:///{file}")
    store = SqlRecordStore(database, boxes())
    sealed: list[bytes] = []
    for record, share in ((first, old), (second, new)):
        vote = CastVote(forge.subject_of(record).hash, 0, VoteKind.PREPARE, record.hash)
        await store.commit((vote, PutPrepared(record, share, forge.TRANSCRIPT)))
        sealed.append(_last_share(file))
        await store.commit((PutHolding(record, forge.holding(record, members)),))
        await store.commit((PutActive(forge.certified(record, members, members)),))
    state = await store.load(KEY)
    await database.forget_erased()
    everything = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
    await database.close()
    assert state.active is not None
    assert (state.active.record, state.share) == (second, new)
    assert sealed[0] != sealed[1]
    assert sealed[1] in everything, "the search finds what is there"
    assert sealed[0] not in everything


def _last_share(file: Path) -> bytes:
    """The sealed share that was written last, as it stands in the table."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        *_, row = connection.execute("SELECT * FROM key_shares ORDER BY version")
    return max((value for value in row if isinstance(value, bytes)), key=len)


def test_w16_old_version_and_old_set_are_not_served() -> None:
    """A removed member shows the version of a key in which it still had a share, and asks for parts
    of it: nodes that hold a later one neither go back nor answer."""

    async def play(scene: Scene) -> None:
        made = await scene.generate()
        await scene.store()
        like = await template(scene)
        everybody, old = _signers(scene), made.record
        rest = {node: s for node, s in everybody.items() if node != scene.intruder.id}
        moved = forge.certified(forge.successor(old, forge.set_of(rest)), rest, everybody)
        for node in scene.honest:  # the others went on without it, with its own vote even
            await node.store.commit((PutActive(moved),))
        await tell(scene, forge.facts(made))
        states = await scene.states()
        assert {s.active.record.hash for s in states if s.active} == {moved.record.hash}
        assert all(state.share is None for state in states), "the old ones are gone"
        asker = Asker(scene, like)
        for named in (old.hash, moved.record.hash):
            assert not await asker.ask(request_of(_user(scene)), record_hash=named, mode=ON_CHAIN)

    perform(play)


def _user(scene: Scene) -> OnChainPublic:
    return OnChainPublic(CONTRACT, scene.user.public())


async def test_w17_administrators_signatures_are_replayed() -> None:
    """Somebody who has seen the administrator's two signatures over sorted node ids sends them
    again, to restore an earlier node set. A node without an administrator takes no such order."""
    signature = sign_id(secret(5), KEY)
    node = ScriptedNode()
    path = f"/admin/servers_set_change/{signature}/{signature}"
    body = f'["0x{secret(1).public().raw64.hex()}"]'.encode()
    for _ in range(3):
        answer = await call(app_of(node), "POST", path, body=body)
        assert answer.status != 200
    assert node.operations.calls == []


def test_w17_set_change_between_nodes() -> None:
    """The same between nodes: messages of a set change, in sessions that nobody has opened."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        before = scene.cluster.sets.snapshot
        await _send_unknown_types(scene, 0x0A00)
        assert scene.cluster.sets.snapshot == before
        await scene.all_is_well()

    perform(play)


def test_w18_master_of_a_migration() -> None:
    """The contract names the attacker master of a migration that takes two nodes out. It tells them
    to move, or to drop, what they hold: its word is not an order."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        snapshot = scene.cluster.sets.snapshot
        smaller = replace(
            snapshot.current,
            nodes=tuple(node for node in snapshot.current.nodes if node != scene.honest[2].id),
        )
        migration = Migration(
            Hash32(b"\x18" * 32), frozenset(smaller.nodes), scene.intruder.id, False
        )
        scene.cluster.sets.snapshot = replace(snapshot, new=smaller, migration=migration)
        for kind in (0x0200, 0x0800, 0x0900, 0x0A00):
            await _send_unknown_types(scene, kind)
        scene.cluster.sets.snapshot = snapshot
        await scene.all_is_well()

    perform(play)


def test_w19_orders_to_erase() -> None:
    """A member says that a key was given up: that its version was decided as nothing, that another
    record took its place, that the session is cancelled. Every share stays where it is."""

    async def play(scene: Scene) -> None:
        made = await scene.generate()
        await scene.store()
        mine, strangers = _own(scene), forge.invented(4)
        subject = forge.subject_of(made.record)
        empty = forge.set_of(strangers)
        gone = forge.certified(forge.successor(made.record, empty), strangers, strangers)
        (own,) = forge.decision(subject, ZERO_HASH, mine).signatures
        honest = made.certificate.decision.signatures
        decisions = [
            forge.decision(subject, ZERO_HASH, mine),
            forge.decision(subject, ZERO_HASH, strangers),
            replace(made.certificate.decision, value=ZERO_HASH),
            replace(forge.decision(subject, ZERO_HASH, mine), signatures=(own, own, own)),
            replace(
                forge.decision(subject, ZERO_HASH, mine),
                signatures=(own, *(NodeSignature(s.node, own.signature) for s in honest[:2])),
            ),
        ]
        for decision in decisions:
            await tell(scene, forge.facts(key_id=KEY, skipped=(decision,)))
            document = Subject(SubjectKind.DOCUMENT, KEY, 1)
            await tell(
                scene,
                forge.facts(
                    made,
                    document_skipped=(forge.decision(document, ZERO_HASH, mine), decision),
                ),
            )
        await tell(scene, forge.facts(gone))
        for node in scene.honest:
            for number in range(256):
                scene.intruder.send(node.id, SessionId(bytes([number]) * 32), Cancel(1))
        await scene.settle()
        assert all(state.share is not None for state in await scene.states())
        await scene.all_is_well()

    perform(play)
