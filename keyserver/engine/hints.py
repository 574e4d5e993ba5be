"""What peers claim without proof: it only guides whom to ask and whom to believe together."""

from collections import OrderedDict
from typing import Generic, TypeVar

from keyserver.model.identifiers import Hash32, KeyId, NodeId

MAX_HINTS = 4096
"""Keys for which claims of one node are remembered, of either kind; some 1 MB in all."""

T = TypeVar("T")


class _Claims(Generic[T]):
    """What each node claims of keys; its oldest claim makes room for its newest, no other's."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_node: dict[NodeId, OrderedDict[KeyId, T]] = {}

    def add(self, node: NodeId, key_id: KeyId, claim: T) -> None:
        claims = self._by_node.setdefault(node, OrderedDict())
        claims[key_id] = claim
        if len(claims) > self._limit:
            claims.popitem(last=False)

    def nodes(self, key_id: KeyId, claim: T) -> frozenset[NodeId]:
        return frozenset(
            node for node, claims in self._by_node.items() if claims.get(key_id) == claim
        )


class Hints:
    """What peers claim: who holds a share, which record they have. Bounded for each of them."""

    def __init__(self, limit: int = MAX_HINTS) -> None:
        self._holders: _Claims[bool] = _Claims(limit)
        self._reports: _Claims[Hash32] = _Claims(limit)

    def add_holder(self, key_id: KeyId, node: NodeId) -> None:
        """A node says that it holds a share."""
        self._holders.add(node, key_id, True)

    def holders(self, key_id: KeyId) -> frozenset[NodeId]:
        """Who said so."""
        return self._holders.nodes(key_id, True)

    def report(self, key_id: KeyId, node: NodeId, record_hash: Hash32) -> None:
        """A node says which record of a key it holds."""
        self._reports.add(node, key_id, record_hash)

    def reporters(self, key_id: KeyId, record_hash: Hash32) -> frozenset[NodeId]:
        """Who said so of this record."""
        return self._reports.nodes(key_id, record_hash)
