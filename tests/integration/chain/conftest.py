"""Worlds of key servers that migrate."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.migrating_nodes import MakeWorld, SharedReads, World


@pytest_asyncio.fixture
async def make() -> AsyncIterator[MakeWorld]:
    """Make worlds whose nodes end with the test."""
    made: list[World] = []

    async def world(
        *members: int,
        published: bool = False,
        spare: tuple[int, ...] = (),
        chain: type[SharedReads] = SharedReads,
    ) -> World:
        made.append(await World.of(*members, published=published, spare=spare, kind=chain))
        return made[-1]

    yield world
    for each in made:
        await each.close()
