"""What is counted, and who is told when a peer is back."""

import asyncio

from keyserver.app.metrics import Metrics
from keyserver.app.observer import PeerReturns, SessionCounter
from keyserver.model.identifiers import NodeId
from tests.unit.app.samples import node_id

PEER = node_id("b")


class Listener:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def on_connected(self, peer: NodeId) -> None:
        self.heard.append(("connected", peer))

    def on_disconnected(self, peer: NodeId) -> None:
        self.heard.append(("disconnected", peer))

    def on_message(self, peer: NodeId, message: bytes) -> bool:
        self.heard.append((message, peer))
        return message == b"good"


def test_sessions_are_counted_by_outcome() -> None:
    metrics = Metrics()
    counter = SessionCounter(metrics)
    counter.on_session("generation", "participant", "completed", 0.3)
    counter.on_session("generation", "participant", "AccessDenied", 0.1)
    counter.on_misbehaviour(frozenset({PEER}), "two_votes", b"")
    text = metrics.render().decode()
    for outcome in ("completed", "AccessDenied"):
        labels = f'outcome="{outcome}",role="participant",type="generation"'
        assert f"keyserver_sessions_total{{{labels}}} 1.0" in text
    assert 'keyserver_misbehaviour_total{rule="two_votes"} 1.0' in text
    assert 'keyserver_session_seconds_count{type="generation"} 2.0' in text


def test_everything_is_passed_on() -> None:
    listener = Listener()
    returns = PeerReturns(listener, None)
    returns.on_connected(PEER)
    assert returns.on_message(PEER, b"good")
    assert not returns.on_message(PEER, b"bad")
    returns.on_disconnected(PEER)
    assert listener.heard == [
        ("connected", PEER),
        (b"good", PEER),
        (b"bad", PEER),
        ("disconnected", PEER),
    ]


async def test_tasks_are_looked_at_when_peers_are_back() -> None:
    looked = asyncio.Queue[None]()

    async def hasten() -> None:
        await looked.put(None)

    returns = PeerReturns(Listener(), hasten)
    running = asyncio.create_task(returns.run())
    returns.on_connected(PEER)
    returns.on_connected(node_id("c"))  # several at a time cost one look
    await looked.get()
    returns.on_disconnected(PEER)
    returns.on_connected(PEER)
    await looked.get()
    assert looked.empty()
    running.cancel()
    await asyncio.wait([running])


async def test_without_tasks_nobody_looks() -> None:
    returns = PeerReturns(Listener(), None)
    running = asyncio.create_task(returns.run())
    returns.on_connected(PEER)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])
