"""W15 to W19 and our own design, in changes of the node set that are really carried out."""

import asyncio
from dataclasses import replace
from functools import partial
from itertools import product

import pytest

from keyserver.crypto.polynomial import interpolate_secret
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import NodeCredential, OnChainAddress, Reshare
from keyserver.model.set_change import MigrationOrder, SetChange, SetChangeOrder
from keyserver.sessions.core import SessionError
from keyserver.sessions.set_change.works import Moved, MoveKeys
from keyserver.sessions.sharing import REDISTRIBUTION, Succession
from keyserver.simulation.adversary import catalogue, dealing
from keyserver.simulation.adversary.redistribution import inheriting
from keyserver.simulation.changing import MIGRATION
from keyserver.simulation.cluster import CONTRACT
from keyserver.simulation.liars import at, with_field
from tests.weaknesses.changing_scene import (
    AUTHOR,
    DOCUMENT_KEY,
    KEY,
    NEW,
    OLD,
    ChangingScene,
    document_for,
    perform_change,
)

OTHER_KEY = KeyId(b"\x4c" * 32)
OTHER = Hash32(b"\x0f" * 32)


def test_w15_wrong_sub_share_of_an_old_node() -> None:
    """An old node deals a wrong sub-share to one new node, well signed and sealed, in each of some
    changes in which it may deal. It is named, nobody stores what it dealt, and the key moves."""

    async def play(scene: ChangingScene) -> None:
        await scene.make_key()
        scene.lies(at("Deal", dealing.false_share_for_one))
        await scene.move()
        named.update(scene.blamed)
        assert scene.blamed <= {scene.attacker.id}
        scene.is_honest_again()
        await asyncio.sleep(300)
        await scene.has_moved()

    named: set[object] = set()
    for seed in range(1, 9):
        perform_change(play, seed=seed)
        if named:
            return
    raise AssertionError("it was never chosen as a dealer")


def test_w15_new_node_is_told_by_the_coordinator_alone() -> None:
    """The coordinator tells the node that joins another record of the key, with a perfect
    certificate by nodes that it has invented. Nobody else knows of it: it gets no vote."""

    async def play(scene: ChangingScene) -> None:
        await scene.make_key()
        invented = inheriting(
            lambda known: replace(known, record=catalogue.of_invented_committee(known.record))
        )
        scene.lies(at("Redistribute", invented))
        await scene.carries_out(scene.changing.bound(NEW))
        joiner = (await scene.states())[4]
        assert joiner.active is None or set(joiner.active.record.nodes) <= {
            node.id for node in scene.nodes
        }
        scene.is_honest_again()
        await scene.move()
        await asyncio.sleep(400)
        await scene.has_moved()

    perform_change(play)


def test_w16_shares_from_before_the_change_are_worth_nothing() -> None:
    """A node that was removed has kept a copy of its share, and the attacker's its own old one.
    With the shares of now they are no key, in any mixture that has one of each."""

    async def play(scene: ChangingScene) -> None:
        await scene.make_key()
        old = [share for share in await scene.shares() if share is not None]
        await scene.move()
        await scene.has_moved()
        new = [share for share in await scene.shares() if share is not None]
        record = (await scene.states())[1].active
        assert record is not None
        for before, after in product(old, new):
            if before.x != after.x:
                made = interpolate_secret([before.x, after.x], [before.value, after.value])
                assert made.public() != record.record.public
        for node in scene.nodes:
            stored = node.disk.platter.state.keys[KEY].shares
            held = [own.share for own in stored.values()]
            assert not any(share in old for share in held), "an old share is on disk"

    perform_change(play)


@pytest.mark.parametrize("form", ["legacy", "bound"])
def test_w17_orders_of_before_are_given_again(form: str) -> None:
    """A node has seen the administrator's orders and gives an old one again, to bring back the set
    of then. Its own node believes it; every other one counts what was done."""

    async def play(scene: ChangingScene) -> None:
        await scene.make_key()
        changing = scene.changing
        legacy = form == "legacy"
        seen: SetChangeOrder = changing.legacy(NEW) if legacy else changing.bound(NEW)
        await changing.carry_out(seen, scene.nodes[1])
        await changing.carry_out(changing.bound(range(5), epoch=2), scene.nodes[1])
        digest = ZERO_HASH if legacy else OTHER
        change = SetChange.ordered(changing.configured, changing.set_of(NEW), digest)
        assert isinstance(await scene.carries_out(seen, change), SessionError)
        for node in scene.others:
            assert len(changing.history(node)) == 2
        for state in await scene.states():
            assert state.active is not None
            assert len(state.active.record.nodes) == 5
        assert await scene.retrieve(scene.nodes[0]) == DOCUMENT_KEY

    perform_change(play)


@pytest.mark.parametrize("claims", ["no migration", "another set", "another master"])
def test_w18_master_of_a_migration_that_the_chain_does_not_show(claims: str) -> None:
    """The attacker is master of a migration, or says so. What it orders is not what the others see
    on chain: no node takes part, and no key moves."""

    async def play(scene: ChangingScene) -> None:
        await scene.make_key()
        changing = scene.changing
        target = changing.set_of(NEW)
        if claims == "another set":
            changing.migrate(OLD, scene.attacker)
        if claims == "another master":
            changing.migrate(NEW, scene.nodes[1])
        order = MigrationOrder(MIGRATION, target.nodes, scene.attacker.id)
        old = changing.set_of(OLD)
        change = SetChange.ordered(old, target, MIGRATION)
        assert isinstance(await scene.carries_out(order, change), SessionError)
        await scene.nothing_has_moved()

    perform_change(play)


def _told(left: tuple[KeyId, ...], _: object) -> tuple[KeyId, ...]:
    return left


def test_w19_coordinator_that_moves_nothing_and_has_everything_erased() -> None:
    """The coordinator of a change that was really ordered moves no key, and says that all is done:
    who leaves keeps its share, and nobody writes the change down."""

    async def play(scene: ChangingScene) -> None:
        await scene.make_key()
        changes = scene.attacker.changes
        assert changes is not None
        perform = changes.perform

        async def lazy(work: object, ended: asyncio.Event) -> object:
            return Moved(1, ()) if isinstance(work, MoveKeys) else await perform(work, ended)

        changes.perform = lazy  # type: ignore[method-assign,assignment]
        for left in ((), (KEY,)):
            scene.lies(at("ChangeDone", with_field("left", partial(_told, left))))
            assert isinstance(await scene.carries_out(scene.changing.bound(NEW)), SessionError)
            await scene.nothing_has_moved()
        scene.is_honest_again()
        changes.perform = perform  # type: ignore[method-assign]
        await scene.move()
        await scene.has_moved()

    perform_change(play)


# --- our own design ------------------------------------------------------------------------------


class Slipping:
    """The attacker's mover: it names another document key than the stored one, to everybody."""

    def __init__(self, scene: ChangingScene, document: Hash32) -> None:
        self.scene, self.document = scene, document
        self.tried = 0

    async def redistribute(self, key_id: KeyId, change_id: Hash32, target: NodeSet) -> object:
        """One session, in order but for that; raises a `SessionError`."""
        node = self.scene.attacker
        state, driver = await node.store.load(key_id), node._driver
        assert driver is not None
        assert state.active is not None
        dealers = tuple(sorted((node.id, self.scene.nodes[3].id)))
        self.tried += 1
        return await driver.execute(
            REDISTRIBUTION,
            Reshare(key_id, change_id, self.document),
            lambda _: NodeCredential(),
            Succession(state.active, state.skipped, state.document, dealers),
        )


@pytest.mark.parametrize("document", [OTHER, ZERO_HASH], ids=["slipped in", "dropped"])
def test_own_document_key_changed_by_a_redistribution(document: Hash32) -> None:
    """The coordinator of a redistribution names another document key than the stored one, or none,
    so that the new record would prove the wrong one for ever. No old node promises that."""

    async def play(scene: ChangingScene) -> None:
        await scene.make_key()
        stored = (await scene.states())[1].document
        assert stored is not None
        changes, slipping = scene.attacker.changes, Slipping(scene, document)
        assert changes is not None
        needs = changes._needs
        changes._needs = replace(needs, mover=slipping)
        assert isinstance(await scene.carries_out(scene.changing.bound(NEW)), SessionError)
        changes._needs = needs
        assert slipping.tried > 0
        states = await scene.states()
        assert all(s.active is None or s.active.record.version == 1 for s in states)
        await scene.move()
        await scene.has_moved()
        for state in await scene.states():
            assert state.active is not None
            assert state.active.record.document == stored.document.hash

    perform_change(play)


@pytest.mark.parametrize("delay_s", [0.0, 0.15, 0.4])
def test_own_document_key_stored_while_the_key_moves(delay_s: float) -> None:
    """The author stores while the attacker moves the key, which says that there is no document key:
    either it was stored before and is in the new record, or it is stored under that one."""

    async def play(scene: ChangingScene) -> None:
        await scene.make_key(document=False)
        moving = asyncio.ensure_future(scene.carries_out(scene.changing.bound(NEW)))
        await asyncio.sleep(delay_s)
        state = (await scene.states())[1]
        assert state.active is not None
        document = document_for(state.active.record.public)
        credential = OnChainAddress(CONTRACT, AUTHOR)
        await scene.nodes[1].api.store_document_key(KEY, document, credential)
        await moving
        await scene.move()
        await scene.has_moved()

    perform_change(play)


def test_own_key_made_on_the_set_of_before() -> None:
    """The node that was removed, and another that goes by the set of before, make a key there. No
    member of the new set takes part, so there are too few; the id stays free for its owner."""

    async def play(scene: ChangingScene) -> None:
        await scene.make_key()
        leaver = scene.nodes[0]
        old = scene.changing.set_of(OLD)
        await scene.move()
        for node in (leaver, scene.attacker):
            view = scene.changing.view_of(node)
            view.snapshot = replace(view.snapshot, current=old)
        for node in (leaver, scene.attacker):
            with pytest.raises(SessionError):
                await node.api.generate_server_key(OTHER_KEY, 1, OnChainAddress(CONTRACT, AUTHOR))
        await asyncio.sleep(300)
        for place in (1, 3, 4):
            state = await scene.nodes[place].store.load(OTHER_KEY)
            assert state.active is None
        view = scene.changing.view_of(scene.attacker)
        view.snapshot = replace(view.snapshot, current=scene.changing.set_of(NEW))
        made = await scene.nodes[1].api.generate_server_key(
            OTHER_KEY, 0, OnChainAddress(CONTRACT, AUTHOR)
        )
        assert set(made.record.nodes) == {scene.nodes[place].id for place in NEW}

    perform_change(play)


def test_own_two_successors_of_one_version() -> None:
    """The attacker redistributes one key several times at once, with other dealers each, to get two
    records of the next version. An old node promises the version to one of them."""

    async def play(scene: ChangingScene) -> None:
        await scene.make_key()
        assert scene.attacker.redistributions is not None
        redistribute = scene.attacker.redistributions.redistribute
        target = scene.changing.set_of(NEW)
        change = SetChange.ordered(scene.changing.set_of(OLD), target, MIGRATION)
        scene.changing.migrate(NEW, scene.attacker)
        order = MigrationOrder(MIGRATION, target.nodes, scene.attacker.id)
        moving = asyncio.ensure_future(scene.carries_out(order))
        await asyncio.sleep(0.1)
        await asyncio.gather(
            *(redistribute(KEY, change.id, target) for _ in range(3)), return_exceptions=True
        )
        await moving
        states = await scene.states()
        records = {state.active.record.hash for state in states if state.active is not None}
        assert len(records) == 1
        await scene.has_moved()

    perform_change(play)
