"""Rows of the table `read_blocks`: how far the chain has been read."""

from collections.abc import Sequence

import structlog
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from keyserver.model.identifiers import Hash32
from keyserver.storage.schema import READ_BLOCKS
from keyserver.tasks.model import ReadBlock

_log = structlog.get_logger(__name__)


async def read_blocks(connection: AsyncConnection, chain_id: int) -> list[ReadBlock]:
    """The blocks of a chain, ascending; one that does not parse is logged and left out."""
    wanted = (
        select(READ_BLOCKS).where(READ_BLOCKS.c.chain_id == chain_id).order_by(READ_BLOCKS.c.number)
    )
    blocks = []
    for row in await connection.execute(wanted):
        try:
            blocks.append(ReadBlock(row.number, Hash32(row.hash)))
        except ValueError as problem:
            _log.error("row_unreadable", error=f"read_blocks, block {row.number}: {problem}")
    return blocks


async def drop_blocks(
    connection: AsyncConnection, chain_id: int, blocks: Sequence[ReadBlock]
) -> None:
    """Take blocks that left the chain out."""
    for block in blocks:
        await connection.execute(
            delete(READ_BLOCKS).where(
                READ_BLOCKS.c.chain_id == chain_id,
                READ_BLOCKS.c.number == block.number,
                READ_BLOCKS.c.hash == bytes(block.hash),
            )
        )


async def append_blocks(
    connection: AsyncConnection, chain_id: int, blocks: Sequence[ReadBlock], keep: int
) -> None:
    """Add blocks and delete all but the newest `keep`."""
    await drop_blocks(connection, chain_id, blocks)
    rows = [{"chain_id": chain_id, "number": block.number, "hash": block.hash} for block in blocks]
    if rows:
        await connection.execute(insert(READ_BLOCKS), rows)
    oldest = await connection.scalar(
        select(READ_BLOCKS.c.number)
        .where(READ_BLOCKS.c.chain_id == chain_id)
        .order_by(READ_BLOCKS.c.number.desc())
        .offset(keep - 1)
        .limit(1)
    )
    if oldest is not None:
        await connection.execute(
            delete(READ_BLOCKS).where(
                READ_BLOCKS.c.chain_id == chain_id, READ_BLOCKS.c.number < oldest
            )
        )
