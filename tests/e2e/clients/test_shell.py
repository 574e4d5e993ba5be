"""C6: shell scripts. The tutorial itself is in `test_tutorial.py`."""

import asyncio
import json
import shutil

import pytest

from tests.support.raw_http import ask
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import (
    ALICE,
    BOB,
    CURL,
    Client,
    Servers,
    error,
    fresh_id,
)
from tests.vectors.files import load


async def test_no_content_length(three: Servers, rpc: Rpc) -> None:
    """C6.1, as bytes on a socket."""
    acting = Client(rpc, three.addresses, CURL, sends_length=False)
    assert (await acting.generate(ALICE, fresh_id(), 1)).status == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
async def test_the_program_itself(three: Servers, rpc: Rpc) -> None:
    """C6.1, by curl."""
    key_id, node = fresh_id(), three.addresses[0]
    signature = await Client(rpc, three.addresses, []).sign(ALICE, key_id)
    url = f"http://{node.host}:{node.port}/shadow/{key_id}/{signature}/1"
    curl = await asyncio.create_subprocess_exec(
        "curl",
        "-X",
        "POST",
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    body, _ = await curl.communicate()
    assert curl.returncode == 0
    known = await ask(three.addresses[1], "GET", f"/server/{key_id}/{signature}", CURL)
    assert (known.status, known.body) == (200, body)


async def test_upper_case_ids(three: Servers, rpc: Rpc) -> None:
    """C6.6: in all paths."""
    acting = Client(rpc, three.addresses, CURL, sends_length=False)
    key_id = f"{0xABCDEF << 200 | int(fresh_id(), 16):064X}"
    encrypted = await acting.publish(ALICE, key_id, b"shell", 1)
    assert await acting.consume(BOB, key_id, encrypted) == b"shell"
    assert await acting.consume(BOB, key_id.lower(), encrypted) == b"shell"
    generated = await acting.http("GET", f"/server/{key_id}/{await acting.sign(ALICE, key_id)}")
    assert generated.status == 200
    signature = (await acting.sign(BOB, key_id)).upper()
    assert (await acting.http("GET", f"/{key_id}/{signature}")).status == 200


async def test_nodes_stop(three: Servers, rpc: Rpc) -> None:
    """C6.3: one of three may be away, two may not; and it is readable again without ado."""
    acting, key_id = Client(rpc, three.addresses, CURL), fresh_id()
    encrypted = await acting.publish(ALICE, key_id, b"mySecretDocument", 1)
    assert await acting.consume(BOB, key_id, encrypted) == b"mySecretDocument"
    first = Client(rpc, three.addresses[:1], CURL)
    stopped = [1]
    await three.stop(1)
    try:
        assert await first.consume(BOB, key_id, encrypted) == b"mySecretDocument"
        down = await first.generate(ALICE, fresh_id(), 1)
        disconnected = "node required for this operation is currently disconnected"
        assert (down.status, down.body) == (500, error(disconnected))
        await three.stop(2)
        stopped.append(2)
        answer = await first.shadow(BOB, key_id)
        assert (answer.status, answer.reason) == (403, "Forbidden")
        assert answer.text == '"\\"Consensus unreachable\\""'
        known = await first.http("GET", f"/server/{key_id}/{await first.sign(ALICE, key_id)}")
        assert (known.status, known.body) == (403, error("Consensus unreachable"))
    finally:
        await three.start(*stopped)
    assert await first.consume(BOB, key_id, encrypted) == b"mySecretDocument"
    assert (await first.generate(ALICE, fresh_id(), 1)).status == 200


async def test_old_documents_stay_readable(rpc: Rpc) -> None:
    """C6.7: by the built-in account of the development chain."""
    cases = {case["id"]: case for case in load("json-rpc")["cases"]}
    for name in ("decrypt-doc", "decrypt-sstore-9", "shadow-decrypt-sstore-9"):
        request = cases[name]["request"]
        answer = await rpc.result(request["method"], *request["params"])
        assert answer == cases[name]["result"]
        assert json.dumps(answer).startswith('"0x')
