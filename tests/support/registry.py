"""The name registry on an in-process chain."""

from dataclasses import dataclass

from keyserver.chain.name_registry import ADDRESS_KEY, name_hash
from keyserver.evm.abi import ContractAbi
from keyserver.evm.artifacts import load_artifact
from keyserver.model.identifiers import Address
from tests.support.eth_tester_client import EthTesterClient

REGISTRY = ContractAbi.of(load_artifact("SimpleRegistry").abi)
FEE_WEI = 10**18


@dataclass
class Registry:
    """A `SimpleRegistry` of which the first development account owns every name."""

    client: EthTesterClient
    address: Address

    @classmethod
    def deploy(cls, client: EthTesterClient) -> "Registry":
        return cls(client, client.deploy(load_artifact("SimpleRegistry").bytecode))

    def enter(self, name: str, address: Address) -> None:
        """Let a name stand for an address, reserving it first where needed; mines a block each."""
        key = name_hash(name)
        reserve = REGISTRY.function("reserve").encode(key)
        if self.client.succeeds(self.address, reserve, value=FEE_WEI):
            self.client.transact(self.address, reserve, value=FEE_WEI)
            self.client.mine()
        entry = REGISTRY.function("setAddress").encode(key, ADDRESS_KEY, address)
        self.client.transact(self.address, entry)
        self.client.mine()

    def drop(self, name: str) -> None:
        """Give a name up for ever; mines a block."""
        self.client.transact(self.address, REGISTRY.function("drop").encode(name_hash(name)))
        self.client.mine()
