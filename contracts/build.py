"""Compile the contracts into `abi/<ContractName>.json`.

`python contracts/build.py` writes the files, `--check` compares them byte for byte and fails on any
difference. The official compiler is used where py-solc-x has it or can fetch it, else the npm build
of the same version (`npm ci` installs it); both give the same bytes.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
import solcx
from solcx.exceptions import SolcNotInstalled

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "contracts"
ARTIFACTS = ROOT / "abi"
SHIM = SOURCES / "solc.js"

VERSION = "0.8.30"
SETTINGS: dict[str, Any] = {
    "evmVersion": "shanghai",
    "optimizer": {"enabled": True, "runs": 200},
    # The older code generator: its binary search for functions makes the combined contract cheaper.
    "viaIR": False,
    # Bytecode that does not depend on comments or file names.
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
}
CODE_LIMIT = 24_576
"""Bytes of deployed code a chain accepts (EIP-170)."""

INTERNAL = {
    "EcdsaSignature",
    "MajorityVotes",
    "Ownable",
    "Owned",
    "PendingRequests",
    "SchnorrSignature",
}
"""Parts that are never called by themselves and get no file."""


class BuildError(Exception):
    """The contracts do not compile, or a rule for their artifacts is broken."""


def find_compiler() -> Path:
    """Return an executable of exactly `VERSION`: the official one, else the npm one."""
    if VERSION not in {str(version) for version in solcx.get_installed_solc_versions()}:
        try:
            solcx.install_solc(VERSION)
        except requests.exceptions.RequestException:
            if not (ROOT / "node_modules" / "solc").is_dir():
                message = f"no compiler {VERSION}: the download failed; run `npm ci` first"
                raise BuildError(message) from None
            return SHIM
    return Path(solcx.install.get_executable(VERSION))


def compiler_version(compiler: Path) -> str:
    """Return version and commit as the compiler tells them, without the platform."""
    try:
        version = solcx.wrapper.solc_wrapper(solc_binary=compiler, version=True)[0]
    except SolcNotInstalled as error:
        raise BuildError(str(error)) from error
    match = re.search(r"\d+\.\d+\.\d+\+commit\.[0-9a-f]+", version)
    if match is None or not match.group().startswith(f"{VERSION}+"):
        raise BuildError(f"compiler {version!r} is not {VERSION}")
    return match.group()


def compile_sources(compiler: Path) -> dict[str, Any]:
    """Compile all sources at once and return the compiler's `contracts` output."""
    sources = {
        path.relative_to(ROOT).as_posix(): {"content": path.read_text(encoding="utf-8")}
        for path in sorted(SOURCES.rglob("*.sol"))
    }
    outputs = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"]
    request = {
        "language": "Solidity",
        "sources": sources,
        "settings": {**SETTINGS, "outputSelection": {"*": {"*": outputs}}},
    }
    try:
        answer = solcx.compile_standard(request, solc_binary=compiler)
    except solcx.exceptions.SolcError as error:
        raise BuildError(error.message) from error
    warnings = [error["formattedMessage"] for error in answer.get("errors", [])]
    if warnings:
        raise BuildError("\n".join(warnings))
    return answer["contracts"]  # type: ignore[no-any-return]


def artifacts(contracts: dict[str, Any], compiler: str) -> Iterator[tuple[str, str]]:
    """Yield file name and text of every artifact."""
    for units in contracts.values():
        for name, unit in units.items():
            deployed = unit["evm"]["deployedBytecode"]["object"]
            if name in INTERNAL or (not deployed and "interfaces" not in _home(contracts, name)):
                continue
            if len(deployed) // 2 > CODE_LIMIT:
                raise BuildError(f"{name} has {len(deployed) // 2} bytes, more than {CODE_LIMIT}")
            artifact = {
                "contractName": name,
                "abi": unit["abi"],
                "bytecode": "0x" + unit["evm"]["bytecode"]["object"],
                "deployedBytecode": "0x" + deployed,
                "compiler": compiler,
                "settings": SETTINGS,
            }
            yield f"{name}.json", json.dumps(artifact, indent=1) + "\n"


def _home(contracts: dict[str, Any], name: str) -> str:
    return next(path for path, units in contracts.items() if name in units)


def write(files: dict[str, str]) -> None:
    """Write all artifacts and remove those of contracts that are gone."""
    ARTIFACTS.mkdir(exist_ok=True)
    for stale in {path.name for path in ARTIFACTS.glob("*.json")} - files.keys():
        (ARTIFACTS / stale).unlink()
    for name, text in files.items():
        (ARTIFACTS / name).write_text(text, encoding="utf-8", newline="\n")


def differences(files: dict[str, str]) -> list[str]:
    """Return the names of artifacts that are missing, stale or different."""
    present = {path.name: path.read_bytes() for path in ARTIFACTS.glob("*.json")}
    names = sorted(present.keys() | files.keys())
    return [name for name in names if present.get(name) != files.get(name, "").encode()]


def main() -> int:
    """Run the command; the exit code is 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    try:
        compiler = find_compiler()
        files = dict(artifacts(compile_sources(compiler), compiler_version(compiler)))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    if check:
        different = differences(files)
        print("\n".join(f"differs: abi/{name}" for name in different) or "abi/ is up to date")
        return 1 if different else 0
    write(files)
    print(f"wrote {len(files)} files to abi/")
    return 0


if __name__ == "__main__":
    sys.exit(main())
