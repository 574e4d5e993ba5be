"""Reaching an Ethereum node, and what is said when that fails."""

from dataclasses import replace

import pytest

from keyserver.client.contracts import Contracts
from keyserver.client.errors import NoAnswerError, RefusedByContractError
from keyserver.client.ethereum import connect
from keyserver.devnet import chain_start
from keyserver.devnet.embedded_chain import EmbeddedChain
from keyserver.devnet.ports import free_ports
from keyserver.devnet.settings import Settings
from keyserver.errors import ChainError
from keyserver.model.identifiers import Hash32
from tests.integration.client.conftest import CHAIN_ID, World, wallet


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_nobody_there_is_told_without_the_url(scheme: str) -> None:
    (port,) = free_ports(1)
    with pytest.raises(ChainError, match="does not answer"):
        async with connect(f"{scheme}://127.0.0.1:{port}/secret-token"):
            pass


async def test_another_chain_is_refused(chain: EmbeddedChain) -> None:
    with pytest.raises(ChainError, match=f"is on chain {CHAIN_ID}, the contracts on 1"):
        async with connect(chain.rpc_url, chain_id=1):
            pass


async def test_websocket_does_as_well(chain: EmbeddedChain) -> None:
    nobody = wallet("nobody").address
    async with connect(chain.ws_url, chain_id=CHAIN_ID, poll_s=0.02) as ethereum:
        receipt = await ethereum.send(wallet("alice"), nobody, b"", value=7)
        assert await ethereum.receipt(receipt.tx_hash) == receipt
        assert await ethereum.balance(nobody) == 7
        assert await ethereum.gas_of_block(receipt.block, frozenset({nobody})) == 21_000
        assert await ethereum.gas_of_block(receipt.block, frozenset()) == 0
        assert await ethereum.transaction_count(wallet("alice").address) > 0


async def test_who_has_no_money_is_told(world: World) -> None:
    with pytest.raises(RefusedByContractError, match="the Ethereum node refuses"):
        await world.ethereum.send(wallet("nobody"), world.bob.address, b"", value=10**30)


async def test_a_transaction_that_fails_when_mined_is_an_error(world: World) -> None:
    registry = world.contracts.find("SimpleRegistry")
    assert registry is not None
    with pytest.raises(RefusedByContractError, match="failed in block"):
        await world.ethereum.send(world.bob, registry, b"\xde\xad\xbe\xef", gas=100_000)


async def test_an_unknown_transaction_is_not_waited_for_endlessly(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyserver.client.ethereum.PATIENCE_S", 0.1)
    assert await world.ethereum.receipt(Hash32(bytes(32))) is None
    with pytest.raises(NoAnswerError, match="not mined"):
        await world.ethereum.mined(Hash32(bytes(32)))


async def test_a_chain_that_runs_already_is_found_and_pays(
    chain: EmbeddedChain, tmp_path_factory: pytest.TempPathFactory
) -> None:
    access = await chain_start.reach(chain.rpc_url)
    assert access == chain_start.ChainAccess(chain.rpc_url, chain.ws_url, CHAIN_ID)
    settings = Settings(
        tmp_path_factory.mktemp("x"), chain=chain.rpc_url, funder=wallet("bob")._secret.expose()
    )
    amounts = {wallet(f"poor {number}").address: number + 1 for number in range(3)}
    await chain_start.fund_all(settings, access.rpc_url, amounts)
    async with connect(chain.rpc_url) as ethereum:
        assert [await ethereum.balance(address) for address in amounts] == [1, 2, 3]


async def test_without_the_set_progress_has_no_counts(world: World) -> None:
    contracts = Contracts({"SecretStoreService": world.servers.service}, world.contracts.chain_id)
    client = replace(world, contracts=contracts).client(world.alice, patience_s=0.5)
    with pytest.raises(NoAnswerError):
        await client.retrieve_server_key(world.new_key_id())
    assert world.seen
    assert all(progress.answered is None for progress in world.seen)
    assert "waiting" in str(world.seen[0])
