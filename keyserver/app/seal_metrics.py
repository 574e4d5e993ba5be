"""The seal of this process in the form Prometheus reads; there also while the node is sealed."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from keyserver.sealing.ports import SealState, SealStatus
from keyserver.sealing.upkeep import RewrapProgress

_GAUGES: Final[Mapping[str, str]] = {
    "keyserver_sealed": "Whether the secrets of this process are out of reach",
    "keyserver_acting": "Whether this process acts for its node",
    "keyserver_seal_initialised": "Whether the store has a seal",
    "keyserver_seal_epoch": "Number of the set of shares in force",
    "keyserver_seal_term": "Number of the key that new secrets are sealed with; 0 while sealed",
    "keyserver_unseal_shares": "Shares collected towards unsealing",
    "keyserver_unseal_shares_required": "Shares that unseal",
    "keyserver_boxes_unopened": "How often a stored secret did not open since the seal was opened",
    "keyserver_rewrap_boxes_left": "Secrets that are still sealed with an earlier term",
    "keyserver_rewrap_running": "Whether they are being moved to the newest",
}


class SealMetrics:
    """All of them, for one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._gauges = {
            name: Gauge(name, text, registry=self._registry) for name, text in _GAUGES.items()
        }

    def render(
        self, status: SealStatus, rewrap: RewrapProgress, *, acting: bool, unopened: int
    ) -> bytes:
        """All of them as of now."""
        values: Mapping[str, float] = {
            "keyserver_sealed": status.sealed,
            "keyserver_acting": acting,
            "keyserver_seal_initialised": status.state is not SealState.UNINITIALISED,
            "keyserver_seal_epoch": status.epoch,
            "keyserver_seal_term": status.term,
            "keyserver_unseal_shares": status.progress,
            "keyserver_unseal_shares_required": status.required,
            "keyserver_boxes_unopened": unopened,
            "keyserver_rewrap_boxes_left": rewrap.left,
            "keyserver_rewrap_running": rewrap.running,
        }
        for name, value in values.items():
            self._gauges[name].set(value)
        return generate_latest(self._registry)
