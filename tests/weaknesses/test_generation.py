"""Attacks on the making of keys: W1, W2, W10, W11, W21, W26, W37."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from keyserver.crypto.curve import Scalar, SecretScalar, mul_base, negate
from keyserver.crypto.transcripts import deal_hash, tail_hash
from keyserver.model.identifiers import Address, NodeId
from keyserver.model.keys import CommitteeMember
from keyserver.model.requests import OnChainAddress
from keyserver.sessions.messages import Refuse
from keyserver.sessions.runner import Role
from keyserver.sessions.sharing.messages import (
    Accept,
    Deal,
    Finalize,
    Ok,
    Propose,
    Ready,
    Shares,
)
from keyserver.simulation.adversary.dealing import false_complaint, unproven_complaint
from keyserver.simulation.cluster import CONTRACT
from keyserver.simulation.liars import Place
from tests.weaknesses import by_hand
from tests.weaknesses.by_hand import plus, point, times
from tests.weaknesses.intruder import rewriting
from tests.weaknesses.scene import KEY, OTHER_KEY, Scene, failing, perform


async def _coordinate(scene: Scene, threshold: int = 1) -> None:
    """Have the attacker's node coordinate a generation; whatever comes of it."""
    with failing():
        await scene.intruder.node.api.generate_server_key(
            KEY, threshold, OnChainAddress(CONTRACT, scene.author)
        )
    await scene.settle()


def test_w01_coordinator_chooses_coordinates() -> None:
    """The coordinator proposes x = 0 for itself, to receive the constant of every polynomial (their
    sum is the private key) as its "share"; or another member's x, to ruin the sharing unseen."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder
        for chosen in (0, 1, 256):

            def cheat(_: object, message: Propose, chosen: int = chosen) -> Propose:
                committee = tuple(
                    CommitteeMember(m.node, Scalar(chosen)) if m.node == intruder.id else m
                    for m in message.params.committee
                )
                return replace(message, params=replace(message.params, committee=committee))

            intruder.rewrite = rewriting(Propose=cheat)
            await _coordinate(scene)
        assert not intruder.heard(Accept)
        assert not intruder.heard(Deal)
        assert len(intruder.heard(Refuse)) >= 3
        await scene.nothing_happened()

    perform(play)


def test_w02_last_dealer_fixes_the_public_key() -> None:
    """The coordinator sees all deals, then commits to `X - sum of the others' constants`, with a
    polynomial (in the exponent) that gives every honest receiver a share that verifies. Without a
    proof of possession the joint key would be X, whose logarithm the attacker knows."""
    wanted = SecretScalar.from_int(4711)

    async def play(scene: Scene) -> None:
        intruder = scene.intruder
        crafted: dict[str, Any] = {}

        def rogue(to: NodeId, message: Shares) -> Shares:
            own = by_hand.phase(intruder, intruder.sid, Role.PARTICIPANT)
            group, key = own.group, own.one_time
            others = [part for part in message.deals if part.dealer != intruder.id]
            honest = [m for node, m in group.members.items() if node != intruder.id]
            if not crafted:
                rest = plus(*(part.constant for part in others))
                constant = plus(mul_base(wanted), negate(rest))
                values = {int(m.x): SecretScalar.from_int(100 + int(m.x)) for m in honest}
                through = [(0, constant)] + [(x, mul_base(v)) for x, v in values.items()]
                crafted["list"] = by_hand.commitments_through(through)
                crafted["values"] = values
            mine = crafted["list"]
            before = next(p for p in message.deals if p.dealer == intruder.id)
            honest_sum = _without_own(intruder, message)
            sums = tuple(plus(a, b) for a, b in zip(honest_sum, mine, strict=True))
            assert sums[0] == mul_base(wanted)
            receiver = group.members[to]
            value = crafted["values"][int(receiver.x)].expose()
            part = by_hand.dealt_share(
                intruder, group, mine, before.possession, receiver, value, key
            )
            return Shares(by_hand.replacing(message.deals, part), sums)

        intruder.rewrite = rewriting(Shares=rogue)
        await _coordinate(scene, threshold=3)
        assert len(intruder.heard(Deal)) == 3, "the attack did not get as far as it can"
        assert not intruder.heard(Ok)
        assert not intruder.heard(Ready)
        await scene.nothing_happened()

    perform(play, nodes=4, generation_quorum=4)


def _without_own(intruder: Any, message: Shares) -> list[Any]:
    """The sums of the honest dealers' commitments, from the deals the coordinator has."""
    deals = [deal for _, deal in intruder.heard(Deal)]
    return [plus(*points) for points in zip(*(deal.commitments for deal in deals), strict=True)]


def test_w10_inconsistent_commitments_to_different_receivers() -> None:
    """The coordinator gives every receiver other commitments, each chosen so that this receiver's
    share verifies against them: shares would not fit together although everybody was content."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder

        def for_one(to: NodeId, message: Shares) -> Shares:
            own = by_hand.phase(intruder, intruder.sid, Role.PARTICIPANT)
            x = int(own.group.members[to].x)
            c0, c1, c2 = message.commitments
            shift = point(1000 + x)  # C1 + x*D and C2 - D have the same value at x
            bent = (c0, plus(c1, times(shift, x)), plus(c2, negate(shift)))
            return replace(message, commitments=bent)

        def as_built(to: NodeId, message: Finalize) -> Finalize:
            bent = sent[to].commitments
            return replace(message, record=replace(message.record, commitments=bent))

        sent: dict[NodeId, Shares] = {}

        def noting(to: NodeId, message: Shares) -> Shares:
            sent[to] = for_one(to, message)
            return sent[to]

        intruder.rewrite = rewriting(Shares=noting, Finalize=as_built)
        await _coordinate(scene, threshold=2)
        assert len(intruder.heard(Ok)) == 4, "the bent commitments must look right to each receiver"
        assert len(intruder.heard(Ready)) == 4, "each node votes, for what it has seen"
        assert all(state.active is None for state in await scene.states())
        await scene.settle(300)  # recovery decides: nothing
        assert all(state.prepared is None for state in await scene.states())
        intruder.rewrite = lambda _, message: message
        await scene.generate(threshold=2)
        await scene.key_is_whole()

    perform(play, nodes=5)


def test_w11_wrong_share_is_traced_to_its_dealer() -> None:
    """A dealer gives one receiver a wrong share, well signed, to block every generation unnamed."""

    async def play(scene: Scene) -> None:
        intruder, target = scene.intruder, scene.victim.id

        def wrong(_: NodeId, message: Deal) -> Deal:
            own = by_hand.phase(intruder, intruder.sid, Role.PARTICIPANT)
            group, key = own.group, own.one_time
            place = list(group.members).index(target)
            named = _deal_name(intruder, group, message)
            bad = by_hand.sealed_share(
                intruder, group, named, group.members[target], b"\x07" * 32, key
            )
            shares = [*message.shares]
            shares[place] = bad
            return replace(message, shares=tuple(shares))

        intruder.rewrite = rewriting(Deal=wrong)
        made = await scene.generate()
        assert scene.blamed == {intruder.id}
        assert intruder.id not in {s.node for s in made.certificate.holding.signatures}
        await scene.store()
        await scene.all_is_well()

    perform(play)


def _deal_name(intruder: Any, group: Any, deal: Deal) -> bytes:
    constant, tail = deal.commitments[0], tail_hash(deal.commitments)
    return deal_hash(group.session_hash, intruder.id.point, constant, deal.possession, tail)


@pytest.mark.parametrize("lie", [false_complaint, unproven_complaint])
def test_w11_false_complaint_is_traced_to_its_accuser(lie: Callable[[Place, Any], Any]) -> None:
    """A receiver answers right shares with a complaint that opens an honest dealer's right share or
    shows a common point that is none: it wants the dealer thrown out, and blamed."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder

        def accuse(_: NodeId, message: Ok) -> Any:
            own = by_hand.running(intruder, Role.PARTICIPANT)
            table = scene.victim.api._driver._table
            leading = table.get((intruder.sid, Role.COORDINATOR))
            assert leading is not None
            assert leading.runner is not None
            return lie(Place(own.ctx, own.phase, scene.victim.id, leading.runner.phase), message)

        intruder.rewrite = rewriting(Ok=accuse)
        made = await scene.generate()
        assert scene.blamed == {intruder.id}
        holders = {entry.node for entry in made.certificate.holding.signatures}
        assert holders == {node.id for node in scene.honest}
        await scene.store()
        await scene.all_is_well()

    perform(play)


def test_w21_coordinator_names_itself_author() -> None:
    """A member occupies a key id: it coordinates a generation with an author of its choice, or for
    a request that nobody has made. A node takes the author from the request it verified itself."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder
        myself = Address(b"\x66" * 20)

        def usurp(_: object, message: Propose) -> Propose:
            return replace(message, params=replace(message.params, author=myself))

        intruder.rewrite = rewriting(Propose=usurp)
        await _coordinate(scene)
        intruder.rewrite = lambda _, message: message
        scene.deny(lambda who: who == scene.author)  # of the attacker nothing is pending on chain
        with failing():
            await intruder.node.api.generate_server_key(KEY, 1, OnChainAddress(CONTRACT, myself))
        await scene.settle()
        assert not intruder.heard(Accept)
        await scene.nothing_happened()

    perform(play)


def test_w21_listed_generators_only() -> None:
    """The same where operators list who may generate: no node accepts another account, whoever
    coordinates."""

    async def play(scene: Scene) -> None:
        for node in scene.honest:
            node.policy = replace(node.policy, generators=frozenset({Address(b"\x01" * 20)}))
        await _coordinate(scene)
        assert not scene.intruder.heard(Accept)
        await scene.nothing_happened()

    perform(play)


def test_w26_an_absent_node_does_not_stop_the_others() -> None:
    """One member is switched off, or says nothing, while a key is made and a document stored."""

    async def play(scene: Scene) -> None:
        scene.intruder.rewrite = lambda *_: None
        await scene.own_key()
        await scene.all_is_well()
        await scene.intruder.node.crash()
        await scene.generate(key_id=OTHER_KEY)
        await scene.store(OTHER_KEY)
        await scene.all_is_well(OTHER_KEY)

    perform(play)


def test_w37_the_name_of_a_version_commits_to_its_sharing() -> None:
    """A coordinator collects READY for one sharing and shows it for another of the same nodes,
    threshold and public key: only the commitments differ, and with them the name of the record."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder
        asked: list[Finalize] = []

        def other(to: NodeId, message: Finalize) -> Finalize:
            c0, _ = message.record.commitments
            record = replace(message.record, commitments=(c0, point(99)))
            assert record.hash != message.record.hash
            asked.append(replace(message, record=record))
            return asked[-1]

        intruder.rewrite = rewriting(Finalize=other)
        await _coordinate(scene)
        assert asked
        assert not intruder.heard(Ready)
        await scene.nothing_happened()

    perform(play)
