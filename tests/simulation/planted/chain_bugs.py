"""Bugs on the contract path: tasks, answers, transactions, reorganisations."""

from dataclasses import replace
from typing import Any

from keyserver.chain import sender
from keyserver.chain.access import PermissionContract
from keyserver.chain.pending import PendingEnumerator
from keyserver.chain.sender import Sender
from keyserver.sessions.core import Verdict
from keyserver.tasks.queue import TaskQueue
from tests.simulation.planted.bug import Bug, nothing_later, replacing

_on_receipt = Sender._on_receipt


async def _concluded_at_once(self: Sender, entry: Any, receipt: Any, tip: Any) -> None:
    await _on_receipt(self, entry, receipt, replace(tip, confirmed=tip.head))


async def _allowed(*_: Any, **__: Any) -> Verdict:
    return Verdict.ALLOWED


async def _none(*_: Any) -> int:
    return 0


async def _yes(*_: Any) -> bool:
    return True


def _pending_only(*, pending: int, in_flight: Any) -> int:
    return pending


class _Late:
    """A store whose commits are made when it is told so."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.late: list[Any] = []

    async def commit(self, *, entries: Any) -> None:
        self.late.extend(entries)


async def _sent_before_written(self: Sender, entry: Any, tip: Any) -> None:
    """The transaction leaves; only afterwards is it written down which it was."""
    submit = self._submit
    gas = await submit.gas_for(entry)
    if isinstance(gas, str):
        return
    nonce, store = await self._free_nonce(), submit._store
    late = submit._store = _Late(store)  # type: ignore[assignment]
    try:
        signed = await submit.sign(entry, nonce, gas, tip.head.number)
        await submit.broadcast(signed)
    finally:
        submit._store = store
    await store.commit(entries=late.late[:1])


BUGS = (
    Bug(
        "running tasks",
        "tasks that ran when the process ended run again",
        replacing((TaskQueue, "_recover", nothing_later)),
    ),
    Bug(
        "confirmations",
        "an answer counts when it is deep enough in the chain",
        replacing((Sender, "_on_receipt", _concluded_at_once)),
    ),
    Bug(
        "written before sent",
        "a transaction is on disk before it leaves",
        replacing((Sender, "_send", _sent_before_written)),
    ),
    Bug(
        "nonces",
        "no two transactions under way have the same nonce",
        replacing((sender, "next_nonce", _pending_only)),
    ),
    Bug(
        "nonce gaps",
        "a nonce that nothing will use is used up",
        replacing((Sender, "_fill_gap", nothing_later)),
    ),
    Bug(
        "unwanted answers",
        "the contract is asked whether it wants an answer",
        replacing((Sender, "_is_wanted", _yes)),
    ),
    Bug(
        "stuck transactions",
        "a transaction that is not mined is sent again, for a higher fee",
        replacing((Sender, "_is_stuck", lambda *_: False)),
    ),
    Bug(
        "permissions on chain",
        "the permission contract decides who may read",
        replacing((PermissionContract, "check", _allowed)),
    ),
    Bug(
        "enumeration",
        "requests whose logs never came are found in the contracts",
        replacing((PendingEnumerator, "enumerate", _none)),
    ),
)
