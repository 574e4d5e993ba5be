"""The node as its clients meet it: the client listener's `NodeState`, open and closed."""

from dataclasses import dataclass
from typing import NoReturn

from keyserver.api.ports import Availability, ChangeStanding, ClientOperations
from keyserver.app.compose import Node
from keyserver.app.config import NoContract
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.set_change import AdministratorOrder
from keyserver.sealing.errors import SealedError, StandbyError
from keyserver.sessions.core import Policy


class ClientState:
    """Reads the parts of a running node.

    Whether the node is a member of its set, and reaches enough others, is decided by the engine in
    the order of the HTTP interface.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._asks_chain = node.config.secretstore.acl_contract != NoContract()

    @property
    def availability(self) -> Availability:
        """Open: a node runs only with its keys unsealed, and in one process."""
        return Availability.OPEN

    @property
    def operations(self) -> ClientOperations:
        """The engine."""
        return self._node.key_server

    @property
    def policy(self) -> Policy:
        """What the operator allows now."""
        return self._node.driver.policy

    @property
    def signing_domain(self) -> SigningDomain | None:
        """Known as soon as there is a node set: its contract is part of the domain."""
        known = len(self._node.node_sets.snapshot.current) > 0
        return self.policy.signing_domain if known else None

    @property
    def chain_is_silent(self) -> bool:
        """Whether a contract has the permissions, and the chain is absent or not to be trusted.

        A failed question counts until one is answered: the watcher may not have noticed yet.
        """
        if not self._asks_chain:
            return False
        chain = self._node.chain
        if chain is None:
            return True
        return not (chain.work.watcher.view.synced and chain.reading.permissions.reached)


@dataclass(frozen=True, slots=True)
class ClosedState:
    """A node that is sealed or on standby: every valid request is refused for that reason.

    It is a `SetChangeService` as well, so that orders of administrators are refused the same way.
    """

    availability: Availability

    @property
    def operations(self) -> ClientOperations:
        """Raises `SealedError` or `StandbyError`, as everything else but `availability`."""
        self._refuse()

    @property
    def policy(self) -> Policy:
        """There is none."""
        self._refuse()

    @property
    def signing_domain(self) -> SigningDomain | None:
        """Not known."""
        return None

    @property
    def chain_is_silent(self) -> bool:
        """Nobody asks."""
        return False

    async def standing(self) -> ChangeStanding:
        """No change is begun."""
        self._refuse()

    async def run(self, order: AdministratorOrder) -> None:
        """No order is carried out."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        if self.availability is Availability.STANDBY:
            raise StandbyError("the node is on standby: another of its processes acts")
        raise SealedError("the node is sealed")
