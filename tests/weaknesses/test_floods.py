"""Attacks on a node's life: W28, W34, and denial of service by one member, by measurement."""

import gc
import tracemalloc
from collections.abc import Iterator

from keyserver.engine.inbox import MAX_QUEUED_MESSAGES
from keyserver.engine.links import LINK_CLASSES
from keyserver.engine.session_table import MAX_SESSIONS_PER_PEER
from keyserver.model.identifiers import ZERO_HASH, KeyId
from keyserver.model.requests import GenerateServerKey, OnChainAddress, Request
from keyserver.sessions.core import SessionKind
from keyserver.sessions.registry import MESSAGE_TABLE
from keyserver.sessions.sharing.messages import Propose, ShareParams
from keyserver.sessions.wire import pack
from keyserver.simulation.cluster import CONTRACT
from tests.weaknesses.scene import Scene, perform


def _mangled(good: list[bytes]) -> Iterator[bytes]:
    """Every known type with bodies that do not fit, and right messages cut, stretched, altered."""
    for number in (*MESSAGE_TABLE.classes, *LINK_CLASSES, 0, 0xFFFF):
        header = number.to_bytes(2, "big")
        for body in (b"", bytes(31), bytes(32), bytes(400), b"\xff" * 400):
            yield header + body
    for data in good:
        for end in {0, 1, 2, 33, 34, len(data) // 2, len(data) - 1}:
            yield data[:end]
        yield data + b"\x00"
        for place in range(34, len(data), max(1, len(data) // 40)):
            yield data[:place] + b"\xff" * 4 + data[place + 4 :]


def test_w28_messages_that_crash_the_receiver() -> None:
    """Messages that do not parse, lists without the receiver, empty lists, counts of four thousand
    million, coordinates that do not exist: no node ends, and none stops working."""

    async def play(scene: Scene) -> None:
        sent: list[bytes] = []
        real = scene.cluster.network.send

        def listening(sender: object, to: object, message: bytes) -> bool:
            sent.append(message)
            return real(sender, to, message)  # type: ignore[arg-type]

        scene.cluster.network.send = listening  # type: ignore[method-assign]
        await scene.own_key()
        await scene.retrieve()
        scene.cluster.network.send = real  # type: ignore[method-assign]
        by_type = {data[:2]: data for data in sent}
        assert len(by_type) > 15
        tries = list(_mangled(list(by_type.values())))
        listener = scene.cluster.network._listeners[scene.victim.id]
        refused = 0
        for data in tries:
            refused += not listener.on_message(scene.intruder.id, data)
            await scene.settle(0.001)
        await scene.settle(60)
        assert len(tries) > 1000
        assert refused > 400, "what does not parse costs the sender its connection"
        await scene.all_is_well()

    perform(play)


def _flood_of_openings(scene: Scene, count: int) -> list[bytes]:
    """Proposals to generate as many keys, each a session of its own."""
    intruder, made = scene.intruder, []
    node_set = scene.cluster.sets.snapshot.current
    for number in range(count):
        key_id = KeyId(b"\xf1" + number.to_bytes(31, "big"))
        operation = GenerateServerKey(key_id, 1)
        request = Request.of(operation, OnChainAddress(CONTRACT, scene.author))
        counter = intruder.next_counter()
        sid = intruder.session(SessionKind.GENERATION, counter, request)
        params = ShareParams(
            int(SessionKind.GENERATION),
            sid,
            key_id,
            scene.author,
            1,
            1,
            ZERO_HASH,
            node_set.id,
            node_set.committee,
            (),
            request.hash,
        )
        message = Propose(int(SessionKind.GENERATION), counter, request, params, ())
        made.append(pack(sid, message))
    return made


def test_w34_sessions_without_end() -> None:
    """A member opens sessions and leaves them, as many as it can: a node keeps a bounded number of
    them, in bounded memory, forgets them in time, and serves everybody else meanwhile."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        victim = scene.victim
        floods = _flood_of_openings(scene, 2 * MAX_SESSIONS_PER_PEER)
        gc.collect()
        tracemalloc.start()
        for data in floods:
            scene.intruder.send_bytes(victim.id, data)
        await scene.settle()
        open_now = victim.api._driver.open_sessions
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert 0 < open_now <= MAX_SESSIONS_PER_PEER
        assert grown < 16 * 2**20, f"{grown} bytes for {open_now} sessions"
        await scene.all_is_well()
        await scene.settle(120)
        assert victim.api._driver.open_sessions == 0

    perform(play)


def test_w34_queue_of_one_peer() -> None:
    """A member sends faster than a node works, all at one moment: it is disconnected at the limit,
    and nothing of the flood is kept."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        victim, network = scene.victim, scene.cluster.network
        data = _flood_of_openings(scene, 1)[0]
        listener = network._listeners[victim.id]
        admitted = 0
        for _ in range(4 * MAX_QUEUED_MESSAGES):
            if not listener.on_message(scene.intruder.id, data):
                break
            admitted += 1
        assert admitted == MAX_QUEUED_MESSAGES
        await scene.settle()
        await scene.all_is_well()

    perform(play)
