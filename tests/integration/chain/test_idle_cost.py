"""What a node that has nothing to do asks of its endpoint."""

import asyncio

import pytest

from keyserver.chain.client import BlockTag
from keyserver.chain.name_registry import (
    ACL_NAMES,
    ACL_OPTION,
    COMBINED_OPTION,
    SET_NAMES,
    SET_OPTION,
    ContractDirectory,
    FixedContract,
    RegisteredContract,
)
from keyserver.chain.node_set import NodeSetTracker
from keyserver.chain.rpc_client import RpcClient, endpoint_for
from keyserver.chain.watcher import Watcher, WatcherSettings
from keyserver.devnet.embedded_chain import EmbeddedChain
from keyserver.evm.artifacts import load_artifact
from keyserver.services.registry import CONTRACTS
from tests.support.chain_stack import CHAIN_ID, KEY_SERVER_SET
from tests.support.eth_tester_client import EthTesterClient
from tests.support.fake_cluster import node_of
from tests.support.manual_clock import ManualClock
from tests.support.registry import Registry
from tests.support.watched_chain import MemorySink

INTERVAL = 30


@pytest.mark.parametrize(("scheme", "calls_a_block"), [("ws", 1), ("http", 2)])
async def test_calls_per_block(scheme: str, calls_a_block: int) -> None:
    async with EmbeddedChain(chain_id=CHAIN_ID) as chain:
        chain.node.set_mining(automine=False, interval_s=None)
        inner = EthTesterClient(chain.node)
        directory_sources, registry = _deploy(inner)
        url = chain.ws_url if scheme == "ws" else chain.rpc_url
        clock = ManualClock()
        client = RpcClient([endpoint_for(url)], chain_id=CHAIN_ID, poll_s=60, clock=clock)
        directory = ContractDirectory(
            client=client,
            registry=registry.address,
            sources=directory_sources,
            services=CONTRACTS,
            retry_interval_blocks=INTERVAL,
        )
        tracker = NodeSetTracker(
            client=client,
            contracts=directory,
            chain_id=CHAIN_ID,
            me=node_of(1),
            with_migration=True,
            clock=clock,
        )
        watcher = Watcher(
            client=client,
            sink=MemorySink(),
            contracts=directory,
            observers=[tracker],
            clock=clock,
            settings=WatcherSettings(max_head_age_s=0, retry_interval_blocks=INTERVAL),
        )
        heads = client.heads()
        try:
            async with asyncio.timeout(60):
                await watcher.process(await anext(heads))
                assert tracker.snapshot.current.nodes == tuple(sorted(map(node_of, (1, 2, 3))))
                client.request_counts.clear()
                for _ in range(INTERVAL - 1):
                    inner.mine()
                    polled = await client.block(BlockTag.LATEST) if scheme == "http" else None
                    head = polled if polled is not None else await anext(heads)
                    await watcher.process(head)
        finally:
            await heads.aclose()
            await client.close()
        assert client.request_counts.total() == calls_a_block * (INTERVAL - 1)
        assert client.request_counts["eth_getLogs"] == INTERVAL - 1


def _deploy(
    inner: EthTesterClient,
) -> tuple[dict[str, RegisteredContract | FixedContract], Registry]:
    key_servers = inner.deploy(load_artifact("OwnedKeyServerSetWithMigration").bytecode)
    for number in (1, 2, 3):
        add = KEY_SERVER_SET.function("addKeyServer").encode(node_of(number), "127.0.0.1:1")
        inner.transact(key_servers, add)
    creation = load_artifact("SecretStoreService").bytecode + key_servers.rjust(32, b"\0")
    service = inner.deploy(creation)
    permissions = inner.deploy(load_artifact("OnceTransferablePermission").bytecode)
    registry = Registry.deploy(inner)
    registry.enter("secretstore_server_set", key_servers)
    registry.enter("secretstore_acl_checker", permissions)
    inner.mine(5)
    sources: dict[str, RegisteredContract | FixedContract] = {
        SET_OPTION: RegisteredContract(SET_NAMES),
        ACL_OPTION: RegisteredContract(ACL_NAMES),
        COMBINED_OPTION: FixedContract(service),
    }
    return sources, registry
