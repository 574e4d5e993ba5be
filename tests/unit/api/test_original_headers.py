"""Headers of the original's shadow retrieval (engine design, section 10)."""

import json

import pytest
from starlette.datastructures import Headers

from keyserver.api.original_headers import (
    ShadowHeaderError,
    ShadowWishes,
    read_shadow_headers,
)
from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import KeyId
from tests.support.asgi import call
from tests.support.client_node import sign_id
from tests.support.scripted_node import NODES, SHADOW, ScriptedNode, app_of

KEY_ID = KeyId(b"\x4b" * 32)
SIG = sign_id(SecretScalar.from_int(2), KEY_ID)
SHADOWED = f"/shadow/{KEY_ID.hex()}/{SIG}"
ONE, TWO = (node.hex() for node in NODES[:2])

MALFORMED = [[("Secretstore-Verify", value)] for value in ("", "0", "2", "true", "1,1", " 1 2")] + [
    [("Secretstore-Verify", "1"), ("Secretstore-Verify", "1")],
    *([("Secretstore-Exclude", value)] for value in ("", ",", ONE[1:], f"{ONE},", f"{ONE} {TWO}")),
    [("Secretstore-Exclude", ONE), ("Secretstore-Exclude", "0X" + TWO)],
]


def read(*headers: tuple[str, str]) -> ShadowWishes:
    return read_shadow_headers(Headers(dict(headers)))


def test_without_headers() -> None:
    assert read() == ShadowWishes(verify=False, exclude=frozenset())


def test_what_is_read() -> None:
    assert read(("secretstore-verify", "1")) == ShadowWishes(verify=True)
    both = read(("Secretstore-Exclude", f"{ONE.upper()} ,\t0x{TWO}"))
    assert both == ShadowWishes(exclude=frozenset(NODES[:2]))


def test_several_lines_are_one_list() -> None:
    raw = [(b"secretstore-exclude", ONE.encode()), (b"secretstore-exclude", TWO.encode())]
    assert read_shadow_headers(Headers(raw=raw)).exclude == frozenset(NODES[:2])


@pytest.mark.parametrize("headers", MALFORMED)
async def test_malformed(headers: list[tuple[str, str]]) -> None:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    with pytest.raises(ShadowHeaderError):
        read_shadow_headers(Headers(raw=raw))
    node = ScriptedNode()
    answer = await call(app_of(node), "GET", SHADOWED, headers)
    assert (answer.status, answer.body, answer.header("content-type")) == (400, b"", None)
    assert node.operations.calls == []
    elsewhere = await call(app_of(node), "GET", f"/{KEY_ID.hex()}/{SIG}", headers)
    assert elsewhere.status == 200, "only a shadow retrieval looks at them"


async def test_an_answer_that_can_be_checked() -> None:
    node = ScriptedNode()
    plain = await call(app_of(node), "GET", SHADOWED)
    full = await call(app_of(node), "GET", SHADOWED, [("Secretstore-Verify", "1")])
    assert list(json.loads(plain.text)) == ["decrypted_secret", "common_point", "decrypt_shadows"]
    assert full.text.startswith(plain.text[:-1] + ',"shadow_commitments":["0x')
    told = json.loads(full.text)
    assert told["shadow_commitments"] == [f"0x{p.raw64.hex()}" for p in SHADOW.shadow_commitments]
    assert told["shadow_nodes"] == [f"0x{ONE}", f"0x{TWO}"]


async def test_the_engine_hears_whom_to_leave_out() -> None:
    node = ScriptedNode()
    await call(app_of(node), "GET", SHADOWED, [("Secretstore-Exclude", ONE)])
    assert node.operations.calls == [("retrieve_shadow", KEY_ID, frozenset(NODES[:1]))]
