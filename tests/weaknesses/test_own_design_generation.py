"""Attacks on our own way to make keys (engine design, section 7)."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from keyserver.crypto.credentials import credential_statement, legacy_context
from keyserver.crypto.curve import ORDER, Point, SecretScalar, mul_secret
from keyserver.crypto.dealkey import OneTimeKey
from keyserver.crypto.dkg import make_deal
from keyserver.crypto.polynomial import SecretPolynomial
from keyserver.crypto.proofs import prove
from keyserver.engine.links import Subject, SubjectKind
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId, SessionId
from keyserver.model.keys import Decision
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import (
    GenerateServerKey,
    LegacyCredential,
    OnChainAddress,
    Proof,
    Request,
)
from keyserver.sessions.core import SessionKind
from keyserver.sessions.messages import Refuse
from keyserver.sessions.runner import Role
from keyserver.sessions.sharing.messages import (
    Accept,
    Accepted,
    Deal,
    Finalize,
    Ok,
    Propose,
    Ready,
    Shares,
    Start,
)
from keyserver.simulation.cluster import CONTRACT
from tests.weaknesses import by_hand, forge
from tests.weaknesses.by_hand import RANDOM, plus, point, secret
from tests.weaknesses.intruder import rewriting
from tests.weaknesses.scene import KEY, Scene, account, failing, perform


async def _coordinate(scene: Scene, threshold: int = 1, key_id: KeyId = KEY) -> None:
    with failing():
        await scene.intruder.node.api.generate_server_key(
            key_id, threshold, OnChainAddress(CONTRACT, scene.author)
        )
    await scene.settle()


async def _then_all_works(scene: Scene) -> None:
    """After the attack: what is in doubt is decided, and the author gets the key."""
    scene.intruder.rewrite = lambda _, message: message
    await scene.settle(400)
    if not any(state.active for state in await scene.states()):
        await scene.generate()
    await scene.store()
    await scene.all_is_well()
    assert scene.blamed <= {scene.intruder.id}


def _shifted(point_of_victim: Point) -> Point:
    """`P_i + r*G`, r known to the attacker."""
    return plus(point_of_victim, point(4242))


@pytest.mark.parametrize("leads", [True, False], ids=["coordinator", "participant"])
def test_own_one_time_key_made_from_another_nodes(*, leads: bool) -> None:
    """The attacker announces `P_i + r*G` as its one-time key. Whoever complains about it then shows
    `p_j * (P_i + r*G)`, from which the deal between i and j can be opened. It cannot prove that it
    knows the secret of that key; it tries with the proofs that it has."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder

        def in_start(_: NodeId, message: Start) -> Start:
            theirs = next(e for e in message.accepted if e.node != intruder.id)
            mine = next(e for e in message.accepted if e.node == intruder.id)
            key = _shifted(theirs.one_time)
            params_hash = by_hand.phase(intruder, intruder.sid, Role.COORDINATOR).group.terms
            signed = by_hand.accept_signature(intruder, params_hash.params_hash, key)
            proof = proofs.pop(0) if proofs else mine.proof
            forged = Accepted(intruder.id, key, proof, signed)
            return Start(tuple(forged if e.node == intruder.id else e for e in message.accepted))

        def in_accept(_: NodeId, message: Accept) -> Accept:
            key = _shifted(message.one_time)
            terms = by_hand.phase(intruder, intruder.sid, Role.PARTICIPANT).terms
            return Accept(
                key,
                message.proof,
                by_hand.accept_signature(intruder, terms.params_hash, key),
            )

        proofs: list[Proof] = []
        if leads:
            intruder.rewrite = rewriting(Start=in_start)
            await _coordinate(scene)
            proofs.extend(accept.proof for _, accept in intruder.heard(Accept))
            await _coordinate(scene)
            assert not intruder.heard(Deal)
            await scene.nothing_happened()
        else:
            intruder.rewrite = rewriting(Accept=in_accept)
            await scene.generate()
            assert not intruder.heard(Start), "the coordinator goes on without it"
        await _then_all_works(scene)

    perform(play)


def test_own_start_tells_everybody_another_key() -> None:
    """An equivocating coordinator: every node is told another one-time key of the attacker's, each
    with a right proof. Their deals belong to different sessions then, and fit nowhere else."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder
        numbers = {node.id: 50 + n for n, node in enumerate(scene.honest)}

        def other_key(to: NodeId, message: Start) -> Start:
            terms = by_hand.phase(intruder, intruder.sid, Role.COORDINATOR).group.terms
            own = by_hand.accept(intruder, terms.params_hash, OneTimeKey(secret(numbers[to])))
            mine = Accepted(intruder.id, own.one_time, own.proof, own.signature)
            return Start(tuple(mine if e.node == intruder.id else e for e in message.accepted))

        intruder.rewrite = rewriting(Start=other_key)
        await _coordinate(scene)
        assert len(intruder.heard(Deal)) == 3, "nobody can notice yet"
        assert not intruder.heard(Ok, Ready)
        await scene.nothing_happened()
        await _then_all_works(scene)

    perform(play)


def test_own_two_deals_under_one_key() -> None:
    """The coordinator starts the same session twice with different participants, and repeats
    messages in every phase, to get two deals sealed under one key and one nonce."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder

        def twice(to: NodeId, message: Start) -> Start:
            for left_out in (node.id for node in scene.honest if node.id != to):
                fewer = tuple(e for e in message.accepted if e.node != left_out)
                intruder.send(to, intruder.sid, message)
                intruder.send(to, intruder.sid, Start(fewer))
            return message

        def again(to: NodeId, message: Any) -> Any:
            intruder.send(to, intruder.sid, message)
            return message

        intruder.rewrite = rewriting(Start=twice, Shares=again, Finalize=again, Cert=again)
        await _coordinate(scene)
        assert Counter(node for node, _ in intruder.heard(Deal)) == {
            node.id: 1 for node in scene.honest
        }
        assert set(Counter(node for node, _ in intruder.heard(Ready)).values()) <= {1}
        await _then_all_works(scene)

    perform(play)


@pytest.mark.parametrize("change", [-1, 1, 2])
def test_own_longer_and_shorter_polynomials(change: int) -> None:
    """A dealer shares a polynomial of another degree than the threshold says. A longer one would
    make the key unusable for t + 1 nodes, a shorter one usable for fewer."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder

        def other(_: NodeId, message: Deal) -> Deal:
            own = by_hand.phase(intruder, intruder.sid, Role.PARTICIPANT)
            degree = len(message.commitments) - 1 + change
            made = make_deal(
                SecretPolynomial.random(degree, RANDOM),
                list(own.group.members.values()),
                dealer=intruder.id.point,
                one_time=own.one_time,
                session=own.group.session_hash,
                rng=RANDOM,
            )
            shares = tuple(
                by_hand.signed_share(intruder, own.group, made.deal_hash, receiver, ciphertext)
                for receiver, ciphertext in zip(
                    own.group.members.values(), made.ciphertexts, strict=True
                )
            )
            return Deal(made.commitments, made.pop, shares)

        intruder.rewrite = rewriting(Deal=other)
        made = await scene.generate(threshold=1)
        assert len(made.record.commitments) == 2
        assert intruder.id not in {s.node for s in made.certificate.holding.signatures}
        await scene.store()
        await scene.all_is_well()

    perform(play)


def test_own_longer_polynomial_hidden_by_the_coordinator() -> None:
    """The coordinator itself deals a longer polynomial, and shows receivers as many commitments as
    there should be, or one more."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder
        for extra in (0, 1):

            def longer(to: NodeId, message: Shares, extra: int = extra) -> Shares:
                own = by_hand.phase(intruder, intruder.sid, Role.PARTICIPANT)
                group, receiver = own.group, own.group.members[to]
                f = [SecretScalar.from_int(n) for n in (11, 12, 13)]
                x = int(receiver.x)
                value = sum(int.from_bytes(a.expose(), "big") * x**k for k, a in enumerate(f))
                commitments = [a.public() for a in f]
                pop = by_hand.possession_of(intruder, group, f[0])
                part = by_hand.dealt_share(
                    intruder,
                    group,
                    commitments,
                    pop,
                    receiver,
                    (value % ORDER).to_bytes(32, "big"),
                    own.one_time,
                )
                others = [deal for _, deal in intruder.heard(Deal, sid=intruder.sid)]
                sums = [plus(*(d.commitments[k] for d in others), commitments[k]) for k in range(2)]
                if extra:
                    sums.append(commitments[2])
                return Shares(by_hand.replacing(message.deals, part), tuple(sums))

            intruder.rewrite = rewriting(Shares=longer)
            await _coordinate(scene)
        assert len(intruder.heard(Deal)) == 6
        assert not intruder.heard(Ok, Ready)
        await _then_all_works(scene)

    perform(play)


@pytest.mark.parametrize(
    "key_id", [0, ORDER, 2 * ORDER - 2**256], ids=["zero", "the order", "below zero"]
)
def test_own_key_ids_that_anybody_can_sign(key_id: int) -> None:
    """For key id 0 and for the group order the number that is signed is 0: then anybody can make a
    "signature" of any account, here of the author's, without its key. (One from an ordinary id
    does not get through either way.)"""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder
        name = KeyId((key_id % 2**256).to_bytes(32, "big"))
        victim = scene.author_key.public()
        counter = intruder.next_counter()
        operation = GenerateServerKey(name, 1)
        nonce_point = mul_secret(victim, secret(777))  # R = k*X, then s = r/k
        r = int.from_bytes(nonce_point.raw64[:32], "big") % ORDER
        s = secret(r * pow(777, -1, ORDER) % ORDER)
        context = legacy_context(
            coordinator=intruder.id.point,
            boot_nonce=intruder.boot_nonce,
            counter=counter,
            operation=operation.number,
            key_id=name,
            payload=operation.payload(),
        )
        statement = credential_statement(context, name, victim, nonce_point)
        proof = Proof(prove(statement, [s], RANDOM))
        request = Request.of(operation, LegacyCredential(victim, nonce_point, proof))
        template = await propose_template(scene)
        message, sid = proposal(scene, template, request, counter, author=account(scene.author_key))
        for node in scene.honest:
            intruder.send(node.id, sid, message)
        await scene.settle(10)
        assert len(intruder.heard(Refuse, sid=sid)) == 3
        assert not intruder.heard(Accept, sid=sid)
        await scene.nothing_happened(name)

    perform(play)


async def propose_template(scene: Scene) -> Propose:
    """A PROPOSE as honest code makes it, kept back."""
    kept: list[Propose] = []

    def keep(_: NodeId, message: Any) -> None:
        if isinstance(message, Propose):
            kept.append(message)

    scene.intruder.rewrite = keep
    await _coordinate(scene, key_id=KeyId(b"\x5f" * 32))
    scene.intruder.rewrite = lambda _, message: message
    return kept[0]


def proposal(
    scene: Scene, template: Propose, request: Request, counter: int, **changes: Any
) -> tuple[Propose, SessionId]:
    """A PROPOSE for another request, with parameters that fit it but for the changes."""
    sid = scene.intruder.session(SessionKind.GENERATION, counter, request)
    fitting = replace(template.params, sid=sid, key_id=request.key_id, request_hash=request.hash)
    params = replace(fitting, **changes)
    return replace(template, counter=counter, request=request, params=params), sid


async def _propose(scene: Scene, template: Propose, skipped: Any = (), **changes: Any) -> list[Any]:
    """Propose to everybody; returns who accepted."""
    request = Request.of(GenerateServerKey(KEY, 1), OnChainAddress(CONTRACT, scene.author))
    counter = scene.intruder.next_counter()
    message, sid = proposal(scene, template, request, counter, **changes)
    for node in scene.honest:
        scene.intruder.send(node.id, sid, replace(message, skipped=skipped))
    await scene.settle(70)
    return scene.intruder.heard(Accept, sid=sid)


def test_own_versions_that_were_never_given_up() -> None:
    """The coordinator proposes a later version, and says that those before were decided as nothing:
    without a proof, with decisions by itself, by strangers, or about another key."""

    async def play(scene: Scene) -> None:
        template = await propose_template(scene)
        assert len(await _propose(scene, template)) == 3, "as it should be"
        mine: forge.Signers = {scene.intruder.id: scene.intruder}
        subject = Subject(SubjectKind.RECORD, KEY, 1)
        strange = forge.decision(subject, ZERO_HASH, forge.invented(4))
        (own,) = forge.decision(subject, ZERO_HASH, mine).signatures
        thrice = Decision(0, ZERO_HASH, (own, own, own))
        for skipped in ((), (strange,), (thrice,), (forge.decision(subject, ZERO_HASH, mine),)):
            assert not await _propose(scene, template, skipped, version=2)
        for version in (0, 2**32 - 1):
            assert not await _propose(scene, template, version=version)
        assert not await _propose(scene, template, previous=Hash32(b"\x01" * 32))
        await scene.nothing_happened()

    perform(play)


def test_own_key_made_behind_a_set_change() -> None:
    """The node set has changed. The coordinator proposes a generation for the old set, in which its
    friends still are, or for the new one's name with the old one's nodes."""

    async def play(scene: Scene) -> None:
        template = await propose_template(scene)
        snapshot = scene.cluster.sets.snapshot
        old = snapshot.current
        smaller = NodeSet(old.chain_id, old.contract, tuple(n for n in old.nodes[:3]))
        scene.cluster.sets.snapshot = replace(snapshot, current=smaller, new=smaller)
        assert not await _propose(scene, template)
        assert not await _propose(scene, template, set_id=smaller.id)
        assert not await _propose(scene, template, committee=smaller.committee)
        await scene.nothing_happened()
        fitting = {"set_id": smaller.id, "committee": smaller.committee}
        assert await _propose(scene, template, **fitting), "the set that counts"

    perform(play)


def test_own_one_vote_per_version_whoever_asks() -> None:
    """Two sharings of one version side by side: the coordinator keeps the record of the first back,
    has the nodes vote in the second, and then asks for their votes in the first."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder
        held: list[tuple[NodeId, SessionId, Finalize]] = []

        def hold(to: NodeId, message: Finalize) -> None:
            held.append((to, intruder.sid, message))

        intruder.rewrite = rewriting(Finalize=hold)
        first = asyncio.ensure_future(_coordinate(scene))
        await scene.settle(2)
        assert len(held) == 3
        intruder.rewrite = rewriting(Cert=lambda *_: None, Cancel=lambda *_: None)
        await scene.settle(31)  # by then the first one stands in nobody's way
        intruder.node.api._busy.clear()
        second = asyncio.ensure_future(_coordinate(scene))
        await scene.settle(5)
        voted = [node for node, _ in intruder.heard(Ready)]
        for to, sid, message in held:
            intruder.send(to, sid, message)
        await scene.settle(5)
        again = [node for node, _ in intruder.heard(Ready)]
        assert set(Counter(again).values()) <= {1}, "no node votes twice"
        assert len(again) >= len(voted)
        await first
        await second
        await _then_all_works(scene)
        records = {state.active.record.hash for state in await scene.states() if state.active}
        assert len(records) == 1

    perform(play)
