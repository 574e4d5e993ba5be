"""The operator's scenarios O2 to O9 of the configuration, section 8, with whole nodes.

Nodes and administrator are those of the published vectors, so that the published signatures count.
Time is the simulation's own; the same with processes is in `tests/e2e/operator`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import combinations

import pytest

from keyserver.crypto.curve import mul_base
from keyserver.crypto.polynomial import interpolate_secret
from keyserver.engine.set_change_needs import ChangeOptions
from keyserver.model.identifiers import KeyId
from keyserver.model.keys import KeyShare
from keyserver.sessions.registry import MESSAGE_TABLE
from keyserver.sessions.sharing.messages import Finalize
from keyserver.sessions.wire import LINK_TYPES, message_type
from keyserver.simulation.loop import run_virtual
from tests.support.client_node import sign_id
from tests.support.key_life import REQUESTER
from tests.support.operator_bed import OperatorBed, order_of
from tests.support.raw_http import Answer
from tests.unit.app.samples import node_id, secret

DONE = (200, "")
DENIED = (403, "Access denied")
UNREACHABLE = (403, "Consensus unreachable")
DISCONNECTED = (500, "node required for this operation is currently disconnected")
NO_SIGNATURE = (500, "cryptographic error invalid EC signature")
BUSY = (500, "Unable to start exclusive session")
RUNS = (500, "session with the same id is already registered")
EXCLUSIVE = (500, "Exclusive session active")

Outcome = tuple[int, str]


def told(answer: Answer) -> Outcome:
    """Status and text without its quotes."""
    return answer.status, answer.text.replace("\\", "").strip('"')


async def readable(bed: OperatorBed, names: str, key_id: bytes) -> None:
    for name in names:
        answer = await bed.read(name, key_id, REQUESTER)
        assert answer.status == 200, (name, answer)


async def stopped(bed: OperatorBed, name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do something while one node is down."""
    await bed.node(name).crash()
    await bed.world.settle(1.0)
    await work()
    bed.node(name).boot()
    await bed.world.settle()


# --- O2 to O4: the published requests -----------------------------------------------------------


def test_o2_add() -> None:
    async def story() -> None:
        async with OperatorBed("abc", "ab") as bed:
            (key,) = await bed.keys()
            await readable(bed, "c", key)
            assert await bed.holders(key) == "ab"
            answer = await bed.change("b", "identity-change")
            assert (told(answer), answer.body) == (DONE, b"")
            assert await bed.holders(key) == "abc"
            await stopped(bed, "a", lambda: readable(bed, "bc", key))

    run_virtual(story())


def test_o3_replace_and_o4_remove() -> None:
    async def story() -> None:
        async with OperatorBed("abcd", "abc") as bed:
            (key,) = await bed.keys()
            assert told(await bed.change("d", "replace-one")) == DONE
            assert await bed.holders(key) == "bcd"
            await readable(bed, "bcd", key)
            await stopped(bed, "b", lambda: readable(bed, "cd", key))
            await stopped(bed, "c", lambda: readable(bed, "bd", key))
            await stopped(bed, "d", lambda: readable(bed, "bc", key))
            assert told(await bed.change("d", "replace-one")) == DONE, "once more is no harm"
            assert told(await bed.change("b", "mission-document-example")) == UNREACHABLE, (
                "its old set is not the configured one"
            )

    run_virtual(story())


# --- O5 -----------------------------------------------------------------------------------------


def test_o5_many_keys() -> None:
    """Two hundred, half of them with document keys, and one request."""

    async def story() -> None:
        async with OperatorBed("abc", "ab") as bed:
            world, new = bed.world, KeyId(b"\xee" * 32)
            keys = await bed.keys(200, threshold=None)
            for node in world.nodes:
                world.movers[node.id].delay_s = 5.0
            change = asyncio.ensure_future(bed.change("b", "identity-change"))
            await asyncio.sleep(2.0)
            assert not change.done()
            for name in "abc":
                assert told(await bed.read(name, keys[0], REQUESTER)) == EXCLUSIVE
                generate = f"/shadow/{new.hex()}/{sign_id(REQUESTER, new)}/1"
                assert told(await bed.ask(name, "POST", generate)) == EXCLUSIVE
            assert told(await change) == DONE
            assert {await bed.holders(key) for key in keys} == {"abc"}
            progress = world.changes(bed.place("b")).progress
            assert progress is not None
            assert (progress.moved, progress.total) == (200, 200)
            await readable(bed, "abc", keys[0])
            assert (await bed.ask("c", "POST", generate)).status == 200

    run_virtual(story())


# --- O6 -----------------------------------------------------------------------------------------

V27 = "00" * 64 + "1b"


async def _no_administrator(bed: OperatorBed) -> Answer:
    await bed.restart("b", administrator=None)
    return await bed.change("b", "replace-one")


async def _none_elsewhere(bed: OperatorBed) -> Answer:
    await bed.restart("c", administrator=None)
    return await bed.change("b", "replace-one")


async def _another_elsewhere(bed: OperatorBed) -> Answer:
    await bed.restart("c", administrator=node_id("admin2"))
    return await bed.change("b", "replace-one")


async def _another_key(bed: OperatorBed) -> Answer:
    return await bed.order("b", "abcd", "bcd", key=secret("admin2"))


async def _swapped(bed: OperatorBed) -> Answer:
    return await bed.order("b", "abcd", "bcd", signed=("bcd", "abcd"))


async def _forgotten(bed: OperatorBed) -> Answer:
    return await bed.order("b", "abcd", "bcd", signed=("bcd", "bcd"))


async def _down(bed: OperatorBed) -> Answer:
    await bed.node("c").crash()
    await bed.world.settle(1.0)
    return await bed.change("b", "replace-one")


async def _stranger(bed: OperatorBed) -> Answer:
    path, body = order_of("abcd", "bcd")
    return await bed.ask("b", "POST", path, body.replace("]", f', "0x{node_id("poa1").hex()}"]'))


async def _empty(bed: OperatorBed) -> Answer:
    return await bed.ask("b", "POST", order_of("abcd", "bcd")[0], "[]")


async def _no_list(bed: OperatorBed) -> Answer:
    return await bed.ask("b", "POST", order_of("abcd", "bcd")[0], "nodes")


async def _no_signature(bed: OperatorBed) -> Answer:
    _, body = order_of("abcd", "bcd")
    return await bed.ask("b", "POST", f"/admin/servers_set_change/{V27}/{V27}", body)


CASES: dict[str, tuple[Callable[[OperatorBed], Awaitable[Answer]], Outcome]] = {
    "no administrator at the node asked": (_no_administrator, DENIED),
    "no administrator at another node": (_none_elsewhere, UNREACHABLE),
    "another administrator at another node": (_another_elsewhere, UNREACHABLE),
    "signed by another key": (_another_key, UNREACHABLE),
    "signatures swapped": (_swapped, UNREACHABLE),
    "a node forgotten in the old set": (_forgotten, UNREACHABLE),
    "a node is down": (_down, DISCONNECTED),
    "a stranger in the new set": (_stranger, DISCONNECTED),
    "an empty new set": (_empty, (400, "")),
    "a body that is no list": (_no_list, (400, "")),
    "signatures that recover to nobody": (_no_signature, NO_SIGNATURE),
}


@pytest.mark.parametrize("case", CASES)
def test_o6_refusals(case: str) -> None:
    act, expected = CASES[case]

    async def story() -> None:
        async with OperatorBed("abcd", "abc") as bed:
            (key,) = await bed.keys()
            before = {name: await bed.share(name, key) for name in "abcd"}
            assert told(await act(bed)) == expected
            await bed.world.settle()
            assert {name: await bed.share(name, key) for name in "abcd"} == before
            await readable(bed, "abd", key)

    run_virtual(story())


def test_o6_a_long_request_is_in_progress() -> None:
    async def story() -> None:
        async with OperatorBed("abcd", "abc") as bed:
            (key,) = await bed.keys()
            for node in bed.world.nodes:
                node.access.delay_s = 12.0
            reading = asyncio.ensure_future(bed.read("b", key, REQUESTER))
            await asyncio.sleep(0.5)
            assert told(await bed.change("b", "replace-one")) == BUSY
            assert (await reading).status == 200
            assert await bed.holders(key) == "abc"

    run_virtual(story())


def test_o6_two_requests_at_once() -> None:
    async def story() -> None:
        async with OperatorBed("abcd", "abc") as bed:
            (key,) = await bed.keys()
            both = [bed.change("b", "replace-one") for _ in range(2)]
            answers = await asyncio.gather(*both)
            assert sorted(told(answer) for answer in answers) == [DONE, RUNS]
            assert await bed.holders(key) == "bcd"

    run_virtual(story())


# --- O7 -----------------------------------------------------------------------------------------


def die_at_the_first_decision(bed: OperatorBed, name: str) -> None:
    """Let a node's process end when the first key's new version is decided, wherever that is."""
    node = bed.node(name)

    def witness(_: object, __: object, data: bytes) -> None:
        if message_type(data) in LINK_TYPES or not node.is_up or node.boots > 1:
            return
        if isinstance(MESSAGE_TABLE.unpack(data)[1], Finalize):
            node.process.die()

    bed.world.cluster.network.watch(witness)


@pytest.mark.parametrize("name", ["c", "d"])
def test_o7_interruption(name: str) -> None:
    """A node dies in the middle: one that stays, and one that joins."""

    async def story() -> None:
        async with OperatorBed("abcd", "abc") as bed:
            keys = await bed.keys(3)
            die_at_the_first_decision(bed, name)
            answer = await bed.change("b", "replace-one")
            assert answer.status == 500, answer
            assert not bed.node(name).is_up
            bed.node(name).boot()
            await bed.world.settle(130.0)
            for key in keys:
                await readable(bed, "bcd", key)
            assert told(await bed.change("b", "replace-one")) == DONE
            assert {await bed.holders(key) for key in keys} == {"bcd"}

    run_virtual(story())


# --- a node that will not come back ---------------------------------------------------------------


@pytest.mark.parametrize(("names", "dead"), [("abcd", "d"), ("abc", "c")])
def test_a_node_that_is_dead_is_taken_out_of_the_lists(names: str, dead: str) -> None:
    """The rest makes all shares anew by an order that keeps its nodes."""

    async def story() -> None:
        async with OperatorBed(names, names) as bed:
            (key,) = await bed.keys()
            old = await _held(bed, dead, key)
            left = await bed.lose(dead)
            await readable(bed, left, key)
            assert told(await bed.order("a", left, left)) == DONE
            await readable(bed, left, key)
            record = (await bed.node("a").store.load(key)).active
            assert record is not None
            new = [await _held(bed, name, key) for name in left]
            public = record.record.public
            assert opens(new[:2], public)
            assert any(share.x != old.x for share in new)
            assert not any(opens([old, share], public) for share in new)

    run_virtual(story())


def test_too_many_nodes_are_dead_to_make_shares_anew() -> None:
    async def story() -> None:
        async with OperatorBed("abcd", "abcd") as bed:
            (key,) = await bed.keys()
            left = await bed.lose("cd")
            status, text = told(await bed.order("a", left, left))
            assert (status, text[:27]) == (500, "Internal error: 1 keys woul")
            await readable(bed, left, key)

    run_virtual(story())


# --- O8 and O9 ----------------------------------------------------------------------------------


def test_o8_too_few_nodes_for_a_key() -> None:
    async def story() -> None:
        async with OperatorBed("bcd", "bcd") as bed:
            keys = [*await bed.keys(), *await bed.keys(2, threshold=2)]
            answer = await bed.change("b", "mission-document-example")
            status, text = told(answer)
            assert (status, text[:27]) == (500, "Internal error: 2 keys woul")
            assert {await bed.holders(key) for key in keys} == {"bcd"}
            for node in bed.world.nodes:
                bed.world.options[node.id] = ChangeOptions(allow_key_loss=True)
            assert told(await bed.change("b", "mission-document-example")) == DONE
            assert await bed.holders(keys[0]) == "cd"

    run_virtual(story())


def opens(shares: list[KeyShare], public: object) -> bool:
    """Whether these shares together are the key."""
    if len({share.x for share in shares}) < len(shares):
        return False
    secret_key = interpolate_secret([each.x for each in shares], [each.value for each in shares])
    return bool(mul_base(secret_key) == public)


def test_o9_removed_nodes_remember_nothing_of_use() -> None:
    async def story() -> None:
        async with OperatorBed("bcd", "bcd") as bed:
            (key,) = await bed.keys()
            record = (await bed.node("b").store.load(key)).active
            assert record is not None
            public = record.record.public
            old = {name: await _held(bed, name, key) for name in "bcd"}
            assert all(opens(list(pair), public) for pair in combinations(old.values(), 2))
            assert told(await bed.change("b", "mission-document-example")) == DONE
            new = {name: await _held(bed, name, key) for name in "cd"}
            assert opens([new["c"], new["d"]], public)
            assert any(new[name].x != old["b"].x for name in "cd")
            for name in "cd":
                assert not opens([old["b"], new[name]], public), "a stolen copy and one share"
            assert not opens([old["c"], new["d"]], public)

    run_virtual(story())


async def _held(bed: OperatorBed, name: str, key_id: KeyId) -> KeyShare:
    share = await bed.share(name, key_id)
    assert share is not None
    return share
