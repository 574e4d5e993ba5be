"""What every store promises about completed changes (`SetChangeStore`)."""

from dataclasses import replace

import pytest

from keyserver.errors import StorageError
from keyserver.model.identifiers import Hash32
from keyserver.model.set_change import CompletedChange, SetChange, current_set
from tests.support.set_changes import ALL, NODES, completed, set_of
from tests.support.stores import StoreSite

FIRST = completed(SetChange.ordered(ALL, set_of(NODES[:4])))
SECOND = completed(SetChange.ordered(ALL, set_of(NODES[1:]), Hash32(b"\x02" * 32)), epoch=2)
THIRD = replace(FIRST, epoch=3, completed_at=FIRST.completed_at + 9)
"""The first change, done once more."""


async def kept(site: StoreSite) -> list[CompletedChange]:
    return list(await site.set_changes.completed())


async def test_there_are_none_at_first(site: StoreSite) -> None:
    assert await kept(site) == []
    await site.set_changes.keep_completed([])
    assert await kept(site) == []


async def test_what_is_kept_survives(site: StoreSite) -> None:
    history = [FIRST, SECOND, THIRD]
    for count in range(1, 4):
        await site.set_changes.keep_completed(history[:count])
        for _ in range(2):
            assert await kept(site) == history[:count]
            await site.reopen()
    latest = (await kept(site))[-1]
    assert current_set(ALL, latest) == set_of(NODES[:4])


async def test_the_same_again_changes_nothing(site: StoreSite) -> None:
    for _ in range(2):
        await site.set_changes.keep_completed([FIRST, SECOND])
    assert await kept(site) == [FIRST, SECOND]


async def test_a_node_takes_over_what_others_vouch_for(site: StoreSite) -> None:
    await site.set_changes.keep_completed([FIRST])
    other = replace(SECOND, epoch=1)
    await site.set_changes.keep_completed([other, replace(FIRST, epoch=2), THIRD])
    assert await kept(site) == [other, replace(FIRST, epoch=2), THIRD]


async def test_nothing_is_forgotten(site: StoreSite) -> None:
    await site.set_changes.keep_completed([FIRST, SECOND])
    for fewer in ([], [FIRST]):
        with pytest.raises(StorageError, match="2 are kept"):
            await site.set_changes.keep_completed(fewer)
    assert await kept(site) == [FIRST, SECOND]


async def test_the_epochs_count_from_one(site: StoreSite) -> None:
    for wrong in ([SECOND], [FIRST, THIRD], [FIRST, FIRST]):
        with pytest.raises(ValueError, match="stands where"):
            await site.set_changes.keep_completed(wrong)
    assert await kept(site) == []
