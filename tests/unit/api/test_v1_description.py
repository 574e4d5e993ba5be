"""What `/v1` says of itself: the OpenAPI document, and the page made from it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from keyserver.api.v1_example import worked_example
from keyserver.api.v1_page import SNIPPET, typed_text
from tests.support.asgi import call
from tests.support.bound_requests import POLICY, v1_app_of
from tests.support.raw_http import Answer
from tests.support.scripted_node import ScriptedNode

KEY = "/v1/server-keys/{id}"
OPERATIONS = {
    ("get", "/v1/node"): "node",
    ("post", KEY): "generate_server_key",
    ("get", KEY): "retrieve_server_key",
    ("post", f"{KEY}/document-key"): "store_document_key",
    ("post", f"{KEY}/document-key/generate"): "generate_both",
    ("post", f"{KEY}/document-key/plain"): "retrieve_plain",
    ("post", f"{KEY}/document-key/shadow"): "retrieve_shadow",
    ("post", f"{KEY}/signature"): "sign",
}


async def get(path: str) -> Answer:
    return await call(v1_app_of(ScriptedNode(policy=POLICY)), "GET", path)


async def document() -> dict[str, Any]:
    answer = await get("/v1/openapi.json")
    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    found: dict[str, Any] = json.loads(answer.text)
    return found


async def test_every_operation_is_described() -> None:
    found = await document()
    assert found["openapi"].startswith("3.1")
    assert found["info"]["version"] == "1.2.3"
    described = {
        (method, path): operation["operationId"]
        for path, methods in found["paths"].items()
        for method, operation in methods.items()
    }
    assert described == OPERATIONS


async def test_every_operation_says_what_can_go_wrong() -> None:
    found = await document()
    for (method, path), name in OPERATIONS.items():
        operation = found["paths"][path][method]
        responses = operation["responses"]
        always = {"200", "400", "408", "413", "429", "500", "503"}
        assert set(responses) - always <= {"401", "403", "404"}
        assert set(responses) >= always
        for status, response in responses.items():
            schema = response["content"]["application/json"]["schema"]
            if status != "200":
                assert schema == {"$ref": "#/components/schemas/Error"}
        assert ("401" in responses) == ("security" in operation) == (name != "node")
    scheme = found["components"]["securitySchemes"]["Secretstore-Auth"]
    assert (scheme["type"], scheme["in"], scheme["name"]) == (
        "apiKey",
        "header",
        "Secretstore-Auth",
    )


async def test_no_reference_leads_nowhere_and_no_model_is_idle() -> None:
    found = await document()
    text = json.dumps(found)
    models = found["components"]["schemas"]
    for name in models:
        assert f'"#/components/schemas/{name}"' in text
    assert text.count("#/components/schemas/") > len(models)
    assert {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]} <= set(models)


async def test_bodies_are_described_as_they_are_checked() -> None:
    found = await document()
    models = found["components"]["schemas"]
    for name in ("Generate", "Store", "Nothing", "Exclusions", "Sign"):
        assert models[name]["additionalProperties"] is False
    assert models["Generate"]["required"] == ["threshold"]
    assert "required" not in models["Exclusions"]
    assert models["Store"]["properties"]["common_point"]["format"] == "secp256k1-point"
    bodies = {
        name: found["paths"][path][method].get("requestBody")
        for (method, path), name in OPERATIONS.items()
    }
    assert bodies["node"] is None
    assert bodies["retrieve_server_key"] is None
    for name in ("generate_server_key", "store_document_key", "generate_both", "sign"):
        assert bodies[name]["required"] is True
    for name in ("retrieve_plain", "retrieve_shadow"):
        assert "required" not in bodies[name]


class _Links(HTMLParser):
    """Everything a browser would load or go to, and what it would run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in {"href", "src", "action", "srcset", "data"}:
                self.addresses.append(value or "")
            if name.startswith("on") or name == "style":
                self.handlers.append(name)
            if name == "id":
                self.ids.add(value or "")


async def test_the_page_loads_nothing_and_runs_nothing() -> None:
    answer = await get("/v1/docs")
    assert (answer.status, answer.header("content-type")) == (200, "text/html; charset=utf-8")
    links = _Links()
    links.feed(answer.text)
    assert not links.tags & {"script", "iframe", "img", "object", "embed", "form", "base"}
    assert links.handlers == []
    for address in links.addresses:
        assert address in {"data:,", "/v1/openapi.json"} or address[1:] in links.ids
    assert answer.text.count("<style>") == 1
    assert "@import" not in answer.text
    assert "url(" not in answer.text


async def test_the_page_may_use_its_own_style_only() -> None:
    answer = await get("/v1/docs")
    style = answer.text.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = answer.header("content-security-policy")
    assert policy is not None
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")
    assert "unsafe" not in policy
    assert answer.header("x-content-type-options") == "nosniff"


async def test_the_page_tells_all() -> None:
    text = (await get("/v1/docs")).text
    for name in OPERATIONS.values():
        assert f'id="{name}"' in text
    example = worked_example()
    for part in (example.header, example.digest.hex(), example.account.hex(), example.body):
        assert part in text.replace("&quot;", '"')
    for field in ("common_point", "shadow_commitments", "encrypted_signature", "exclude"):
        assert f"<th>{field}" in text
    for code in ("NONCE_USED", "SIGNATURE_EXPIRED", "OPERATION_DISABLED", "BODY_TOO_LARGE"):
        assert f"<code>{code}</code>" in text
    assert "integer, 0 to 65535" in text


@pytest.mark.parametrize("path", ["/v1/docs", "/v1/openapi.json"])
async def test_the_same_twice(path: str) -> None:
    app = v1_app_of(ScriptedNode(policy=POLICY))
    assert (await call(app, "GET", path)).body == (await call(app, "GET", path)).body


def test_the_documentation_shows_the_same() -> None:
    text = (Path(__file__).parents[3] / "docs" / "http-api.md").read_text()
    example = worked_example()
    shown = [
        SNIPPET,
        typed_text(example),
        example.header,
        f"curl -X POST http://127.0.0.1:8082{example.path}",
        *(f"`0x{part.hex()}`" for part in (example.payload, example.digest, example.signature)),
    ]
    for part in shown:
        assert part in text


async def test_the_documentation_names_every_operation_and_code() -> None:
    text = (Path(__file__).parents[3] / "docs" / "http-api.md").read_text()
    page = (await get("/v1/docs")).text
    for method, path in OPERATIONS:
        assert f"{method.upper()} `{path}`" in text
    for code in set(re.findall(r"<code>([A-Z]+(?:_[A-Z]+)+)</code>", page)):
        assert f"`{code}`" in text
