"""Document key storing: all servers, or nothing."""

import pytest

from tests.contracts.chain import Contract, key_of
from tests.contracts.world import (
    CLIENT,
    FEE,
    KEY,
    NEWCOMER,
    OTHER_KEY,
    OTHER_POINT,
    POINT,
    SERVERS,
    STORE,
    THIRD_POINT,
    World,
)

A, B, C, D, E = SERVERS


@pytest.fixture(params=[False, True], ids=["own", "combined"])
def contract(world: World, request: pytest.FixtureRequest) -> Contract:
    service = world.service(STORE, request.param)
    service.send("storeDocumentKey", KEY, POINT, OTHER_POINT, sender=CLIENT, value=FEE)
    return service


def stored(contract: Contract, server: int) -> list[tuple[str, object]]:
    receipt = contract.send("documentKeyStored", KEY, sender=server)
    return [(event.name, event.args) for event in receipt.events]


def test_request_is_announced_and_enumerated(world: World) -> None:
    service = world.service(STORE)
    receipt = service.send("storeDocumentKey", KEY, POINT, OTHER_POINT, sender=CLIENT, value=FEE)
    author = key_of(CLIENT).address

    assert [(e.name, e.args) for e in receipt.events] == [
        ("DocumentKeyStoreRequested", (KEY, author, POINT, OTHER_POINT))
    ]
    assert service.call("getDocumentKeyStoreRequest", 0) == [KEY, author, POINT, OTHER_POINT]


def test_the_last_confirmation_ends_it(contract: Contract) -> None:
    for server in (E, D, C, B):
        assert stored(contract, server) == []
    assert stored(contract, A) == [("DocumentKeyStored", (KEY,))]
    assert contract.call("documentKeyStoreRequestsCount") == 0
    assert stored(contract, A) == []


def test_one_error_ends_it(contract: Contract) -> None:
    stored(contract, A)
    receipt = contract.send("documentKeyStoreError", KEY, sender=A)

    assert [(e.name, e.args) for e in receipt.events] == [("DocumentKeyStoreError", (KEY,))]


@pytest.mark.parametrize(
    ("common", "encrypted"),
    [(b"", POINT), (POINT[:63], POINT), (POINT, POINT[:63]), (POINT + b"\0", POINT)],
)
def test_points_of_another_length_revert(world: World, common: bytes, encrypted: bytes) -> None:
    reason = world.service(STORE).revert_reason(
        "storeDocumentKey", KEY, common, encrypted, sender=CLIENT, value=FEE
    )
    assert reason == "InvalidPoint"


def test_points_off_the_curve_are_the_nodes_business(world: World) -> None:
    # C-27
    world.service(STORE).send(
        "storeDocumentKey", KEY, b"\xff" * 64, b"\0" * 64, sender=CLIENT, value=FEE
    )


def test_points_move_with_their_request(contract: Contract) -> None:
    contract.send("storeDocumentKey", OTHER_KEY, THIRD_POINT, POINT, sender=CLIENT, value=FEE)
    contract.send("deleteDocumentKeyStoreRequest", KEY)

    assert contract.call("getDocumentKeyStoreRequest", 0) == [
        OTHER_KEY,
        key_of(CLIENT).address,
        THIRD_POINT,
        POINT,
    ]


def test_after_a_migration_all_current_servers_confirm_again(
    world: World, contract: Contract
) -> None:
    for server in (A, B, C, D):
        stored(contract, server)
    world.migrate((A, NEWCOMER))

    assert stored(contract, NEWCOMER) == []
    assert stored(contract, A) == [("DocumentKeyStored", (KEY,))]
