"""A contract small enough to be written by hand: it does what the call says.

The first byte of the call data chooses: 0 returns the rest, 1 logs the rest (32 bytes of topic,
then data), anything else reverts with the rest.
"""

from keyserver.model.identifiers import Hash32

_RUNTIME = bytes.fromhex(
    "36 5f 5f 37"  # copy the call data to memory
    " 5f 51 5f 1a"  # its first byte
    " 80 15 601a 57"  # 0: to 0x1a
    " 6001 14 6022 57"  # 1: to 0x22
    " 6001 36 03 6001 fd"  # revert(1, size - 1)
    " 5b 6001 36 03 6001 f3"  # 0x1a: return(1, size - 1)
    " 5b 6001 51 6021 36 03 6021 a1 00"  # 0x22: log1(33, size - 33, word at 1)
)
CREATION_CODE = bytes.fromhex(f"60{len(_RUNTIME):02x}600a5f39 60{len(_RUNTIME):02x}5ff3") + _RUNTIME


def returning(data: bytes) -> bytes:
    """Call data that has this returned."""
    return b"\x00" + data


def logging(topic: Hash32, data: bytes) -> bytes:
    """Call data that has this logged."""
    return b"\x01" + topic + data


def reverting(data: bytes) -> bytes:
    """Call data that makes the call revert with this."""
    return b"\x02" + data
