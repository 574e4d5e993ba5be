"""Two processes of one node on one database, under requests that never pause.

The one that acts is stopped, and goes on when the other has taken over; then that one is killed.
"""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyserver.crypto.hashing import keccak256
from keyserver.model.identifiers import Address
from tests.e2e.replicas.writers import SharedDatabase
from tests.support.chain_network import SERVICE, Network
from tests.support.node_processes import ConfiguredNode, kill_all
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.sealed_nodes import ask_operator, seal_node, unseal, wait_state
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(240)]

TAKEOVER_S = 15.0
MORE = 3
PENDING = 3
"""Requests under way at a time; the contract takes few more."""
ANSWER = SERVICE.function("serverKeyGenerated")


def test_one_acts_when_the_other_is_stopped_or_killed(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    database = SharedDatabase.make(postgres, ["first", "second"])
    network = Network.make(tmp_path, 3, confirmations=1)
    first, others = network.nodes[0], network.nodes[1:]
    # On this one machine it cannot listen where the others look for the node: it connects to them.
    second = ConfiguredNode(tmp_path / "second", first.secret, free_port())
    try:
        network.configure(second, confirmations=1)
        words = share_store(database, {"first": first, "second": second})
        first.start()
        wait_state(first, "sealed")  # it follows the chain, not the other one
        for node in (second, *others):
            node.start()
        one = open_process(first, words, "ready")
        other = open_process(second, words, "standby")
        for node in others:
            node.wait_ready()
        with requests(network) as asked:
            wait_more_answers(network)
            assert replicas(first) == {one: ("unsealed", True), other: ("unsealed", False)}

            os.kill(first.process.pid, signal.SIGSTOP)
            assert seconds_until_ready(second) <= TAKEOVER_S
            os.kill(first.process.pid, signal.SIGCONT)
            wait_state(first, "standby")
            assert replicas(second) == {one: ("unsealed", False), other: ("unsealed", True)}
            wait_more_answers(network)

            second.kill()
            assert seconds_until_ready(first) <= TAKEOVER_S
            assert replicas(first) == {one: ("unsealed", True), other: ("unsealed", False)}
            wait_more_answers(network)
        keys = set(asked)
        wait_for(lambda: answered(network) == keys or None, timeout_s=60, doing="all answers")
        assert len(keys) >= 3 * MORE
        assert answers_sent_by(network, first.id.address) == Counter(keys)
        assert database.writers() == ["first", "second", "first"]
    finally:
        kill_all([second])
        network.close()


# --- the two processes ------------------------------------------------------------------------


def share_store(database: SharedDatabase, processes: dict[str, ConfiguredNode]) -> list[str]:
    """Let both processes use the database, sealed with shares that open both."""
    words: list[str] = []
    for user, node in processes.items():
        node.set("keyserver", database_url=database.url_of(user))
        if words:
            node.values["secretstore"].pop("self_secret")
            node.data.mkdir(parents=True)
        else:
            words = seal_node(node)
    return words


def open_process(node: ConfiguredNode, words: list[str], state: str) -> str:
    """Hand in shares and see what it becomes; its id among the replicas."""
    wait_state(node, "sealed")
    unseal(node, words)
    wait_state(node, state)
    _, status = ask_operator(node, "GET", "/v1/seal/status")
    replica: str = status["replica"]
    return replica


def seconds_until_ready(node: ConfiguredNode) -> float:
    began = time.monotonic()
    wait_state(node, "ready")
    return time.monotonic() - began


def replicas(node: ConfiguredNode) -> dict[str, tuple[str, bool]]:
    """By id what each process has said of its seal last, and whether it acts."""
    status, answer = ask_operator(node, "GET", "/v1/seal/replicas")
    assert status == 200, answer
    return {each["replica_id"]: (each["state"], each["active"]) for each in answer["replicas"]}


# --- requests ---------------------------------------------------------------------------------


@contextmanager
def requests(network: Network) -> Iterator[list[bytes]]:
    """Ask for new keys all the while; the ids of those that were asked for."""
    asked: list[bytes] = []
    end = threading.Event()
    troubles: list[BaseException] = []

    def ask_once_more() -> None:
        key_id = keccak256(f"key {len(asked)}".encode())
        network.request("generateServerKey", key_id, 1)
        asked.append(key_id)

    def ask() -> None:
        try:
            while not end.is_set():
                if len(asked) - len(answered(network)) < PENDING:
                    ask_once_more()
                else:
                    end.wait(0.1)
        except BaseException as trouble:
            troubles.append(trouble)
            raise

    thread = threading.Thread(target=ask, name="requests")
    thread.start()
    try:
        yield asked
    finally:
        end.set()
        thread.join()
    assert troubles == []


def answered(network: Network) -> set[bytes]:
    """The keys that the contract has told of."""
    return {bytes(values[0]) for _, values in network.logs("ServerKeyGenerated")}


def wait_more_answers(network: Network) -> None:
    """Wait until some that were open have been answered, and some that were asked for since."""
    before = len(answered(network))

    def more() -> bool | None:
        return len(answered(network)) >= before + MORE or None

    wait_for(more, timeout_s=60, doing="more answers")


def answers_sent_by(network: Network, sender: Address) -> Counter[bytes]:
    """How many transactions of a node are on the chain about each key, whatever came of them."""
    sent: Counter[bytes] = Counter()
    newest = int(network.chain.request("eth_blockNumber"), 16)
    for number in range(newest + 1):
        block = network.chain.request("eth_getBlockByNumber", hex(number), True)
        for transaction in block["transactions"]:
            data = bytes.fromhex((transaction.get("input") or transaction["data"])[2:])
            if transaction["from"].lower() == f"0x{sender.hex()}" and data:
                assert data[:4] == ANSWER.selector
                sent[data[4:36]] += 1
    return sent
