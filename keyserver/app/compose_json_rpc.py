"""Puts the JSON-RPC module together: key files of the keys directory behind its methods."""

import time
from collections.abc import Sequence

from starlette.types import ASGIApp

from keyserver.api.cors import OriginPolicy
from keyserver.api.json_rpc import HostPolicy, RpcDependencies, json_rpc_app
from keyserver.api.json_rpc_accounts import Accounts, DevelopmentKey
from keyserver.api.json_rpc_methods import SecretStoreModule
from keyserver.api.ports import LockedKey
from keyserver.app.accounts import find_key_files
from keyserver.app.config import Config
from keyserver.crypto.randomness import RandomSource
from keyserver.model.identifiers import Address

DEVELOPMENT_CHAIN = "dev"
"""The chain with a built-in account (JSON-RPC module, section 3)."""


def compose_json_rpc(config: Config, random: RandomSource) -> ASGIApp:
    """The application of the JSON-RPC listener; it needs no key server."""
    rpc = config.rpc
    accounts = Accounts(KeyFinder(config), monotonic=time.monotonic)
    needs = RpcDependencies(
        SecretStoreModule(accounts, random).methods,
        OriginPolicy(rpc.cors),
        HostPolicy(rpc.hosts, rpc.interface),
        rpc.max_payload << 20,
    )
    return json_rpc_app(needs)


class KeyFinder:
    """Finds the key files of an address as they are now."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._built_in = [DevelopmentKey()] if config.parity.chain == DEVELOPMENT_CHAIN else []

    def __call__(self, address: Address) -> Sequence[LockedKey]:
        """Called in a thread: it reads files."""
        built_in = [key for key in self._built_in if key.address == address]
        return [*built_in, *find_key_files(self._config, address)]
