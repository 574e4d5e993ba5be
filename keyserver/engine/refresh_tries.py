"""How often other nodes have tried to refresh a key lately.

A node that begins refreshes only to give them up would have one version of a key after the other
decided as *nothing*, and keep others from refreshing it. So nobody is let in for the same key more
often than a correct node needs. Kept in memory: a restart gives everybody a few more tries.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from keyserver.model.identifiers import KeyId, NodeId

TRIES_A_RUN: Final = 4
"""Sessions that a node begins in a row for one key: dealers may fail."""

MOST_TRIES: Final = 2 * TRIES_A_RUN
"""Sessions of one node for one version of a key that are let in within a round of turns."""

MOST_KEYS: Final = 4096
"""Keys of which one node has begun a refresh that has not come to its end, as far as is known
here; beyond that no further one is let in."""


@dataclass(slots=True)
class _Tries:
    """Of one node for one key."""

    version: int
    """The version that was to be replaced."""
    since: float
    count: int = 0


class RefreshTries:
    """Counts them, by coordinator and key."""

    def __init__(self, window_s: float) -> None:
        """`window_s`: how long a try counts."""
        self._window_s = window_s
        self._tries: dict[NodeId, dict[KeyId, _Tries]] = {}

    def let_in(self, coordinator: NodeId, key_id: KeyId, version: int, now: float) -> bool:
        """Whether one more is let in, which counts then; `now`: monotonic seconds."""
        known = self._tries.setdefault(coordinator, {})
        tries = known.get(key_id)
        if tries is None or tries.version != version or self._is_over(tries, now):
            if tries is None and len(known) >= MOST_KEYS:
                self._forget_old(known, now)
                if len(known) >= MOST_KEYS:
                    return False
            tries = known[key_id] = _Tries(version, now)
        if tries.count >= MOST_TRIES:
            return False
        tries.count += 1
        return True

    def _is_over(self, tries: _Tries, now: float) -> bool:
        return now - tries.since >= self._window_s

    def _forget_old(self, known: dict[KeyId, _Tries], now: float) -> None:
        for key_id in [each for each, tries in known.items() if self._is_over(tries, now)]:
            del known[key_id]

    @property
    def open(self) -> Iterable[tuple[KeyId, int]]:
        """Keys for which tries are remembered, and the version that was to be replaced."""
        return {
            (key_id, t.version) for known in self._tries.values() for key_id, t in known.items()
        }

    def forget(self, key_id: KeyId, version: int) -> None:
        """That version was replaced: nobody's tries count any more."""
        for known in self._tries.values():
            if key_id in known and known[key_id].version == version:
                del known[key_id]
