"""What a node says about requests while it has no chain to ask."""

from keyserver.model.blocks import BlockId
from keyserver.model.identifiers import Address, KeyId
from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from keyserver.sessions.core import Authorise, Verdict


class AccessWithoutChain:
    """The engine's `AccessPolicy`: nobody has permission unless everybody has.

    Requests that come by a contract do not get here: no contract is known, so the sessions refuse
    their credential.
    """

    def __init__(self, *, open_to_all: bool) -> None:
        """`open_to_all`: `acl_contract = "none"`."""
        self._open_to_all = open_to_all

    @property
    def permission_block(self) -> BlockId | None:
        """There is none."""
        return None

    async def authorise(self, check: Authorise) -> Verdict:
        """Allowed without permission, or with everybody's; else nobody can say."""
        if self._open_to_all or not check.needs_permission:
            return Verdict.ALLOWED
        return Verdict.UNAVAILABLE

    async def check(self, requester: Address, key_id: KeyId) -> Verdict:
        """Whether the requester may use the key."""
        return Verdict.ALLOWED if self._open_to_all else Verdict.UNAVAILABLE


class NoNodeSets:
    """The node set of a contract that cannot be asked: empty, and never to be trusted."""

    def __init__(self, chain_id: int) -> None:
        nobody = NodeSet.of(chain_id, Address(bytes(20)), set())
        self._snapshot = NodeSetSnapshot(nobody, nobody, None, (), 0, 0, stale=True)

    @property
    def snapshot(self) -> NodeSetSnapshot:
        """Always the same."""
        return self._snapshot
