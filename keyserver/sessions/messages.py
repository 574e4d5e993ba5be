"""Messages that every kind of session knows (types 0xffxx)."""

from dataclasses import dataclass

from keyserver.model.codec import U16
from keyserver.sessions.core import Message, Refusal


@dataclass(frozen=True)
class Refuse(Message):
    """A participant takes no part, or no longer; it speaks for itself alone."""

    TYPE = 0xFF01
    TO_COORDINATOR = True

    code: U16

    @property
    def refusal(self) -> Refusal:
        """The code; an unknown one counts as malformed."""
        return Refusal(self.code) if self.code in set(Refusal) else Refusal.BAD


@dataclass(frozen=True)
class Cancel(Message):
    """The coordinator has given the session up; participants need not wait for a timer."""

    TYPE = 0xFF02
    TO_COORDINATOR = False

    code: U16
