"""The operator listener's routes over a process that says what the test wants."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message

from keyserver.api.bodies import BodyError
from keyserver.api.facts import (
    FeeFacts,
    KeyFacts,
    KeyLine,
    MemberFacts,
    NodeSetFacts,
    OffenceFacts,
    StatusFacts,
    TaskFacts,
    Trouble,
)
from keyserver.api.operator import operator_app
from keyserver.api.operator_answers import BadRequestError
from keyserver.api.operator_set_change import ChangeFacts, KeptKeyFacts, SetChangeFacts
from keyserver.errors import ChainError, KeyServerError, StorageError
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId
from keyserver.sealing.errors import (
    AuditUnavailableError,
    ForbiddenError,
    SealedError,
    StandbyError,
    UnauthenticatedError,
)
from keyserver.sealing.service_keys.boxes import CorruptKeyError
from tests.support.asgi import call

NODE = NodeId(bytes(range(64)))
ADDRESS = Address(b"\xaa" * 20)
KEYS = [KeyLine(KeyId(bytes([n]) * 32), 1, True, False) for n in range(1, 4)]

OFFENCE = OffenceFacts(
    NODE, ADDRESS, "two_votes", "voted", KEYS[0].key_id, None, 5, 9, Hash32(b"\xee" * 32)
)


class FakeNode:
    """A process and its node, of fixed answers; `fault` is raised instead of any."""

    def __init__(self) -> None:
        self.trouble: list[Trouble] = []
        self.fault: Exception | None = None
        self.drained = 0
        self.closed: KeyServerError | None = None
        self.refused: Exception | None = None

    @property
    def node(self) -> "FakeNode":
        if self.closed is not None:
            raise self.closed
        return self

    async def admit(self, _: Request) -> None:
        if self.refused is not None:
            raise self.refused

    def _may_fail(self) -> None:
        if self.fault is not None:
            raise self.fault

    async def troubles(self) -> Sequence[Trouble]:
        return self.trouble

    async def metrics(self) -> bytes:
        return b"keyserver_keys 3.0\n"

    async def status(self) -> StatusFacts:
        self._may_fail()
        node_set = NodeSetFacts(ADDRESS, 7, 9, False, False, False, ())
        return StatusFacts(
            NODE, ADDRESS, "1", 42, 5, None, True, (), (), None, node_set, 0, 3, 1, {"held": 1}, {}
        )

    async def set_change(self) -> SetChangeFacts:
        self._may_fail()
        kept = (KeptKeyFacts(KEYS[0].key_id, "too few"),)
        change = ChangeFacts(Hash32(b"\xcc" * 32), "moving", 5, 3, (NODE,), 1, kept, "")
        return SetChangeFacts(2, None, change, None, None)

    async def keys(self, after: KeyId | None, limit: int) -> Sequence[KeyLine]:
        return [key for key in KEYS if after is None or key.key_id > after][:limit]

    async def key(self, key_id: KeyId) -> KeyFacts | None:
        if key_id != KEYS[0].key_id:
            return None
        member = MemberFacts(NODE, 2**200, True)
        return KeyFacts(
            key_id=key_id,
            author=ADDRESS,
            threshold=1,
            required_nodes=2,
            version=1,
            public=bytes(64),
            record_hash=Hash32(bytes(32)),
            set_id=Hash32(bytes(32)),
            committee=(member,),
            share="held",
            has_document_key=False,
            certified=True,
            undecided=False,
        )

    async def requests(self) -> Sequence[TaskFacts]:
        self._may_fail()
        return []

    async def offences(self) -> Sequence[OffenceFacts]:
        return [OFFENCE]

    async def evidence(self, name: Hash32) -> bytes | None:
        return b"TKSE" if name == OFFENCE.evidence else None

    async def fees(self) -> Sequence[FeeFacts]:
        return [FeeFacts(ADDRESS, ("a",), "66666666666666666")]

    async def collect_fees(self) -> Sequence[FeeFacts]:
        self._may_fail()
        self.drained += 1
        return await self.fees()


async def ask(node: FakeNode, path: str, method: str = "GET") -> tuple[int, Any]:
    """One request, straight into the application."""
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [],
        "root_path": "",
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await operator_app(node, node.admit)(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    is_json = b"json" in dict(sent[0]["headers"]).get(b"content-type", b"")
    return sent[0]["status"], json.loads(body) if is_json else body.decode()


async def test_live_also_when_nothing_works() -> None:
    node = FakeNode()
    node.trouble = [Trouble("chain", "no block")]
    assert await ask(node, "/health/live") == (200, {"live": True})


async def test_ready_and_not() -> None:
    node = FakeNode()
    assert await ask(node, "/health/ready") == (200, {"ready": True, "reasons": []})
    node.trouble = [Trouble("chain", "no block")]
    status, body = await ask(node, "/health/ready")
    assert status == 503
    assert body == {"ready": False, "reasons": [{"code": "chain", "text": "no block"}]}


async def test_a_process_that_is_not_the_node() -> None:
    node = FakeNode()
    for error in (SealedError("the node is sealed"), StandbyError("another one acts")):
        node.closed = error
        for path in ("/v1/status", "/v1/keys", "/v1/requests", "/v1/evidence", "/v1/drain"):
            status, body = await ask(node, path)
            assert (status, body["error"]["code"]) == (503, error.code), path
        assert (await ask(node, "/health/live"))[0] == 200
        assert (await ask(node, "/metrics"))[0] == 200


@pytest.mark.parametrize(
    "error",
    [SealedError("sealed"), StandbyError("standby"), StorageError("gone"), ChainError("silent")],
)
async def test_what_passes_says_so_and_when_to_ask_again(error: KeyServerError) -> None:
    node = FakeNode()
    node.closed = error
    answer = await call(operator_app(node, node.admit), "GET", "/v1/status")
    assert answer.status == 503
    assert json.loads(answer.body)["error"]["retriable"] is True
    assert answer.header("retry-after") == "5"


async def test_what_does_not_pass_says_so_too() -> None:
    node = FakeNode()
    for path in ("/v1/keys?limit=0", f"/v1/keys/{'09' * 32}"):
        answer = await call(operator_app(node, node.admit), "GET", path)
        assert json.loads(answer.body)["error"]["retriable"] is False
        assert answer.header("retry-after") is None
    node.closed = CorruptKeyError("a box does not open")
    answer = await call(operator_app(node, node.admit), "GET", "/v1/status")
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (500, "STORAGE_CORRUPT")


async def test_only_administrators_have_fees_collected() -> None:
    node = FakeNode()
    for error, expected in ((UnauthenticatedError("who?"), 401), (ForbiddenError("no"), 403)):
        node.refused = error
        status, body = await ask(node, "/v1/drain", "POST")
        assert (status, body["error"]["code"]) == (expected, error.code)
    assert node.drained == 0


async def test_metrics() -> None:
    assert await ask(FakeNode(), "/metrics") == (200, "keyserver_keys 3.0\n")


async def test_status_shows_bytes_in_hexadecimal() -> None:
    status, body = await ask(FakeNode(), "/v1/status")
    assert status == 200
    assert body["node_id"] == f"0x{NODE.hex()}"
    assert body["node_set"]["contract"] == f"0x{ADDRESS.hex()}"
    assert body["tasks"] == {"held": 1}
    assert body["set_change"] is None
    assert body["chain"] is None


async def test_changes_of_the_node_set() -> None:
    node = FakeNode()
    status, body = await ask(node, "/v1/set-change")
    assert status == 200
    assert body["next_epoch"] == 2
    assert [body[name] for name in ("takes_part", "completed", "migration")] == [None] * 3
    assert body["coordinated"] == {
        "change_id": "0x" + "cc" * 32,
        "phase": "moving",
        "keys_total": 5,
        "keys_moved": 3,
        "missing": [f"0x{NODE.hex()}"],
        "keys_kept": 1,
        "kept": [{"key_id": "0x" + "01" * 32, "why": "too few"}],
        "why": "",
    }
    node.fault = StorageError("the disk is gone")
    status, body = await ask(node, "/v1/set-change")
    assert (status, body["error"]["message"]) == (503, "the disk is gone")


async def test_keys_page_by_page() -> None:
    node = FakeNode()
    status, first = await ask(node, "/v1/keys?limit=2")
    assert status == 200
    assert [key["key_id"] for key in first["keys"]] == [f"0x{k.key_id.hex()}" for k in KEYS[:2]]
    status, rest = await ask(node, f"/v1/keys?limit=2&after={first['next_after']}")
    assert [key["key_id"] for key in rest["keys"]] == [f"0x{KEYS[2].key_id.hex()}"]
    assert rest["next_after"] is None


async def test_bad_queries_name_the_field() -> None:
    for path, field in (
        ("/v1/keys?limit=0", "limit"),
        ("/v1/keys?limit=1001", "limit"),
        ("/v1/keys?limit=x", "limit"),
        ("/v1/keys?limit=000000001000000000", "limit"),
        ("/v1/keys?limit=000000001" + 5000 * "0", "limit"),
        ("/v1/keys?after=12", "after"),
        ("/v1/keys/12", "key id"),
        (f"/v1/keys/{'zz' * 32}", "key id"),
        ("/v1/evidence/12", "evidence"),
        (f"/v1/evidence/{'zz' * 32}", "evidence"),
    ):
        status, body = await ask(FakeNode(), path)
        assert status == 400, path
        assert body["error"]["code"] == "BAD_REQUEST"
        assert body["error"]["message"].startswith(f"{field}: ")


async def test_one_key() -> None:
    status, body = await ask(FakeNode(), f"/v1/keys/0x{'01' * 32}")
    assert status == 200
    assert body["author"] == f"0x{ADDRESS.hex()}"
    assert body["committee"][0]["x"] == str(2**200)
    assert "value" not in json.dumps(body)


async def test_a_key_that_is_not_known() -> None:
    status, body = await ask(FakeNode(), f"/v1/keys/{'09' * 32}")
    assert status == 404
    assert body["error"]["code"] == "ServerKeyIsNotFound"


async def test_fees_and_their_collection() -> None:
    node = FakeNode()
    expected = [
        {"contract": f"0x{ADDRESS.hex()}", "services": ["a"], "balance_wei": "66666666666666666"}
    ]
    assert await ask(node, "/v1/drain") == (200, {"fees": expected})
    assert node.drained == 0
    assert await ask(node, "/v1/drain", "POST") == (202, {"collecting": expected})
    assert node.drained == 1


async def test_trouble_with_chain_or_database_is_told() -> None:
    node = FakeNode()
    node.fault = StorageError("database locked")
    status, body = await ask(node, "/v1/requests")
    assert (status, body["error"]["message"]) == (503, "database locked")
    node.fault = ChainError("no endpoint answers")
    status, body = await ask(node, "/v1/drain", "POST")
    assert (status, body["error"]["message"]) == (503, "no endpoint answers")


@pytest.mark.parametrize(
    ("problem", "status", "code"),
    [
        (BadRequestError("the body is not JSON"), 400, "BAD_REQUEST"),
        (BodyError(413), 413, "BAD_REQUEST"),
        (AuditUnavailableError("the disk is full"), 503, "AUDIT_UNAVAILABLE"),
    ],
    ids=["form", "size", "log"],
)
async def test_an_order_that_cannot_be_read_or_written_down(
    problem: Exception, status: int, code: str
) -> None:
    node = FakeNode()
    node.refused = problem
    answered, body = await ask(node, "/v1/drain", "POST")
    assert (answered, body["error"]["code"]) == (status, code)
    assert node.drained == 0


async def test_other_methods_and_paths() -> None:
    assert (await ask(FakeNode(), "/v1/status", "POST"))[0] == 405
    assert (await ask(FakeNode(), "/v1/nothing"))[0] == 404


async def test_evidence() -> None:
    status, body = await ask(FakeNode(), "/v1/evidence")
    assert status == 200
    assert [offence["culprit"] for offence in body["evidence"]] == [f"0x{NODE.hex()}"]
    status, body = await ask(FakeNode(), f"/v1/evidence/0x{'ee' * 32}")
    assert (status, body["record"]) == (200, f"0x{b'TKSE'.hex()}")
    status, body = await ask(FakeNode(), f"/v1/evidence/{'00' * 32}")
    assert (status, body["error"]["code"]) == (404, "EvidenceIsNotFound")
