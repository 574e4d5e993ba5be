"""Watches in every game what honest nodes answer with nonces and presignatures."""

from typing import Any

from keyserver.model.codec import CodecError
from keyserver.model.identifiers import NodeId, SessionId
from keyserver.sessions.registry import MESSAGE_TABLE
from keyserver.sessions.wire import LINK_TYPES, message_type
from keyserver.simulation.cluster import Cluster
from keyserver.simulation.scenarios.signing_audit import SigningAudit
from keyserver.simulation.scenarios.violation import Violation


class Watch:
    """The first thing that an honest node must not have signed, if there was one."""

    def __init__(self, cluster: Cluster, liars: frozenset[NodeId]) -> None:
        self.audit = SigningAudit(cluster, liars)
        self.violation: Violation | None = None
        cluster.network.watch(self._on_send)
        cluster.network.overhear(self._on_arrive)

    def _on_send(self, sender: NodeId, _: NodeId, data: bytes) -> None:
        parsed = _parsed(data)
        if parsed is None or self.violation is not None:
            return
        try:
            self.audit.on_send(sender, *parsed)
        except Violation as violation:
            self.violation = violation

    def _on_arrive(self, _: NodeId, to: NodeId, data: bytes) -> None:
        parsed = _parsed(data)
        if parsed is not None:
            self.audit.on_arrive(to, *parsed)


def _parsed(data: bytes) -> tuple[SessionId, Any] | None:
    if message_type(data) in LINK_TYPES:
        return None
    try:
        return MESSAGE_TABLE.unpack(data)
    except CodecError:
        return None
