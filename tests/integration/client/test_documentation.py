"""The programs in docs/client.md do what the page says."""

import asyncio
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

import keyserver.client.http
from keyserver.client import errors
from keyserver.client.contracts import GENERATION, STORE
from keyserver.client.requests import KeyServers
from keyserver.crypto.elgamal import EncryptedDocumentKey
from keyserver.crypto.hashing import keccak256
from keyserver.model.identifiers import NodeId
from keyserver.simulation.clock import VirtualClock
from tests.integration.client import scripted
from tests.integration.client.conftest import SERVERS, World
from tests.integration.client.network import ALICE, BOB, urls
from tests.integration.client.scripted import SharedKey
from tests.integration.client.test_sharing import stored_points
from tests.support.client_node import client_network

PAGE = Path(__file__).parents[3] / "docs" / "client.md"
TEXT = b"attack at dawn"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page's programs define, in the time of the simulated nodes."""
    connect = partial(keyserver.client.http.connect_nodes, unix_time=VirtualClock().unix)
    monkeypatch.setattr(keyserver.client.http, "connect_nodes", connect)
    names: dict[str, Any] = {}
    for program in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(program, str(PAGE), "exec"), names)  # this project's own page
    return names


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "plan.txt"
    path.write_bytes(TEXT)
    return path


async def test_over_http(
    page: dict[str, Any], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alice, key_id = page["account"](bytes([7] * 32))
    async with client_network(3, seed=80) as network:
        encrypted = await page["share_over_http"](urls(network), alice, key_id, file)
        copy = file.with_name("copy")
        await page["read_from_old_nodes"](urls(network), BOB, encrypted, copy)
    assert copy.read_bytes() == TEXT
    assert capsys.readouterr().out == "checked\n"


async def test_a_signature(page: dict[str, Any]) -> None:
    alice, key_id = page["account"](bytes([7] * 32))
    async with (
        client_network(3, seed=82) as network,
        keyserver.client.http.connect_nodes(urls(network), alice) as servers,
    ):
        key = (await servers.generate_server_key(key_id, 1)).value.public
        signature = await page["sign_agreement"](servers, key_id, b"agreed", key)
    digest = keccak256(b"agreed")
    signer = Account._recover_hash(digest, signature=signature)
    assert bytes.fromhex(signer[2:]) == NodeId.of(key).address


async def test_through_contracts(world: World, page: dict[str, Any], file: Path) -> None:
    key_id, key = world.new_key_id(), SharedKey(2, SERVERS)
    contracts = file.with_name("contracts.json")
    addresses = {n: f"0x{a.hex()}" for n, a in world.contracts.address_by_name.items()}
    contracts.write_text(json.dumps({"contracts": addresses}))

    async def key_servers() -> None:
        await world.servers.requested(GENERATION.requested, key_id)
        await world.servers.answer(scripted.GENERATED, key_id, key.public.raw64, by=range(SERVERS))
        await world.servers.requested(STORE.requested, key_id)
        await world.servers.answer(scripted.STORED, key_id, by=range(SERVERS))

    share = page["share_through_contracts"]
    encrypted, _ = await asyncio.gather(
        share(world.url, contracts, ALICE, key_id, file), key_servers()
    )
    document: EncryptedDocumentKey = await stored_points(world, key_id)
    bob: KeyServers = world.client(BOB)
    copy = file.with_name("copy")
    await asyncio.gather(
        page["read"](bob, encrypted, copy),
        world.servers.answer_shadow(key, document, key_id, BOB, chosen=[0, 2, 4]),
    )
    assert copy.read_bytes() == TEXT


def test_every_error_of_the_client_stands_on_the_page() -> None:
    text = PAGE.read_text()
    internal = {"KeyServerError", "ClientError", "NodeError", "NodeNotReadyError"}
    for name in vars(errors):
        if name.endswith("Error") and name not in internal:
            assert f"`{name}`" in text, f"{name} is not explained"
