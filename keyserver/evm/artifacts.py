"""The built contracts: ABI and bytecode, read from the JSON files in `abi/`.

A wheel carries the folder as data of this package; in a checkout it stands beside the package.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from keyserver.errors import KeyServerError


class ArtifactError(KeyServerError):
    """A contract that was never built, or a file that does not hold one."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One contract as compiled; `bytecode` is empty for an interface."""

    name: str
    abi: tuple[dict[str, Any], ...]
    """The ABI entries in the compiler's JSON form."""
    bytecode: bytes
    """What creates the contract, without constructor arguments."""
    deployed_bytecode: bytes
    """What then stands on chain, with zeros for immutable values."""


@cache
def load_artifact(name: str) -> Artifact:
    """Return the contract with this name, e.g. `SecretStoreService`.

    Raises `ArtifactError` if there is none or its file is damaged. Treat the ABI as read-only: all
    callers share it.
    """
    if not name.isidentifier():
        raise ArtifactError(f"{name!r} is not the name of a contract")
    try:
        text = (_folder() / f"{name}.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArtifactError(f"contract {name}: no such file in abi/") from None
    return parse_artifact(name, text)


def parse_artifact(name: str, text: str) -> Artifact:
    """Read the JSON text of one artifact; raises `ArtifactError` if it is not one of `name`."""
    try:
        fields = json.loads(text)
        if fields["contractName"] != name:
            raise ArtifactError(f"contract {name}: the file holds {fields['contractName']!r}")
        return Artifact(
            name,
            tuple(fields["abi"]),
            _from_hex(fields["bytecode"]),
            _from_hex(fields["deployedBytecode"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"contract {name}: the file is damaged: {error!r}") from error


def _from_hex(text: Any) -> bytes:
    if not isinstance(text, str) or not text.startswith("0x"):
        raise ValueError("bytecode is not a string that starts with 0x")
    return bytes.fromhex(text[2:])


def _folder() -> Traversable:
    packaged = files("keyserver") / "abi"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "abi"
