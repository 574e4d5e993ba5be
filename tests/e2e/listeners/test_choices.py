"""What an operator has said or left unsaid: warnings at start, and refusals to clients."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keyserver.app.config.rules import LENIENT_KEYS
from tests.e2e.listeners.nodes import CLIENT, lone_node
from tests.support.client_node import sign_id
from tests.support.node_processes import NodeProcess
from tests.support.wire import ask

pytestmark = pytest.mark.e2e

KEY_ID = b"\x01" * 32
START = f"{KEY_ID.hex()}/{sign_id(CLIENT, KEY_ID)}"
HASH = "22" * 32

REFUSALS = {
    ("POST", f"/{START}/0"): (
        "generate_both",
        "forbid_plain_modes",
        "POST /shadow/{id}/{sig}/{threshold} and "
        "POST /shadow/{id}/{sig}/{common_point}/{encrypted_point}",
    ),
    ("GET", f"/{START}"): (
        "retrieve_plain",
        "forbid_plain_modes",
        "POST /v1/server-keys/{id}/document-key/shadow",
    ),
    ("GET", f"/schnorr/{START}/{HASH}"): (
        "sign_schnorr",
        "strict_credentials",
        "POST /v1/server-keys/{id}/signature",
    ),
    ("GET", f"/ecdsa/{START}/{HASH}"): (
        "sign_ecdsa",
        "strict_credentials",
        "POST /v1/server-keys/{id}/signature",
    ),
}


def keyserver(*arguments: str, **environment: str) -> Any:
    """What a command prints with `--json`."""
    done = subprocess.run(
        [sys.executable, "-m", "keyserver.cli", *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def told(warnings: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return sorted((each["event"], each["level"], each["text"]) for each in warnings)


def test_a_start_says_what_the_check_says(tmp_path: Path) -> None:
    """Each warning once, in the log as in `keyserver config check`; and the node serves."""
    node = lone_node(tmp_path, accounts=True)
    stranger = f"{'79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798'}"
    stranger += "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
    node.set("secretstore", http_interface="all", admin_public=stranger)
    node.set("secretstore", nodes=[f"{node.id.hex()}@h:1", f"{node.id.hex()}@h:2"])
    node.set("rpc", interface="all")
    node.set("keyserver", **{"seal.on_seal": "stay"})
    node.set("network", port=30303)
    (node.directory / "keys" / "README").write_text("no key file")
    node.environment["KEYSERVER_RATE_LIMITS"] = "5"
    node.set("account", unlock=[])
    try:
        node.write_config()
        checked = keyserver("config", "check", str(node.config), KEYSERVER_RATE_LIMITS="5")
        node.start()
        node.wait_ready()
        logged = [event for event in node.events() if "keys" in event and "text" in event]
        assert told(logged) == told(checked["warnings"])
        events = [event["event"] for event in logged]
        assert events.count("lenient_default") == len(LENIENT_KEYS)
        assert set(events) == {
            "lenient_default",
            "acl_check_disabled",
            "auto_migrate_without_effect",
            "http_without_tls",
            "ignored_settings",
            "json_rpc_without_tls",
            "keys_without_effect",
            "node_listed_twice",
            "private_key_in_clear",
            "seal_key_beside_data",
            "unknown_environment_variable",
        }
        assert f"0x{node.id.hex()}" == checked["node_id"]
        starting = node.wait_event("node_starting")
        assert starting["text"] == f"Starting SecretStore node: 0x{node.id.hex()}"
        log = node.log
        assert node.secret.expose().hex() not in log
    finally:
        node.kill()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node as `keyserver init` makes it."""
    directory = tmp_path_factory.mktemp("strict")
    (directory / "password").write_text("pw\n")
    settings = {
        "secretstore.port": 0,
        "secretstore.http_port": 0,
        "keyserver.operator_listen": "127.0.0.1:0",
        "keyserver.log_format": "json",
        "account.keys_iterations": 1024,
    }
    made = keyserver(
        "init",
        f"--dir={directory / 'node'}",
        f"--password-file={directory / 'password'}",
        "--server-set-contract=none",
        "--acl-contract=none",
        *(f"--set={name}={value}" for name, value in settings.items()),
    )
    node = NodeProcess(Path(made["config"]))
    try:
        node.start()
        node.wait_ready()
        yield node
    finally:
        node.kill()


def test_a_new_node_is_strict_and_says_nothing(strict: NodeProcess) -> None:
    events = {event["event"] for event in strict.events() if event["level"] == "warning"}
    assert events == {"acl_check_disabled", "seal_key_beside_data"}


@pytest.mark.parametrize("request_", REFUSALS, ids=lambda each: each[1][:8])
def test_a_refusal_names_the_key_and_the_way(
    strict: NodeProcess, request_: tuple[str, str]
) -> None:
    method, path = request_
    answer = ask(strict.ready["http"], f"{method} {path} HTTP/1.1\nHost: n")
    operation, key, way = REFUSALS[request_]
    text = f"Operation is disabled: {operation} ([keyserver] {key}); use {way}"
    assert (answer.status, json.loads(json.loads(answer.body))) == (403, text)


def test_the_ways_that_are_left_work(strict: NodeProcess) -> None:
    url = strict.ready["http"]
    made = ask(url, f"POST /shadow/{START}/0 HTTP/1.1\nHost: n")
    assert made.status == 200
    assert ask(url, f"GET /server/{START} HTTP/1.1\nHost: n").body == made.body
    assert ask(url, f"GET /shadow/{START} HTTP/1.1\nHost: n").status == 404


def test_an_old_node_does_all_that_it_did(tmp_path: Path) -> None:
    node = lone_node(tmp_path)
    try:
        node.start()
        url = node.wait_ready()["http"]
        both = ask(url, f"POST /{START}/0 HTTP/1.1\nHost: n")
        assert (both.status, len(both.body)) == (200, 4 + 2 * 177)
        assert ask(url, f"GET /{START} HTTP/1.1\nHost: n").status == 200
    finally:
        node.kill()
