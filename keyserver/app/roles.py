"""What the process does for the node, and what follows when that changes (sealing, C2 and C9).

| seal | acts for the node | role | does |
|---|---|---|---|
| shut | no | waiting | nothing: another process follows the chain |
| shut | yes | following | follows the chain and stores its requests; uses no secret |
| open | no | standby | hands out service keys |
| open | yes | acting | everything |

The listeners for operators and clients are open all the time; what they answer goes by the role.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from enum import Enum
from typing import Any, Final

import structlog
from starlette.types import ASGIApp

from keyserver.api.operator import NodeView
from keyserver.api.operator_seal import PeerLine
from keyserver.api.ports import Availability
from keyserver.app.accounts import NodeKey
from keyserver.app.client_listeners import ClientDoors
from keyserver.app.clock import SystemClock
from keyserver.app.compose import Node, compose, compose_follower
from keyserver.app.config import ConfigWarning, Loaded
from keyserver.app.parts import Part, run_until
from keyserver.app.replica import Replica
from keyserver.app.store import open_store
from keyserver.app.switching import SwitchingApp
from keyserver.app.view import OperatorView
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.pausing import pause
from keyserver.engine.set_changes import SetChanges
from keyserver.errors import ConfigError, StorageError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import SealedError, StandbyError
from keyserver.sealing.vault import Vault
from keyserver.storage.database import Database
from keyserver.storage.set_changes import SqlSetChangeStore

log = structlog.get_logger(__name__)

RETRY_S: Final = 5.0
"""After a node that is open could not be started."""

Announce = Callable[[Mapping[str, object]], None]
"""Is told what the process has become, where it listens and who it is."""


def peer_lines(view: OperatorView | None) -> Sequence[PeerLine]:
    """The other nodes of the set, as the running node sees them; none while there is no node."""
    if view is None:
        return ()
    return [PeerLine(peer.node_id, peer.state == "connected") for peer in view.peers()]


class Role(Enum):
    """What the process does for the node."""

    WAITING = "waiting"
    FOLLOWING = "following"
    STANDBY = "standby"
    ACTING = "acting"


STATES: Final[Mapping[Role, str]] = {
    Role.WAITING: "sealed",
    Role.FOLLOWING: "sealed",
    Role.STANDBY: "standby",
    Role.ACTING: "ready",
}
"""What the announcement says."""


class Roles:
    """Plays the role that seal and replicas give to this process, until it is cancelled."""

    def __init__(
        self,
        loaded: Loaded,
        key: NodeKey | None,
        me: NodeId,
        *,
        database: Database,
        vault: Vault,
        replica: Replica,
        doors: ClientDoors,
        clock: SystemClock,
        random: RandomSource,
        urls: Mapping[str, str],
        announce: Announce,
        warnings: Sequence[ConfigWarning],
    ) -> None:
        """`key`: the node's key where the configuration has it; else it is in the vault."""
        self._loaded = loaded
        self._key = key
        self._me = me
        self._database = database
        self._vault = vault
        self._replica = replica
        self._doors = doors
        self._clock = clock
        self._random = random
        self._urls = urls
        self._announce = announce
        self._warnings = warnings
        self._view: OperatorView | None = None
        self.problem: str | None = None
        """Why the node, though open, cannot be started; `None` where it can."""
        self._refuses_clients = False
        """Whether it stays so, whatever the role."""
        self.clients = SwitchingApp(doors.closed(Availability.SEALED))
        """What clients meet."""

    @property
    def role(self) -> Role:
        """As seal and replicas are now."""
        if self._vault.is_open:
            return Role.ACTING if self._replica.is_active else Role.STANDBY
        return Role.FOLLOWING if self._replica.is_active else Role.WAITING

    @property
    def node(self) -> NodeView:
        """The node as operators see it; raises `SealedError` or `StandbyError`."""
        if self._view is not None:
            return self._view
        if self.problem is not None:
            raise StandbyError(f"the node could not be started: {self.problem}")
        if self._vault.is_open:
            raise StandbyError("another process acts for this node; this one is on standby")
        raise SealedError("the node is sealed; open it with `keyserver seal unseal`")

    @property
    def view(self) -> OperatorView | None:
        """The running node; `None` while this process is not it."""
        return self._view

    def refuse_clients(self) -> None:
        """From now on let clients' new requests meet a sealed node; those under way go on."""
        self._refuses_clients = True
        self.clients.app = self._doors.closed(Availability.SEALED)

    def _show(self, app: ASGIApp) -> None:
        """Let clients' new requests meet this, unless the node is about to be sealed."""
        if not self._refuses_clients:
            self.clients.app = app

    async def run(self) -> None:
        """Play one role after the other."""
        await self._replica.looked()
        while True:
            role = self.role
            log.info("role_taken", role=role.value)
            match role:
                case Role.ACTING:
                    await self._try_to_act()
                case Role.STANDBY:
                    await self._stand_by()
                case Role.FOLLOWING:
                    await self._try_to_follow()
                case Role.WAITING:
                    await self._wait()

    # --- the roles ----------------------------------------------------------------------------

    async def _wait(self) -> None:
        self._show(self._doors.closed(Availability.SEALED))
        self._tell(Role.WAITING)
        await _first_of(self._vault.opened(), self._replica.until(active=True))

    async def _stand_by(self) -> None:
        self.problem = None
        self._show(self._doors.closed(Availability.STANDBY))
        self._tell(Role.STANDBY)
        await self._replica.until(active=True)

    async def _try_to_follow(self) -> None:
        """Follow the chain, as long as the database lets this process.

        Where shares are being collected, it is not given up for a database that is away.
        """
        try:
            await self._follow()
        except StorageError as error:
            if not self._replica.is_active:
                log.info("role_lost", problem=str(error))
                return
            if self._vault.status().opens_itself:
                raise
            log.error("chain_not_followed", problem=str(error), retry_in_s=RETRY_S)
            await pause(self._clock, RETRY_S)

    async def _follow(self) -> None:
        self._show(self._doors.closed(Availability.SEALED))
        config = self._loaded.config
        completed = await SqlSetChangeStore(self._database).completed()
        following = compose_follower(config, self._me, self._database, completed, clock=self._clock)
        over = _first_of(self._vault.opened(), self._replica.until(active=False))
        self._tell(Role.FOLLOWING)
        if following is None:
            await over
            return
        try:
            await run_until(over, [Part("chain watcher", following.watcher.run)], _nothing())
        finally:
            await following.client.close()

    async def _try_to_act(self) -> None:
        """Act, as long as the database lets this process.

        Where only shares open the node, it is not given up for an address that is taken or a
        database that is away: it would have to be opened again.
        """
        try:
            await self._act()
        except (ConfigError, StorageError) as error:
            if not self._replica.is_active:
                log.info("role_lost", problem=str(error))
                return
            if self._vault.status().opens_itself:
                raise
            self.problem = str(error)
            log.error("node_not_started", problem=self.problem, retry_in_s=RETRY_S)
            await pause(self._clock, RETRY_S)

    async def _act(self) -> None:
        store = await open_store(self._database, self._vault.boxes)
        node = compose(
            self._loaded, self._node_key(), store, clock=self._clock, random=self._random
        )
        self._view = view = OperatorView(node, self._warnings)
        self._show(self._doors.open(node))
        try:
            await run_until(self._lost(), parts_of(node), self._tell_ready(node, view))
        finally:
            self._view = None
            self._show(self._doors.closed(Availability.STANDBY))
            if node.chain is not None:
                await node.chain.reading.client.close()

    async def _lost(self) -> None:
        """Wait until another process may act; clients are turned away before anything is ended."""
        await self._replica.until(active=False)
        self._show(self._doors.closed(Availability.STANDBY))

    def _node_key(self) -> NodeKey:
        secret = self._vault.node_secret
        if secret is not None:
            return NodeKey(secret, self._me)
        assert self._key is not None, "the start is refused without a key"
        return self._key

    # --- announcements ------------------------------------------------------------------------

    def _facts(self, role: Role) -> dict[str, object]:
        return {
            "state": STATES[role],
            "node_id": f"0x{self._me.hex()}",
            "address": f"0x{self._me.address.hex()}",
            **self._urls,
            "pid": os.getpid(),
        }

    def _tell(self, role: Role) -> None:
        log.info(f"node_{STATES[role]}", **self._urls)
        self._announce(self._facts(role))

    async def _tell_ready(self, node: Node, view: OperatorView) -> None:
        """Announce the node when it listens and has evaluated the chain once."""
        peer = await node.mesh.listening()
        self.problem = None
        view.peer_address = str(peer)
        log.info("node_listening", peer=str(peer))
        facts = {**self._facts(Role.ACTING), "peer": str(peer)}
        if node.chain is not None:
            watcher = node.chain.work.watcher
            while not watcher.view.synced:
                await watcher.next_evaluation()
        log.info("node_ready", **facts)
        self._announce(facts)


async def _nothing() -> None:
    """Runs beside a role that needs nothing else."""


async def _first_of(*waits: Coroutine[Any, Any, None]) -> None:
    """Return when one of them does; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def parts_of(node: Node) -> list[Part]:
    """All long tasks, in the order in which they are stopped: reader, executor, sender, mesh."""
    parts = [
        Part("connections", lambda: node.mesh.run(node.peers)),
        Part("peer returns", node.peers.run),
        Part("share additions", node.share_additions.run),
        Part("refreshes", node.refreshes.run),
        Part("presignatures", node.key_server.signing.keep_stocked),
        Part("catalogue", node.catalogue.run),
        Part("set changes", lambda: _stopped_at_the_end(node.set_changes)),
        Part("sessions", node.driver.run),
    ]
    if node.chain is None:
        return parts
    work = node.chain.work
    migrations = work.migrations
    return [
        Part("chain watcher", work.watcher.run),
        *([Part("migrations", migrations.driver.run)] if migrations is not None else []),
        Part("tasks", work.queue.run),
        Part("sender", work.sender.run),
        *parts,
        Part("outcomes", work.recorder.run),
    ]


async def _stopped_at_the_end(changes: SetChanges) -> None:
    """A change that this node carries out goes on without whoever asked for it, until here."""
    try:
        await asyncio.Event().wait()
    finally:
        await changes.stop()
