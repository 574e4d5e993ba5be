"""The built contracts have the interfaces that clients and nodes of other makers expect."""

import json
from pathlib import Path
from typing import Any

import pytest
from eth_utils.crypto import keccak

from keyserver.evm.artifacts import load_artifact

SIGNATURES = json.loads((Path(__file__).parent / "data" / "abi-signatures.json").read_text())
CODE_LIMIT = 24_576
INIT_CODE_LIMIT = 49_152

# Interface in the file -> the built contracts that must have all of it.
SINGLE = [
    "SecretStoreServerKeyGenerationService",
    "SecretStoreServerKeyRetrievalService",
    "SecretStoreDocumentKeyStoreService",
    "SecretStoreDocumentKeyShadowRetrievalService",
    "SecretStoreEcdsaSigningService",
    "SecretStoreSchnorrSigningService",
]
IMPLEMENTED = {
    "KeyServerSetExtensions": ["OwnedKeyServerSetWithMigration"],
    "SecretStoreServiceBase": [*SINGLE, "SecretStoreService"],
    **{
        f"{scheme}SigningService{side}": [f"SecretStore{scheme}SigningService"]
        for scheme in ("Ecdsa", "Schnorr")
        for side in ("ClientApi", "KeyServerApi", "AdminApi")
    },
    "OwnerRegistry": ["SimpleRegistry"],
    "ReverseRegistry": ["SimpleRegistry"],
    "ISecretStorePermissioning": ["PermissioningRegistry", "PermissioningRelay"],
}


def signature(entry: dict[str, Any]) -> str:
    return f"{entry['name']}({','.join(i['type'] for i in entry['inputs'])})"


def interfaces() -> list[str]:
    return [name for name in SIGNATURES if name != "_meta"]


def pairs() -> list[tuple[str, str]]:
    named = [(name, name) for name in interfaces() if built(name)]
    return named + [(name, contract) for name, list_ in IMPLEMENTED.items() for contract in list_]


def built(name: str) -> bool:
    return (Path(__file__).parents[2] / "abi" / f"{name}.json").exists()


def test_every_deployable_interface_is_built() -> None:
    missing = {name for name in interfaces() if not built(name)}

    assert missing == {
        "SecretStoreServiceBase",
        "SecretStoreServiceExtensions",
        "EcdsaSigningServiceAdminApi",
        "SchnorrSigningServiceAdminApi",
        "ISecretStorePermissioning",
        "ISecretStorePermissioningExtended",
        "OwnerRegistry",
        "ReverseRegistry",
    }


@pytest.mark.parametrize(("interface", "contract"), pairs())
def test_functions_have_the_published_selectors(interface: str, contract: str) -> None:
    functions = {
        signature(entry): entry
        for entry in load_artifact(contract).abi
        if entry["type"] == "function"
    }
    for wanted in SIGNATURES[interface]["functions"]:
        found = functions[wanted["signature"]]
        assert "0x" + keccak(text=signature(found))[:4].hex() == wanted["selector"]
        types = [output["type"] for output in found["outputs"]]
        assert types == [output["type"] for output in wanted["outputs"]]
        changes_state = ("payable", "nonpayable")
        if wanted["stateMutability"] in changes_state:
            assert found["stateMutability"] == wanted["stateMutability"]
        else:
            assert found["stateMutability"] not in changes_state


@pytest.mark.parametrize(("interface", "contract"), pairs())
def test_events_have_the_published_topics(interface: str, contract: str) -> None:
    events = {
        (signature(entry), tuple(i["indexed"] for i in entry["inputs"]))
        for entry in load_artifact(contract).abi
        if entry["type"] == "event"
    }
    for wanted in SIGNATURES[interface]["events"]:
        text = signature(wanted)
        assert "0x" + keccak(text=text).hex() == wanted["topic0"]
        assert (text, tuple(i["indexed"] for i in wanted["inputs"])) in events


@pytest.mark.parametrize("contract", [*SINGLE, "SecretStoreService"])
def test_services_have_the_extensions_of_their_kind(contract: str) -> None:
    wanted = {
        entry["signature"]
        for entry in SIGNATURES["SecretStoreServiceExtensions"]["functions"]
        if not entry["name"].startswith("expire") or _belongs(entry["name"], contract)
    }
    abi = load_artifact(contract).abi
    functions = {signature(entry) for entry in abi if entry["type"] == "function"}
    events = {signature(entry) for entry in abi if entry["type"] == "event"}

    assert wanted <= functions
    assert {"KeyServerSetChanged(address,address)", "RequestLifetimeChanged(uint256)"} <= events


def _belongs(function: str, contract: str) -> bool:
    kind = function.removeprefix("expire").removesuffix("Request")
    combined = not kind.endswith("Signing") and contract == "SecretStoreService"
    return combined or contract == f"SecretStore{kind}Service"


def test_parameters_of_the_shadow_response_query_are_in_the_safe_order() -> None:
    (query,) = [
        entry
        for entry in load_artifact("SecretStoreService").abi
        if entry.get("name") == "isDocumentKeyShadowRetrievalResponseRequired"
    ]

    assert [i["name"] for i in query["inputs"]] == ["serverKeyId", "requester", "keyServer"]


def test_only_the_account_takes_plain_ether() -> None:
    takers = [
        path.stem
        for path in (Path(__file__).parents[2] / "abi").glob("*.json")
        if {entry["type"] for entry in load_artifact(path.stem).abi} & {"receive", "fallback"}
    ]

    assert takers == ["ServerKeyAccount"]


def test_every_contract_fits_the_limits_of_the_chain() -> None:
    for path in (Path(__file__).parents[2] / "abi").glob("*.json"):
        artifact = load_artifact(path.stem)
        assert len(artifact.deployed_bytecode) <= CODE_LIMIT, path.name
        assert len(artifact.bytecode) <= INIT_CODE_LIMIT, path.name


def test_artifacts_name_compiler_and_settings() -> None:
    for path in (Path(__file__).parents[2] / "abi").glob("*.json"):
        fields = json.loads(path.read_text())
        assert fields["compiler"].startswith("0.8.30+commit.")
        assert fields["settings"]["evmVersion"] == "shanghai"
        assert fields["settings"]["metadata"] == {"bytecodeHash": "none", "appendCBOR": False}
