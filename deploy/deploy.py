"""Deploy the contracts of a network from a file naming its nodes.

    python deploy/deploy.py contracts.toml --save contracts.json

The deployer's key never stands on the command line. It is the `key_file` of the plan (64 hex
digits, or an encrypted JSON key file whose passphrase is taken from KEYSERVER_DEPLOYER_PASSPHRASE
or asked for), or the variable KEYSERVER_DEPLOYER_KEY, or it is asked for.

Exit codes: 0 done, 1 the deployment failed, 2 the plan or the command line is wrong.
"""

import argparse
import asyncio
import getpass
import json
import os
import sys
from pathlib import Path

import aiohttp
from eth_account.signers.local import LocalAccount
from web3 import AsyncHTTPProvider, AsyncWeb3, WebSocketProvider
from web3.exceptions import Web3Exception

from keyserver.client.deployment import DeployedContracts, deploy_contracts
from keyserver.client.deployment_plan import PlanFile, account_of, load_plan, read_key
from keyserver.errors import ChainError, ConfigError

KEY_VARIABLE = "KEYSERVER_DEPLOYER_KEY"
PASSPHRASE_VARIABLE = "KEYSERVER_DEPLOYER_PASSPHRASE"  # noqa: S105 (a name, not a passphrase)


def main() -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args()
    try:
        file = load_plan(arguments.plan)
        account = _deployer(file)
        deployed = asyncio.run(_deploy(file, account))
        if arguments.save is not None:
            arguments.save.write_text(deployed.to_json() + "\n", encoding="utf-8")
    except ConfigError as error:
        return _fail(str(error), arguments.json, 2)
    except (ChainError, Web3Exception, aiohttp.ClientError, OSError) as error:
        return _fail(f"{type(error).__name__}: {error}", arguments.json, 1)
    if arguments.json:
        print(deployed.to_json())
    else:
        print(f"done on chain {deployed.chain_id}, {deployed.gas_used:,} gas")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path, help="TOML file, see deploy/contracts.sample.toml")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the addresses as JSON")
    parser.add_argument("--json", action="store_true", help="print the addresses as JSON")
    return parser


def _deployer(file: PlanFile) -> LocalAccount:
    if file.key_file is not None:
        return read_key(file.key_file, _passphrase)
    if KEY_VARIABLE in os.environ:
        return account_of(os.environ[KEY_VARIABLE], KEY_VARIABLE)
    return account_of(getpass.getpass("Private key of the deployer: "), "deployer's key")


def _passphrase() -> str:
    if PASSPHRASE_VARIABLE in os.environ:
        return os.environ[PASSPHRASE_VARIABLE]
    return getpass.getpass("Passphrase of the deployer's key file: ")


async def _deploy(file: PlanFile, account: LocalAccount) -> DeployedContracts:
    def progress(line: str) -> None:
        print(line, file=sys.stderr)

    if file.endpoint.startswith(("ws://", "wss://")):
        async with AsyncWeb3(WebSocketProvider(file.endpoint)) as w3:
            return await deploy_contracts(w3, account, file.plan, progress, chain_id=file.chain_id)
    provider = AsyncHTTPProvider(file.endpoint)
    try:
        return await deploy_contracts(
            AsyncWeb3(provider), account, file.plan, progress, chain_id=file.chain_id
        )
    finally:
        await provider.disconnect()


def _fail(message: str, as_json: bool, code: int) -> int:
    if as_json:
        print(json.dumps({"ok": False, "error": message}))
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
