"""A process dies at any write of the seal, before or after it: one of two sets opens the store.

Sealing, C23, fifth item; `tests/integration/sealing` does it to real processes.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SeededRandom
from keyserver.errors import KeyServerError
from keyserver.model.identifiers import NodeId
from keyserver.sealing import upkeep as module
from keyserver.sealing.key_sources import KeyText
from keyserver.sealing.making import prepare
from keyserver.sealing.opening import create
from keyserver.sealing.ports import SYSTEM
from keyserver.sealing.upkeep import SETTLED_S
from keyserver.sealing.vault import Vault
from tests.support.sealing import NOW_MS, MemorySealStore, SealScene, documents

KEY = KeyText("KEY", "ab" * 32)
ROWS = 5


@dataclass
class Patient:
    """A store that something is done to, and every way to open it that was ever handed out."""

    scene: SealScene
    sets: list[Sequence[str]] = field(default_factory=list)
    has_key: bool = False
    vault: Vault | None = None

    async def ways_that_open(self) -> int:
        """How many open it, in a process that has just started; each opens every box."""
        self.scene.store.fails, self.scene.store.dies_at = False, 0
        opened = 0
        for shares in self.sets:
            vault = await self.scene.process()
            try:
                for share in shares:
                    await vault.submit(share)
            except KeyServerError:
                assert not vault.is_open
                continue
            opened += self._check(vault)
        if self.has_key:
            vault = await self.scene.process()
            try:
                await vault.open_with(KEY)
            except KeyServerError:
                assert not vault.is_open
            else:
                opened += self._check(vault)
        return opened

    def _check(self, vault: Vault) -> int:
        assert vault.is_open
        for number in range(ROWS):
            assert self.scene.get(vault, f"row {number}") == b"plain %d" % number
        return 1


def _fill(patient: Patient, vault: Vault) -> None:
    for number in range(ROWS):
        patient.scene.put(vault, f"row {number}", b"plain %d" % number)


async def _in_use() -> Patient:
    scene = await SealScene.make(3, 2)
    vault = await scene.opened()
    patient = Patient(scene, [scene.shares[:2]], vault=vault)
    _fill(patient, vault)
    return patient


async def _with_key() -> Patient:
    """A node that runs with a key source."""
    scene = await SealScene.make()
    scene.store = MemorySealStore()
    secret = SecretScalar.random(SeededRandom(1))
    node_id = NodeId.of(secret.public())
    await create(scene.store, node_id=node_id, source=KEY, random=scene.random, now_ms=NOW_MS)
    vault = await scene.process()
    await vault.open_with(KEY)
    patient = Patient(scene, has_key=True)
    _fill(patient, vault)
    return patient


async def init(patient: Patient) -> None:
    prepared = await prepare(
        patient.scene.store,
        patient.scene.audit,
        node_secret=SecretScalar.random(SeededRandom(1)),
        shares=3,
        threshold=2,
        source=KEY,
        random=patient.scene.random,
        now_ms=NOW_MS,
    )
    patient.sets.append(documents(prepared.shares)[:2])
    await prepared.commit()


async def rekey(patient: Patient) -> None:
    assert patient.vault is not None
    rekeys = patient.scene.rekeys(patient.vault)
    started = await rekeys.start(3, 4, (), True, SYSTEM)
    for share in patient.sets[0]:
        answer = await rekeys.prove(started.rekey, share)
    assert answer.new_shares is not None
    new = documents(answer.new_shares)[1:]
    patient.sets.append(new)
    for share in new:
        await rekeys.verify(started.rekey, share)


async def rotate_rewrap_retire(patient: Patient) -> None:
    assert patient.vault is not None
    upkeep = patient.scene.upkeep(patient.vault)
    await upkeep.rotate(SYSTEM)
    patient.scene.clock.advance(SETTLED_S)
    await upkeep.rewrap_all()
    await upkeep.retire(1, SYSTEM)


CASES = [
    ("init", _with_key, init, 1),
    ("rekey", _in_use, rekey, 1),
    ("rotate, rewrap, retire", _in_use, rotate_rewrap_retire, 5),
]
DEATHS = [
    pytest.param(make, act, write, done, id=f"{name}, {'after' if done else 'before'} {write}")
    for name, make, act, writes in CASES
    for write in range(1, writes + 1)
    for done in (False, True)
]


@pytest.mark.parametrize(("make", "act", "write", "done"), DEATHS)
async def test_after_a_death_one_set_opens_the_store(
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], Awaitable[Patient]],
    act: Callable[[Patient], Awaitable[None]],
    write: int,
    done: bool,
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    patient = await make()
    store = patient.scene.store
    store.dies_at, store.dies_done = store.writes + write, done
    with pytest.raises(KeyServerError):
        await act(patient)
    assert store.fails
    assert await patient.ways_that_open() == 1


@pytest.mark.parametrize(("name", "make", "act", "writes"), CASES, ids=[case[0] for case in CASES])
async def test_these_are_all_the_writes(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    make: Callable[[], Awaitable[Patient]],
    act: Callable[[Patient], Awaitable[None]],
    writes: int,
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    patient = await make()
    before = patient.scene.store.writes
    await act(patient)
    assert patient.scene.store.writes - before == writes, name
    assert await patient.ways_that_open() == 1


async def test_an_empty_store_stays_empty_or_opens() -> None:
    for done in (False, True):
        scene = await SealScene.make()
        scene.store = MemorySealStore(dies_at=1, dies_done=done)
        prepared = await prepare(
            scene.store,
            scene.audit,
            node_secret=None,
            shares=3,
            threshold=2,
            source=None,
            random=scene.random,
            now_ms=NOW_MS,
        )
        with pytest.raises(KeyServerError):
            await prepared.commit()
        scene.store.fails = False
        assert (scene.store.stored is not None) is done
        if done:
            scene.new = prepared.shares
            await scene.opened()
        else:
            assert scene.store.stored_identity is None
