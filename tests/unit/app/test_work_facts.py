"""Tasks as operators are told them."""

from keyserver.app.work_facts import task_facts
from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.tasks.model import SeenRequest, Sighting, TaskKey, TaskKind
from tests.support.work_store import FakeWorkStore

CONTRACT, ACCOUNT = Address(b"\xc0" * 20), Address(b"\xa1" * 20)
KEY_ID, MESSAGE = KeyId(b"\x4b" * 32), Hash32(b"\x4d" * 32)
SEEN = Sighting(7, Hash32(b"\x07" * 32))


async def test_a_request_is_told_by_what_distinguishes_it() -> None:
    store = FakeWorkStore()
    keys = [
        TaskKey(1, CONTRACT, TaskKind.GENERATE_SERVER_KEY, KEY_ID),
        TaskKey(1, CONTRACT, TaskKind.ECDSA_PERSONAL, KEY_ID, ACCOUNT, MESSAGE),
    ]
    await store.admit([SeenRequest(key, b"", SEEN) for key in keys])
    plain, signing = await task_facts(store)
    assert (plain.kind, plain.requester, plain.message) == ("generate_server_key", None, None)
    assert (signing.kind, signing.requester, signing.message) == (
        "ecdsa_personal",
        ACCOUNT,
        MESSAGE,
    )
    assert signing.first_seen_block == 7
