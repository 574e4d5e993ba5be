"""How much a peer may send that no correct node sends, before it has to go."""

from collections import Counter

import structlog

from keyserver.model.identifiers import NodeId

MAX_IN_A_ROW = 64
"""So many, as single ones come from correct nodes, too: where clocks differ, or for a moment the
views of the node set."""

log = structlog.get_logger()


class Patience:
    """What was wrong with the latest messages of each peer, by count."""

    def __init__(self, with_what: str) -> None:
        """`with_what`: for the log."""
        self._with_what = with_what
        self._wrong: Counter[NodeId] = Counter()

    def note(self, peer: NodeId, *, correct: bool) -> None:
        """Take note of what has become of a message."""
        if correct:
            del self._wrong[peer]
        else:
            self._wrong[peer] += 1

    def is_over(self, peer: NodeId) -> bool:
        """Whether a peer has to go; it begins anew after that."""
        if self._wrong[peer] < MAX_IN_A_ROW:
            return False
        log.warning("peer_tries_patience", peer=peer, sent=self._with_what)
        del self._wrong[peer]
        return True
