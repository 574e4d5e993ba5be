"""What carrying out a change of the node set needs from elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from keyserver.engine.set_change_ports import SetChangeStore
from keyserver.model.identifiers import Hash32, KeyId
from keyserver.model.node_set import NodeSet
from keyserver.model.set_change import CompletedChange, SetChange, SetChangeOrder


class OrderJudge(Protocol):
    """Judges orders by this node's configuration, history and view of the chain."""

    async def judge(self, order: SetChangeOrder) -> SetChange:
        """The change that is ordered; raises `OrderRefusedError`.

        For a migration it may wait, up to 20 s, until this node's own view shows it.
        """
        ...


class KeyMover(Protocol):
    """Redistributes one key (`keyserver.engine.redistributions`)."""

    async def redistribute(self, key_id: KeyId, change_id: Hash32, target: NodeSet) -> object:
        """Have a key's next version be on `target`; return when it is decided.

        Raises a `SessionError` when it cannot be done: then the version before is in force.
        """
        ...


class ShareEraser(Protocol):
    """Erases what a node that leaves must not keep."""

    async def erase_shares(self, key_ids: Sequence[KeyId]) -> None:
        """Erase this node's shares of keys that are given up; raises `StorageError`."""
        ...


@dataclass(frozen=True, slots=True)
class ChangeOptions:
    """What the operator of this node allows (engine design, section 25)."""

    allow_key_loss: bool = False
    serve_during_change: bool = False


@dataclass(frozen=True, slots=True)
class ChangeNeeds:
    """All of it."""

    judge: OrderJudge
    mover: KeyMover
    eraser: ShareEraser
    store: SetChangeStore
    options: Callable[[], ChangeOptions]
    on_completed: Callable[[CompletedChange], None]
    """Told when a change is on this node's disk, before it ends here: without a contract the new
    set is the current one from then on."""
