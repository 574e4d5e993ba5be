"""Addresses of contracts: fixed ones, and names in the real registry."""

import itertools

import pytest

from keyserver.chain.client import BlockTag, ChainUnavailableError
from keyserver.chain.name_registry import (
    ACL_NAMES,
    ACL_OPTION,
    COMBINED_OPTION,
    SET_NAMES,
    SET_OPTION,
    ContractDirectory,
    ContractSource,
    FixedContract,
    RegisteredContract,
)
from keyserver.model.identifiers import Address
from keyserver.model.requests import Operation
from keyserver.services.registry import COMBINED, CONTRACTS
from tests.support import echo_contract as echo
from tests.support.eth_tester_client import EthTesterClient
from tests.support.faulty_client import FaultyClient
from tests.support.registry import Registry

CONFIRMATIONS = 3
NOWHERE = Address(b"\x05" * 20)


class Bench:
    def __init__(self) -> None:
        self.inner = EthTesterClient.start()
        self.client = FaultyClient(self.inner)
        self.registry = Registry.deploy(self.inner)
        self.one = self.inner.deploy(echo.CREATION_CODE)
        self.two = self.inner.deploy(echo.CREATION_CODE)

    def directory(self, *, registry: bool = True, **sources: ContractSource) -> ContractDirectory:
        return ContractDirectory(
            client=self.client,
            registry=self.registry.address if registry else None,
            sources=sources,
            services=CONTRACTS,
            retry_interval_blocks=30,
        )

    async def refresh(self, directory: ContractDirectory) -> None:
        head = await self.inner.block(BlockTag.LATEST)
        confirmed = await self.inner.block(max(0, self.inner.node.head.number - CONFIRMATIONS))
        assert head is not None
        assert confirmed is not None
        await directory.refresh(head, confirmed.id)

    async def enter(self, name: str, address: Address) -> None:
        self.registry.enter(name, address)
        self.inner.mine(CONFIRMATIONS)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_fixed_address_is_used_as_it_is(bench: Bench) -> None:
    directory = bench.directory(acl_contract=FixedContract(bench.one), registry=False)
    assert directory.address(ACL_OPTION) is None
    assert directory.problems == {ACL_OPTION: "not looked up yet"}
    await bench.refresh(directory)
    assert directory.address(ACL_OPTION) == bench.one
    assert directory.problems == {}
    assert directory.hints == frozenset()


async def test_an_address_without_a_contract_is_not_used(bench: Bench) -> None:
    directory = bench.directory(acl_contract=FixedContract(NOWHERE))
    await bench.refresh(directory)
    assert directory.address(ACL_OPTION) is None
    assert directory.problems[ACL_OPTION] == f"there is no contract at 0x{NOWHERE.hex()}"


async def test_an_entry_counts_when_it_is_confirmed(bench: Bench) -> None:
    directory = bench.directory(acl_contract=RegisteredContract(ACL_NAMES))
    bench.registry.enter("secretstore_acl_checker", bench.one)
    bench.inner.mine(CONFIRMATIONS - 1)
    await bench.refresh(directory)
    assert directory.address(ACL_OPTION) is None
    assert "no entry secretstore_acl_checker" in directory.problems[ACL_OPTION]
    bench.inner.mine()
    await bench.refresh(directory)
    assert directory.address(ACL_OPTION) == bench.one


async def test_the_documented_name_of_the_set_is_tried_second(bench: Bench) -> None:
    directory = bench.directory(server_set_contract=RegisteredContract(SET_NAMES))
    await bench.enter("server_set_contract", bench.one)
    await bench.refresh(directory)
    assert directory.address(SET_OPTION) == bench.one
    await bench.enter("secretstore_server_set", bench.two)
    await bench.refresh(directory)
    assert directory.address(SET_OPTION) == bench.two
    assert directory.hints == {bench.registry.address, bench.two}


async def test_an_entry_that_is_changed_cleared_or_dropped(bench: Bench) -> None:
    directory = bench.directory(acl_contract=RegisteredContract(ACL_NAMES))
    name = "secretstore_acl_checker"
    await bench.enter(name, bench.one)
    await bench.refresh(directory)
    await bench.enter(name, Address(bytes(20)))
    await bench.refresh(directory)
    assert directory.address(ACL_OPTION) is None
    await bench.enter(name, bench.two)
    await bench.refresh(directory)
    assert directory.address(ACL_OPTION) == bench.two
    bench.registry.drop(name)
    bench.inner.mine(CONFIRMATIONS)
    await bench.refresh(directory)
    assert directory.address(ACL_OPTION) is None


async def test_a_registry_that_cannot_be_asked_changes_nothing(bench: Bench) -> None:
    directory = bench.directory(acl_contract=RegisteredContract(ACL_NAMES))
    await bench.enter("secretstore_acl_checker", bench.one)
    await bench.refresh(directory)
    bench.client.go_down()
    with pytest.raises(ChainUnavailableError):
        await bench.refresh(directory)
    assert directory.address(ACL_OPTION) == bench.one


async def test_a_registry_that_is_none_has_no_entries(bench: Bench) -> None:
    directory = ContractDirectory(
        client=bench.client,
        registry=bench.one,
        sources={ACL_OPTION: RegisteredContract(ACL_NAMES)},
        services=(),
        retry_interval_blocks=30,
    )
    await bench.refresh(directory)
    assert directory.address(ACL_OPTION) is None


async def test_without_a_registry_no_name_is_found(bench: Bench) -> None:
    directory = bench.directory(registry=False, acl_contract=RegisteredContract(ACL_NAMES))
    await bench.refresh(directory)
    assert ACL_OPTION in directory.problems


async def test_what_is_missing_is_looked_for_less_and_less_often(bench: Bench) -> None:
    directory = bench.directory(acl_contract=RegisteredContract(ACL_NAMES))
    looked = []
    for _ in range(100):
        head = bench.inner.mine()
        if directory.is_due(head.number, frozenset()):
            looked.append(head.number)
            await bench.refresh(directory)
    gaps = [b - a for a, b in itertools.pairwise(looked)]
    assert gaps == [1, 2, 4, 8, 16, 30, 30]
    assert directory.is_due(0, frozenset({bench.registry.address}))
    await bench.enter("secretstore_acl_checker", bench.one)
    await bench.refresh(directory)
    assert not directory.is_due(10**6, frozenset())


async def test_each_service_is_once_at_an_address(bench: Bench) -> None:
    directory = bench.directory(
        service_contract=FixedContract(bench.one),
        service_contract_srv_gen=FixedContract(bench.one),
        service_contract_doc_store=FixedContract(bench.two),
        service_contract_ecdsa_sign=FixedContract(bench.two),
    )
    await bench.refresh(directory)
    assert directory.services == {bench.one, bench.two}
    assert directory.address(COMBINED_OPTION) == bench.one
    names = {a: [s.name for s in services] for a, services in directory.by_address.items()}
    assert sorted(names[bench.one]) == sorted(service.name for service in COMBINED)
    assert names[bench.two] == ["document_key_store", "ecdsa_signing"]
    assert (bench.two, Operation.STORE_DOCUMENT_KEY) in directory.operations
    assert (bench.two, Operation.SIGN_ECDSA) in directory.operations
    assert (bench.one, Operation.SIGN_ECDSA) not in directory.operations
    assert (bench.two, Operation.GENERATE_SERVER_KEY) not in directory.operations
