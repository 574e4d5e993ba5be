"""Attacks on our own design: presignatures, and who may have them used for what.

The attacker coordinates, is one of the signers, and has a client with the permission for every
message. Earlier drafts of the design broke this way. What comes back is combined with everything
that the attacker knows; a signature of the key on anything would be a success.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from keyserver.crypto.curve import ORDER, Point, SecretScalar, recover
from keyserver.crypto.ecdsa import bind, encode_signature, sign_share
from keyserver.crypto.errors import CryptoError
from keyserver.crypto.one_time import OneTime
from keyserver.crypto.polynomial import interpolate
from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.credentials import Opening
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId, SessionId
from keyserver.model.keys import KeyShare
from keyserver.model.requests import (
    NodeCredential,
    Presign,
    Request,
    SigningScheme,
    SignMessage,
)
from keyserver.sessions.conviction import InvalidEvidenceError
from keyserver.sessions.core import SessionKind
from keyserver.sessions.ecdsa_presigning import ECDSA_PRESIGNING, OwnPresignature
from keyserver.sessions.ecdsa_presigning import Target as PresigningTarget
from keyserver.sessions.ecdsa_presigning.messages import PresignAccept, PresignDeal, PresignPropose
from keyserver.sessions.ecdsa_signing.messages import EcdsaPart, EcdsaRequest
from keyserver.sessions.frost_signing.messages import Package, SignatureShare
from keyserver.sessions.identity import session_id
from keyserver.sessions.messages import Refuse
from keyserver.sessions.presignature_pool import Kept
from keyserver.sessions.sharing.evidence import Announced
from keyserver.sessions.wire import pack
from keyserver.simulation.cluster import SimulatedNode
from tests.weaknesses.asking import path_credential
from tests.weaknesses.intruder import rewriting
from tests.weaknesses.scene import KEY, OTHER_KEY, Scene, perform
from tests.weaknesses.test_signing import SchnorrAsker

_REQUEST = EcdsaRequest.TYPE.to_bytes(2, "big")
FIRST, SECOND = Hash32(b"\x55" * 32), Hash32(b"\x56" * 32)


def number(value: int) -> Hash32:
    return Hash32((value % 2**256).to_bytes(32, "big"))


@dataclass
class Attack:
    """A presignature of the attacker's, made with two honest nodes, and what it gets for it."""

    scene: Scene
    made: OwnPresignature
    own: Kept
    """The attacker's own share of it, which its code would use once."""
    share: KeyShare

    @classmethod
    async def on(cls, scene: Scene, key_id: KeyId = KEY) -> "Attack":
        node = scene.intruder.node
        made = await presign(scene, node, [*scene.honest[:2], node], key_id)
        own = pool_of(node)._kept[made.presig_id]
        state = await node.store.load(key_id)
        assert state.share is not None
        return cls(scene, made, own, state.share)

    @property
    def public(self) -> Point:
        return self.made.assembly.record.public

    async def ask(
        self,
        node: SimulatedNode,
        message: Hash32,
        key_id: KeyId = KEY,
        record: Hash32 | None = None,
    ) -> list[EcdsaPart]:
        """Ask one signer in a session of its own; what it answers."""
        sid = self.send(node, message, key_id, record)
        await self.scene.settle(30)
        return [part for _, part in self.scene.intruder.heard(EcdsaPart, sid=sid)]

    def send(
        self,
        node: SimulatedNode,
        message: Hash32,
        key_id: KeyId = KEY,
        record: Hash32 | None = None,
    ) -> SessionId:
        intruder = self.scene.intruder
        counter = intruder.next_counter()
        request = signing_request(self.scene, intruder.id, counter, message, key_id)
        sid = intruder.session(SessionKind.ECDSA, counter, request)
        named = record or self.made.assembly.record.hash
        opening = EcdsaRequest(counter, request, named, self.made.presig_id, None)
        intruder.send(node.id, sid, opening)
        return sid

    def own_value(self, message: Hash32) -> Any:
        """The attacker's own part, for as many messages as it likes."""
        kept = self.own.presignature
        again = replace(kept, secret=OneTime(kept.secret._held[0]))
        record_hash = self.made.assembly.record.hash
        made = sign_share(
            again,
            self.share.value,
            record_hash=record_hash,
            message=message,
            rng=SeededRandom(b"attacker"),
        )
        return made.value

    def signs(self, parts: dict[NodeId, EcdsaPart], messages: Sequence[Hash32]) -> bool:
        """Whether the parts, with any of the own, are a signature on any of these messages."""
        coordinates = self.made.assembly.record.coordinates
        for own in messages:
            values = {node: part.value for node, part in parts.items()}
            values[self.scene.intruder.id] = self.own_value(own)
            s = interpolate([coordinates[node] for node in values], list(values.values()))
            for nonce_of in messages:
                bound = bind(self.made.public, nonce_of)
                for message in messages:
                    try:
                        signer = recover(message, encode_signature(bound.nonce, s))
                    except CryptoError:
                        continue
                    if signer == self.public:
                        return True
        return False


def pool_of(node: SimulatedNode) -> Any:
    return node.api._driver._contexts.presignatures


async def presign(
    scene: Scene, by: SimulatedNode, signers: list[SimulatedNode], key_id: KeyId = KEY
) -> OwnPresignature:
    record = await scene.victim.api.find_record(key_id)
    assert record is not None
    target = PresigningTarget(record, tuple(sorted(node.id for node in signers)))
    made = await by.api._driver.execute(
        ECDSA_PRESIGNING, Presign(key_id), lambda _: NodeCredential(), target
    )
    assert isinstance(made, OwnPresignature)
    return made


def signing_request(
    scene: Scene, coordinator: NodeId, counter: int, message: Hash32, key_id: KeyId = KEY
) -> Request:
    """A client's own request, proven for this session: it may sign whatever it likes."""
    wanted = SignMessage(key_id, message, SigningScheme.ECDSA)
    nonce = scene.cluster.network.boot_nonce(coordinator)
    assert nonce is not None
    source = path_credential(scene.user, key_id)
    return Request.of(wanted, source(Opening(coordinator, nonce, counter, wanted)))


async def gather(scene: Scene, messages: Sequence[Hash32]) -> tuple[Attack, dict[Any, Any]]:
    """Each honest signer is asked for another message; both are allowed to sign."""
    attack = await Attack.on(scene)
    parts = {}
    for node, message in zip(scene.honest[:2], messages, strict=True):
        (parts[node.id],) = await attack.ask(node, message)
    return attack, parts


def test_own_one_message_signs() -> None:
    """What the attacks below would come to if they bit: one message for everybody is a signature of
    the key, by the same arithmetic."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        attack, parts = await gather(scene, [FIRST, FIRST])
        assert attack.signs(parts, [FIRST])

    perform(play)


def test_own_digests_on_a_line() -> None:
    """One presignature, and each signer asked for another digest, chosen on a line through the
    places of the signers: the answers would combine to a signature of the digest at zero, which
    nobody was asked for. Each message has a nonce and a mask of its own, so they combine to
    nothing."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        record = await scene.victim.api.find_record(KEY)
        assert record is not None
        places = record.record.coordinates
        asked = [number(1000 + 7 * int(places[node.id])) for node in scene.honest[:2]]
        attack, parts = await gather(scene, asked)
        own = number(1000 + 7 * int(places[scene.intruder.id]))
        assert not attack.signs(parts, [*asked, own, number(1000)])
        assert not scene.blamed
        await scene.all_is_well()

    perform(play)


@pytest.mark.parametrize("values", [(5, 5 + ORDER), (0, ORDER)], ids=["m and m + q", "0 and q"])
def test_own_two_names_of_one_digest(values: tuple[int, int]) -> None:
    """One signer is asked for `m`, the other for `m + q`: the same digest in the equation, by two
    names. The mask would be scaled differently while the rest is the same, and falls out of the
    difference. Nothing is the same: the nonce depends on the 32 bytes, not on the number."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asked = [number(value) for value in values]
        attack, parts = await gather(scene, asked)
        assert not attack.signs(parts, asked)
        await scene.all_is_well()

    perform(play)


def test_own_one_message_under_two_keys() -> None:
    """A presignature of one key is named in a request for another one of the same nodes: the same
    nonce under two keys gives both away. It is refused, and is lost with that."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        await scene.generate(key_id=OTHER_KEY)
        other = await scene.victim.api.find_record(OTHER_KEY)
        assert other is not None
        attack = await Attack.on(scene)
        one, two = scene.honest[:2]
        assert not await attack.ask(one, FIRST, OTHER_KEY, other.record.hash)
        assert not await attack.ask(one, FIRST), "it is gone"
        assert len(await attack.ask(two, FIRST)) == 1, "one answer is no signature"
        assert not await attack.ask(two, FIRST, OTHER_KEY, other.record.hash)
        await scene.all_is_well()

    perform(play)


def test_own_one_message_under_two_versions() -> None:
    """One signer answers before the shares are renewed, the other is asked afterwards, with the
    presignature of before under the record of then, and of now. No answer mixes the two."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        attack = await Attack.on(scene)
        one, two = scene.honest[:2]
        assert len(await attack.ask(one, FIRST)) == 1
        current = scene.cluster.sets.snapshot.current
        scene.cluster.successions.targets[ZERO_HASH] = current
        assert one.redistributions is not None
        await one.redistributions.redistribute(KEY, ZERO_HASH, current)
        await scene.settle(5)
        renewed = await one.store.load(KEY)
        assert renewed.active is not None
        assert renewed.active.record.version == 2
        assert [len(pool_of(node)) for node in (one, two)] == [0, 0]
        for record in (None, renewed.active.record.hash):
            assert not await attack.ask(two, FIRST, record=record)
        await scene.all_is_well()

    perform(play)


def test_own_signers_that_stand_nowhere() -> None:
    """A presigning is proposed with a signer twice, with nobody in a place, out of order, with
    strangers. A place of zero would be the key itself: it is in no record, and the record alone
    says where a signer stands."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        a, b, c = (node.id for node in scene.honest)
        me, stranger = scene.intruder.id, NodeId.of(SecretScalar.from_int(5).public())
        for signers in (
            (a, a, b),
            (a, b, b),
            tuple(sorted((a, b, c), reverse=True)),
            tuple(sorted((a, b, stranger))),
            tuple(sorted((b, c, me))),
            (),
            (a,),
        ):
            assert not await propose(scene, scene.honest[0], signers)
        record = await scene.victim.api.find_record(KEY)
        assert record is not None
        nowhere = replace(record.record.committee[0], x=type(record.record.committee[0].x)(0))
        with pytest.raises(ValueError, match="not zero"):
            replace(record.record, committee=(nowhere, *record.record.committee[1:]))
        assert await propose(scene, scene.honest[0], tuple(sorted((a, b, me))))
        await scene.all_is_well()

    perform(play)


async def propose(
    scene: Scene, to: SimulatedNode, signers: tuple[NodeId, ...], key_id: KeyId = KEY
) -> list[PresignAccept]:
    """Propose a presigning by hand to one of them; its acceptance, if it accepts."""
    intruder = scene.intruder
    record = await scene.victim.api.find_record(key_id)
    assert record is not None
    opening = PresignPropose(intruder.next_counter(), key_id, record.record.hash, signers)
    sid = intruder.session(SessionKind.PRESIGNING, opening.counter, opening.request)
    intruder.send(to.id, sid, opening)
    await scene.settle(2)
    accepted = [message for _, message in intruder.heard(PresignAccept, sid=sid)]
    assert accepted or intruder.heard(Refuse, sid=sid), "it must have arrived"
    return accepted


def test_own_larger_groups_of_signers() -> None:
    """With more than 2t + 1 signers the answers to different messages combine without the masks,
    and three of them to the key. A larger group is refused when it is proposed, when START lists
    one more, and as evidence; a Schnorr package of more than t + 1 is not answered either."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        everybody = tuple(sorted(node.id for node in scene.cluster.nodes))
        attack = await Attack.on(scene)
        await larger_start(scene)
        assert not await propose(scene, scene.honest[0], everybody)
        larger_evidence(attack, everybody)
        asker = await SchnorrAsker.at(scene)
        sid, signers = await asker.open(FIRST)
        assert len(signers) == 3
        for entry in signers:
            scene.intruder.send(entry.signer.node, sid, Package(tuple(signers)))
        await scene.settle()
        assert not scene.intruder.heard(SignatureShare, sid=sid)
        await scene.all_is_well()

    perform(play)


async def larger_start(scene: Scene) -> None:
    """START lists a further signer, who has accepted in another session of the attacker's."""

    def longer(_: NodeId, start: Any) -> Any:
        first = start.accepted[0]
        further = NodeId.of(SecretScalar.from_int(7).public())
        return replace(start, accepted=(*start.accepted, replace(first, node=further)))

    scene.intruder.inbox.clear()
    scene.intruder.rewrite = rewriting(PresignStart=longer)
    with pytest.raises(Exception, match="takes no part"):
        await presign(scene, scene.intruder.node, [*scene.honest[:2], scene.intruder.node])
    scene.intruder.rewrite = lambda _, message: message
    assert not scene.intruder.heard(PresignDeal)


def larger_evidence(attack: Attack, everybody: tuple[NodeId, ...]) -> None:
    assembly = attack.made.assembly
    known = {entry.node: entry for entry in assembly.signers}
    like = assembly.signers[0].one_time
    signers = tuple(known.get(node, Announced(node, like)) for node in everybody)
    with pytest.raises(InvalidEvidenceError, match="need 3"):
        replace(assembly, signers=signers).group()


def test_own_requests_for_one_presignature_at_once() -> None:
    """Eight requests with one presignature, for two messages, are on their way to each signer
    before any is answered, while the chain takes its time; and all of them again, byte by byte,
    when they are. One answer of each signer, for one of them."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        attack = await Attack.on(scene)
        sent: list[SessionId] = []
        openings: list[bytes] = []
        scene.cluster.network.watch(lambda _, __, data: openings.append(data))
        for node in scene.honest[:2]:
            node.access.delay_s = 3.0
            sent += [attack.send(node, (FIRST, SECOND)[turn % 2]) for turn in range(8)]
        await scene.settle(30)
        again = [data for data in openings if data[2:34] in sent and data[:2] == _REQUEST]
        assert len(again) == 16
        for node in scene.honest[:2]:
            for data in again:
                scene.intruder.send_bytes(node.id, data)
        await scene.settle(30)
        answered = [sid for sid in sent if scene.intruder.heard(EcdsaPart, sid=sid)]
        assert len(answered) == 2
        assert [len(pool_of(node)) for node in scene.honest[:2]] == [0, 0]
        await scene.all_is_well()

    perform(play)


def test_own_one_presignature_through_two_coordinators() -> None:
    """A friend of the attacker coordinates a request with the attacker's presignature, at the same
    time as the attacker. Whose it is not can neither use it nor use it up; and when the attacker's
    process has started anew, it is nobody's."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        attack, friend = await Attack.on(scene), scene.honest[2]
        network, target = scene.cluster.network, scene.honest[0]
        heard: list[bytes] = []
        network.overhear(lambda _, to, data: heard.append(data) if to == friend.id else None)
        nonce = network.boot_nonce(friend.id)
        assert nonce is not None
        request = signing_request(scene, friend.id, 5_000_000, SECOND)
        sid = session_id(SessionKind.ECDSA, friend.id, nonce, 5_000_000, request.hash)
        record = attack.made.assembly.record.hash
        opening = EcdsaRequest(5_000_000, request, record, attack.made.presig_id, None)
        network.inject(friend.id, target.id, pack(sid, opening))
        await scene.settle(5)
        types = {data[:2] for data in heard if data[2:34] == sid}
        assert types == {Refuse.TYPE.to_bytes(2, "big")}
        assert len(await attack.ask(target, FIRST)) == 1
        await scene.intruder.restart()
        await scene.settle(5)
        assert [len(pool_of(node)) for node in scene.honest[:2]] == [0, 0]
        assert not await attack.ask(scene.honest[1], FIRST)
        await scene.all_is_well()

    perform(play)
