"""C8: keys made in one way are used in the other, by HTTP and by the service contract."""

import json
from typing import Any

import pytest

from tests.e2e.clients.guarded import ANNA, BEN, GuardedByContract
from tests.support.rpc_listener import Rpc
from tests.support.scenario_clients import REQUESTS, Client, Person, fresh_id

pytestmark = pytest.mark.e2e

THRESHOLDS = (0, 1, 2)
DOCUMENT = b"mySecretDocument"


def hexed(data: bytes) -> str:
    return f"0x{data.hex()}"


async def shadow_from_contract(
    chain: GuardedByContract, who: Person, key_id: str
) -> dict[str, Any]:
    """The common event for the requester, and then personal events with one decrypted secret."""
    chain.request(who, "retrieveDocumentKeyShadow", bytes.fromhex(key_id), who.key.public().raw64)
    common = await chain.answers("DocumentKeyCommonRetrieved", key_id)
    _, requester, common_point, threshold = common[0]
    assert hexed(requester) == who.address
    personal = await chain.answers("DocumentKeyPersonalRetrieved", key_id, threshold + 1)
    assert {hexed(values[1]) for values in personal} == {who.address}
    (decrypted_secret,) = {values[2] for values in personal}
    shadows = [hexed(values[3]) for values in personal]
    return {
        "decrypted_secret": hexed(decrypted_secret),
        "common_point": hexed(common_point),
        "decrypt_shadows": shadows[::-1],
    }


async def test_from_http_to_the_contract(chain: GuardedByContract, rpc_processes: Rpc) -> None:
    """C8.1: generated and stored by HTTP, retrieved through the contract."""
    acting = Client(rpc_processes, chain.addresses, REQUESTS)
    for threshold in THRESHOLDS:
        key_id = fresh_id()
        await chain.permit(key_id, [BEN])
        encrypted = await acting.publish(ANNA, key_id, DOCUMENT, threshold)
        from_contract = await shadow_from_contract(chain, BEN, key_id)
        assert len(from_contract["decrypt_shadows"]) == threshold + 1
        assert await acting.open_shadow(BEN, from_contract, encrypted) == DOCUMENT
        by_http = json.loads((await acting.shadow(BEN, key_id)).text)
        assert by_http["common_point"] == from_contract["common_point"]


async def test_from_the_contract_to_http(chain: GuardedByContract, rpc_processes: Rpc) -> None:
    """C8.1, the other way round."""
    acting, account = Client(rpc_processes, chain.addresses, REQUESTS), (ANNA.address, "annapwd")
    for threshold in THRESHOLDS:
        key_id = fresh_id()
        await chain.permit(key_id, [BEN])
        raw_id = bytes.fromhex(key_id)
        chain.request(ANNA, "generateServerKey", raw_id, threshold)
        ((_, public, *_),) = await chain.answers("ServerKeyGenerated", key_id)
        made = await rpc_processes.result(
            "secretstore_generateDocumentKey", *account, hexed(public)
        )
        points = [bytes.fromhex(made[name][2:]) for name in ("common_point", "encrypted_point")]
        chain.request(ANNA, "storeDocumentKey", raw_id, *points)
        await chain.answers("DocumentKeyStored", key_id)
        encrypted = await rpc_processes.result(
            "secretstore_encrypt", *account, made["encrypted_key"], hexed(DOCUMENT)
        )
        known = await acting.http("GET", f"/server/{key_id}/{await acting.sign(ANNA, key_id)}")
        assert json.loads(known.text) == hexed(public)
        assert await acting.consume(BEN, key_id, encrypted) == DOCUMENT
