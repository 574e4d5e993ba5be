"""What peers claim without proof: it only guides whom to ask and whom to believe together."""

from collections import OrderedDict

from keyserver.model.identifiers import Hash32, KeyId, NodeId

MAX_HINTS = 16_384
"""Keys for which claims are remembered."""


class Hints:
    """What peers claim: who holds a share, which record they have. Bounded, oldest out first."""

    def __init__(self, limit: int = MAX_HINTS) -> None:
        self._limit = limit
        self._holders: OrderedDict[KeyId, set[NodeId]] = OrderedDict()
        self._reports: OrderedDict[KeyId, dict[NodeId, Hash32]] = OrderedDict()

    def add_holder(self, key_id: KeyId, node: NodeId) -> None:
        """A node says that it holds a share."""
        self._holders.setdefault(key_id, set()).add(node)
        if len(self._holders) > self._limit:
            self._holders.popitem(last=False)

    def holders(self, key_id: KeyId) -> frozenset[NodeId]:
        """Who said so."""
        return frozenset(self._holders.get(key_id, ()))

    def report(self, key_id: KeyId, node: NodeId, record_hash: Hash32) -> None:
        """A node says which record of a key it holds."""
        self._reports.setdefault(key_id, {})[node] = record_hash
        if len(self._reports) > self._limit:
            self._reports.popitem(last=False)

    def reporters(self, key_id: KeyId, record_hash: Hash32) -> frozenset[NodeId]:
        """Who said so of this record."""
        reports = self._reports.get(key_id, {})
        return frozenset(node for node, reported in reports.items() if reported == record_hash)
