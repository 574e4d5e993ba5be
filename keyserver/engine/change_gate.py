"""What a change of the node set keeps from beginning, as the rest of the engine asks for it."""

import asyncio
from typing import Any

from keyserver.engine.ports import ChangeService
from keyserver.sessions.core import KeyState, Refusal, SessionKind, UnavailableError


class ChangeGate:
    """Open for everything but changes, until somebody is there who carries them out."""

    def __init__(self) -> None:
        self._changes: ChangeService | None = None

    def serve(self, changes: ChangeService) -> None:
        """Say who carries out changes of the node set; once, before the driver runs."""
        self._changes = changes

    def check_open(self) -> None:
        """Raise `UnavailableError` while a change has this node for itself."""
        if self._changes is not None and self._changes.is_exclusive:
            raise UnavailableError("the node set is being changed", "ExclusiveSessionActive")

    async def wait_until_thawed(self) -> None:
        """Wait, not for long, while keys and document keys of the old set must not be made."""
        if self._changes is not None:
            await self._changes.wait_until_thawed()

    def forbids(self, kind: SessionKind, state: KeyState) -> Refusal | None:
        """Why no session of this kind may begin for such a key now; `None` if one may."""
        if self._changes is None:
            return Refusal.POLICY if kind is SessionKind.SET_CHANGE else None
        return self._changes.forbids(kind, state)

    def check(self, kind: SessionKind, state: KeyState) -> None:
        """Raise `UnavailableError` if a session of this node's own may not begin."""
        refusal = self.forbids(kind, state)
        if refusal is Refusal.EXCLUSIVE:
            self.check_open()
        if refusal is not None:
            raise UnavailableError("a change of the node set is in the way")

    async def perform(self, work: Any, ended: asyncio.Event) -> Any:
        """Do what a session of a change asks for; none begins without somebody who does."""
        assert self._changes is not None
        return await self._changes.perform(work, ended)
