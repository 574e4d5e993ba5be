"""Connections to all peers: dial, accept, settle duplicates, reconnect (engine design, 5.3).

The mesh is the engine's `Transport`. Everything it does happens in tasks of one group inside
`run`; `send` only puts a message into the peer's queue.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any

import structlog

from keyserver.crypto.randomness import RandomSource
from keyserver.engine.ports import Clock, TransportListener
from keyserver.errors import ConfigError
from keyserver.model.identifiers import Hash32, NodeId, Nonce32
from keyserver.model.node_set import NodeAddress
from keyserver.net.admission import HandshakeSlots, Penalties
from keyserver.net.back_off import BackOff
from keyserver.net.connection import Connection, greet
from keyserver.net.errors import HandshakeError, TransportError
from keyserver.net.limits import TransportLimits
from keyserver.net.link import PROTOCOL, Hello
from keyserver.net.node_key import NodeKey
from keyserver.net.stream import SecureStream, connect, initiate, respond

_log = structlog.get_logger(__name__)


class Mesh:
    """This node's connections to the other nodes of the set."""

    def __init__(
        self,
        *,
        key: NodeKey,
        cluster_id: Callable[[], Hash32],
        set_id: Callable[[], Hash32],
        boot_nonce: Nonce32,
        listen: NodeAddress,
        clock: Clock,
        random: RandomSource,
        software: bytes = b"",
        limits: TransportLimits | None = None,
    ) -> None:
        """`boot_nonce` is random per start of the process; `cluster_id` and `set_id` are asked for
        every HELLO: both follow the key server set contract.

        `listen` may have port 0: `listening` tells which one was given. `software` has at most
        64 bytes.
        """
        self._key = key
        self._me = NodeId.of(key.public)
        self._cluster_id = cluster_id
        self._set_id = set_id
        self._boot_nonce = boot_nonce
        self._listen = listen
        self._clock = clock
        self._random = random
        self._software = software
        self._limits = limits or TransportLimits()
        self._slots = HandshakeSlots(self._limits.handshakes, self._limits.handshakes_per_address)
        self._penalties = Penalties(self._limits.first_penalty_s, self._limits.longest_penalty_s)
        self._admitted: frozenset[NodeId] = frozenset()
        self._address_by_peer: dict[NodeId, NodeAddress] = {}
        self._connection_by_peer: dict[NodeId, Connection] = {}
        self._dialler_by_peer: dict[NodeId, tuple[NodeAddress, asyncio.Task[None]]] = {}
        self._running: tuple[asyncio.TaskGroup, TransportListener] | None = None
        self._bound: NodeAddress | None = None
        self._is_bound = asyncio.Event()

    # --- the Transport port ----------------------------------------------------------------

    @property
    def connected(self) -> frozenset[NodeId]:
        """Peers with an open, greeted connection."""
        return frozenset(peer for peer, one in self._connection_by_peer.items() if not one.closed)

    def send(self, to: NodeId, message: bytes) -> bool:
        """Queue a message; false without a connection, or when its queue overflows.

        An overflow ends the connection, which the listener is told soon after. Raises
        `ValueError` for a message shorter than its header or longer than 4 MiB.
        """
        connection = self._connection_by_peer.get(to)
        return connection is not None and connection.send(message)

    def boot_nonce(self, peer: NodeId) -> bytes | None:
        """The 32 bytes of the peer's HELLO, `None` without a connection."""
        hello = self.hello(peer)
        return hello.boot_nonce if hello else None

    # --- for the rest of the node ----------------------------------------------------------

    def hello(self, peer: NodeId) -> Hello | None:
        """What the peer said of itself, `None` without a connection."""
        connection = self._open(peer)
        return connection.hello if connection else None

    def update_peers(
        self, addresses: Mapping[NodeId, NodeAddress], admitted: frozenset[NodeId]
    ) -> None:
        """Say who may connect and where peers are; this node itself is ignored in both.

        Connections to nodes that are no longer admitted end at once, and so do those that this
        node dialled at an address that changed or is gone.
        """
        self._admitted = admitted - {self._me}
        self._address_by_peer = {
            peer: address for peer, address in addresses.items() if peer in self._admitted
        }
        for peer, connection in list(self._connection_by_peer.items()):
            if peer not in self._admitted:
                self._drop(connection, "no longer admitted")
        self._update_diallers()

    async def listening(self) -> NodeAddress:
        """Wait until connections are accepted; returns where."""
        await self._is_bound.wait()
        assert self._bound is not None
        return self._bound

    async def run(self, listener: TransportListener) -> None:
        """Keep the connections until cancelled; `listener` is told what happens on them.

        Raises `ConfigError` when the address to listen on cannot be used.
        """
        server = await self._start_server()
        try:
            async with asyncio.TaskGroup() as group:
                self._running = group, listener
                self._update_diallers()
                self._is_bound.set()
                try:
                    await asyncio.get_running_loop().create_future()  # until cancelled
                finally:
                    server.close()
        finally:
            server.close()
            self._running = None
            self._dialler_by_peer.clear()

    # --- accepting -------------------------------------------------------------------------

    async def _start_server(self) -> asyncio.Server:
        host, port = self._listen.host, self._listen.port
        try:
            server = await asyncio.start_server(self._on_accepted, host, port)
        except (OSError, ValueError, OverflowError) as problem:
            raise ConfigError(f"cannot listen for peers on {self._listen}: {problem}") from problem
        self._bound = NodeAddress(host, server.sockets[0].getsockname()[1])
        return server

    def _on_accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        remote = writer.get_extra_info("peername")
        if self._running is None or remote is None or not self._slots.enter(remote[0]):
            writer.transport.abort()
            return
        task = self._running[0].create_task(self._accept(reader, writer, remote[0]))
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, remote: str
    ) -> None:
        deadline = self._deadline()
        handshake = respond((reader, writer), self._key, self._admits, self._random)
        try:
            connection = await self._greet(handshake, deadline, dialled=False)
        except (TransportError, OSError) as problem:
            # Whoever reaches the port can cause the former, only a member the latter.
            say = _log.debug if isinstance(problem, HandshakeError) else _log.info
            say("peer_not_accepted", remote=remote, reason=_reason(problem))
            return
        finally:
            self._slots.leave(remote)
        await self._serve(connection)

    def _admits(self, peer: NodeId) -> bool:
        return peer in self._admitted and not self._penalty_left_s(peer)

    def _penalty_left_s(self, peer: NodeId) -> float:
        return self._penalties.left_s(peer, asyncio.get_running_loop().time())

    # --- dialling --------------------------------------------------------------------------

    def _update_diallers(self) -> None:
        """Have one dialler for each known address, and no other."""
        if self._running is None:
            return
        for peer, (address, task) in list(self._dialler_by_peer.items()):
            if self._address_by_peer.get(peer) != address:
                task.cancel()
                del self._dialler_by_peer[peer]
        for peer, address in self._address_by_peer.items():
            if peer not in self._dialler_by_peer:
                task = self._running[0].create_task(self._keep_dialling(peer, address))
                self._dialler_by_peer[peer] = address, task

    async def _keep_dialling(self, peer: NodeId, address: NodeAddress) -> None:
        """Dial whenever there is no connection, whoever opened the last one."""
        loop = asyncio.get_running_loop()
        limits = self._limits
        back_off = BackOff(limits.first_retry_s, limits.longest_retry_s, self._random)
        # The connection that the lower node dials would win anyway: let it be the first.
        head_start_s = limits.first_retry_s if peer < self._me else 0.0
        await asyncio.sleep(head_start_s)
        while True:
            began = loop.time()
            connection = self._open(peer)
            if connection is not None:
                await connection.wait_closed()
            elif penalty_s := self._penalty_left_s(peer):
                await asyncio.sleep(penalty_s)
            else:
                await self._dial(peer, address)
            if loop.time() - began >= limits.longest_retry_s:
                back_off.reset()
            await asyncio.sleep(back_off.pause_s() + head_start_s)

    async def _dial(self, peer: NodeId, address: NodeAddress) -> None:
        """Connect once, and serve the connection until it ends."""
        deadline = self._deadline()
        try:
            async with asyncio.timeout_at(deadline):
                reader, writer = await connect(address)
        except (TransportError, OSError) as problem:
            _log.info("peer_not_reached", peer=peer.short, reason=_reason(problem))
            return
        try:
            handshake = initiate((reader, writer), self._key, peer, self._random)
            connection = await self._greet(handshake, deadline, dialled=True)
            await self._serve(connection)
        except (TransportError, OSError) as problem:
            _log.info("peer_not_greeted", peer=peer.short, reason=_reason(problem))
        finally:
            writer.transport.abort()

    # --- both ------------------------------------------------------------------------------

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._limits.handshake_s

    async def _greet(
        self, handshake: Coroutine[Any, Any, SecureStream], deadline: float, *, dialled: bool
    ) -> Connection:
        """Shake hands and exchange HELLOs; raises `TransportError` or `OSError`."""
        async with asyncio.timeout_at(deadline):
            stream = await handshake
            hello = await greet(stream, self._own_hello(), self._cluster_id())
        return Connection(stream, hello, dialled=dialled, limits=self._limits)

    def _own_hello(self) -> Hello:
        return Hello(
            protocol=PROTOCOL,
            cluster_id=self._cluster_id(),
            set_id=self._set_id(),
            boot_nonce=self._boot_nonce,
            features=0,
            unix_seconds=self._clock.unix(),
            software=self._software,
        )

    async def _serve(self, connection: Connection) -> None:
        """Have the connection in the table while it lasts."""
        assert self._running is not None
        listener = self._running[1]
        reason = "stopped"
        try:
            if self._register(connection):
                deliver = partial(listener.on_message, connection.peer)
                reason = await connection.run(deliver)
            if connection.unwanted:
                penalty_s = self._penalties.punish(
                    connection.peer, asyncio.get_running_loop().time()
                )
                _log.warning("peer_sent_away", peer=connection.peer.short, seconds=penalty_s)
        except Exception:  # a mistake of ours with one peer's message must not cost the others
            _log.exception("peer_failed", peer=connection.peer.short)
            reason = "internal error"
        finally:
            self._drop(connection, reason)

    def _register(self, new: Connection) -> bool:
        """Put a new connection into the table unless it loses against the one there."""
        assert self._running is not None
        if not self._admits(new.peer):
            return False
        old = self._connection_by_peer.get(new.peer)
        if old is not None:
            if not old.closed and not supersedes(new, old, self._me):
                return False
            self._drop(old, "replaced by another connection")
        self._connection_by_peer[new.peer] = new
        skew = new.hello.unix_seconds - self._clock.unix()
        _log.info("peer_connected", peer=new.peer.short, dialled=new.dialled, clock_skew_s=skew)
        self._running[1].on_connected(new.peer)
        return True

    def _drop(self, connection: Connection, reason: str) -> None:
        """Close a connection and, if it is in the table, take it out and tell so."""
        connection.close(reason)
        if self._connection_by_peer.get(connection.peer) is not connection:
            return
        assert self._running is not None
        del self._connection_by_peer[connection.peer]
        _log.info("peer_disconnected", peer=connection.peer.short, reason=reason)
        self._running[1].on_disconnected(connection.peer)

    def _open(self, peer: NodeId) -> Connection | None:
        connection = self._connection_by_peer.get(peer)
        return None if connection is None or connection.closed else connection


def supersedes(new: Connection, old: Connection, me: NodeId) -> bool:
    """Whether a second connection to a peer takes the place of the first.

    Both ends come to the same answer: the one dialled by the node with the lower id stays. If the
    peer has dialled twice, or its process is another one, the old connection is dead.
    """
    if new.dialled == old.dialled or new.hello.boot_nonce != old.hello.boot_nonce:
        return True
    return new.dialled == (me < new.peer)


def _reason(problem: Exception) -> str:
    """What went wrong, in words; a time-out has none of its own."""
    return str(problem) or type(problem).__name__
