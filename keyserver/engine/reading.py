"""Reading one peer's catalogue: how long it may keep this node waiting.

A page that comes slowly is no lie, but a peer that is slow on purpose could hold up a change of the
node set as long as it likes. Every reading has a little time to wait in; what turns out to be true
earns more of it, so that a catalogue of any size can be read from a peer that means it well.
"""

import asyncio
from typing import Final, TypeVar

from keyserver.engine.asking import Asker
from keyserver.engine.links import Answer, AnyLink
from keyserver.engine.ports import Transport
from keyserver.engine.set_change_walk import TooSlowError, UnreliableError
from keyserver.model.identifiers import NodeId

ANSWER_S: Final = 10.0
"""How long one answer is waited for."""

PATIENCE_S: Final = 20.0
"""How long all answers together are waited for."""

EARNED_BY_LINE_S: Final = 0.0005
"""Further time for a line that says what this node knows: two seconds for a full page."""

EARNED_BY_KEY_S: Final = 0.01
"""Further time for a key that was new here and has proved itself."""

A = TypeVar("A", bound=Answer)


class Reading:
    """One way through the catalogue of a peer."""

    def __init__(self, peer: NodeId, asker: Asker, transport: Transport) -> None:
        self.peer = peer
        self._asker = asker
        self._transport = transport
        self._left_s = PATIENCE_S

    def number(self) -> int:
        """A number for the next question."""
        return self._asker.number()

    def earn(self, seconds: float) -> None:
        """The peer has been of use."""
        self._left_s += seconds

    async def ask(self, question: AnyLink, kind: type[A]) -> A:
        """The peer's answer; raises `UnreliableError`, or `TooSlowError` when the time is up."""
        clock = asyncio.get_running_loop()
        began = clock.time()
        answer = await self._asker.ask(
            self.peer, question, kind, within_s=min(ANSWER_S, self._left_s)
        )
        self._left_s -= clock.time() - began
        if answer is not None:
            return answer
        if self.peer in self._transport.connected:
            raise TooSlowError("it keeps this node waiting for its catalogue")
        raise UnreliableError("there is no connection")
