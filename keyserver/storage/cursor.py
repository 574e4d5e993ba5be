"""Rows of the table `read_blocks`: how far the chain has been read."""

from collections.abc import Sequence

import structlog
from sqlalchemy import Connection, delete, insert, select

from keyserver.model.identifiers import Hash32
from keyserver.storage.schema import READ_BLOCKS
from keyserver.tasks.model import ReadBlock

_log = structlog.get_logger(__name__)


def read_blocks(connection: Connection, chain_id: int) -> list[ReadBlock]:
    """The blocks of a chain, ascending; one that does not parse is logged and left out."""
    wanted = (
        select(READ_BLOCKS).where(READ_BLOCKS.c.chain_id == chain_id).order_by(READ_BLOCKS.c.number)
    )
    blocks = []
    for row in connection.execute(wanted):
        try:
            blocks.append(ReadBlock(row.number, Hash32(row.hash)))
        except ValueError as problem:
            _log.error("row_unreadable", error=f"read_blocks, block {row.number}: {problem}")
    return blocks


def drop_blocks(connection: Connection, chain_id: int, blocks: Sequence[ReadBlock]) -> None:
    """Take blocks that left the chain out."""
    for block in blocks:
        connection.execute(
            delete(READ_BLOCKS).where(
                READ_BLOCKS.c.chain_id == chain_id,
                READ_BLOCKS.c.number == block.number,
                READ_BLOCKS.c.hash == bytes(block.hash),
            )
        )


def append_blocks(
    connection: Connection, chain_id: int, blocks: Sequence[ReadBlock], keep: int
) -> None:
    """Add blocks and delete all but the newest `keep`."""
    drop_blocks(connection, chain_id, blocks)
    rows = [{"chain_id": chain_id, "number": block.number, "hash": block.hash} for block in blocks]
    if rows:
        connection.execute(insert(READ_BLOCKS), rows)
    oldest = connection.scalar(
        select(READ_BLOCKS.c.number)
        .where(READ_BLOCKS.c.chain_id == chain_id)
        .order_by(READ_BLOCKS.c.number.desc())
        .offset(keep - 1)
        .limit(1)
    )
    if oldest is not None:
        connection.execute(
            delete(READ_BLOCKS).where(
                READ_BLOCKS.c.chain_id == chain_id, READ_BLOCKS.c.number < oldest
            )
        )
