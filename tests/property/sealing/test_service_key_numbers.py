"""Versions of a key, whoever asks when, at replicas whose clocks differ."""

import asyncio
from collections.abc import Collection, Sequence

from hypothesis import given
from hypothesis import strategies as st

from keyserver.crypto.randomness import SeededRandom
from keyserver.sealing.service_keys.boxes import KeyBoxes
from keyserver.sealing.service_keys.keys import ServiceKeys
from keyserver.sealing.service_keys.model import (
    Deletion,
    Export,
    OwnerLine,
    Pair,
    ServiceLine,
    StoredVersion,
    Version,
)
from tests.support.manual_clock import ManualClock
from tests.support.service_key_desk import AuditBook, ScriptedVault, StoredKeyring, asker_of

DAY_S = 24 * 60 * 60
PAIR = Pair("svc:a", "mail")


class ListStore:
    """`ServiceKeyStore` of one pair in memory; between any two steps others may come."""

    def __init__(self) -> None:
        self.kept: list[StoredVersion] = []

    async def latest(self, pair: Pair) -> StoredVersion | None:
        await asyncio.sleep(0)
        return max(self.kept, key=lambda stored: stored.version.seq, default=None)

    async def find(self, pair: Pair, key_id: str) -> StoredVersion | None:
        found = [stored for stored in self.kept if stored.version.key_id == key_id]
        return found[0] if found else None

    async def add(self, stored: StoredVersion) -> bool:
        await asyncio.sleep(0)
        if any(each.version.seq == stored.version.seq for each in self.kept):
            return False
        self.kept.append(stored)
        return True

    async def versions(self, pair: Pair, before: int | None, limit: int) -> Sequence[Version]:
        raise NotImplementedError

    async def services(self, owner: str, after: str, limit: int) -> Sequence[ServiceLine]:
        raise NotImplementedError

    async def owners(self, after: str, limit: int) -> Sequence[OwnerLine]:
        raise NotImplementedError

    async def all_of(self, owner: str, services: object = None) -> Sequence[StoredVersion]:
        raise NotImplementedError

    async def keep_export(self, export: Export) -> None:
        raise NotImplementedError

    async def delete(self, deletion: Deletion) -> int:
        raise NotImplementedError

    async def restore(
        self, owner: str, versions: Sequence[StoredVersion], present: Collection[Version] = ()
    ) -> None:
        raise NotImplementedError


steps = st.lists(
    st.tuples(st.floats(0, 3), st.lists(st.integers(0, 2), min_size=1, max_size=6)), max_size=8
)
"""Days that pass, and which replicas are asked then, at once."""


@given(steps, st.lists(st.integers(-DAY_S, DAY_S), min_size=3, max_size=3))
def test_numbers_count_up_and_every_key_stays(
    played: list[tuple[float, list[int]]], skews: list[int]
) -> None:
    async def play() -> None:
        store, stored = ListStore(), StoredKeyring()
        clocks = [ManualClock(1_800_000_000 + skew) for skew in skews]
        replicas = [
            ServiceKeys(
                store,
                KeyBoxes(ScriptedVault(stored)),
                AuditBook(),
                random=SeededRandom(number),
                clock=clock,
                rotation_days=2,
            )
            for number, clock in enumerate(clocks)
        ]
        asker, handed = asker_of(PAIR.owner), {}
        for days, asked in played:
            for clock in clocks:
                clock.advance(days * DAY_S)
            answers = await asyncio.gather(
                *(replicas[number].current(asker, PAIR.service) for number in asked)
            )
            for number, answer in zip(asked, answers, strict=True):
                handed[answer.key.version.key_id] = answer.key.key
                assert answer.key.version.expires_at > clocks[number].unix() * 1000
            if len({skews[number] for number in asked}) == 1:
                assert len({answer.key.version.key_id for answer in answers}) == 1
        numbers = [each.version.seq for each in store.kept]
        assert numbers == list(range(1, len(numbers) + 1))
        for key_id, key in handed.items():
            found = await replicas[0].by_id(asker, PAIR.service, key_id)
            assert found.key == key

    asyncio.run(play())
