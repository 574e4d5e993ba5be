"""Three processes over one store, their clocks, deaths and lost answers in any order.

Whatever they do: exactly one of the sets of shares that were ever handed out opens the store, and
every record that was ever stored opens with it (sealing, C8 and C9).
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from keyserver.crypto.errors import BoxError
from keyserver.errors import KeyServerError, StorageError
from keyserver.sealing.ports import SYSTEM
from keyserver.sealing.upkeep import SETTLED_S
from keyserver.sealing.vault import Vault
from tests.support.sealing import SealScene, documents

PROCESSES: Final = 3


@dataclass(frozen=True)
class Step:
    """What one process does, or what happens to the store."""

    what: str
    process: int = 0
    number: int = 0


ACTS = ["open", "put", "read", "renew", "rekey", "compare", "seal", "restart"]
STEPS = st.lists(
    st.one_of(
        *(
            st.builds(Step, st.just(act), st.integers(0, PROCESSES - 1), st.integers(1, 4))
            for act in ACTS
        ),
        st.builds(Step, st.just("wait"), number=st.sampled_from([1, 5, 15, 100 * 86_400])),
        st.builds(Step, st.sampled_from(["die before", "die after"]), number=st.integers(1, 2)),
    ),
    min_size=8,
    max_size=30,
)


class Lives:
    def __init__(self, scene: SealScene, vaults: list[Vault]) -> None:
        self.scene = scene
        self.vaults = vaults
        self.sets = [documents(scene.new)]
        self.records: dict[str, bytes] = {}

    async def do(self, step: Step) -> None:
        store = self.scene.store
        match step.what:
            case "wait":
                self.scene.clock.advance(step.number)
            case "die before" | "die after":
                store.dies_at = store.writes + step.number
                store.dies_done = step.what == "die after"
            case _:
                with suppress(KeyServerError):  # what is refused is what other tests are about
                    await self._act(step)
                self._mend()

    def _mend(self) -> None:
        if self.scene.store.fails:
            self.scene.store.fails, self.scene.store.dies_at = False, 0

    async def _act(self, step: Step) -> None:
        vault = self.vaults[step.process]
        upkeep = self.scene.upkeep(vault)
        match step.what:
            case "open":
                await self._open(vault)
            case "put":
                await self._put(vault)
            case "read":
                await self._read(vault)
            case "renew":
                await self._renew(vault, step.number)
            case "rekey":
                await self._rekey(vault)
            case "compare":
                await upkeep.compare()
            case "seal":
                vault.shut("requested")
            case "restart":
                self.vaults[step.process] = await self.scene.process()

    async def _open(self, vault: Vault) -> None:
        for shares in reversed(self.sets):
            for share in shares:
                try:
                    await vault.submit(share)
                except StorageError:
                    raise
                except KeyServerError:
                    break

    async def _put(self, vault: Vault) -> None:
        """Store a record, as its store does: not in a term that has gone."""
        name = f"row {len(self.records)}"
        term = vault.boxes.seal("service_keys", "key_box", (name,), b"").term
        identity = self.scene.store.stored_identity
        assert identity is not None
        if term < identity.secret_term:
            await vault.refresh()
            return
        self.records[name] = name.encode()
        self.scene.put(vault, name, name.encode())

    async def _read(self, vault: Vault) -> None:
        """As service keys do: an unknown term is looked for once."""
        for name, plain in self.records.items():
            try:
                found = self.scene.get(vault, name)
            except BoxError:
                await vault.refresh()
                assert self._opened(vault, name) == plain
            else:
                assert found == plain

    def _opened(self, vault: Vault, name: str) -> bytes | None:
        try:
            return self.scene.get(vault, name)
        except BoxError:
            return None

    async def _renew(self, vault: Vault, parts: int) -> None:
        """A new term; then records move to it; then the oldest term goes: all or the first parts.

        Time passes as it must, which the other processes may spend standing still.
        """
        upkeep = self.scene.upkeep(vault)
        if parts != 2:
            await upkeep.rotate(SYSTEM)
        self.scene.clock.advance(SETTLED_S)
        if parts >= 2:
            await upkeep.rewrap_all()
        if parts >= 3:
            await upkeep.retire(min(vault.open_seal.keyring.terms), SYSTEM)

    async def _rekey(self, vault: Vault) -> None:
        rekeys = self.scene.rekeys(vault)
        started = await rekeys.start(1, 1, (), True, SYSTEM)
        answer = None
        for shares in self.sets:
            try:
                answer = await rekeys.prove(started.rekey, shares[0])
            except KeyServerError:
                continue
            break
        if answer is None or answer.new_shares is None:
            return
        new = documents(answer.new_shares)
        self.sets.append(new)
        await rekeys.verify(started.rekey, new[0])

    async def check(self) -> None:
        self.scene.store.fails, self.scene.store.dies_at = False, 0
        opened = []
        for shares in self.sets:
            vault = await self.scene.process()
            try:
                await vault.submit(shares[0])
            except StorageError:
                raise
            except KeyServerError:
                assert not vault.is_open
                continue
            opened.append(vault)
        assert len(opened) == 1
        assert opened[0].node_secret is not None
        for name, plain in self.records.items():
            assert self.scene.get(opened[0], name) == plain


@settings(max_examples=50, deadline=None)
@given(STEPS)
async def test_no_record_and_no_seal_is_ever_lost(steps: list[Step]) -> None:
    scene = await SealScene.make(1, 1)
    vaults = [await scene.opened() for _ in range(PROCESSES)]
    lives = Lives(scene, vaults)
    for step in steps:
        await lives.do(step)
    await lives.check()
