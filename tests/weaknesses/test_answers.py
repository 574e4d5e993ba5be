"""Attacks on answers and on sessions of others: W13, W27, W29, W30, W31, W32."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from keyserver.model.identifiers import Hash32, NodeId
from keyserver.model.keys import Decision, NodeSignature
from keyserver.model.requests import OnChainAddress, OnChainPublic, RetrieveDocumentKey
from keyserver.sessions.core import DeniedError, Refusal, UnavailableError
from keyserver.sessions.messages import Cancel, Refuse
from keyserver.sessions.retrieval.messages import (
    NO_MASK,
    DecRequest,
    MaskPoint,
    Select,
    SelectedPartial,
    Shadow,
)
from keyserver.sessions.retrieval.parts import select_hash
from keyserver.sessions.sharing.messages import Installed, Propose, Start
from keyserver.sessions.storing.messages import StorePropose
from keyserver.simulation.cluster import CONTRACT
from tests.weaknesses.asking import SHADOW, Asker, path_credential, wrong_part
from tests.weaknesses.intruder import Heard, rewriting
from tests.weaknesses.scene import KEY, OTHER_KEY, Scene, failing, perform


def test_w13_wrong_part_of_a_decryption() -> None:
    """A holder answers with another point than its share times C, well signed: the answer would be
    garbage, and nobody would know why. The proof does not hold: it is left out and named."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        intruder = scene.intruder

        intruder.rewrite = rewriting(Partial=lambda _, part: wrong_part(intruder, part))
        for _ in range(4):  # holders are asked in random order
            assert await scene.retrieve() == scene.document_key
        assert scene.blamed == {intruder.id}

    perform(play)


def test_w27_outsiders_and_participants_kill_sessions_of_others() -> None:
    """As soon as a member hears of a session it sends everybody all that ends or upsets one, under
    the session's id: refusals, a cancellation, the coordinator's next messages."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder

        def spoil(heard: Heard) -> bool:
            if heard.sid is not None and heard.sender != intruder.id:
                for node in scene.honest:
                    for message in (
                        Refuse(int(Refusal.DENIED)),
                        Refuse(int(Refusal.BAD)),
                        Cancel(int(Refusal.TEMPORARY)),
                        Start(()),
                    ):
                        intruder.send(node.id, heard.sid, message)
            return True

        intruder.keeps = spoil
        await scene.own_key()
        assert len(intruder.heard(Propose)) == 1, "the generation worked at the first attempt"
        for _ in range(4):
            await scene.all_is_well()

    perform(play)


def test_w29_one_refusal_is_not_the_end() -> None:
    """A member refuses everything for good ("denied"): one liar's word must neither end a request
    nor be told to the client, or published, as the final answer."""

    def opens(message: object) -> bool:
        return isinstance(message, Propose | StorePropose | DecRequest)

    async def play(scene: Scene) -> None:
        intruder = scene.intruder

        def refuse(heard: Heard) -> bool:
            if opens(heard.message):
                assert heard.sid is not None
                intruder.send(heard.sender, heard.sid, Refuse(int(Refusal.DENIED)))
                return True
            return False

        await scene.own_key(threshold=2)
        intruder.keeps = refuse
        for _ in range(3):
            await scene.all_is_well()
        scene.cluster.network.cut(scene.honest[0].id, scene.honest[1].id)
        with pytest.raises(UnavailableError):  # two of the three that are needed: try again later
            await scene.retrieve()

    perform(play)


def test_w29_as_many_refusals_as_honest_nodes_make_are_final() -> None:
    """The other side of it: where more refuse than may lie, it is final."""

    async def play(scene: Scene) -> None:
        await scene.own_key(threshold=2)
        scene.deny(lambda _: False)
        with pytest.raises(DeniedError):
            await scene.retrieve()

    perform(play)


def test_w30_selections_of_another_size_or_with_altered_parts() -> None:
    """The coordinator selects t + 2 parts, t, one twice, one that it has altered, or a member that
    is not asked: every one of them would change what the members add up."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        intruder = scene.intruder
        asker = await Asker.at(scene)
        source, operation = path_credential(scene.user), RetrieveDocumentKey(KEY)

        async def select(change: Any) -> list[tuple[NodeId, Any]]:
            sid, parts = await asker.ask_with(source, operation, mode=SHADOW)
            assert len(parts) == 3
            chosen = change(
                [
                    SelectedPartial(node, p.point, p.mask, p.proof, p.signature)
                    for node, p in sorted(parts)
                ]
            )
            signed = intruder.sign(select_hash(sid, chosen))
            for node in scene.honest:
                intruder.send(node.id, sid, Select(tuple(chosen), signed))
            await scene.settle(5)
            return intruder.heard(Shadow, sid=sid)

        assert len(await select(lambda parts: parts[:2])) == 2, "as it should be"
        for change in (
            lambda parts: parts,
            lambda parts: parts[:1],
            lambda parts: [parts[0], parts[0]],
            lambda parts: [parts[1], parts[0]],
            lambda parts: [replace(parts[0], point=parts[1].point), parts[1]],
            lambda parts: [replace(parts[0], mask=parts[1].mask), parts[1]],
            lambda parts: [replace(parts[0], mask=MaskPoint(b"\x05" * 33)), parts[1]],
            lambda parts: [replace(parts[0], mask=NO_MASK), parts[1]],
            lambda parts: [parts[0], replace(parts[1], node=intruder.id)],
        ):
            assert not await select(change)
        await scene.all_is_well()

    perform(play)


def test_w30_group_after_a_restart_has_the_right_size() -> None:
    """A selected member vanishes in the middle; the session that goes on selects t + 1 again."""

    async def play(scene: Scene) -> None:
        await scene.own_key(threshold=2)
        intruder = scene.intruder
        intruder.rewrite = rewriting(Shadow=lambda *_: None)
        for _ in range(3):
            assert await scene.retrieve() == scene.document_key
        sizes = {len(select.partials) for _, select in intruder.heard(Select)}
        assert sizes <= {3}

    perform(play, nodes=5)


def test_w31_a_connection_that_breaks_ends_what_depends_on_it() -> None:
    """A coordinator opens sessions and breaks the connection without a word. Nothing is kept that
    belongs to it, and no timer has to run out first."""

    async def play(scene: Scene) -> None:
        intruder, victim = scene.intruder, scene.victim
        intruder.rewrite = lambda _, message: message if isinstance(message, Propose) else None
        task = asyncio.ensure_future(_generate(scene))
        await scene.settle()
        assert victim.api._driver.open_sessions == 1
        scene.cluster.network.cut(intruder.id, victim.id)
        await scene.settle()
        assert victim.api._driver.open_sessions == 0
        scene.cluster.network.heal()
        await task

    perform(play)


async def _generate(scene: Scene) -> None:
    with failing():
        await scene.intruder.node.api.generate_server_key(
            OTHER_KEY, 1, OnChainAddress(CONTRACT, scene.author)
        )


def test_w32_the_responsible_node_speaks_for_itself_only() -> None:
    """The coordinator says that everything is over: denied, not found, done, and shows certificates
    it made up. Other nodes tell nothing to the contracts that they have not verified themselves."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        intruder = scene.intruder
        before = {node.id: list(node.recorder.outcomes) for node in scene.honest}
        for code in Refusal:
            intruder.rewrite = rewriting(Select=lambda *_, code=code: Cancel(int(code)))
            with failing():
                await intruder.node.api.retrieve_shadow(
                    KEY, OnChainPublic(CONTRACT, scene.user.public())
                )
        false = NodeSignature(intruder.id, intruder.sign(Hash32(b"\x01" * 32)))

        def finish(_: NodeId, message: Installed) -> Installed:
            return Installed(Decision(0, message.decision.value, (false,) * 3))

        intruder.rewrite = rewriting(Installed=finish)
        with failing():
            await intruder.node.api.generate_server_key(
                OTHER_KEY, 1, OnChainAddress(CONTRACT, scene.author)
            )
        await scene.settle()
        assert {node.id: node.recorder.outcomes for node in scene.honest} == before
        assert all(state.active is None for state in await scene.states(OTHER_KEY))
        for node in scene.honest:
            ends = [code for name, role, code in node.recorder.sessions if role == "participant"]
            assert not set(ends) & {"AccessDenied", "ServerKeyIsNotFound", "DocumentKeyIsNotFound"}

    perform(play)
