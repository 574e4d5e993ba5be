"""The key server set: editing, reading and migrating it."""

import pytest

from tests.contracts.chain import Chain, Contract, RevertError, key_of, public_of
from tests.contracts.world import NEWCOMER, SERVERS, STRANGER, World, deploy_set

ID = b"\x01" * 32
OTHER_ID = b"\x02" * 32
A, B, C, D, E = SERVERS


def addresses(*numbers: int) -> list[str]:
    return [str(key_of(number).address) for number in numbers]


def current(key_servers: Contract) -> list[str]:
    return list(key_servers.call("getCurrentKeyServers"))


# --- reading


def test_current_set_is_told_in_index_order(world: World) -> None:
    key_servers = world.key_servers

    assert current(key_servers) == addresses(*SERVERS)
    assert key_servers.call("getCurrentKeyServersCount") == 5
    assert key_servers.call("getCurrentLastChange") == 0
    for index, server in enumerate(SERVERS):
        address = key_of(server).address
        assert key_servers.call("getCurrentKeyServer", index) == address
        assert key_servers.call("getCurrentKeyServerIndex", address) == index
        assert key_servers.call("getCurrentKeyServerPublic", address) == public_of(server)
        assert (
            key_servers.call("getCurrentKeyServerAddress", address) == f"127.0.0.1:{8000 + server}"
        )
        assert key_servers.call("getNewKeyServerPublic", address) == public_of(server)
        assert key_servers.call("getNewKeyServerAddress", address) == f"127.0.0.1:{8000 + server}"


@pytest.mark.parametrize(
    "getter",
    [
        "getCurrentKeyServerIndex",
        "getCurrentKeyServerPublic",
        "getCurrentKeyServerAddress",
        "getMigrationKeyServerPublic",
        "getMigrationKeyServerAddress",
        "getNewKeyServerPublic",
        "getNewKeyServerAddress",
        "isMigrationConfirmed",
    ],
)
def test_getters_revert_for_a_stranger(world: World, getter: str) -> None:
    with pytest.raises(RevertError, match="NotMember"):
        world.key_servers.call(getter, key_of(STRANGER).address)


def test_index_out_of_range_reverts(world: World) -> None:
    with pytest.raises(RevertError, match="NotMember"):
        world.key_servers.call("getCurrentKeyServer", 5)


def test_a_fresh_set_is_empty(chain: Chain) -> None:
    key_servers = chain.deploy("OwnedKeyServerSetWithMigration")

    assert current(key_servers) == []
    assert key_servers.call("getCurrentKeyServersCount") == 0
    assert key_servers.call("getMigrationKeyServers") == []
    assert key_servers.call("getMigrationMaster") == "0x" + "00" * 20
    assert key_servers.call("isInitialized") is False
    with pytest.raises(RevertError, match="NoMigration"):
        key_servers.call("getMigrationId")


# --- editing


def test_editing_before_initialization_changes_both_sets(chain: Chain) -> None:
    key_servers = deploy_set(chain, (A, B, C), initialized=False)

    removed = key_servers.send("removeKeyServer", key_of(A).address)
    added = key_servers.send("addKeyServer", public_of(D), "127.0.0.1:1")

    assert [(e.name, e.args) for e in (*removed.events, *added.events)] == [
        ("KeyServerRemoved", (key_of(A).address,)),
        ("KeyServerAdded", (key_of(D).address,)),
    ]
    # The last member took the freed index.
    assert current(key_servers) == addresses(C, B, D)
    assert key_servers.call("getNewKeyServers") == addresses(C, B, D)
    assert key_servers.call("getCurrentKeyServersCount") == 3
    assert key_servers.call("getCurrentKeyServerIndex", key_of(C).address) == 0
    assert key_servers.call("getCurrentLastChange") == 0
    with pytest.raises(RevertError, match="NotMember"):
        key_servers.call("getCurrentKeyServerIndex", key_of(A).address)


def test_editing_after_initialization_changes_the_new_set_only(world: World) -> None:
    key_servers = world.key_servers

    key_servers.send("removeKeyServer", key_of(B).address)
    key_servers.send("addKeyServer", public_of(NEWCOMER), "127.0.0.1:1")

    assert current(key_servers) == addresses(*SERVERS)
    assert key_servers.call("getNewKeyServers") == addresses(A, E, C, D, NEWCOMER)
    with pytest.raises(RevertError, match="NotMember"):
        key_servers.call("getNewKeyServerPublic", key_of(B).address)
    assert key_servers.call("getCurrentKeyServerPublic", key_of(B).address) == public_of(B)


def test_removing_the_last_member_moves_nobody(world: World) -> None:
    world.key_servers.send("removeKeyServer", key_of(E).address)

    assert world.key_servers.call("getNewKeyServers") == addresses(A, B, C, D)


def test_completing_initialization_is_visible_and_happens_once(chain: Chain) -> None:
    key_servers = deploy_set(chain, (A, B), initialized=False)

    receipt = key_servers.send("completeInitialization")

    assert receipt.names == ["InitializationCompleted"]
    assert key_servers.call("isInitialized") is True
    assert current(key_servers) == key_servers.call("getNewKeyServers") == addresses(A, B)
    assert key_servers.revert_reason("completeInitialization") == "AlreadyInitialized"


@pytest.mark.parametrize(
    ("public", "ip", "error"),
    [
        (public_of(NEWCOMER)[:-1], "127.0.0.1:1", "InvalidPublic"),
        (public_of(NEWCOMER) + b"\0", "127.0.0.1:1", "InvalidPublic"),
        (b"", "127.0.0.1:1", "InvalidPublic"),
        (public_of(NEWCOMER), "", "InvalidAddress"),
        (public_of(A), "127.0.0.1:1", "AlreadyMember"),
    ],
)
def test_bad_additions_revert(world: World, public: bytes, ip: str, error: str) -> None:
    assert world.key_servers.revert_reason("addKeyServer", public, ip) == error


def test_removing_a_stranger_reverts(world: World) -> None:
    reason = world.key_servers.revert_reason("removeKeyServer", key_of(STRANGER).address)

    assert reason == "NotMember"


@pytest.mark.parametrize(
    ("function", "args"),
    [
        ("addKeyServer", (public_of(NEWCOMER), "127.0.0.1:1")),
        ("removeKeyServer", (key_of(A).address,)),
        ("completeInitialization", ()),
        ("setOwner", (key_of(STRANGER).address,)),
        ("cancelMigration", (ID,)),
        ("updateKeyServerAddress", (key_of(A).address, "127.0.0.1:1")),
    ],
)
def test_strangers_do_not_edit(world: World, function: str, args: tuple[object, ...]) -> None:
    assert world.key_servers.revert_reason(function, *args, sender=STRANGER) == "NotOwner"


def test_ownership_passes_at_once_but_not_to_nobody(world: World) -> None:
    key_servers = world.key_servers
    receipt = key_servers.send("setOwner", key_of(STRANGER).address)

    assert receipt.events[0].args == (key_of(1).address, key_of(STRANGER).address)
    assert key_servers.call("owner") == key_of(STRANGER).address
    assert key_servers.revert_reason("setOwner", key_of(1).address) == "NotOwner"
    assert key_servers.revert_reason("setOwner", "0x" + "00" * 20, sender=STRANGER) == "OwnerIsZero"


def test_network_address_changes_in_all_sets_at_once(world: World) -> None:
    # C-11: an operator can move a server without a membership change.
    key_servers = world.key_servers
    key_servers.send("removeKeyServer", key_of(B).address)
    key_servers.send("startMigration", ID, sender=A)

    receipt = key_servers.send("updateKeyServerAddress", key_of(A).address, "10.1.2.3:99")

    assert receipt.names == ["KeyServerAddressChanged"]
    for getter in ("Current", "Migration", "New"):
        told = key_servers.call(f"get{getter}KeyServerAddress", key_of(A).address)
        assert told == "10.1.2.3:99"
    assert key_servers.call("getCurrentLastChange") == 0
    # A server that is only in one of the sets can be moved too.
    key_servers.send("updateKeyServerAddress", key_of(B).address, "10.1.2.3:98")
    stranger = key_of(STRANGER).address
    assert key_servers.revert_reason("updateKeyServerAddress", stranger, "x:1") == "NotMember"
    assert key_servers.revert_reason("updateKeyServerAddress", key_of(A).address, "") == (
        "InvalidAddress"
    )


# --- migration


def test_migration_replaces_the_current_set(world: World) -> None:
    key_servers = world.key_servers
    key_servers.send("removeKeyServer", key_of(A).address)
    key_servers.send("addKeyServer", public_of(NEWCOMER), "127.0.0.1:1")
    started = key_servers.send("startMigration", ID, sender=NEWCOMER)

    assert started.names == ["MigrationStarted"]
    assert key_servers.call("getMigrationMaster") == key_of(NEWCOMER).address
    assert key_servers.call("getMigrationId") == ID
    members = (E, B, C, D, NEWCOMER)
    assert key_servers.call("getMigrationKeyServers") == addresses(*members)
    assert key_servers.call("getMigrationKeyServerPublic", key_of(NEWCOMER).address) == (
        public_of(NEWCOMER)
    )
    for member in members[:-1]:
        assert key_servers.call("isMigrationConfirmed", key_of(member).address) is False
        assert key_servers.send("confirmMigration", ID, sender=member).names == []
        assert key_servers.call("isMigrationConfirmed", key_of(member).address) is True
    assert key_servers.call("isMigrationConfirmed", key_of(A).address) is False
    assert current(key_servers) == addresses(*SERVERS)
    completed = key_servers.send("confirmMigration", ID, sender=NEWCOMER)

    assert completed.names == ["MigrationCompleted"]
    assert current(key_servers) == addresses(*members)
    assert key_servers.call("getCurrentKeyServersCount") == 5
    assert key_servers.call("getCurrentKeyServerIndex", key_of(E).address) == 0
    assert key_servers.call("getCurrentLastChange") == completed.block
    assert key_servers.call("getMigrationKeyServers") == []
    assert key_servers.call("getMigrationMaster") == "0x" + "00" * 20
    assert key_servers.call("getMigrationId") == ID
    assert key_servers.call("isMigrationConfirmed", key_of(E).address) is False
    with pytest.raises(RevertError, match="NotMember"):
        key_servers.call("isMigrationConfirmed", key_of(A).address)


def test_edits_during_a_migration_make_the_next_one(world: World) -> None:
    key_servers = world.key_servers
    key_servers.send("removeKeyServer", key_of(E).address)
    key_servers.send("startMigration", ID, sender=A)
    key_servers.send("addKeyServer", public_of(NEWCOMER), "127.0.0.1:1")
    key_servers.send("removeKeyServer", key_of(A).address)

    assert key_servers.call("getMigrationKeyServers") == addresses(A, B, C, D)
    for member in (A, B, C, D):
        key_servers.send("confirmMigration", ID, sender=member)
    assert current(key_servers) == addresses(A, B, C, D)
    key_servers.send("startMigration", OTHER_ID, sender=NEWCOMER)
    assert key_servers.call("getMigrationKeyServers") == addresses(NEWCOMER, B, C, D)


def test_when_a_migration_may_start(world: World) -> None:
    key_servers = world.key_servers

    assert key_servers.revert_reason("startMigration", ID, sender=A) == "NothingToMigrate"
    key_servers.send("removeKeyServer", key_of(E).address)
    assert key_servers.revert_reason("startMigration", b"\0" * 32, sender=A) == "InvalidMigrationId"
    assert key_servers.revert_reason("startMigration", ID, sender=STRANGER) == "NotMember"
    key_servers.send("startMigration", ID, sender=A)
    assert key_servers.revert_reason("startMigration", OTHER_ID, sender=B) == "MigrationRunning"


def test_a_leaving_server_does_not_start_a_migration(world: World) -> None:
    # C-12
    world.key_servers.send("removeKeyServer", key_of(E).address)

    assert world.key_servers.revert_reason("startMigration", ID, sender=E) == "NotMember"


def test_no_migration_before_initialization(chain: Chain) -> None:
    key_servers = deploy_set(chain, (A, B), initialized=False)

    assert key_servers.revert_reason("startMigration", ID, sender=A) == "NothingToMigrate"


def test_other_order_or_network_address_is_not_another_set(world: World) -> None:
    key_servers = world.key_servers
    key_servers.send("removeKeyServer", key_of(A).address)
    key_servers.send("addKeyServer", public_of(A), "10.0.0.9:1")

    assert key_servers.call("getNewKeyServers") == addresses(E, B, C, D, A)
    assert key_servers.revert_reason("startMigration", ID, sender=A) == "NothingToMigrate"


def test_an_emptied_new_set_cannot_be_migrated_to(chain: Chain) -> None:
    key_servers = deploy_set(chain, (A,))
    key_servers.send("removeKeyServer", key_of(A).address)

    assert key_servers.revert_reason("startMigration", ID, sender=A) == "NotMember"


def test_who_may_confirm(world: World) -> None:
    key_servers = world.key_servers
    assert key_servers.revert_reason("confirmMigration", ID, sender=A) == "NoMigration"
    key_servers.send("removeKeyServer", key_of(E).address)
    key_servers.send("startMigration", ID, sender=A)

    assert key_servers.revert_reason("confirmMigration", OTHER_ID, sender=A) == "InvalidMigrationId"
    assert key_servers.revert_reason("confirmMigration", b"\0" * 32, sender=A) == (
        "InvalidMigrationId"
    )
    assert key_servers.revert_reason("confirmMigration", ID, sender=E) == "NotMember"
    key_servers.send("confirmMigration", ID, sender=A)
    assert key_servers.revert_reason("confirmMigration", ID, sender=A) == "AlreadyConfirmed"


def test_a_migration_can_be_cancelled_and_another_started(world: World) -> None:
    # C-10: one member that never confirms does not freeze the set.
    key_servers = world.key_servers
    assert key_servers.revert_reason("cancelMigration", ID) == "NoMigration"
    key_servers.send("removeKeyServer", key_of(E).address)
    key_servers.send("startMigration", ID, sender=A)
    key_servers.send("confirmMigration", ID, sender=A)
    assert key_servers.revert_reason("cancelMigration", OTHER_ID) == "InvalidMigrationId"

    cancelled = key_servers.send("cancelMigration", ID)

    assert [(e.name, e.args) for e in cancelled.events] == [("MigrationCancelled", (ID,))]
    assert key_servers.call("getMigrationMaster") == "0x" + "00" * 20
    assert key_servers.call("getMigrationKeyServers") == []
    assert current(key_servers) == addresses(*SERVERS)
    assert key_servers.call("getCurrentLastChange") == 0
    assert key_servers.revert_reason("confirmMigration", ID, sender=B) == "NoMigration"
    # C-13: an id is used once.
    assert key_servers.revert_reason("startMigration", ID, sender=B) == "InvalidMigrationId"
    key_servers.send("startMigration", OTHER_ID, sender=B)
    assert key_servers.call("isMigrationConfirmed", key_of(A).address) is False


def test_a_server_can_leave_and_come_back(world: World) -> None:
    world.migrate((A, B, C), b"\x01" * 32)
    world.migrate((A, B, C, D), b"\x02" * 32)
    world.migrate((B, C, D), b"\x03" * 32)

    assert set(current(world.key_servers)) == set(addresses(B, C, D))
    indices = [
        world.key_servers.call("getCurrentKeyServerIndex", address)
        for address in current(world.key_servers)
    ]
    assert indices == [0, 1, 2]


def test_lists_that_were_current_are_remembered(chain: Chain) -> None:
    key_servers = deploy_set(chain, (A, B, C), initialized=False)
    first, count = key_servers.call("getCurrentList")
    key_servers.send("removeKeyServer", key_of(A).address)
    second, second_count = key_servers.call("getCurrentList")

    assert (count, second_count) == (3, 2)
    places = [key_servers.call("getPlace", first, key_of(s).address) for s in (A, B, C, D)]
    assert places == [1, 2, 3, 0]
    places = [key_servers.call("getPlace", second, key_of(s).address) for s in (A, B, C, D)]
    assert places == [0, 2, 1, 0]
    assert key_servers.call("getCurrentPlace", key_of(C).address) == [second, 2, 1]
    assert key_servers.call("getCurrentPlace", key_of(A).address) == [second, 2, 0]
