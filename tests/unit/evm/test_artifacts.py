"""Loading built contracts, and what the loader says about bad files."""

import json

import pytest

from keyserver.evm.artifacts import Artifact, ArtifactError, load_artifact, parse_artifact

GOOD = {"contractName": "Sample", "abi": [], "bytecode": "0x6000", "deployedBytecode": "0x"}


def test_a_built_contract_has_code_and_abi() -> None:
    artifact = load_artifact("SecretStoreService")

    assert artifact.name == "SecretStoreService"
    assert any(entry.get("name") == "generateServerKey" for entry in artifact.abi)
    assert len(artifact.bytecode) > len(artifact.deployed_bytecode) > 10_000


def test_an_interface_has_no_code() -> None:
    artifact = load_artifact("KeyServerSetWithMigration")

    assert artifact.bytecode == artifact.deployed_bytecode == b""
    assert any(entry.get("name") == "startMigration" for entry in artifact.abi)


def test_parsing() -> None:
    assert parse_artifact("Sample", json.dumps(GOOD)) == Artifact("Sample", (), b"\x60\x00", b"")


@pytest.mark.parametrize("name", ["NoSuchContract", "../pyproject", "", "a/b"])
def test_unknown_contracts(name: str) -> None:
    with pytest.raises(ArtifactError, match="contract"):
        load_artifact(name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({**GOOD, "bytecode": "6000"}),
        json.dumps({**GOOD, "bytecode": "0x6"}),
        json.dumps({**GOOD, "bytecode": 7}),
        json.dumps({**GOOD, "abi": None}),
        json.dumps({key: value for key, value in GOOD.items() if key != "abi"}),
    ],
)
def test_damaged_files(text: str) -> None:
    with pytest.raises(ArtifactError, match="Sample: the file is damaged"):
        parse_artifact("Sample", text)


def test_a_file_of_another_contract() -> None:
    with pytest.raises(ArtifactError, match="holds 'Sample'"):
        parse_artifact("Other", json.dumps(GOOD))
