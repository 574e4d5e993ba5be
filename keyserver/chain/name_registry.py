"""Where the contracts are: fixed addresses, and names in the registry (chain watcher, section 3).

A name is looked up at the confirmed block. A registry that answers nothing, zero, or reverts has
no such entry; a registry that cannot be asked changes nothing (W-09). An address without code is
not used (W-10).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import structlog

from keyserver.chain.client import (
    BlockId,
    BlockRef,
    CallResult,
    ChainClient,
    ContractCall,
    Returned,
)
from keyserver.crypto.hashing import keccak256
from keyserver.evm.abi import AbiError, Function
from keyserver.model.identifiers import Address
from keyserver.model.requests import Operation
from keyserver.services.base import ServiceContract

GET_ADDRESS = Function.parse("getAddress(bytes32,string)", "address")
ADDRESS_KEY = "A"
NO_ADDRESS = Address(bytes(20))

SET_OPTION = "server_set_contract"
ACL_OPTION = "acl_contract"
COMBINED_OPTION = "service_contract"
"""Configuration keys; those of the single services are `ServiceContract.option`."""

SET_NAMES = ("secretstore_server_set", "server_set_contract")
"""The second is how the original's documentation calls the entry."""
ACL_NAMES = ("secretstore_acl_checker",)
COMBINED_NAMES = ("secretstore_service",)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FixedContract:
    """The configuration gives the address."""

    address: Address


@dataclass(frozen=True, slots=True)
class RegisteredContract:
    """The registry gives the address, under the first of these names that it has."""

    names: tuple[str, ...]


ContractSource = FixedContract | RegisteredContract


def name_hash(name: str) -> bytes:
    """How the registry knows a name: the Keccak-256 hash of its ASCII form."""
    return keccak256(name.encode("ascii"))


@dataclass(frozen=True)
class Directory:
    """Which option's contract is where, at one block."""

    addresses: Mapping[str, Address]
    problems: Mapping[str, str]
    """Why an option that should have a contract has none, in words for an operator."""

    @cached_property
    def used(self) -> frozenset[Address]:
        """All addresses."""
        return frozenset(self.addresses.values())


def find_addresses(
    sources: Mapping[str, ContractSource], entry_by_name: Mapping[str, Address]
) -> Directory:
    """Settle every option with what the registry holds (pure)."""
    addresses: dict[str, Address] = {}
    problems: dict[str, str] = {}
    for option, source in sources.items():
        match source:
            case FixedContract(address):
                addresses[option] = address
            case RegisteredContract(names):
                found = [entry_by_name[name] for name in names if name in entry_by_name]
                if found:
                    addresses[option] = found[0]
                else:
                    problems[option] = f"the registry has no entry {' or '.join(names)}"
    return Directory(addresses, problems)


def without_empty_accounts(directory: Directory, empty: frozenset[Address]) -> Directory:
    """Leave out the addresses at which there is no contract (pure)."""
    missing = {
        option: f"there is no contract at 0x{address.hex()}"
        for option, address in directory.addresses.items()
        if address in empty
    }
    kept = {option: a for option, a in directory.addresses.items() if option not in missing}
    return Directory(kept, {**directory.problems, **missing})


class ContractDirectory:
    """The addresses in use; the watcher has them looked up when they may have changed."""

    def __init__(
        self,
        *,
        client: ChainClient,
        registry: Address | None,
        sources: Mapping[str, ContractSource],
        services: Sequence[ServiceContract],
        retry_interval_blocks: int,
    ) -> None:
        """`sources` by option, without those that are switched off; `services`: all known ones."""
        self._client = client
        self._registry = registry
        self._sources = dict(sources)
        self._service_contracts = tuple(services)
        self._retry_interval = retry_interval_blocks
        self._with_code: frozenset[Address] = frozenset()
        self._retry_at = 0
        self._retry_gap = 1
        self._directory = Directory({}, dict.fromkeys(sources, "not looked up yet"))
        self._by_address: Mapping[Address, tuple[ServiceContract, ...]] = {}

    @property
    def problems(self) -> Mapping[str, str]:
        """Options whose contract is not there, and why."""
        return self._directory.problems

    def address(self, option: str) -> Address | None:
        """Where the contract of an option is now."""
        return self._directory.addresses.get(option)

    @property
    def by_address(self) -> Mapping[Address, tuple[ServiceContract, ...]]:
        """The services at each address, each once (W-28); four of them at a combined contract's."""
        return self._by_address

    @property
    def operations(self) -> frozenset[tuple[Address, Operation]]:
        """Which contract may carry which operation (credential kind 3)."""
        return frozenset(
            (address, service.operation)
            for address, services in self._by_address.items()
            for service in services
        )

    @property
    def services(self) -> frozenset[Address]:
        """The addresses of the service contracts."""
        return frozenset(self._by_address)

    @property
    def hints(self) -> frozenset[Address]:
        """The registry and the key server set."""
        found = (self._registry, self.address(SET_OPTION))
        return frozenset(address for address in found if address is not None)

    def is_due(self, block_number: int, touched: frozenset[Address]) -> bool:
        """After a log of the registry, and now and then while something is missing."""
        if self._registry in touched:
            return True
        return bool(self.problems) and block_number >= self._retry_at

    async def refresh(self, head: BlockRef, confirmed: BlockId) -> None:
        """Look everything up; raises `ChainError`, and all addresses then stay as they were."""
        entries = await self._read_registry(confirmed)
        directory = find_addresses(self._sources, entries)
        unknown = sorted(directory.used - self._with_code)
        empty = frozenset([a for a in unknown if not await self._client.code(a, head)])
        self._with_code |= directory.used - empty
        self._take_over(without_empty_accounts(directory, empty), head.number)

    async def _read_registry(self, confirmed: BlockId) -> Mapping[str, Address]:
        registered = [s for s in self._sources.values() if isinstance(s, RegisteredContract)]
        names = [name for source in registered for name in source.names]
        if self._registry is None or not names:
            return {}
        calls = [
            ContractCall(self._registry, GET_ADDRESS.encode(name_hash(name), ADDRESS_KEY))
            for name in names
        ]
        results = await self._client.call_many(calls, confirmed)
        found = {name: _entry(result) for name, result in zip(names, results, strict=True)}
        return {name: address for name, address in found.items() if address is not None}

    def _take_over(self, directory: Directory, block_number: int) -> None:
        before, self._directory = self._directory, directory
        self._by_address = self._place_services()
        if not directory.problems:
            self._retry_gap = 1
        else:
            self._retry_at = block_number + self._retry_gap
            self._retry_gap = min(self._retry_interval, self._retry_gap * 2)
        for option in self._sources:
            now, then = directory.addresses.get(option), before.addresses.get(option)
            if now != then:
                _log.info(
                    "chain_contract_found", option=option, address=_hex(now), before=_hex(then)
                )
            elif now is None and directory.problems[option] != before.problems.get(option):
                _log.warning(
                    "chain_contract_missing", option=option, reason=directory.problems[option]
                )

    def _place_services(self) -> Mapping[Address, tuple[ServiceContract, ...]]:
        placed: dict[Address, dict[str, ServiceContract]] = {}
        for option in (COMBINED_OPTION, *(each.option for each in self._service_contracts)):
            address = self.address(option)
            if address is not None:
                for service in self._service_contracts:
                    combined = option == COMBINED_OPTION and service.in_combined
                    if combined or option == service.option:
                        placed.setdefault(address, {})[service.name] = service
        return {address: tuple(by_name.values()) for address, by_name in placed.items()}


def _entry(result: CallResult) -> Address | None:
    """The address in an answer of the registry; `None` where it has none."""
    if not isinstance(result, Returned):
        return None
    try:
        address: Address = GET_ADDRESS.decode_single(result.data)
    except AbiError:
        return None
    return None if address == NO_ADDRESS else address


def _hex(address: Address | None) -> str | None:
    return None if address is None else "0x" + address.hex()
