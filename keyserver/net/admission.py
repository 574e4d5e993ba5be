"""How many strangers may shake hands at a time (engine design, section 5.3)."""

from collections import Counter


class HandshakeSlots:
    """Counts incoming handshakes in progress, in all and by remote address."""

    __slots__ = ("_by_address", "_in_all", "_per_address")

    def __init__(self, in_all: int = 64, per_address: int = 4) -> None:
        self._in_all = in_all
        self._per_address = per_address
        self._by_address: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Take a slot; false when there is none for this address."""
        if self._by_address.total() >= self._in_all:
            return False
        if self._by_address[address] >= self._per_address:
            return False
        self._by_address[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Give a slot back that `enter` gave to this address."""
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]
