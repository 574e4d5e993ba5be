"""C7: the module for private transactions, which asks for a key and makes it if it must."""

import asyncio
import json

import pytest

from keyserver.crypto import ecies
from keyserver.model.node_set import NodeAddress
from tests.e2e.clients.guarded import Guarded
from tests.support.raw_http import Answer, ask
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import (
    ALICE,
    NO_BODY,
    PEOPLE,
    Client,
    Servers,
    error,
    fresh_id,
)

THRESHOLD = 1


def contract_id() -> str:
    """A contract's address, padded on the left."""
    return fresh_id()[-40:].rjust(64, "0")


class NoKeyError(Exception):
    """The module gives up, with the reason phrase."""


class PrivateTransactions:
    """One Ethereum node with its own key server."""

    def __init__(self, rpc: Rpc, node: NodeAddress) -> None:
        self._signer = Client(rpc, [node], [])
        self._node = node

    async def ask_for_key(self, key_id: str) -> Answer:
        """Step 1."""
        path = f"/{key_id}/{await self._signer.sign(ALICE, key_id)}"
        return await ask(self._node, "GET", path)

    async def make_key(self, key_id: str) -> Answer:
        """Step 2, to be done only after a 404."""
        path = f"/{key_id}/{await self._signer.sign(ALICE, key_id)}/{THRESHOLD}"
        return await ask(self._node, "POST", path, [NO_BODY])

    async def key(self, key_id: str) -> bytes:
        """Steps 1 to 3."""
        answer = await self.ask_for_key(key_id)
        if answer.status == 404:
            answer = await self.make_key(key_id)
        if answer.status != 200:
            raise NoKeyError(answer.reason)
        return opened(answer)


def opened(answer: Answer) -> bytes:
    """Step 3: quotes are trimmed, 0x is a must."""
    text = answer.text.strip('"')
    assert text.startswith("0x")
    key = ecies.decrypt(ALICE.key, bytes.fromhex(text[2:]))
    assert len(key) == 64
    return key


def modules(rpc: Rpc, servers: Servers | Guarded) -> list[PrivateTransactions]:
    return [PrivateTransactions(rpc, node) for node in servers.addresses]


async def test_no_key_yet(three: Servers, lone: Servers, rpc: Rpc) -> None:
    """C7.1: 404 at every node, also where it is not known what else there could be."""
    key_id = contract_id()
    for module in (*modules(rpc, three), *modules(rpc, lone)):
        answer = await module.ask_for_key(key_id)
        assert (answer.status, answer.reason) == (404, "Not Found")
        assert answer.body == error("Server key with this ID is not found")


async def test_a_server_key_without_document_key(three: Servers, rpc: Rpc) -> None:
    """C7.1: 404 as well."""
    key_id = contract_id()
    generated = await Client(rpc, three.addresses, []).generate(ALICE, key_id, THRESHOLD)
    assert generated.status == 200
    for module in modules(rpc, three):
        answer = await module.ask_for_key(key_id)
        assert (answer.status, answer.reason) == (404, "Not Found")
        assert answer.body == error("Document key with this ID is not found")


async def test_the_key_is_everywhere_at_once(three: Servers, rpc: Rpc) -> None:
    """C7.2: also where the id is the address of a contract that exists."""
    for key_id in (contract_id(), PEOPLE["rpc1"].address[2:].rjust(64, "0")):
        first, *others = modules(rpc, three)
        assert (await first.ask_for_key(key_id)).status == 404
        made = await first.make_key(key_id)
        assert made.status == 200
        answers = await asyncio.gather(*(other.ask_for_key(key_id) for other in others))
        assert {opened(answer) for answer in answers} == {opened(made)}
        assert len(json.loads(made.text)) == 2 + 2 * 177


@pytest.mark.parametrize("attempt", range(5))
async def test_two_nodes_make_the_key_at_once(three: Servers, rpc: Rpc, attempt: int) -> None:
    """C7.3: never two keys, and never none for good."""
    turned = [*modules(rpc, three), *modules(rpc, three)][attempt % 3 :]
    key_id, (one, two, third, *_) = contract_id(), turned
    answers = await asyncio.gather(one.make_key(key_id), two.make_key(key_id))
    assert {answer.status for answer in answers} <= {200, 400, 500}
    made = {opened(answer) for answer in answers if answer.status == 200}
    assert len(made) <= 1
    keys = {await module.key(key_id) for module in (third, two, one)}
    assert len(keys) == 1
    assert made <= keys


async def test_permission_denied(guarded: Guarded, rpc: Rpc) -> None:
    """C7.4: 403 at step 1, where there is a key; the module does not try to make another."""
    key_id = contract_id()
    first, *others = modules(rpc, guarded)
    made = await first.make_key(key_id)
    assert made.status == 200
    for module in (first, *others):
        with pytest.raises(NoKeyError, match="Forbidden"):
            await module.key(key_id)
    await guarded.permit(key_id, [ALICE])
    assert {await module.key(key_id) for module in others} == {opened(made)}
