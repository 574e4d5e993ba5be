"""The key server set: who is a member, in which order, and which list that is.

The owner edits the new set; a member of it starts a migration, and when all have confirmed, the
migration set is the current one.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from keyserver.crypto.hashing import address_of
from keyserver.model.identifiers import Address
from keyserver.simulation.contracts.contract import (
    EmittedLog,
    Message,
    RevertError,
    abi_of,
    dispatch,
    emitted,
    entry_points,
)

ARTIFACT: Final = "OwnedKeyServerSetWithMigration"
NOBODY: Final = Address(bytes(20))
MAX_MEMBERS: Final = 256


@dataclass(frozen=True, slots=True)
class Member:
    """What is known of a key server."""

    public: bytes
    """64 bytes `x || y`."""
    network_address: str
    """As the owner wrote it, `ip:port`."""


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a key server sits in the current set, and which set that is."""

    index: int
    count: int
    epoch: tuple[int, int]
    """List number and count: another value means another set."""


@dataclass
class NodeSetContract:
    """The contract's state."""

    owner: Address
    members: dict[Address, Member] = field(default_factory=dict)
    current: tuple[Address, ...] = ()
    edited: tuple[Address, ...] = ()
    list_number: int = 1
    last_list: int = 1
    last_change: int = 0
    initialized: bool = False
    migration: tuple[Address, ...] = ()
    migration_list: int = 0
    """Number of the migration set's list."""
    master: Address = NOBODY
    migration_id: bytes | None = None
    """Of the last migration that was started."""
    confirmed: frozenset[Address] = frozenset()
    """Who has confirmed the running one."""
    used_ids: frozenset[bytes] = frozenset()
    _logs: list[EmittedLog] = field(default_factory=list)

    def clone(self) -> Self:
        """An independent copy."""
        return replace(self, members=dict(self.members), _logs=[])

    def run(self, message: Message) -> tuple[bytes, list[EmittedLog]]:
        """Carry out a call."""
        return dispatch(_ENTRIES, self, message), self._logs

    # --- for the services -----------------------------------------------------------------

    def seat_of(self, server: Address) -> Seat | None:
        """The place of a current key server; `None` for anybody else."""
        if server not in self.current:
            return None
        count = len(self.current)
        return Seat(self.current.index(server), count, (self.list_number, count))

    # --- the owner's work -----------------------------------------------------------------

    def _require_owner(self, message: Message) -> None:
        if message.sender != self.owner:
            raise RevertError("NotOwner")

    def add_server(self, message: Message, arguments: Any) -> None:
        """`addKeyServer`."""
        self._require_owner(message)
        public, network_address = arguments
        if len(public) != 64:
            raise RevertError("InvalidPublic")
        if not network_address:
            raise RevertError("InvalidAddress")
        server = Address(address_of(public))
        if server in self.edited:
            raise RevertError("AlreadyMember")
        if len(self.edited) == MAX_MEMBERS:
            raise RevertError("TooManyKeyServers")
        self.members[server] = Member(public, network_address)
        self.edited = (*self.edited, server)
        if not self.initialized:
            self.current = self.edited
        self._log("KeyServerAdded", server)

    def remove_server(self, message: Message, arguments: Any) -> None:
        """`removeKeyServer`: the last member takes over the place."""
        self._require_owner(message)
        (server,) = arguments
        if server not in self.edited:
            raise RevertError("NotMember")
        index = self.edited.index(server)
        left = list(self.edited)
        left[index] = left[-1]
        self.edited = tuple(left[:-1])
        if not self.initialized:
            self.last_list += 1
            self.list_number, self.current = self.last_list, self.edited
        self._log("KeyServerRemoved", server)

    def complete(self, message: Message, _: Any) -> None:
        """`completeInitialization`: from now on edits touch the new set only."""
        self._require_owner(message)
        if self.initialized:
            raise RevertError("AlreadyInitialized")
        self.initialized = True
        self.last_list += 1
        self._log("InitializationCompleted")

    def update_address(self, message: Message, arguments: Any) -> None:
        """`updateKeyServerAddress`."""
        self._require_owner(message)
        server, network_address = arguments
        if not network_address:
            raise RevertError("InvalidAddress")
        if server not in {*self.current, *self.migration, *self.edited}:
            raise RevertError("NotMember")
        self.members[server] = replace(self.members[server], network_address=network_address)
        self._log("KeyServerAddressChanged", server)

    def cancel(self, message: Message, arguments: Any) -> None:
        """`cancelMigration`."""
        self._require_owner(message)
        self._require_running(arguments[0])
        self.migration, self.master, self.confirmed = (), NOBODY, frozenset()
        self._log("MigrationCancelled", arguments[0])

    # --- the members' work ----------------------------------------------------------------

    def start(self, message: Message, arguments: Any) -> None:
        """`startMigration`: the new set becomes the migration set."""
        (migration_id,) = arguments
        if self.migration:
            raise RevertError("MigrationRunning")
        if migration_id == bytes(32) or migration_id in self.used_ids:
            raise RevertError("InvalidMigrationId")
        if message.sender not in self.edited:
            raise RevertError("NotMember")
        if set(self.edited) == set(self.current):
            raise RevertError("NothingToMigrate")
        self.used_ids |= {migration_id}
        self.migration_id, self.master = migration_id, message.sender
        self.last_list += 1
        self.migration, self.migration_list = self.edited, self.last_list
        self._log("MigrationStarted")

    def confirm(self, message: Message, arguments: Any) -> None:
        """`confirmMigration`: the last one makes the migration set the current one."""
        self._require_running(arguments[0])
        if message.sender not in self.migration:
            raise RevertError("NotMember")
        if message.sender in self.confirmed:
            raise RevertError("AlreadyConfirmed")
        self.confirmed |= {message.sender}
        if self.confirmed != set(self.migration):
            return
        self.current, self.list_number = self.migration, self.migration_list
        self.migration, self.master, self.confirmed = (), NOBODY, frozenset()
        self.last_change = message.block_number
        self._log("MigrationCompleted")

    def _require_running(self, migration_id: bytes) -> None:
        if not self.migration:
            raise RevertError("NoMigration")
        if migration_id != self.migration_id:
            raise RevertError("InvalidMigrationId")

    # --- reading --------------------------------------------------------------------------

    def index_of(self, _: Message, arguments: Any) -> tuple[int]:
        """`getCurrentKeyServerIndex`."""
        (server,) = arguments
        if server not in self.current:
            raise RevertError("NotMember")
        return (self.current.index(server),)

    def count(self, _: Message, __: Any) -> tuple[int]:
        """`getCurrentKeyServersCount`."""
        if len(self.current) > 255:
            raise RevertError("TooManyKeyServers")
        return (len(self.current),)

    def server_at(self, _: Message, arguments: Any) -> tuple[Address]:
        """`getCurrentKeyServer`."""
        (index,) = arguments
        if index >= len(self.current):
            raise RevertError("NotMember")
        return (self.current[index],)

    def member_of(self, listed: tuple[Address, ...], server: Address) -> Member:
        """A member of one of the sets; reverts for anybody else."""
        if server not in listed:
            raise RevertError("NotMember")
        return self.members[server]

    def is_confirmed(self, _: Message, arguments: Any) -> tuple[bool]:
        """`isMigrationConfirmed`."""
        (server,) = arguments
        if server not in self.migration and server not in self.current:
            raise RevertError("NotMember")
        return (server in self.confirmed,)

    def last_migration_id(self, _: Message, __: Any) -> tuple[bytes]:
        """`getMigrationId`."""
        if self.migration_id is None:
            raise RevertError("NoMigration")
        return (self.migration_id,)

    def _log(self, event: str, *values: Any) -> None:
        self._logs.append(emitted(abi_of(ARTIFACT).event(event), *values))


_ENTRIES: Final = entry_points(
    ARTIFACT,
    {
        "addKeyServer": NodeSetContract.add_server,
        "removeKeyServer": NodeSetContract.remove_server,
        "completeInitialization": NodeSetContract.complete,
        "updateKeyServerAddress": NodeSetContract.update_address,
        "cancelMigration": NodeSetContract.cancel,
        "startMigration": NodeSetContract.start,
        "confirmMigration": NodeSetContract.confirm,
        "isInitialized": lambda c, m, a: (c.initialized,),
        "owner": lambda c, m, a: (c.owner,),
        "getCurrentLastChange": lambda c, m, a: (c.last_change,),
        "getCurrentKeyServerIndex": NodeSetContract.index_of,
        "getCurrentKeyServersCount": NodeSetContract.count,
        "getCurrentKeyServer": NodeSetContract.server_at,
        "getCurrentKeyServers": lambda c, m, a: (c.current,),
        "getCurrentKeyServerPublic": lambda c, m, a: (c.member_of(c.current, a[0]).public,),
        "getCurrentKeyServerAddress": lambda c, m, a: (
            c.member_of(c.current, a[0]).network_address,
        ),
        "getNewKeyServers": lambda c, m, a: (c.edited,),
        "getNewKeyServerPublic": lambda c, m, a: (c.member_of(c.edited, a[0]).public,),
        "getNewKeyServerAddress": lambda c, m, a: (c.member_of(c.edited, a[0]).network_address,),
        "getMigrationKeyServers": lambda c, m, a: (c.migration,),
        "getMigrationKeyServerPublic": lambda c, m, a: (c.member_of(c.migration, a[0]).public,),
        "getMigrationKeyServerAddress": lambda c, m, a: (
            c.member_of(c.migration, a[0]).network_address,
        ),
        "getMigrationMaster": lambda c, m, a: (c.master,),
        "getMigrationId": NodeSetContract.last_migration_id,
        "isMigrationConfirmed": NodeSetContract.is_confirmed,
    },
)
