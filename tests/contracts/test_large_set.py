"""Up to 256 key servers: the interface's uint8 cannot count that far, the contracts can."""

import pytest

from tests.contracts import bytecode
from tests.contracts.chain import ETHER, GAS_LIMIT, Chain, Contract, RevertError, key_of, public_of
from tests.contracts.world import CLIENT, GENERATION, KEY, POINT, RETRIEVAL, deploy_set

FIRST = 1001
SERVERS = range(FIRST, FIRST + 256)
ID = b"\x01" * 32


@pytest.mark.timeout(300)
def test_full_set() -> None:
    # C-06, C-09
    servers = list(SERVERS)
    chain = Chain(rich=servers)
    key_servers = deploy_set(chain, servers[:255])
    assert key_servers.call("getCurrentKeyServersCount") == 255
    generation = chain.deploy(GENERATION.contract, key_servers.address)
    generation.send("generateServerKey", KEY, 254, sender=CLIENT, value=ETHER)
    assert generation.send("serverKeyGenerated", KEY, POINT, sender=servers[254]).events == ()
    votes_of_the_last_indices_count_once(chain, key_servers, servers[:255])

    grow_to_256(key_servers, servers)
    with pytest.raises(RevertError, match="TooManyKeyServers"):
        key_servers.call("getCurrentKeyServersCount")
    assert len(key_servers.call("getCurrentKeyServers")) == 256
    assert key_servers.call("getCurrentKeyServerIndex", key_of(servers[255]).address) == 255
    for server in servers[:-1]:
        assert generation.send("serverKeyGenerated", KEY, POINT, sender=server).events == ()
    last = generation.send("serverKeyGenerated", KEY, POINT, sender=servers[-1])
    assert last.names == ["ServerKeyGenerated"]
    generation.send("generateServerKey", KEY, 254, sender=CLIENT, value=ETHER)
    foreign_set_works_at_256(chain, key_servers, servers)


def grow_to_256(key_servers: Contract, servers: list[int]) -> None:
    key_servers.send("addKeyServer", public_of(servers[255]), "127.0.0.1:1")
    extra = public_of(FIRST + 256)
    assert key_servers.revert_reason("addKeyServer", extra, "127.0.0.1:1") == "TooManyKeyServers"
    assert key_servers.send("startMigration", ID, sender=servers[0]).gas < 13_000_000
    for server in servers[:-1]:
        assert key_servers.send("confirmMigration", ID, sender=server).gas < 80_000
    last = key_servers.send("confirmMigration", ID, sender=servers[-1])
    assert last.names == ["MigrationCompleted"]
    assert last.gas < 80_000


def votes_of_the_last_indices_count_once(
    chain: Chain, key_servers: Contract, servers: list[int]
) -> None:
    retrieval = chain.deploy(RETRIEVAL.contract, key_servers.address)
    retrieval.send("retrieveServerKey", KEY, sender=CLIENT, value=ETHER)
    voters = servers[-128:]
    for server in voters[:-1]:
        for _ in range(2 if server == voters[0] else 1):
            assert retrieval.send("serverKeyRetrieved", KEY, POINT, 3, sender=server).events == ()
        args = KEY, key_of(server).address
        assert retrieval.call("isServerKeyRetrievalResponseRequired", *args) is False
    last = retrieval.send("serverKeyRetrieved", KEY, POINT, 3, sender=voters[-1])
    assert last.events[0].args == (KEY, POINT, 3)


def foreign_set_works_at_256(chain: Chain, key_servers: Contract, servers: list[int]) -> None:
    foreign = bytecode.set_without_lists(chain, key_servers.address)
    service = chain.deploy(GENERATION.contract, foreign)
    request = service.send("generateServerKey", KEY, 254, sender=CLIENT, value=ETHER)
    assert request.gas < GAS_LIMIT
    assert service.call("keyServerBalance", key_of(servers[7]).address) == ETHER // 256
    assert service.send("serverKeyGenerated", KEY, POINT, sender=servers[255]).events == ()
    error = service.send("serverKeyGenerationError", KEY, sender=servers[0])
    assert error.names == ["ServerKeyGenerationError"]
