"""An owner's own word that somebody may ask for its keys (sealing, C16.3).

Seven lines, signed as a personal message: title, node id, delegate, service, not before, not after,
nonce. Nodes do not take delegations yet, administrators grant instead; what one must be is fixed
here, so that owners can sign them.
"""

from dataclasses import dataclass
from typing import Final

from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import OwnerNotProvenError, UnauthenticatedError
from keyserver.sealing.signed_requests import NONCE_SIZE, recover_personal

LONGEST_S: Final = 366 * 24 * 60 * 60
"""At most a year, a leap year included."""

_TITLE: Final = "keyserver-delegation-v1"


@dataclass(frozen=True, slots=True)
class Delegation:
    """What an owner signs; times in Unix seconds."""

    node_id: NodeId
    delegate: str
    """An address, `0x` and 40 digits in lower case, or `svc:<name>`."""
    service: str
    not_before: int
    not_after: int
    nonce: bytes
    """16 bytes."""

    def text(self) -> str:
        """The lines that are signed."""
        lines = (
            _TITLE,
            self.node_id.hex(),
            self.delegate,
            self.service,
            str(self.not_before),
            str(self.not_after),
            self.nonce.hex(),
        )
        return "\n".join(lines)


def owner_of(delegation: Delegation, signature: bytes, *, now: int) -> str:
    """The owner, `eth:0x…`, who gave this delegation; `now` in Unix seconds.

    Raises `OwnerNotProvenError` for one that is not in force, has a line break in a name, is for
    longer than a year, or whose signature belongs to nobody.
    """
    if any("\n" in name for name in (delegation.delegate, delegation.service)):
        raise OwnerNotProvenError("delegation: a name must be one line")
    if len(delegation.nonce) != NONCE_SIZE:
        raise OwnerNotProvenError(f"delegation: the nonce must have {NONCE_SIZE} bytes")
    if delegation.not_after - delegation.not_before > LONGEST_S:
        raise OwnerNotProvenError("delegation: is for longer than a year")
    if not delegation.not_before <= now <= delegation.not_after:
        raise OwnerNotProvenError("delegation: is not in force now")
    try:
        return f"eth:0x{recover_personal(delegation.text(), signature).hex()}"
    except UnauthenticatedError as problem:
        raise OwnerNotProvenError(f"delegation: {problem}") from problem
