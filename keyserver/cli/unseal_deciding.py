"""What the unseal daemon does about one node: pure decisions (sealing, C12)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final

LOOK_S: Final = 10.0
"""Between two looks at a node that answers."""
LONGEST_S: Final = 300.0
"""Between two looks at one that does not."""
AGAIN_S: Final = 600.0
"""Before the share is given to the same process again: it keeps it for longer than that."""


@dataclass(frozen=True, slots=True)
class HeldShare:
    """The daemon's share, and for which seal it was made."""

    text: str = field(repr=False)
    seal_id: str
    """32 hexadecimal digits, lower case."""
    epoch: int
    identifier: int


class Finding(Enum):
    """What a look at a node has shown."""

    OPEN = "open"
    WAITS = "has the share, waits for others"
    WANTS_SHARE = "wants the share"
    NO_SHARES = "does not open with shares"
    FOREIGN = "has another seal than the share is for"
    REPLACED = "has another set of shares than the share is of"
    ODD = "is no node: its status cannot be read"

    @property
    def is_trouble(self) -> bool:
        """Whether an operator has to look, and looking often is of no use."""
        return self in (Finding.NO_SHARES, Finding.FOREIGN, Finding.REPLACED, Finding.ODD)


@dataclass(frozen=True, slots=True)
class Watch:
    """What the daemon knows of one node."""

    sent_to: str | None = None
    """The `boot_id` that was given the share last."""
    sent_at: float = 0.0
    troubles: int = 0
    """In a row."""

    def sent(self, boot_id: str, now: float) -> "Watch":
        """After the share was taken."""
        return Watch(boot_id, now)

    def well(self) -> "Watch":
        """After a look that showed nothing wrong."""
        return replace(self, troubles=0)

    def troubled(self) -> "Watch":
        """After a look that failed."""
        return replace(self, troubles=self.troubles + 1)

    def next_look_s(self, jitter: float) -> float:
        """When to look again; `jitter`: from 0 to 1, so that daemons do not march in step."""
        doubled = LOOK_S * (1 << min(self.troubles, 16))
        return min(doubled, LONGEST_S) * (0.8 + 0.4 * jitter)


def find(share: HeldShare, status: Any, watch: Watch, now: float) -> Finding:
    """What a node's status means for this share; `now` and `sent_at` by one monotonic clock.

    `status` is whatever JSON it sent.
    """
    if not _is_readable(status):
        return Finding.ODD
    if not status["sealed"]:
        return Finding.OPEN
    if not status["required"]:
        return Finding.NO_SHARES
    if status["seal_id"] != share.seal_id:
        return Finding.FOREIGN
    if (status["epoch"], status["identifier"]) != (share.epoch, share.identifier):
        return Finding.REPLACED
    if status["boot_id"] == watch.sent_to and now - watch.sent_at < AGAIN_S:
        return Finding.WAITS
    return Finding.WANTS_SHARE


_FIELDS: Final = {
    "sealed": bool,
    "required": int,
    "seal_id": str | None,
    "epoch": int,
    "identifier": int | None,
    "boot_id": str,
}


def _is_readable(status: Any) -> bool:
    """Whether it is a status of a seal."""
    return isinstance(status, Mapping) and all(
        name in status and isinstance(status[name], kind) for name, kind in _FIELDS.items()
    )
