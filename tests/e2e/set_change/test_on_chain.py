"""3 → 5 → 4 → 7 → 5 nodes by edits of the contract alone, under load, while nodes are killed.

On one chain; with `--full-matrix` on both.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyserver.model.identifiers import KeyId
from tests.e2e.set_change.changing import CHANGE_S, ChangingNetwork, changing_network
from tests.e2e.set_change.load import KINDS, Load, people, under_load
from tests.support.chains import skip_unless_played
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Death:
    """A node that is killed right after it has logged something, and started again."""

    place: int
    event: str


CHANGES: Sequence[tuple[Sequence[int], Sequence[Death]]] = (
    ((0, 1, 2, 3, 4), (Death(1, "migration_accepted"), Death(3, "set_change_accepted"))),
    ((0, 1, 3, 4), (Death(0, "set_change_completed"), Death(2, "set_change_accepted"))),
    ((0, 1, 3, 4, 2, 5, 6), (Death(5, "set_change_completed"), Death(4, "migration_transaction"))),
    ((1, 3, 2, 5, 6), (Death(3, "migration_session_succeeded"),)),
)


@pytest.mark.parametrize("chain", ["embedded", pytest.param("anvil", marks=pytest.mark.anvil)])
def test_three_five_four_seven_five(
    chain: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    skip_unless_played(chain, pytestconfig)
    wallets = people(600, seed=5)
    with (
        changing_network(tmp_path, chain=chain, nodes=7, members=3, fund=wallets) as network,
        under_load(network, wallets, parallel=3) as load,
    ):
        for to, deaths in CHANGES:
            before = list(network.members)
            with dying(network, deaths):
                network.edit(to)
                network.wait_current(to)
            leaving = [place for place in before if place not in to]
            check_shares(network, load, leaving)
            for place in leaving:
                network.nodes[place].stop()
    made = Counter(served.kind for served in load.book.served)
    assert set(made) == KINDS, "all kinds of requests were made"
    assert load.book.troubles == []
    assert [served for served in load.book.served if served.trouble is not None] == []


# --- deaths ---------------------------------------------------------------------------------------


@contextmanager
def dying(network: ChangingNetwork, deaths: Sequence[Death]) -> Iterator[None]:
    """Kill nodes at their moments while the block goes on; each must have come."""
    threads = [Killer(network, death) for death in deaths]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()
        assert thread.killed, f"{thread.death} has not come"


class Killer(threading.Thread):
    """Waits for the moment, kills the node and starts it again."""

    def __init__(self, network: ChangingNetwork, death: Death) -> None:
        super().__init__(name=f"killer of {death.place}", daemon=True)
        self.death = death
        self.killed = False
        self._network = network
        self._node = network.nodes[death.place]
        self._before = self._seen() if self._node.is_running else 0

    def run(self) -> None:
        """Once."""
        wait_for(self._moment, timeout_s=CHANGE_S, doing=str(self.death))
        self._network.restart(self.death.place)
        self.killed = True

    def _moment(self) -> bool | None:
        return (self._node.is_running and self._seen() > self._before) or None

    def _seen(self) -> int:
        return sum(event["event"] == self.death.event for event in self._node.events())


# --- afterwards -----------------------------------------------------------------------------------


def check_shares(network: ChangingNetwork, load: Load, leaving: Sequence[int]) -> None:
    """Every key is on the new set, with a share at each member and nowhere else."""
    for key_id in list(load.book.publics):
        records = wait_for(
            lambda key_id=key_id: on_the_set(network, key_id),  # type: ignore[misc]
            timeout_s=60,
            doing=f"shares of 0x{key_id.hex()}",
        )
        assert len(records) == 1, f"one record of 0x{key_id.hex()}"
        for place in leaving:
            left = network.key_at(place, key_id)
            assert left is None or left["share"] == "none", f"node {place} keeps a share"


def on_the_set(network: ChangingNetwork, key_id: KeyId) -> set[str] | None:
    """The records of a key at the members, once each of these holds a share of it."""
    facts = [network.key_at(place, key_id) for place in network.members]
    if not all(fact is not None and fact["share"] == "held" for fact in facts):
        return None
    return {fact["record_hash"] for fact in facts if fact is not None}
