"""Built contracts are read from their files, and nothing else is."""

import json

import pytest

from keyserver.evm.artifacts import ArtifactError, load_artifact, parse_artifact

GOOD = {"contractName": "It", "abi": [], "bytecode": "0x01", "deployedBytecode": "0x"}


def test_a_contract_is_found_by_its_name() -> None:
    artifact = load_artifact("SecretStoreService")
    assert artifact.name == "SecretStoreService"
    assert artifact.bytecode
    assert artifact is load_artifact("SecretStoreService"), "read once"


@pytest.mark.parametrize(
    ("name", "why"), [("../abi/It", "not the name"), ("NoSuchContract", "no such file")]
)
def test_other_names_are_refused(name: str, why: str) -> None:
    with pytest.raises(ArtifactError, match=why):
        load_artifact(name)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"contractName": "Other"}, "holds 'Other'"),
        ({"bytecode": "01"}, "damaged"),
        ({"deployedBytecode": 7}, "damaged"),
        ({"abi": None}, "damaged"),
    ],
)
def test_damaged_files_are_named(changes: dict[str, object], why: str) -> None:
    assert parse_artifact("It", json.dumps(GOOD)).bytecode == b"\x01"
    with pytest.raises(ArtifactError, match=f"contract It: .*{why}"):
        parse_artifact("It", json.dumps(GOOD | changes))


def test_what_is_no_json_is_damaged() -> None:
    with pytest.raises(ArtifactError, match="damaged"):
        parse_artifact("It", "{")
