"""Files of addresses, and that our signatures are those of the contracts."""

import json
from pathlib import Path

import pytest

from keyserver.client.contracts import (
    COMBINED_SERVICE,
    GENERATION,
    RETRIEVAL,
    SHADOW_RETRIEVAL,
    SIGNING,
    STORE,
    Contracts,
    Service,
)
from keyserver.client.reverts import advice_for, name_of_revert
from keyserver.crypto.hashing import keccak256
from keyserver.errors import ConfigError
from keyserver.evm.abi import ContractAbi
from keyserver.evm.artifacts import load_artifact
from keyserver.model.identifiers import Address

ALL = (GENERATION, RETRIEVAL, STORE, SHADOW_RETRIEVAL)


@pytest.mark.parametrize("service", ALL, ids=lambda service: service.title)
@pytest.mark.parametrize("combined", [True, False])
def test_the_contracts_have_what_is_used(service: Service, combined: bool) -> None:
    name = COMBINED_SERVICE if combined else service.contract
    abi = ContractAbi.of(load_artifact(name).abi)
    for function in (service.fee, service.request, service.is_response_required):
        assert abi.function(function.signature).outputs == function.outputs
    for event in (service.requested, service.error, *service.results):
        flags = [entry.indexed for entry in abi.event(event.signature).inputs]
        assert flags == [entry.indexed for entry in event.inputs]


@pytest.mark.parametrize("service", SIGNING.values(), ids=lambda service: service.title)
def test_signatures_have_contracts_of_their_own(service: Service) -> None:
    abi = ContractAbi.of(load_artifact(service.contract).abi)
    for function in (service.fee, service.request, service.is_response_required):
        assert abi.function(function.signature).outputs == function.outputs
    for event in (service.requested, service.error, *service.results):
        flags = [entry.indexed for entry in abi.event(event.signature).inputs]
        assert flags == [entry.indexed for entry in event.inputs]
    address = Address(bytes(19) + b"\1")
    assert Contracts({service.contract: address}).service(service) == address
    with pytest.raises(ConfigError, match=service.contract):
        Contracts({COMBINED_SERVICE: address}).service(service)


def test_the_own_contract_of_a_service_comes_first(tmp_path: Path) -> None:
    one, two = Address(bytes(19) + b"\1"), Address(bytes(19) + b"\2")
    both = Contracts({COMBINED_SERVICE: one, STORE.contract: two})
    assert both.service(STORE) == two
    assert both.service(GENERATION) == one
    with pytest.raises(ConfigError, match=r"SecretStoreDocumentKeyStoreService nor"):
        Contracts({}).service(STORE)


def test_a_file_of_addresses(tmp_path: Path) -> None:
    path = tmp_path / "contracts.json"
    address = "0x" + "Ab" * 20
    path.write_text(
        json.dumps({"contracts": {"X": address}, "chain_id": 5, "block": 9, "other": 1})
    )
    contracts = Contracts.load(path)
    assert contracts.find("X") == Address(b"\xab" * 20)
    assert contracts.find("Y") is None
    assert (contracts.chain_id, contracts.first_block) == (5, 9)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "JSON"),
        ("[]", "contracts"),
        ('{"contracts": []}', "contracts"),
        ('{"contracts": {"X": "0x00"}}', r"contracts\.X"),
        ('{"contracts": {"X": 5}}', r"contracts\.X"),
        ('{"contracts": {}, "chain_id": "5"}', "chain_id"),
        ('{"contracts": {}, "block": true}', "block"),
    ],
)
def test_what_is_wrong_in_it_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "contracts.json"
    with pytest.raises(ConfigError, match="No such file"):
        Contracts.load(path)
    path.write_text(text)
    with pytest.raises(ConfigError, match=named):
        Contracts.load(path)


def test_reverts_have_names_and_advice() -> None:
    data = "0x" + keccak256(b"AlreadyPending()")[:4].hex()
    assert name_of_revert(data) == "AlreadyPending"
    assert advice_for("AlreadyPending")
    assert name_of_revert("0x") == ""
    assert advice_for("") == ""
