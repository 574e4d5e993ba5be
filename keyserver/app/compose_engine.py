"""The composition root's part that deals with sessions: the same in processes and simulations."""

from dataclasses import dataclass

from keyserver.engine.catalogue import Catalogue
from keyserver.engine.driver import Driver
from keyserver.engine.key_server import KeyServer
from keyserver.engine.ports import Identity, Ports
from keyserver.engine.share_additions import ShareAdditions


@dataclass(frozen=True)
class Engine:
    """Everything between the ports and those who ask for keys."""

    driver: Driver
    catalogue: Catalogue
    key_server: KeyServer
    share_additions: ShareAdditions


def compose_engine(identity: Identity, ports: Ports) -> Engine:
    """Make the engine of a node; nothing runs yet."""
    driver, catalogue = Driver(identity, ports), Catalogue(identity, ports)
    driver.serve_links(catalogue)
    key_server = KeyServer(driver, ports.store, catalogue, identity.random)
    additions = ShareAdditions(identity, ports, driver, catalogue)
    return Engine(driver, catalogue, key_server, additions)
