"""Attacks with what was said before: W25."""

from typing import Any

from keyserver.model.identifiers import NodeId, SessionId
from keyserver.model.requests import OnChainAddress
from keyserver.sessions.retrieval.messages import DecRequest, Partial
from keyserver.sessions.sharing.messages import Accept, Propose
from keyserver.simulation.cluster import CONTRACT
from tests.weaknesses.scene import KEY, Scene, failing, perform


def test_w25_openings_of_sessions_are_replayed() -> None:
    """A member sends the openings of its earlier sessions again: at once, after the session, on a
    new connection, after its own restart; and those that it heard from others as its own."""

    async def play(scene: Scene) -> None:
        intruder = scene.intruder
        told: list[tuple[NodeId, SessionId, Any]] = []

        def note(to: NodeId, message: Any) -> Any:
            if isinstance(message, Propose | DecRequest):
                told.append((to, intruder.sid, message))
            return message

        intruder.rewrite = note
        await intruder.node.api.generate_server_key(KEY, 1, OnChainAddress(CONTRACT, scene.author))
        await scene.settle()
        await scene.store()
        for _ in range(2):
            with failing():
                await intruder.node.api.retrieve_shadow(KEY, scene.on_chain_user())
        await scene.settle()
        assert {type(message) for _, _, message in told} == {Propose, DecRequest}
        foreign = [
            (node.id, one.sid, one.message)
            for one in intruder.inbox
            for node in scene.honest
            if isinstance(one.message, Propose | DecRequest) and one.sid is not None
        ]
        for repeat in range(3):
            intruder.inbox.clear()
            for to, sid, message in told + foreign:
                intruder.send(to, sid, message)
            await scene.settle(30)
            assert not intruder.heard(Accept, Partial), f"after {repeat} changes"
            if repeat == 0:
                for node in scene.honest:
                    scene.cluster.network.cut(intruder.id, node.id)
                scene.cluster.network.heal()
            if repeat == 1:
                await intruder.restart()
            await scene.settle()
        await scene.all_is_well()

    perform(play)
