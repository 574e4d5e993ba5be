"""The composition root's part that deals with sessions: the same in processes and simulations."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from keyserver.engine.catalogue import Catalogue
from keyserver.engine.driver import Driver
from keyserver.engine.key_server import KeyServer
from keyserver.engine.ports import Identity, Ports
from keyserver.engine.redistributions import Redistributions
from keyserver.engine.refresh_turns import RefreshTurns
from keyserver.engine.refreshes import Refreshes, RefreshRules
from keyserver.engine.set_change_lock import ChangeLock
from keyserver.engine.set_change_needs import ChangeNeeds, KeyMover
from keyserver.engine.set_changes import SetChanges
from keyserver.engine.share_additions import ShareAdditions

NeedsOf = Callable[[KeyMover], ChangeNeeds]
"""What changes of the node set need, given who moves the keys."""


@dataclass(frozen=True)
class Engine:
    """Everything between the ports and those who ask for keys."""

    driver: Driver
    catalogue: Catalogue
    key_server: KeyServer
    share_additions: ShareAdditions
    set_changes: SetChanges
    refreshes: Refreshes


def compose_engine(
    identity: Identity,
    ports: Ports,
    lock: ChangeLock,
    needs_of: NeedsOf,
    *,
    refresh_interval_s: int = 0,
    presignatures: int = 0,
) -> Engine:
    """Make the engine of a node; nothing runs yet.

    `lock`: of changes of the node set; `refresh_interval_s`: how often the shares of every key are
    renewed, 0 for never; `presignatures`: how many are kept ready for each key in use.
    """
    turns = RefreshTurns(refresh_interval_s)
    rules = RefreshRules(identity.me, lock, ports.node_sets, ports.clock, turns)
    ports = replace(ports, successions=rules)
    driver, catalogue = Driver(identity, ports), Catalogue(identity, ports)
    driver.serve_links(catalogue)
    key_server = KeyServer(driver, ports.store, catalogue, identity.random, presignatures)
    additions = ShareAdditions(identity, ports, driver, catalogue)
    mover = Redistributions(
        identity.me, driver, ports.store, ports.transport, catalogue, identity.random
    )
    changes = SetChanges(identity, ports, driver, catalogue, needs_of(mover), lock)
    driver.changes.serve(changes)
    refreshes = Refreshes(identity, ports, mover, rules, turns)
    return Engine(driver, catalogue, key_server, additions, changes, refreshes)
