"""Reading logs in ranges that the endpoint bears (chain watcher, W-11)."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import structlog

from keyserver.chain.client import ChainClient, ChainUnavailableError, Log, TooManyLogsError
from keyserver.model.identifiers import Address

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RangeSize:
    """How many blocks to ask for at once: halved when refused, doubled when answered."""

    limit: int
    """The configured size; never exceeded."""
    blocks: int

    def halved(self) -> "RangeSize":
        """After a refusal; down to 1."""
        return replace(self, blocks=max(1, self.blocks // 2))

    def grown(self) -> "RangeSize":
        """After an answer."""
        return replace(self, blocks=min(self.limit, self.blocks * 2))


@dataclass(frozen=True, slots=True)
class LogPage:
    """Logs of the blocks up to `last`."""

    logs: tuple[Log, ...]
    last: int


class LogReader:
    """Reads logs of several contracts at once, page by page."""

    def __init__(self, client: ChainClient, *, chunk_blocks: int) -> None:
        """`chunk_blocks`: the largest range to ask for."""
        self._client = client
        self._size = RangeSize(chunk_blocks, chunk_blocks)

    async def page(self, addresses: Collection[Address], first: int, last: int) -> LogPage:
        """The logs from `first` on, as far towards `last` as one answer goes.

        Raises `ChainUnavailableError` if the endpoint refuses even a single block.
        """
        if not addresses:
            return LogPage((), last)
        while True:
            end = min(last, first + self._size.blocks - 1)
            try:
                logs = await self._client.logs(sorted(addresses), first, end)
            except TooManyLogsError as error:
                if end == first:
                    raise ChainUnavailableError(f"logs of block {first}: {error}") from error
                self._size = replace(self._size, blocks=end - first + 1).halved()
                _log.info("chain_log_range_halved", blocks=self._size.blocks, reason=str(error))
            else:
                self._size = self._size.grown()
                return LogPage(logs, end)
