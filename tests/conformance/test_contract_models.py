"""The simulated contracts give the results, events and reverts of the compiled ones.

Random calls of key servers, customers and strangers go to both, one block each; now and then every
getter is compared.
"""

from random import Random
from typing import Any

import pytest

from keyserver.simulation.contracts import queue
from keyserver.simulation.contracts.contract import abi_of
from keyserver.simulation.contracts.node_set import NodeSetContract
from tests.conformance.contract_pair import (
    CUSTOMERS,
    EVERYBODY,
    FEES,
    KEYS,
    ODD_POINT,
    OWNER,
    POINTS,
    SERVERS,
    STRANGER,
    Pair,
)
from tests.contracts.chain import Chain, public_of


def step(pair: Pair) -> None:
    draw = pair.random
    sender = draw.choice(SERVERS) if draw.random() < 0.75 else draw.choice(EVERYBODY)
    key, customer = draw.choice(KEYS), pair.account(draw.choice(CUSTOMERS))
    point = draw.choice((*POINTS, POINTS[0], POINTS[0], ODD_POINT))
    threshold = draw.choice((0, 1, 1, 1, 2, 255))
    mask = draw.choice((0b11, 0b11, 0b110, 0b1, 0b111, 1 << 7))
    asked = draw.choice(CUSTOMERS)
    choices: list[tuple[int, int, str, tuple[Any, ...], int]] = [
        (3, asked, "generateServerKey", (key, threshold), draw.choice(FEES)),
        (6, sender, "serverKeyGenerated", (key, point), 0),
        (1, sender, "serverKeyGenerationError", (key,), 0),
        (3, asked, "retrieveServerKey", (key,), draw.choice(FEES)),
        (6, sender, "serverKeyRetrieved", (key, point, threshold), 0),
        (2, sender, "serverKeyRetrievalError", (key,), 0),
        (3, asked, "storeDocumentKey", (key, point, POINTS[1]), draw.choice(FEES)),
        (6, sender, "documentKeyStored", (key,), 0),
        (1, sender, "documentKeyStoreError", (key,), 0),
        (3, asked, "retrieveDocumentKeyShadow", (key, public_of(asked)), draw.choice(FEES)),
        (1, asked, "retrieveDocumentKeyShadow", (key, POINTS[0]), FEES[0]),
        (8, sender, "documentKeyCommonRetrieved", (key, customer, point, threshold), 0),
        (
            8,
            sender,
            "documentKeyPersonalRetrieved",
            (key, customer, mask, point, draw.choice((b"", b"s", b"shadow", bytes(1025)))),
            0,
        ),
        (2, sender, "documentKeyShadowRetrievalError", (key, customer), 0),
        (1, sender, "expireServerKeyGenerationRequest", (key,), 0),
        (1, sender, "expireServerKeyRetrievalRequest", (key,), 0),
        (1, sender, "expireDocumentKeyStoreRequest", (key,), 0),
        (1, sender, "expireDocumentKeyShadowRetrievalRequest", (key, customer), 0),
    ]
    _, who, method, arguments, value = draw.choices(choices, [each[0] for each in choices])[0]
    pair.send(who, pair.service, method, *arguments, value=value)


def compare_service(pair: Pair) -> None:
    for key in KEYS:
        for number in (*SERVERS, STRANGER):
            server = pair.account(number)
            for name in ("ServerKeyGeneration", "ServerKeyRetrieval", "DocumentKeyStore"):
                pair.compare(pair.service, f"is{name}ResponseRequired", key, server)
            for customer in CUSTOMERS:
                pair.compare(
                    pair.service,
                    "isDocumentKeyShadowRetrievalResponseRequired",
                    key,
                    pair.account(customer),
                    server,
                )
    for name in (
        "ServerKeyGeneration",
        "ServerKeyRetrieval",
        "DocumentKeyStore",
        "DocumentKeyShadowRetrieval",
    ):
        lower = name[0].lower() + name[1:]
        pair.compare(pair.service, f"{lower}RequestsCount")
        pair.compare(pair.service, f"{lower}Fee")
        for index in range(3):
            pair.compare(pair.service, f"get{name}Request", index)
    pair.compare(pair.service, "keyServersCount")
    pair.compare(pair.service, "keyServerSetAddress")
    pair.compare(pair.service, "requestLifetimeBlocks")
    for number in EVERYBODY:
        pair.compare(pair.service, "requireKeyServer", pair.account(number))


@pytest.mark.parametrize("number", range(3))
def test_the_services_count_as_the_compiled_contract_does(number: int) -> None:
    chain, random = Chain(rich=SERVERS), Random(number)
    pair = Pair(chain, random, members=(3, 4, 5)[number])
    pair.send(OWNER, pair.set, "completeInitialization")
    for count in range(160):
        step(pair)
        if count % 80 == 79:
            compare_service(pair)
    assert pair.succeeded > 60, pair.succeeded
    assert pair.reverted > 10, pair.reverted


def test_answers_of_an_earlier_set_do_not_count() -> None:
    """Before the initialization is completed the owner may change the current set at once."""
    pair = Pair(Chain(rich=SERVERS), Random(5), members=3)
    for count in range(120):
        step(pair)
        if count % 9 == 8:
            server = pair.random.choice(SERVERS)
            if pair.random.random() < 0.5:
                pair.send(OWNER, pair.set, "addKeyServer", public_of(server), "10.0.0.2:1")
            else:
                pair.send(OWNER, pair.set, "removeKeyServer", pair.account(server))
    compare_service(pair)


def test_fees_go_to_the_servers_and_can_be_drained_once() -> None:
    pair = Pair(Chain(rich=SERVERS), Random(6), members=3)
    customer, server = CUSTOMERS[0], SERVERS[0]
    pair.send(customer, pair.service, "retrieveServerKey", KEYS[0], value=10**17 + 2)
    for number in EVERYBODY:
        pair.compare(pair.service, "keyServerBalance", pair.account(number))
    for _ in range(2):
        pair.send(server, pair.service, "drain")
        pair.compare(pair.service, "keyServerBalance", pair.account(server))


def test_a_request_ends_when_its_time_is_over() -> None:
    pair = Pair(Chain(rich=SERVERS), Random(7), members=3)
    pair.send(CUSTOMERS[0], pair.service, "retrieveServerKey", KEYS[0], value=10**17)
    pair.send(STRANGER, pair.service, "expireServerKeyRetrievalRequest", KEYS[0])
    pair.chain.mine(600)
    pair.send(STRANGER, pair.service, "expireServerKeyRetrievalRequest", KEYS[0])
    assert pair.reverted == 1


def test_bytes_that_are_no_call_are_refused_alike() -> None:
    pair = Pair(Chain(rich=SERVERS), Random(8), members=3)
    whole = abi_of(queue.ARTIFACT).function("generateServerKey").encode(KEYS[0], 1)
    for data in (b"", b"\x01\x02\x03\x04", whole[:4], whole[:-1]):
        pair.send_data(CUSTOMERS[0], pair.service, data, 0, data.hex())
    paid = abi_of(queue.ARTIFACT).function("serverKeyGenerationError").encode(KEYS[0])
    pair.send_data(SERVERS[0], pair.service, paid, 1, "value for a function that takes none")


def test_the_set_tells_its_members_as_the_compiled_contract_does() -> None:
    pair = Pair(Chain(rich=SERVERS), Random(9), members=4)
    stranger, server = pair.account(STRANGER), pair.account(SERVERS[1])
    steps: list[tuple[int, str, tuple[Any, ...]]] = [
        (STRANGER, "addKeyServer", (public_of(STRANGER), "x:1")),
        (OWNER, "addKeyServer", (public_of(SERVERS[0]), "x:1")),
        (OWNER, "addKeyServer", (public_of(STRANGER)[:63], "x:1")),
        (OWNER, "addKeyServer", (public_of(STRANGER), "")),
        (OWNER, "removeKeyServer", (server,)),
        (OWNER, "removeKeyServer", (server,)),
        (OWNER, "completeInitialization", ()),
        (OWNER, "completeInitialization", ()),
        (OWNER, "addKeyServer", (public_of(SERVERS[1]), "10.0.0.3:1")),
        (OWNER, "removeKeyServer", (pair.account(SERVERS[0]),)),
        (OWNER, "updateKeyServerAddress", (server, "10.0.0.4:1")),
        (OWNER, "updateKeyServerAddress", (stranger, "10.0.0.4:1")),
        (OWNER, "updateKeyServerAddress", (server, "")),
        (STRANGER, "updateKeyServerAddress", (server, "10.0.0.4:1")),
    ]
    for sender, method, arguments in steps:
        pair.send(sender, pair.set, method, *arguments)
        for getter in (
            "getCurrentLastChange",
            "getCurrentKeyServersCount",
            "getCurrentKeyServers",
            "getNewKeyServers",
            "getMigrationKeyServers",
            "getMigrationMaster",
            "getMigrationId",
            "isInitialized",
        ):
            pair.compare(pair.set, getter)
        for index in (0, 3):
            pair.compare(pair.set, "getCurrentKeyServer", index)
        for number in (SERVERS[0], SERVERS[1], STRANGER):
            for getter in (
                "getCurrentKeyServerIndex",
                "getCurrentKeyServerPublic",
                "getCurrentKeyServerAddress",
                "getNewKeyServerPublic",
                "getNewKeyServerAddress",
                "isMigrationConfirmed",
            ):
                pair.compare(pair.set, getter, pair.account(number))


def test_permissions_are_kept_as_the_compiled_contract_does() -> None:
    pair = Pair(Chain(), Random(10), members=0)
    users = [pair.account(number) for number in (2, 3, 4)]
    for _ in range(60):
        draw, document = pair.random, pair.random.choice(KEYS)
        listed = draw.sample(users, draw.randint(0, 3))
        method, arguments = draw.choice(
            [
                ("permission", (document, listed)),
                ("permission", (document, [users[0], users[0]])),
                ("setUsers", (document, listed)),
                ("addUser", (document, draw.choice(users))),
                ("setExposed", (document, draw.random() < 0.5)),
                ("removePermission", (document,)),
            ]
        )
        pair.send(draw.choice((OWNER, 2, 3)), pair.permissions, method, *arguments)
        for user in users:
            for each in KEYS:
                pair.compare(pair.permissions, "checkPermissions", user, each)
    assert min(pair.succeeded, pair.reverted) > 5


def test_migrations_go_as_in_the_compiled_contract() -> None:
    pair = Pair(Chain(rich=SERVERS), Random(11), members=3)
    pair.send(OWNER, pair.set, "completeInitialization")
    draw, completed = pair.random, 0
    for step in range(70):
        model = pair.models[pair.set]
        assert isinstance(model, NodeSetContract)
        completed += model.last_change == pair.chain.block
        server, fresh = draw.choice(SERVERS), bytes([1 + step]) * 32
        running = model.migration_id if model.migration and draw.random() < 0.9 else fresh
        choices: list[tuple[int, int, str, tuple[Any, ...]]] = [
            (2, OWNER, "addKeyServer", (public_of(server), "10.0.0.5:1")),
            (2, OWNER, "removeKeyServer", (pair.account(server),)),
            (1, STRANGER, "cancelMigration", (running,)),
            (1, OWNER, "updateKeyServerAddress", (pair.account(server), "10.0.0.6:1")),
            (4, server, "startMigration", (draw.choice((running, fresh, bytes(32))),)),
            (24 if model.migration else 2, server, "confirmMigration", (running,)),
            (1, OWNER, "cancelMigration", (running,)),
        ]
        _, who, method, arguments = draw.choices(choices, [each[0] for each in choices])[0]
        pair.send(who, pair.set, method, *arguments)
        if step % 3 == 0:
            _compare_migration(pair)
    assert min(pair.succeeded, pair.reverted) > 15
    assert completed > 1, "no two migrations were completed"


def _compare_migration(pair: Pair) -> None:
    for getter in (
        "getCurrentLastChange",
        "getCurrentKeyServers",
        "getNewKeyServers",
        "getMigrationKeyServers",
        "getMigrationMaster",
        "getMigrationId",
    ):
        pair.compare(pair.set, getter)
    for number in (SERVERS[0], SERVERS[3]):
        for getter in (
            "getCurrentKeyServerIndex",
            "getMigrationKeyServerPublic",
            "getMigrationKeyServerAddress",
            "isMigrationConfirmed",
        ):
            pair.compare(pair.set, getter, pair.account(number))
