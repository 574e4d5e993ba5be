"""The composition root's part that deals with sessions: the same in processes and simulations."""

from collections.abc import Callable
from dataclasses import dataclass

from keyserver.engine.catalogue import Catalogue
from keyserver.engine.driver import Driver
from keyserver.engine.key_server import KeyServer
from keyserver.engine.ports import Identity, Ports
from keyserver.engine.redistributions import Redistributions
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


def compose_engine(identity: Identity, ports: Ports, lock: ChangeLock, needs_of: NeedsOf) -> Engine:
    """Make the engine of a node; nothing runs yet. `lock`: the successions of `ports`."""
    driver, catalogue = Driver(identity, ports), Catalogue(identity, ports)
    driver.serve_links(catalogue)
    key_server = KeyServer(driver, ports.store, catalogue, identity.random)
    additions = ShareAdditions(identity, ports, driver, catalogue)
    mover = Redistributions(
        identity.me, driver, ports.store, ports.transport, catalogue, identity.random
    )
    changes = SetChanges(identity, ports, driver, catalogue, needs_of(mover), lock)
    driver.changes.serve(changes)
    return Engine(driver, catalogue, key_server, additions, changes)
