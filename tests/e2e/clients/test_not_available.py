"""What is specified and not built yet: the exact requests, and the answers until then.

When signing (C2.4) arrives, only the expectation below is to be changed.
"""

import pytest

from tests.support.raw_http import Answer, ask
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import (
    ALICE,
    BOB,
    CURL,
    JSON_TYPE,
    REQUESTS,
    VECTORS,
    Client,
    Servers,
    error,
    fresh_id,
)

SIGNING = (501, error("Operation is not available"))
"""Later: 200, with a message of 177 or 178 bytes."""

MESSAGE_HASH = VECTORS["worked_example"]["schnorr"]["message_hash"][2:]


def outcome(answer: Answer) -> tuple[int, bytes]:
    assert answer.header("content-type") == JSON_TYPE
    return answer.status, answer.body


@pytest.mark.parametrize("scheme", ["schnorr", "ecdsa"])
async def test_signing(three: Servers, rpc: Rpc, scheme: str) -> None:
    """C2.4: threshold 1, three nodes; the hash is bare, or the path is none."""
    acting, key_id = Client(rpc, three.addresses, REQUESTS), fresh_id()
    assert (await acting.generate(ALICE, key_id, 1)).status == 200
    path = f"/{scheme}/{key_id}/{await acting.sign(BOB, key_id)}"
    for _ in three.addresses:
        assert outcome(await acting.http("GET", f"{path}/{MESSAGE_HASH}")) == SIGNING
    prefixed = await acting.http("GET", f"{path}/0x{MESSAGE_HASH}")
    assert (prefixed.status, prefixed.body) == (400, b"")


async def test_signing_in_the_vectors(three: Servers) -> None:
    """The two exchanges of the worked example."""
    exchanges = VECTORS["worked_example"]["exchanges"]
    paths = [each["request"]["path"] for each in exchanges]
    signing = [path for path in paths if path.startswith(("/schnorr", "/ecdsa"))]
    assert len(signing) == 2
    for path in signing:
        assert outcome(await ask(three.addresses[1], "GET", path, CURL)) == SIGNING
