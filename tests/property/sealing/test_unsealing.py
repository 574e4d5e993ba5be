"""Whatever happened before: good shares open the node (sealing, C23, third item)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from keyserver.crypto.randomness import SeededRandom
from keyserver.errors import StorageError
from keyserver.sealing.errors import OperatorError
from keyserver.sealing.making import initialise
from keyserver.sealing.ports import SYSTEM, SealState
from keyserver.sealing.vault import Vault
from tests.support.manual_clock import ManualClock
from tests.support.sealing import NOW_MS, AuditList, MemorySealStore, documents, mnemonics

MEMBERS: Final = 5
THRESHOLD: Final = 3
KEEP_S: Final = 15 * 60


@dataclass(frozen=True)
class Step:
    """What somebody does."""

    what: str
    number: int = 0
    seconds: int = 0


STEPS = st.lists(
    st.one_of(
        st.builds(Step, st.just("good"), st.integers(0, MEMBERS - 1)),
        st.builds(Step, st.just("withdraw"), st.integers(0, MEMBERS - 1)),
        st.builds(Step, st.sampled_from(["foreign", "mistyped", "junk"]), st.integers(0, 4)),
        st.builds(Step, st.just("wait"), seconds=st.sampled_from([1, 60, 600, 899, 900, 3600])),
        st.builds(Step, st.sampled_from(["clear", "expire", "refresh", "fail", "mend"])),
    ),
    max_size=25,
)


class Model:
    """Whose shares must be there, by the rules of C6.2 alone."""

    def __init__(self) -> None:
        self.until: dict[int, float] = {}

    def there(self, now: float) -> list[int]:
        return sorted(member for member, until in self.until.items() if until > now)


class Played:
    def __init__(self, store: MemorySealStore, good: Sequence[str], foreign: Sequence[str]) -> None:
        self.store = store
        self.good = good
        self.foreign = foreign
        self.clock = ManualClock()
        self.vault = Vault(store, AuditList(), random=SeededRandom(1), clock=self.clock)
        self.model = Model()
        self.ever_failed = False

    async def do(self, step: Step) -> None:
        before = self.vault.status()
        now = self.clock.monotonic()
        match step.what:
            case "good":
                self.model.until = {
                    member: self.model.until[member] for member in self.model.there(now)
                } | {step.number: now + KEEP_S}
                await self._submit_good(step.number)
            case "withdraw":
                await self.vault.withdraw(self.good[step.number])
                if not self.vault.is_open:
                    self.model.until.pop(step.number, None)
            case "foreign" | "mistyped" | "junk":
                await self._submit_bad(step)
                assert self.vault.status() == before
            case "wait":
                self.clock.advance(step.seconds)
            case "clear":
                await self.vault.clear(SYSTEM)
                if not self.vault.is_open:
                    self.model.until = {}
            case "expire":
                await self.vault.drop_expired()
            case "refresh":
                if not self.store.fails:
                    await self.vault.refresh()
            case "fail" | "mend":
                self.store.fails = step.what == "fail"
                self.ever_failed = self.ever_failed or self.store.fails

    async def _submit_good(self, number: int) -> None:
        try:
            await self.vault.submit(self.good[number])
        except StorageError:
            assert self.store.fails

    async def _submit_bad(self, step: Step) -> None:
        text = {
            "foreign": self.foreign[step.number],
            "mistyped": self.good[step.number][:-4] + "xxxx",
            "junk": "academic " * step.number,
        }[step.what]
        was_open = self.vault.is_open
        try:
            answer = await self.vault.submit(text)
            assert was_open
            assert answer.reason == "already_unsealed"
        except OperatorError:
            assert not was_open

    def check(self) -> None:
        status = self.vault.status()
        if self.vault.is_open:
            assert status.state is SealState.UNSEALED
            assert status.progress == 0
            assert self.vault.boxes is not None
            return
        there = self.model.there(self.clock.monotonic())
        assert status.progress == len(there)
        assert status.state is (SealState.UNSEALING if there else SealState.SEALED)
        assert self.ever_failed or len(there) < THRESHOLD


async def _initialised(seed: int) -> tuple[MemorySealStore, list[str]]:
    store = MemorySealStore()
    new = await initialise(
        store,
        AuditList(),
        node_secret=None,
        shares=MEMBERS,
        threshold=THRESHOLD,
        source=None,
        random=SeededRandom(seed),
        now_ms=NOW_MS,
    )
    return store, documents(new) if seed % 2 else mnemonics(new)


FAILED_OPENING: Final = [Step("good", 0), Step("good", 1), Step("fail"), Step("good", 2)]


@settings(max_examples=120, deadline=None)
@given(STEPS, st.permutations(range(MEMBERS)))
@example(FAILED_OPENING, list(range(MEMBERS)))
@example([*FAILED_OPENING, Step("wait", seconds=3600)], list(range(MEMBERS)))
async def test_good_shares_open_after_anything(steps: list[Step], order: list[int]) -> None:
    store, good = await _initialised(11)
    _, foreign = await _initialised(12)
    played = Played(store, good, foreign)
    await played.vault.load()
    for step in steps:
        await played.do(step)
        played.check()
    store.fails = False
    for member in order[:THRESHOLD]:
        await played.vault.submit(good[member])
    assert played.vault.is_open
    assert not played.vault.status().sealed
    assert played.vault.node_secret is not None
