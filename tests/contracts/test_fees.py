"""Whose the fees are: as if credited at once, whatever happens to the set afterwards."""

import random
from collections import Counter

import pytest
from web3 import Web3

from tests.contracts import bytecode
from tests.contracts.chain import ETHER, Chain, Contract, key_of, public_of
from tests.contracts.world import (
    CLIENT,
    GENERATION,
    NEWCOMER,
    RETRIEVAL,
    SERVERS,
    STRANGER,
    World,
    deploy_set,
)

A, B, C, D, E = SERVERS


def pay(contract: Contract, value: int, serial: list[int]) -> None:
    serial[0] += 1
    key = serial[0].to_bytes(32, "big")
    contract.send("retrieveServerKey", key, sender=CLIENT, value=value)
    contract.send("deleteServerKeyRetrievalRequest", key)


def balances(contract: Contract, *servers: int) -> list[int]:
    return [contract.call("keyServerBalance", key_of(s).address) for s in servers]


@pytest.fixture
def set_of_three(chain: Chain) -> Contract:
    return deploy_set(chain, (A, B, C))


@pytest.mark.parametrize("keeps_lists", [True, False], ids=["own set", "foreign set"])
def test_each_request_is_divided_by_itself(
    chain: Chain, set_of_three: Contract, keeps_lists: bool
) -> None:
    address = set_of_three.address
    address = address if keeps_lists else bytecode.set_without_lists(chain, address)
    contract = chain.deploy(GENERATION.contract, address)
    for number in (1, 2):
        contract.send("generateServerKey", bytes([number]) * 32, 1, sender=CLIENT, value=ETHER // 5)

    expected = [133333333333333332, 133333333333333332, 133333333333333336]
    assert balances(contract, A, B, C) == expected
    for server, amount in zip((A, B, C), expected, strict=True):
        before = chain.balance(key_of(server).address)
        drained = contract.send("drain", sender=server)
        assert drained.events[0].args == (key_of(server).address, amount)
        assert chain.balance(key_of(server).address) > before + amount - ETHER // 100
    assert chain.balance(contract.address) == 0


def test_draining_nothing_reverts(world: World) -> None:
    contract = world.service(RETRIEVAL)
    assert contract.revert_reason("drain", sender=A) == "NothingToDrain"
    pay(contract, ETHER, [0])

    contract.send("drain", sender=A)
    assert contract.revert_reason("drain", sender=A) == "NothingToDrain"
    assert contract.revert_reason("drain", sender=STRANGER) == "NothingToDrain"


def test_drained_servers_earn_on(world: World) -> None:
    contract, serial = world.service(RETRIEVAL), [0]
    pay(contract, ETHER, serial)
    contract.send("drain", sender=A)
    pay(contract, ETHER, serial)

    assert balances(contract, A, B) == [ETHER // 5, 2 * ETHER // 5]


def test_balances_survive_a_migration(world: World) -> None:
    contract, serial = world.service(RETRIEVAL), [0]
    pay(contract, ETHER, serial)
    world.migrate((A, B, C, NEWCOMER))
    assert balances(contract, E, NEWCOMER) == [ETHER // 5, 0]
    pay(contract, ETHER, serial)

    assert balances(contract, A, D, E, NEWCOMER) == [
        ETHER // 5 + ETHER // 4,
        ETHER // 5,
        ETHER // 5,
        ETHER // 4,
    ]
    contract.send("drain", sender=E)
    assert balances(contract, E) == [0]


def test_balances_survive_another_set_contract(world: World) -> None:
    contract, serial = world.service(RETRIEVAL), [0]
    pay(contract, ETHER, serial)
    other = deploy_set(world.chain, (A, NEWCOMER))
    contract.send("setKeyServerSetAddress", other.address)
    pay(contract, ETHER, serial)

    assert balances(contract, A, E, NEWCOMER) == [ETHER // 5 + ETHER // 2, ETHER // 5, ETHER // 2]
    contract.send("drain", sender=A)
    assert balances(contract, A) == [0]


def test_a_later_set_contract_cannot_give_away_what_was_earned_before(world: World) -> None:
    contract = world.service(RETRIEVAL)
    pay(contract, 5 * ETHER, serial := [0])
    member = key_of(STRANGER).address
    liar = bytecode.set_that_knows_everybody(world.chain, member)
    contract.send("setKeyServerSetAddress", liar)
    pay(contract, ETHER, serial)

    contract.send("drain", sender=STRANGER)
    assert contract.revert_reason("drain", sender=CLIENT) == "NothingToDrain"
    for server in SERVERS:
        assert contract.send("drain", sender=server).events[0].args[1] == ETHER
    assert world.chain.balance(contract.address) == 0


def test_a_later_set_contract_cannot_keep_back_what_was_earned_before(world: World) -> None:
    contract = world.service(RETRIEVAL)
    pay(contract, 5 * ETHER, serial := [0])
    member = key_of(STRANGER).address
    contract.send("setKeyServerSetAddress", bytecode.set_that_forgets(world.chain, member))
    pay(contract, ETHER, serial)
    contract.send("setKeyServerSetAddress", world.key_servers.address)
    pay(contract, 5 * ETHER, serial)

    for server in SERVERS:
        assert contract.send("drain", sender=server).events[0].args[1] == 2 * ETHER
    contract.send("drain", sender=STRANGER)
    assert world.chain.balance(contract.address) == 0


def random_step(rng: random.Random, members: list[int], key_servers: Contract) -> None:
    """Add or remove one server of the new set."""
    outside = [s for s in (*SERVERS, NEWCOMER) if s not in members]
    if outside and (len(members) < 2 or rng.random() < 0.5):
        server = rng.choice(outside)
        key_servers.send("addKeyServer", public_of(server), "10.0.0.1:1")
        members.append(server)
    else:
        index = rng.randrange(len(members))
        key_servers.send("removeKeyServer", key_of(members[index]).address)
        members[index] = members[-1]
        members.pop()


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("keeps_lists", [True, False], ids=["own set", "foreign set"])
def test_lazy_books_equal_eager_ones(chain: Chain, number: int, keeps_lists: bool) -> None:
    rng = random.Random(number)
    members, expected, serial = [A, B], Counter[int](), [0]
    key_servers = deploy_set(chain, members, initialized=False)
    address = key_servers.address
    address = address if keeps_lists else bytecode.set_without_lists(chain, address)
    contract = chain.deploy(RETRIEVAL.contract, address)
    current = list(members)
    initialized = False
    for step in range(24):
        if step == 12:
            key_servers.send("completeInitialization")
            initialized = True
        match rng.choice(["pay", "pay", "edit", "drain"]):
            case "pay":
                value = rng.randrange(10**17, 10**18)
                pay(contract, value, serial)
                share = value // len(current)
                for member in current:
                    expected[member] += share
                expected[current[-1]] += value - share * len(current)
            case "edit":
                random_step(rng, members, key_servers)
                if initialized and set(members) != set(current):
                    migration = bytes([step + 1]) * 32
                    key_servers.send("startMigration", migration, sender=members[0])
                    for member in members:
                        key_servers.send("confirmMigration", migration, sender=member)
                if not initialized or set(members) != set(current):
                    current = list(members)
            case _:
                server = rng.choice(SERVERS)
                if expected[server]:
                    contract.send("drain", sender=server)
                    expected[server] = 0
        told = balances(contract, *SERVERS, NEWCOMER)
        assert told == [expected[s] for s in (*SERVERS, NEWCOMER)]
        assert sum(told) == chain.balance(contract.address)


def test_contract_wallets_are_paid_but_only_once(chain: Chain) -> None:
    # C-18: with enough gas to be a contract; C-29: and no way to take the money twice.
    placeholder = bytecode.set_of_one(chain, key_of(A).address)
    contract = chain.deploy(RETRIEVAL.contract, placeholder)
    wallet = bytecode.wallet(chain, contract.address)
    contract.send("setKeyServerSetAddress", bytecode.set_of_one(chain, wallet))
    contract.send("retrieveServerKey", b"\x01" * 32, sender=CLIENT, value=ETHER)
    contract.send("setKeyServerSetAddress", placeholder)
    contract.send("retrieveServerKey", b"\x02" * 32, sender=CLIENT, value=ETHER)

    assert chain.transact(STRANGER, wallet).succeeded

    assert chain.balance(wallet) == ETHER
    assert chain.balance(contract.address) == ETHER
    assert chain.w3.eth.get_storage_at(Web3.to_checksum_address(wallet), 0)[-1] == 1
    assert chain.w3.eth.get_storage_at(Web3.to_checksum_address(wallet), 1)[-1] == 0


def test_first_credit_costs_no_slot_per_server(world: World) -> None:
    # C-08: the original wrote one fresh slot per server.
    contract = world.service(RETRIEVAL)
    receipt = contract.send("retrieveServerKey", b"\x01" * 32, sender=CLIENT, value=ETHER)

    assert receipt.gas < 130_000
