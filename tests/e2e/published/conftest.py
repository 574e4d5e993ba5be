"""The networks the clients talk to, and the people who use them."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from keyserver.client.contracts import Contracts
from keyserver.client.ethereum import connect
from keyserver.client.permissions import Permissions
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.devnet.devnet_file import FILE_NAME, Devnet
from tests.e2e.demo.command import facts
from tests.e2e.operator.static_network import StaticNetwork, json_rpc_process
from tests.e2e.published.driver import HERE, JAVASCRIPT, Driver, driving
from tests.unit.app.samples import address

PEOPLE = {"alice": "alicepwd", "bob": "bobpwd", "charlie": "charliepwd"}


@dataclass(frozen=True, eq=False)
class Place:
    """A network as users of an old client see it."""

    http: tuple[str, ...]
    """A URL for each node."""
    json_rpc: str
    accounts: dict[str, tuple[str, str]]
    """Address and password."""
    log: Path

    def python(self, who: str, variable: str, script: str) -> AbstractContextManager[Driver]:
        """A Python client in the hands of somebody."""
        command = [os.environ[variable], str(HERE / script)]
        return driving(command, self.settings(who), self.log)

    def javascript(self, who: str, package: str, **more: Any) -> AbstractContextManager[Driver]:
        """A JavaScript client in the hands of somebody."""
        command = ["node", str(JAVASCRIPT / "run.js"), package]
        return driving(command, self.settings(who) | more, self.log)

    def settings(self, who: str) -> dict[str, object]:
        """What a client is configured with; everybody uses a node of their own."""
        account, password = self.accounts[who]
        node = list(self.accounts).index(who) % len(self.http)
        return {
            "http": self.http[node],
            "json_rpc": self.json_rpc,
            "address": account,
            "password": password,
        }


@dataclass(frozen=True, eq=False)
class DevnetPlace(Place):
    """A devnet, where the permission contract is asked."""

    directory: Path

    def reserve(self, *, permit: tuple[str, ...] = ()) -> str:
        """Reserve an id in alice's name and permit others; 64 digits."""
        return asyncio.run(self._reserve(permit))

    async def _reserve(self, permit: tuple[str, ...]) -> str:
        devnet = Devnet.load(self.directory)
        wallet = Wallet(SecretScalar(bytes.fromhex(devnet.accounts["alice"].private_key[2:])))
        users = [Wallet(_secret(devnet, who)).address for who in permit]
        key_id = wallet.new_key_id(SystemRandom())
        async with connect(devnet.rpc_url, poll_s=0.05) as ethereum:
            contracts = Contracts.load(self.directory / FILE_NAME)
            permissions = Permissions(ethereum, contracts, wallet)
            await permissions.reserve(key_id)
            if users:
                await permissions.permit(key_id, users)
        return key_id.hex()


def _secret(devnet: Devnet, who: str) -> SecretScalar:
    return SecretScalar(bytes.fromhex(devnet.accounts[who].private_key[2:]))


@pytest.fixture(scope="package")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevnetPlace]:
    """Three nodes on a chain of their own, as `keyserver devnet up` starts them."""
    directory = tmp_path_factory.mktemp("published") / "net"
    options = ("--nodes", "3", "--block-time", "0.2", "--confirmations", "0")
    made = facts("devnet", "up", *options, "--dir", directory)
    try:
        json_rpc = made["json_rpc"]
        people = made["accounts"].items()
        yield DevnetPlace(
            http=tuple(node["http"] for node in made["nodes"]),
            json_rpc=json_rpc["url"],
            accounts={who: (account["address"], json_rpc["password"]) for who, account in people},
            log=directory / "clients.log",
            directory=directory,
        )
    finally:
        facts("devnet", "down", "--dir", directory)


@pytest.fixture(scope="package")
def old_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Three nodes started from files of the original, without a chain and without strict values."""
    directory = tmp_path_factory.mktemp("old")
    network = StaticNetwork(directory, "abc")
    module = json_rpc_process(directory / "json-rpc", PEOPLE)
    try:
        network.configure("abc")
        module.start()
        network.start("abc")
        yield Place(
            http=tuple(network.url(name) + "/" for name in "abc"),
            json_rpc=module.wait_ready()["json_rpc"],
            accounts={who: (f"0x{address(who)}", password) for who, password in PEOPLE.items()},
            log=directory / "clients.log",
        )
    finally:
        module.kill()
        network.close()
