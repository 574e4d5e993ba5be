"""The services over a key server set that lacks this project's additions."""

import pytest

from tests.contracts import bytecode
from tests.contracts.chain import RevertError, key_of
from tests.contracts.world import (
    ALL_SERVICES,
    CLIENT,
    FEE,
    NEWCOMER,
    SERVERS,
    STRANGER,
    Service,
    World,
)

each_service = pytest.mark.parametrize("service", ALL_SERVICES, ids=lambda s: s.noun)


@each_service
def test_requests_are_answered(world: World, service: Service) -> None:
    foreign = bytecode.set_without_lists(world.chain, world.key_servers.address)
    contract = world.chain.deploy(service.contract, foreign)
    contract.send(service.request, *service.request_args(), sender=CLIENT, value=FEE)

    assert contract.call("requireKeyServer", key_of(SERVERS[3]).address) == 3
    with pytest.raises(RevertError):
        service.answer(world, contract, STRANGER)
    told = []
    for server in SERVERS:
        told += service.answer(world, contract, server).names
    assert told
    assert not any("Error" in name for name in told)


@each_service
def test_a_migration_drops_all_answers(world: World, service: Service) -> None:
    foreign = bytecode.set_without_lists(world.chain, world.key_servers.address)
    contract = world.chain.deploy(service.contract, foreign)
    contract.send(service.request, *service.request_args(), sender=CLIENT, value=FEE)
    service.answer(world, contract, SERVERS[0])
    args = (*service.subject(world), key_of(SERVERS[0]).address)
    assert contract.call(f"is{service.noun}ResponseRequired", *args) is False

    world.migrate((*SERVERS[:4], NEWCOMER))

    assert contract.call(f"is{service.noun}ResponseRequired", *args) is True
