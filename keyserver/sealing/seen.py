"""What a process has seen of its seal, for the process that takes its place (sealing, C9).

A process that seals itself is replaced by a fresh one. What the one before knew for certain goes
with it: else whoever writes the database could have it forget.
"""

from dataclasses import dataclass
from typing import Self

from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import SealRecordDamagedError
from keyserver.sealing.opening import OpenSeal
from keyserver.sealing.ports import SealVersion, StoredSeal
from keyserver.sealing.record import SealRecord


def is_older(stored: StoredSeal | None, seen: SealVersion) -> bool:
    """Whether less is stored than was seen."""
    return (
        stored is None or stored.epoch < seen.epoch or stored.keyring_version < seen.keyring_version
    )


@dataclass(frozen=True, slots=True)
class SeenSeal:
    """A seal that was open: nothing in it is secret, and nothing was taken from a stranger."""

    seal_id: bytes
    """16 bytes."""
    node_id: NodeId
    version: SealVersion

    @classmethod
    def of(cls, seal: OpenSeal) -> Self:
        """What is to be remembered of an open seal."""
        return cls(seal.record.seal_id, seal.record.node_id, seal.version)

    def allows(self, stored: StoredSeal | None) -> bool:
        """Whether a stored seal is this one, as it was or later.

        A record that cannot be read is for others to tell.
        """
        if stored is None or is_older(stored, self.version):
            return False
        try:
            record = SealRecord.from_json(stored.record)
        except SealRecordDamagedError:
            return True
        return (record.seal_id, record.node_id) == (self.seal_id, self.node_id)

    def to_text(self) -> str:
        """For the environment of the next process."""
        numbers = f"{self.version.epoch}:{self.version.keyring_version}"
        return f"{self.seal_id.hex()}:{self.node_id.hex()}:{numbers}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `to_text` gives; raises `ValueError`."""
        seal_id, node_id, epoch, version = text.split(":")
        return cls(
            bytes.fromhex(seal_id),
            NodeId(bytes.fromhex(node_id)),
            SealVersion(int(epoch), int(version)),
        )
