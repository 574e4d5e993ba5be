"""Collecting what the service contracts owe this node (W-34).

Nobody asks for it: tasks of kind `COLLECT_FEES` are opened when a contract's balance exceeds what
the operator set, and answered with `drain()` like a request.
"""

from typing import Final

from keyserver.evm.abi import Function
from keyserver.model.identifiers import KeyId
from keyserver.services.base import HandlerTools
from keyserver.tasks.model import Task
from keyserver.tasks.outbox import Answer
from keyserver.tasks.ports import Answered, Disposition, NothingOwed, ReadAt

BALANCE: Final = Function.parse("keyServerBalance(address)", "uint256")
"""Fees that a key server may collect; the original contracts do not have it."""

DRAIN: Final = Function.parse("drain()")
"""Pays the caller its whole balance."""

NO_KEY: Final = KeyId(bytes(32))
"""In the key of a task that concerns no key."""


class CollectHandler:
    """Collects when it is worth it."""

    def __init__(self, tools: HandlerTools, drain_above: int | None) -> None:
        """`drain_above`: wei that a balance must exceed; `None` never collects."""
        self._tools = tools
        self._drain_above = drain_above

    async def handle(self, task: Task, head: int) -> Disposition:
        """Answer with `drain()` if the balance is still large; `head` only dates a refusal."""
        if self._drain_above is None:
            return NothingOwed(head, "collecting is switched off")
        call = BALANCE.encode(self._tools.me.address)
        reading = await self._tools.reader.read(task.key.contract, [call], ReadAt.HEAD)
        if balance_of(reading.results[0]) <= self._drain_above:
            return NothingOwed(reading.block, "not worth collecting")
        return Answered(Answer(self._tools.epoch, DRAIN.name, DRAIN.encode()))


def balance_of(data: bytes | None) -> int:
    """The balance that the contract returned, 0 where it has no such getter."""
    return int.from_bytes(data, "big") if data is not None and len(data) == 32 else 0
