"""Nodes that ask who may use a key: a contract on a chain, or a list in this process."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from keyserver.client.deployment_plan import Permission
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS
from keyserver.evm.abi import Function
from keyserver.model.identifiers import Address, NodeId
from keyserver.model.node_set import NodeAddress
from keyserver.model.requests import Request
from keyserver.sessions.core import Verdict
from tests.e2e.clients.processes import http_of
from tests.support.chain_network import Network
from tests.support.client_node import ClientNetwork
from tests.support.node_processes import wait_connected
from tests.support.scenario_clients import Person
from tests.support.waiting import wait_for
from tests.vectors.files import secret

PERMIT = Function.parse("permission(bytes32,address[])", "bool")
SEEN_S = 60.0


def _with_money(number: int, name: str) -> Person:
    key = secret(f"0x{DEVELOPMENT_PRIVATE_KEYS[number].hex()}")
    address = f"0x{NodeId.of(key.public()).address.hex()}"
    return Person(name, address, f"{name}pwd", key)


ANNA, BEN = _with_money(1, "anna"), _with_money(2, "ben")
"""Accounts that a local chain gives money."""
ACCOUNT_NUMBERS = {ANNA.name: 1, BEN.name: 2}


class Guarded(Protocol):
    """Three nodes that serve only who may use a key."""

    @property
    def addresses(self) -> Sequence[NodeAddress]: ...

    async def permit(self, key_id: str, people: Iterable[Person]) -> None:
        """Let these people use a key, at all nodes, from now on; to be called once for a key."""


class GuardedInProcess:
    """Nodes in this process, which look into a list."""

    def __init__(self, network: ClientNetwork) -> None:
        self.addresses = network.addresses
        self._allowed: defaultdict[bytes, set[str]] = defaultdict(set)
        for node in network.nodes:
            node.node.access.verdict = self._verdict

    async def permit(self, key_id: str, people: Iterable[Person]) -> None:
        self._allowed[bytes.fromhex(key_id)] |= {who.address for who in people}

    def _verdict(self, request: Request, who: Address) -> Verdict:
        allowed = f"0x{who.hex()}" in self._allowed[request.operation().key_id]
        return Verdict.ALLOWED if allowed else Verdict.DENIED


class GuardedByContract:
    """Processes that ask a contract, and serve a service contract as well."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._registry = _address(network.deployed.contracts[Permission.REGISTRY])

    @classmethod
    def start(cls, directory: Path) -> "GuardedByContract":
        network = Network.make(directory, 3, permission=Permission.REGISTRY, block_time_s=0.5)
        try:
            for node in network.nodes:
                node.set("secretstore", disable_http=False, http_port=0)
                node.set("keyserver", acl_depth="head")
            network.start()
            wait_connected(network.nodes)
        except BaseException:
            network.close()
            raise
        return cls(network)

    def close(self) -> None:
        self.network.close()

    @property
    def addresses(self) -> Sequence[NodeAddress]:
        return [http_of(node) for node in self.network.nodes]

    async def permit(self, key_id: str, people: Iterable[Person]) -> None:
        data = PERMIT.encode(bytes.fromhex(key_id), [who.address for who in people])
        await asyncio.to_thread(self._send, data)

    def _send(self, data: bytes) -> None:
        block = self.network.transact(self._registry, data)
        wait_for(lambda: self._seen(block), timeout_s=SEEN_S, doing=f"block {block}")

    def _seen(self, block: int) -> bool | None:
        heads = [node.operator("/v1/status")[1]["chain"]["head"] for node in self.network.nodes]
        return all(head is not None and head >= block for head in heads) or None

    def request(self, who: Person, method: str, *arguments: object) -> int:
        """A request to the service contract."""
        return self.network.request(method, *arguments, account=ACCOUNT_NUMBERS[who.name])

    async def answers(self, event: str, key_id: str, count: int = 1) -> list[tuple[Any, ...]]:
        """Wait for so many events about a key; what they say."""

        def found() -> list[tuple[Any, ...]] | None:
            logs = [values for _, values in self.network.logs(event)]
            about = [values for values in logs if values[0] == bytes.fromhex(key_id)]
            return about if len(about) >= count else None

        return await asyncio.to_thread(
            wait_for, found, timeout_s=SEEN_S, doing=f"{count} {event} about {key_id}"
        )


def _address(text: str) -> Address:
    return Address(bytes.fromhex(text[2:]))
