"""Service keys of a real process: handed out while it is open, and after it was closed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyserver.crypto.curve import SecretScalar
from tests.support.node_processes import ConfiguredNode, static_node
from tests.support.ports import free_port
from tests.support.sealed_nodes import ask_operator, seal_node, unseal, wait_state
from tests.support.wire import ask as send

CURRENT = "/v1/keys/mail%2Fin/current"


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[ConfiguredNode]:
    node = static_node(tmp_path / "alone", SecretScalar.from_int(5))
    node.set("secretstore", http_port=free_port())
    node.set("keyserver", operator_listen="127.0.0.1:0", log_format="json")
    node.set("keyserver.service_keys", enabled=True)
    try:
        yield node
    finally:
        node.kill()


def test_keys_outlive_a_seal(alone: ConfiguredNode) -> None:
    words = seal_node(alone)
    alone.start()
    wait_state(alone, "sealed")
    assert ask(alone, "kst1_")[:2] == (503, "SEALED")
    unseal(alone, words)
    wait_state(alone, "ready")
    wanted = {"principal": "svc:mail", "scopes": ["keys:use"], "services": ["*"], "days": 1}
    status, made = ask_operator(alone, "POST", "/v1/admin/tokens", wanted)
    assert status == 201, made
    token = made["token"]

    status, _, key = ask(alone, token)
    assert (status, key["owner"], key["service"]) == (201, "svc:mail", "mail/in")
    assert ask(alone, "kst1_")[:2] == (401, "UNAUTHENTICATED")
    status, owners = ask_operator(alone, "GET", "/v1/admin/owners")
    assert [line["owner"] for line in owners["owners"]] == ["svc:mail"]

    ask_operator(alone, "POST", "/v1/seal/seal")
    wait_state(alone, "sealed")
    assert ask(alone, token)[:2] == (503, "SEALED")
    unseal(alone, words[1:])
    wait_state(alone, "ready")
    assert ask(alone, token) == (200, "", key)
    assert alone.stop()[0] == 0

    written = [file.read_bytes() for file in alone.data.rglob("*") if file.is_file()]
    written.append(alone.log_file.read_bytes())
    for secret in (key["key"].encode(), bytes.fromhex(key["key"]), token[22:].encode()):
        assert not any(secret in content for content in written)
    audit = (alone.data / "audit.jsonl").read_text()
    for action in ("token.create", "keys.create", "keys.get", "auth.denied"):
        assert f'"{action}"' in audit


def ask(node: ConfiguredNode, token: str) -> tuple[int, str, dict[str, Any]]:
    """Status, code of the error, and fields of the answer."""
    lines = [
        f"POST {CURRENT} HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        "Content-Length: 0",
        f"Authorization: Bearer {token}",
    ]
    answer = send(node.ready["http"], "\n".join(lines))
    assert answer.header("cache-control") == "no-store"
    fields: dict[str, Any] = json.loads(answer.body)
    return answer.status, fields.get("error", {}).get("code", ""), fields
