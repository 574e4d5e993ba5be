"""C1.3, C4.4, C6.4 and C7.4: who has no permission is told so, and nothing else."""

import json

from tests.e2e.clients.guarded import Guarded
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import (
    ALICE,
    BOB,
    CHARLIE,
    JSON_TYPE,
    REQUEST_JS,
    REQUESTS,
    Client,
    error,
    fresh_id,
    shown_by_axios,
)


async def test_a_denied_account(guarded: Guarded, rpc: Rpc) -> None:
    key_id = fresh_id()
    await guarded.permit(key_id, [ALICE, BOB])
    acting = Client(rpc, guarded.addresses, REQUESTS)
    encrypted = await acting.publish(ALICE, key_id, b"mySecretDocument", 1)
    assert await acting.consume(BOB, key_id, encrypted) == b"mySecretDocument"
    acting = Client(rpc, guarded.addresses, REQUEST_JS)
    signature = await acting.sign(CHARLIE, key_id)
    for path in (f"/shadow/{key_id}/{signature}", f"/{key_id}/{signature}"):
        for _ in guarded.addresses:
            answer = await acting.http("GET", path)
            assert (answer.status, answer.reason) == (403, "Forbidden")
            assert answer.text == '"\\"Consensus unreachable\\""'
            assert answer.header("content-type") == JSON_TYPE
            assert shown_by_axios(answer) == "Forbidden (403): Consensus unreachable"
            assert "error" not in json.loads(answer.text)


async def test_what_needs_no_permission(guarded: Guarded, rpc: Rpc) -> None:
    """Generation, storing and the author's look at the server key do not ask the contract."""
    key_id = fresh_id()
    acting = Client(rpc, guarded.addresses, REQUESTS)
    await acting.publish(CHARLIE, key_id, b"x", 1)
    own = await acting.http("GET", f"/server/{key_id}/{await acting.sign(CHARLIE, key_id)}")
    assert own.status == 200
    shadow = await acting.shadow(CHARLIE, key_id)
    assert (shadow.status, shadow.body) == (403, error("Consensus unreachable"))


async def test_an_unknown_key_is_not_found_whoever_asks(guarded: Guarded, rpc: Rpc) -> None:
    """The 404 of step 1 in C7 comes before permissions."""
    acting, key_id = Client(rpc, guarded.addresses, REQUESTS), fresh_id()
    answer = await acting.http("GET", f"/{key_id}/{await acting.sign(CHARLIE, key_id)}")
    assert (answer.status, answer.body) == (404, error("Server key with this ID is not found"))
