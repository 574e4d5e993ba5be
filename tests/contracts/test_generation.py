"""Server key generation: all servers, or nothing."""

import pytest

from tests.contracts.chain import Contract, key_of
from tests.contracts.world import (
    CLIENT,
    FEE,
    GENERATION,
    KEY,
    NEWCOMER,
    OTHER_POINT,
    POINT,
    SERVERS,
    World,
    deploy_set,
)

A, B, C, D, E = SERVERS


@pytest.fixture(params=[False, True], ids=["own", "combined"])
def contract(world: World, request: pytest.FixtureRequest) -> Contract:
    service = world.service(GENERATION, request.param)
    service.send("generateServerKey", KEY, 3, sender=CLIENT, value=FEE)
    return service


def answer(contract: Contract, server: int, public: bytes = POINT) -> list[tuple[str, object]]:
    receipt = contract.send("serverKeyGenerated", KEY, public, sender=server)
    return [(event.name, event.args) for event in receipt.events]


def test_request_is_announced_and_enumerated(world: World) -> None:
    service = world.service(GENERATION)
    receipt = service.send("generateServerKey", KEY, 3, sender=CLIENT, value=FEE)
    author = key_of(CLIENT).address

    assert [(e.name, e.args) for e in receipt.events] == [
        ("ServerKeyGenerationRequested", (KEY, author, 3))
    ]
    assert service.call("getServerKeyGenerationRequest", 0) == [KEY, author, 3]


def test_the_last_equal_answer_publishes_the_key(contract: Contract) -> None:
    for server in (C, A, E, B):
        assert answer(contract, server) == []
    assert answer(contract, D) == [("ServerKeyGenerated", (KEY, POINT))]
    assert contract.call("serverKeyGenerationRequestsCount") == 0
    assert answer(contract, A) == []


def test_the_first_different_answer_ends_it(contract: Contract) -> None:
    assert answer(contract, A) == []
    assert answer(contract, B, OTHER_POINT) == [("ServerKeyGenerationError", (KEY,))]
    assert contract.call("serverKeyGenerationRequestsCount") == 0


def test_one_error_ends_it(contract: Contract) -> None:
    receipt = contract.send("serverKeyGenerationError", KEY, sender=A)

    assert [(e.name, e.args) for e in receipt.events] == [("ServerKeyGenerationError", (KEY,))]


def test_a_server_that_changes_its_mind_is_not_heard(contract: Contract) -> None:
    assert answer(contract, A) == []
    assert answer(contract, A, OTHER_POINT) == []
    assert contract.call("serverKeyGenerationRequestsCount") == 1


@pytest.mark.parametrize("public", [b"", POINT[:63], POINT + b"\0"])
def test_publics_of_another_length_revert(contract: Contract, public: bytes) -> None:
    reason = contract.revert_reason("serverKeyGenerated", KEY, public, sender=A)
    assert reason == "InvalidPoint"
    reason = contract.revert_reason("serverKeyGenerated", b"\x99" * 32, public, sender=A)
    assert reason == "InvalidPoint"


@pytest.mark.parametrize("threshold", [5, 6, 254, 255])
def test_thresholds_that_nobody_could_serve_revert(world: World, threshold: int) -> None:
    # C-01: the original let 255 pass, which nodes cannot read.
    service = world.service(GENERATION)
    reason = service.revert_reason("generateServerKey", KEY, threshold, sender=CLIENT, value=FEE)
    assert reason == "InvalidThreshold"


@pytest.mark.parametrize("threshold", [0, 4])
def test_outermost_thresholds(world: World, threshold: int) -> None:
    service = world.service(GENERATION)
    service.send("generateServerKey", KEY, threshold, sender=CLIENT, value=FEE)
    assert service.call("getServerKeyGenerationRequest", 0)[2] == threshold


def test_after_a_migration_all_current_servers_answer_again(
    world: World, contract: Contract
) -> None:
    for server in (A, B, C, D):
        answer(contract, server)
    world.migrate((A, B, C, NEWCOMER))

    for server in (A, B, C):
        assert answer(contract, server, OTHER_POINT) == []
    assert answer(contract, NEWCOMER, OTHER_POINT) == [("ServerKeyGenerated", (KEY, OTHER_POINT))]


def test_a_second_request_for_the_same_id_starts_empty(contract: Contract) -> None:
    for server in (A, B, C, D):
        answer(contract, server)
    contract.send("deleteServerKeyGenerationRequest", KEY)
    contract.send("generateServerKey", KEY, 1, sender=CLIENT, value=FEE)

    for server in (A, B, C, D):
        assert answer(contract, server, OTHER_POINT) == []
    assert answer(contract, E, OTHER_POINT) == [("ServerKeyGenerated", (KEY, OTHER_POINT))]


def test_a_set_of_one_answers_alone(world: World) -> None:
    key_servers = deploy_set(world.chain, (A,))
    service = world.chain.deploy(GENERATION.contract, key_servers.address)
    service.send("generateServerKey", KEY, 0, sender=CLIENT, value=FEE)

    assert answer(service, A) == [("ServerKeyGenerated", (KEY, POINT))]
