"""The JSON-RPC listener on a socket, with key files, as a client's configuration starts it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyserver.api.listening import tcp_socket
from keyserver.api.public_server import serve_public
from keyserver.app.accounts import write_key_file
from keyserver.app.compose_json_rpc import compose_json_rpc
from keyserver.app.config import load
from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.crypto.randomness import SystemRandom
from keyserver.model.identifiers import NodeId
from keyserver.model.node_set import NodeAddress
from tests.support.raw_http import Connection, ask
from tests.support.rpc_listener import JSON_HEADERS, Rpc

KEY = SecretScalar.from_int(0xA11CE)
ADDRESS = f"0x{NodeId.of(KEY.public()).address.hex()}"
DEV = "0x00a329c0648769A73afAc7F9381E08FB43dBEA72"
HASH = "11" * 32
PASSWORD = " päss wörd "


async def _listen(folder: Path, chain: str) -> AsyncIterator[Rpc]:
    file = folder / "config.toml"
    file.write_text(
        f'[parity]\nchain = "{chain}"\nbase_path = "{folder}"\n'
        '[rpc]\napis = ["secretstore"]\nmax_payload = 1\n[secretstore]\ndisable = true\n'
    )
    config = load(file, environ={"HOME": str(folder)}).config
    write_key_file(folder / "keys" / "somewhere", KEY, PASSWORD, iterations=1024)
    (folder / "keys" / "broken").write_text("{")
    listener = tcp_socket("rpc.port", "127.0.0.1", 0)
    app = compose_json_rpc(config, SystemRandom())
    server = asyncio.ensure_future(serve_public(app, listener))
    yield Rpc(NodeAddress(*listener.getsockname()[:2]))
    server.cancel()
    await asyncio.gather(server, return_exceptions=True)


@pytest.fixture(scope="module")
async def rpc(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rpc]:
    async for listener in _listen(tmp_path_factory.mktemp("main"), "ethereum"):
        yield listener


@pytest.fixture(scope="module")
async def dev(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rpc]:
    async for listener in _listen(tmp_path_factory.mktemp("dev"), "dev"):
        yield listener


def signature() -> str:
    return f"0x{sign_digest(KEY, bytes.fromhex(HASH)).hex()}"


async def test_an_account_in_a_key_file(rpc: Rpc) -> None:
    """The password is used as it is, blanks included; the address in any case."""
    signed = await rpc.result("secretstore_signRawHash", ADDRESS, PASSWORD, f"0x{HASH}")
    assert signed == signature()
    upper = f"0x{ADDRESS[2:].upper()}"
    assert await rpc.result("secretstore_signRawHash", upper, PASSWORD, f"0x{HASH}") == signature()
    trimmed = await rpc.call("secretstore_signRawHash", ADDRESS, PASSWORD.strip(), f"0x{HASH}")
    assert trimmed["error"]["data"] == "SStore(InvalidPassword)"


async def test_many_calls_at_once_leave_the_loop_free(rpc: Rpc) -> None:
    calls = [
        rpc.result("secretstore_signRawHash", ADDRESS, PASSWORD, f"0x{HASH}") for _ in range(20)
    ]
    assert set(await asyncio.gather(*calls)) == {signature()}


async def test_the_built_in_account_is_there_on_its_chain_only(rpc: Rpc, dev: Rpc) -> None:
    elsewhere = await rpc.call("secretstore_signRawHash", DEV, "", f"0x{HASH}")
    assert elsewhere["error"]["data"] == "SStore(InvalidAccount)"
    assert len(await dev.result("secretstore_signRawHash", DEV, "", f"0x{HASH}")) == 132


async def test_connections_stay_open_and_end_when_told(rpc: Rpc) -> None:
    body = b'{"jsonrpc":"2.0","method":"eth_chainId","params":[],"id":42}'
    length = [*JSON_HEADERS, ("Content-Length", str(len(body)))]
    async with await Connection.to(rpc.address) as connection:
        for _ in range(3):
            answer = await connection.ask("POST", "/", length, body)
            assert json.loads(answer.body)["id"] == 42
        closing = [*length, ("Connection", "close")]
        assert (await connection.ask("POST", "/", closing, body)).status == 200
        assert await connection.is_closed_by_peer()


async def test_bodies_up_to_the_limit(rpc: Rpc) -> None:
    document = "00" * ((1 << 20) // 2 - 1000)
    params = [ADDRESS, PASSWORD, "0x", f"0x{document}"]
    answer = await rpc.call("secretstore_decrypt", *params)
    assert answer["error"]["message"] == "Could not decrypt key."
    assert (await rpc.raw(b" " * ((1 << 20) + 1))).status == 413


async def test_other_requests(rpc: Rpc) -> None:
    assert (await ask(rpc.address, "GET", "/")).status == 405
    foreign = [("Origin", "http://evil.example"), ("Content-Length", "0")]
    assert (await ask(rpc.address, "POST", "/", foreign)).status == 403
    async with await Connection.to(rpc.address) as connection:
        await connection.send(b"POST / HTTP/1.1\r\nHost: rebound.example\r\n\r\n")
        assert (await connection.answer()).status == 403
