"""The change lock of a node: what a change of the node set keeps from beginning meanwhile.

It belongs to the participant's part of the change's session and is free when that has ended,
whatever it ended with (engine design, sections 14.4 and 16).
"""

import asyncio
import contextlib
from dataclasses import dataclass

from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.node_set import NodeSet
from keyserver.model.set_change import SetChange
from keyserver.sessions.core import KeyState, Refusal, SessionKind, UnavailableError

THAW_S = 30.0
"""How long a request of this node waits for the end of a freeze, which mostly lasts a second."""

OF_THE_CHANGE = frozenset(
    {SessionKind.SET_CHANGE, SessionKind.REDISTRIBUTION, SessionKind.SHARE_ADDITION}
)
"""What goes on while a change has the node for itself: nothing that a client asks for."""

VOTING = frozenset({SessionKind.GENERATION, SessionKind.STORING})
"""Sessions in which nodes bind themselves to something of the set they are in."""


@dataclass(slots=True, eq=False)
class _Holder:
    change: SetChange
    exclusive: bool
    ended: asyncio.Event
    yields: bool
    frozen: bool = False


class ChangeLock:
    """At most one change at a time; also the `Successions` of a node that does not refresh keys."""

    def __init__(self) -> None:
        self._last: _Holder | None = None

    @property
    def _holder(self) -> _Holder | None:
        return self._last if self._last is not None and not self._last.ended.is_set() else None

    @property
    def change(self) -> SetChange | None:
        """The change that holds the lock, unless it yields: such a one keeps nothing waiting."""
        holder = self._holder
        return holder.change if holder is not None and not holder.yields else None

    @property
    def is_exclusive(self) -> bool:
        """Whether the change has this node for itself."""
        return self._holder is not None and self._holder.exclusive

    @property
    def is_frozen(self) -> bool:
        """Whether this node gives no vote for the old set any more."""
        return self._holder is not None and self._holder.frozen

    def target(
        self, change_id: Hash32, _key_id: KeyId, _state: KeyState, _coordinator: NodeId
    ) -> NodeSet | None:
        """The set to which keys may go in the name of this change; `None` for any other."""
        holder = self._holder
        return holder.change.new if holder is not None and holder.change.id == change_id else None

    def take(
        self, change: SetChange, ended: asyncio.Event, *, exclusive: bool, yields: bool = False
    ) -> bool:
        """Take the lock until `ended` is set; false if another change holds it.

        One that `yields` loses it to any other: a completed change, repeated by whoever has seen
        the order, must keep neither clients nor other changes waiting.
        """
        holder = self._holder
        if ended.is_set() or (
            holder is not None and (not holder.yields or holder.change.id == change.id)
        ):
            return False
        self._last = _Holder(change, exclusive, ended, yields)
        return True

    def is_held_for(self, ended: asyncio.Event) -> bool:
        """Whether the session that took it with `ended` still has it."""
        return self._last is not None and self._last.ended is ended

    def give_back(self) -> None:
        """Free it before the session has ended: the change was not accepted after all."""
        self._last = None

    def freeze(self, change: SetChange) -> None:
        """From here to the end nothing new for the old set."""
        if self._holder is not None and self._holder.change is change:
            self._holder.frozen = True

    def forbids(self, kind: SessionKind, state: KeyState) -> Refusal | None:
        """Why no session of this kind may begin for such a key now; `None` if one may."""
        holder = self._holder
        if holder is None or kind in OF_THE_CHANGE:
            return None
        if holder.exclusive:
            return Refusal.EXCLUSIVE
        if not holder.frozen or kind not in VOTING:
            return None
        arrived = state.active is not None and state.active.record.set_id == holder.change.new.id
        return None if kind is SessionKind.STORING and arrived else Refusal.TEMPORARY

    async def wait_until_thawed(self) -> None:
        """Wait for the end of a freeze, `THAW_S` at most; raises `UnavailableError` after that."""
        holder = self._holder
        if holder is None or not holder.frozen:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(THAW_S):
                await holder.ended.wait()
                return
        raise UnavailableError("a change of the node set is about to end")
