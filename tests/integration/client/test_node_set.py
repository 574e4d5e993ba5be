"""The owner edits the node set contract: with the library, and at the command line."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from eth_account import Account
from web3 import AsyncWeb3

from keyserver.cli.main import main
from keyserver.client.contracts import Contracts
from keyserver.client.deployment import deploy_contracts
from keyserver.client.deployment_plan import DeploymentPlan, PlannedNode
from keyserver.client.errors import ClientError, RefusedByContractError
from keyserver.client.ethereum import connect
from keyserver.client.http_provider import HttpProvider
from keyserver.client.node_set import NodeSetContract, Sets
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.devnet.embedded_chain import EmbeddedChain
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS
from keyserver.evm.abi import Function
from keyserver.model.identifiers import Address, Hash32, NodeId
from keyserver.model.node_set import NodeAddress
from tests.integration.client.conftest import POLL_S, wallet

CHAIN_ID = 5252
OWNER = Wallet(SecretScalar(DEVELOPMENT_PRIVATE_KEYS[0]))
SERVERS = [wallet(f"server {number}") for number in range(4)]
IDS = [NodeId(server.public_key) for server in SERVERS]
FIRST, SPARE = IDS[:3], IDS[3]
AT = NodeAddress("127.0.0.1", 9000)
START = Function.parse("startMigration(bytes32)")
MIGRATION = Hash32(b"\x0a" * 32)


@dataclass
class Bed:
    """A set of three nodes, and a fourth that is not in it."""

    url: str
    contracts: Contracts
    contract: NodeSetContract
    file: Path

    async def started(self) -> None:
        """The first node starts the migration."""
        ethereum = self.contract._ethereum
        address = self.contract._contract
        await ethereum.send(SERVERS[0], address, START.encode(MIGRATION))

    def words(self, *words: str, signed: bool = True) -> list[str]:
        place = ["--rpc", self.url, "--contracts", str(self.file)]
        key = self.file.parent / "owner.json", self.file.parent / "password"
        signing = ["--key-file", str(key[0]), "--password-file", str(key[1])]
        return ["admin", "node-set", *words, *place, *signing * signed]


@pytest.fixture
async def bed(tmp_path: Path) -> AsyncIterator[Bed]:
    fund = [server.address for server in SERVERS]
    async with EmbeddedChain(chain_id=CHAIN_ID, fund=fund) as chain:
        provider = HttpProvider(chain.rpc_url)
        account = Account.from_key(DEVELOPMENT_PRIVATE_KEYS[0])
        nodes = tuple(PlannedNode(node, f"127.0.0.1:{8000 + n}") for n, node in enumerate(FIRST))
        done = await deploy_contracts(AsyncWeb3(provider), account, DeploymentPlan(nodes))
        await provider.disconnect()
        file = tmp_path / "contracts.json"
        file.write_text(json.dumps({"chain_id": CHAIN_ID, "contracts": dict(done.contracts)}))
        key = Account.encrypt(account.key, "secret", iterations=1)
        (tmp_path / "owner.json").write_text(json.dumps(key))
        (tmp_path / "password").write_text("secret\n")
        contracts = Contracts.load(file)
        async with connect(chain.rpc_url, chain_id=CHAIN_ID, poll_s=POLL_S) as ethereum:
            yield Bed(chain.rpc_url, contracts, NodeSetContract(ethereum, contracts), file)


def members(sets: Sets) -> tuple[set[bytes], set[bytes]]:
    """Ids in the current and in the new set."""
    return {each.public for each in sets.current}, {each.public for each in sets.new}


async def test_edits_change_the_new_set_only(bed: Bed) -> None:
    await bed.contract.add(OWNER, SPARE, AT)
    await bed.contract.remove(OWNER, FIRST[0].address)
    sets = await bed.contract.sets()
    assert members(sets) == (set(FIRST), {*FIRST[1:], SPARE})
    assert sets.migration is None
    assert next(each.at for each in sets.new if each.public == SPARE) == str(AT)
    assert await bed.contract.is_settled_on([node.address for node in FIRST])
    assert not await bed.contract.is_settled_on([node.address for node in IDS[1:]])


async def test_a_migration_is_shown_and_can_be_cancelled(bed: Bed) -> None:
    with pytest.raises(ClientError, match="no migration runs"):
        await bed.contract.cancel(OWNER)
    await bed.contract.add(OWNER, SPARE, AT)
    await bed.started()
    running = (await bed.contract.sets()).migration
    assert running is not None
    assert (running.id, running.master) == (MIGRATION, SERVERS[0].address)
    assert {member.public for member in running.members} == set(IDS)
    assert running.confirmed == frozenset()
    assert not await bed.contract.is_settled_on([node.address for node in FIRST])
    await bed.contract.cancel(OWNER)
    assert (await bed.contract.sets()).migration is None


async def test_a_node_moves_without_its_keys(bed: Bed) -> None:
    await bed.contract.move(OWNER, FIRST[1].address, NodeAddress("::1", 9001))
    sets = await bed.contract.sets()
    assert {each.at for each in sets.current if each.public == FIRST[1]} == {"[::1]:9001"}
    assert members(sets) == (set(FIRST), set(FIRST))


async def test_what_the_contract_refuses_is_told_in_words(bed: Bed) -> None:
    with pytest.raises(RefusedByContractError, match="NotOwner"):
        await bed.contract.add(SERVERS[0], SPARE, AT)
    with pytest.raises(RefusedByContractError, match="AlreadyMember"):
        await bed.contract.add(OWNER, FIRST[0], AT)
    with pytest.raises(RefusedByContractError, match="NotMember"):
        await bed.contract.remove(OWNER, SPARE.address)


def test_without_the_contract_there_is_nothing_to_edit() -> None:
    with pytest.raises(ClientError, match="OwnedKeyServerSetWithMigration"):
        NodeSetContract(None, Contracts({"SecretStoreService": Address(bytes(20))}))  # type: ignore[arg-type]


# --- at the command line --------------------------------------------------------------------------


async def test_the_commands(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    async def run(*words: str, signed: bool = True) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, bed.words(*words, signed=signed))
        said = capsys.readouterr()
        return code, said.out, said.err

    code, out, _ = await run("add", f"0x{SPARE.hex()}", str(AT))
    assert code == 0
    assert "keyserver migration status" in out
    code, out, _ = await run("remove", FIRST[0].hex(), "--json")
    assert (code, set(json.loads(out))) == (0, {"block", "gas"})
    code, out, _ = await run("move", f"0x{FIRST[2].address.hex()}", "[::1]:9002")
    assert code == 0
    code, out, _ = await run("show", "--json", signed=False)
    told = {row["node_id"]: row for row in json.loads(out)["nodes"]}
    assert json.loads(out)["migration"] is None
    assert {name for name, row in told.items() if row["new"]} == {
        f"0x{node.hex()}" for node in IDS[1:]
    }
    assert told[f"0x{FIRST[2].hex()}"]["at"] == "[::1]:9002"
    await bed.contract._ethereum.send(SERVERS[1], bed.contract._contract, START.encode(MIGRATION))
    code, out, _ = await run("show", signed=False)
    assert (code, f"migration 0x{MIGRATION.hex()}: 3 confirmations are missing" in out) == (0, True)
    assert (await run("cancel"))[0] == 0
    code, _, err = await run("cancel")
    assert (code, "no migration runs" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "12", "127.0.0.1:1"), "NODE_ID: must be 128"),
        (("add", SPARE.hex(), "nowhere"), "HOST:PORT"),
        (("remove", "0x12"), "NODE: must be 40"),
        (("move", "0x" + "00" * 64, "127.0.0.1:1"), "NODE_ID: not a point"),
    ],
)
async def test_wrong_arguments_are_named(
    bed: Bed, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(main, bed.words(*words)) == 2
    assert said in capsys.readouterr().err
