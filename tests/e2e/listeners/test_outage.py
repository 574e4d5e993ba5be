"""The Ethereum node is gone while clients ask: they are told so, and served when it is back."""

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from keyserver.client.deployment_plan import Permission
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.elgamal import encrypt_document_key
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.randomness import SystemRandom
from tests.support.chain_network import Network
from tests.support.client_node import sign_id
from tests.support.node_processes import ConfiguredNode
from tests.support.raw_http import Answer
from tests.support.waiting import wait_for
from tests.support.wire import ask

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

KEY_ID = keccak256(b"sample document")
ALICE, STRANGER = SecretScalar.from_int(1), SecretScalar.from_int(3)
"""The contract that is used here has them in its code: the one may read this document only."""

TROUBLE = b'"\\"Internal error: '
DENIED = b'"\\"Consensus unreachable\\""'


@dataclass
class Scene:
    network: Network
    node: ConfiguredNode
    url: str

    def ask(self, row: str, key: SecretScalar = ALICE, method: str = "GET") -> Answer:
        start = f"{KEY_ID.hex()}/{sign_id(key, KEY_ID)}"
        return ask(self.url, f"{method} {row.format(start)} HTTP/1.1\nHost: n")

    def publish(self) -> None:
        """Make the key, and store a document key."""
        made = self.ask("/shadow/{}/0", method="POST")
        assert made.status == 200, made
        public = Point.from_raw64(bytes.fromhex(json.loads(made.body)[2:]))
        random = SystemRandom()
        sealed = encrypt_document_key(public, SecretScalar.random(random).public(), random)
        points = f"{sealed.common.raw64.hex()}/{sealed.encrypted.raw64.hex()}"
        assert self.ask(f"/shadow/{{}}/{points}", method="POST").status == 200

    def retrievals(self, key: SecretScalar = ALICE) -> list[Answer]:
        """Operations 6 and 5."""
        return [self.ask(row, key) for row in ("/shadow/{}", "/{}")]

    def is_ready(self) -> bool | None:
        return self.node.operator("/health/ready")[0] == 200 or None

    def is_served(self) -> bool | None:
        return True if all(answer.status == 200 for answer in self.retrievals()) else None

    def is_in_trouble(self) -> bool | None:
        """Whether retrievals fail for want of a chain; nothing else may be said of a permission."""
        answers = self.retrievals()
        for answer in answers:
            assert answer.body.startswith(TROUBLE) or answer.status == 200
        return True if all(answer.status == 500 for answer in answers) else None

    def others_are_served(self) -> None:
        """What needs no permission needs no chain."""
        assert self.ask("/server/{}").status == 200
        again = self.ask("/shadow/{}/0", method="POST")
        assert (again.status, b"already generated" in again.body) == (400, True)
        assert self.node.operator("/health/live")[0] == 200

    def operators_are_told(self) -> bool | None:
        """Whether the node calls itself not ready; clients may have been told before."""
        status, body = self.node.operator("/health/ready")
        return (status == 503 and "chain" in {each["code"] for each in body["reasons"]}) or None


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A cluster of one whose permissions are in a contract, and a key with a document key."""
    network = Network.make(tmp_path, 1, permission=Permission.STATIC)
    (node,) = network.nodes
    node.set(
        "secretstore",
        disable_http=False,
        http_port=0,
        server_set_contract="none",
        service_contract="none",
    )
    node.set("keyserver", rpc_endpoints=[network.chain.rpc_url], poll_seconds=0.2)
    try:
        network.start()
        made = Scene(network, node, node.ready["http"])
        made.publish()
        wait_for(made.is_served, timeout_s=30, doing="serving")
        denied = made.retrievals(STRANGER)
        assert [(answer.status, answer.body) for answer in denied] == [(403, DENIED)] * 2
        yield made
    finally:
        network.close()


def test_an_endpoint_that_hangs_and_comes_back(scene: Scene) -> None:
    scene.network.chain.process.send_signal(signal.SIGSTOP)
    wait_for(scene.is_in_trouble, timeout_s=60, doing="noticing")
    wait_for(scene.operators_are_told, timeout_s=60, doing="telling operators")
    scene.others_are_served()
    assert all(answer.status == 500 for answer in scene.retrievals(STRANGER))
    scene.network.chain.process.send_signal(signal.SIGCONT)
    wait_for(scene.is_served, timeout_s=60, doing="serving again")
    assert [answer.body for answer in scene.retrievals(STRANGER)] == [DENIED] * 2
    wait_for(scene.is_ready, timeout_s=60, doing="readiness")


def test_an_endpoint_that_is_gone(scene: Scene) -> None:
    scene.network.chain.stop()
    wait_for(scene.is_in_trouble, timeout_s=60, doing="noticing")
    wait_for(scene.operators_are_told, timeout_s=60, doing="telling operators")
    scene.others_are_served()
    for answer in scene.retrievals():
        assert answer.header("content-type") == "application/json; charset=utf-8"
        assert answer.body.endswith(b'\\""')
    broken = [event for event in scene.node.events() if event["level"] == "error"]
    assert broken == []


@pytest.mark.parametrize("contract", ["registry", "11" * 20])
def test_a_permission_contract_that_is_not_there_yet(scene: Scene, contract: str) -> None:
    """The chain is well, and nobody has permission: neither that of all nor a denial."""
    scene.node.stop()
    scene.node.set("secretstore", acl_contract=contract)
    scene.node.set("keyserver", registry_address="22" * 20)
    scene.node.start()
    scene.url = scene.node.wait_ready()["http"]
    assert scene.node.operator("/health/ready")[0] == 200
    for key in (ALICE, STRANGER):
        answers = scene.retrievals(key)
        assert [answer.status for answer in answers] == [500, 500]
        assert all(answer.body.startswith(TROUBLE) for answer in answers)
    assert scene.ask("/server/{}").status == 200
    missing = scene.node.wait_event("chain_contract_missing")
    assert missing["option"] == "acl_contract"
