"""The JSON-RPC module against its vectors, from request text to answer text."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from keyserver.api.json_rpc import answer_text
from keyserver.api.json_rpc_accounts import DevelopmentKey
from keyserver.api.json_rpc_methods import SecretStoreModule
from keyserver.api.ports import LockedKey
from keyserver.crypto import documents, ecies
from keyserver.crypto.curve import add, mul_base, mul_secret
from keyserver.crypto.randomness import SystemRandom
from tests.support.rpc_listener import accounts_of, known_accounts
from tests.vectors.files import load, point64, raw, secret

_FILE: dict[str, Any] = load("json-rpc")
_ENCRYPTING = ("secretstore_encrypt", "secretstore_generateDocumentKey")


class _Scripted:
    """Randomness that the vector gives."""

    def __init__(self, *drawn: bytes) -> None:
        self._drawn: Iterator[bytes] = iter(drawn)

    def bytes(self, n: int) -> bytes:
        value = next(self._drawn)
        assert len(value) == n
        return value


_ACCOUNTS: list[LockedKey] = [DevelopmentKey(), *known_accounts(_FILE["accounts"])]


async def _ask(request: dict[str, Any], random: Any = None) -> dict[str, Any]:
    module = SecretStoreModule(accounts_of(_ACCOUNTS), random or SystemRandom())
    text = await answer_text(module.methods, json.dumps(request).encode())
    assert text.endswith(b"}\n")
    answer: dict[str, Any] = json.loads(text)
    assert list(answer) in (["jsonrpc", "result", "id"], ["jsonrpc", "error", "id"])
    assert (answer["jsonrpc"], answer["id"]) == ("2.0", request["id"])
    return answer


def _random_of(case: dict[str, Any]) -> Any:
    """The randomness behind a result, in the order in which it is drawn."""
    if "iv" in case:
        return _Scripted(raw(case["iv"]))
    if "randomness" in case:
        drawn = case["randomness"]
        return _Scripted(*(raw(drawn[name]) for name in drawn))
    return None


_CASES = [case for case in [*_FILE["cases"], *_FILE["accepted"]] if "request" in case]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case["id"])
async def test_results(case: dict[str, Any]) -> None:
    answer = await _ask(case["request"], _random_of(case))
    assert answer["result"] == case["result"]
    if isinstance(case["result"], dict):
        assert list(answer["result"]) == list(case["result"])


async def test_generated_document_keys_open_both_ways() -> None:
    """With fresh randomness: encrypted to the server key and to the account is the same point."""
    (case,) = (case for case in _FILE["cases"] if case["id"] == "generate-alice")
    made = (await _ask(case["request"]))["result"]
    alice = next(a for a in _FILE["accounts"] if a["name"] == "alice")
    message = ecies.decrypt(secret(alice["private_key"]), raw(made["encrypted_key"]))
    common, encrypted = point64(made["common_point"]), point64(made["encrypted_point"])
    minus = mul_secret(common, secret(case["server_key_secret"]).negate())
    document_key = add(encrypted, minus)
    assert document_key is not None
    assert document_key.raw64 == message
    assert made != case["result"]


async def test_encrypted_documents_decrypt() -> None:
    for case in _FILE["cases"]:
        if case.get("request", {}).get("method") == "secretstore_encrypt":
            encrypted = (await _ask(case["request"]))["result"]
            document = raw(case["request"]["params"][3])
            key = point64(case["document_key"])
            assert documents.decrypt_document(key, raw(encrypted)) == document


@pytest.mark.parametrize("case", _FILE["errors"], ids=lambda case: case["id"])
async def test_errors(case: dict[str, Any]) -> None:
    error = (await _ask(case["request"]))["error"]
    expected = dict(case["error"])
    prefix = expected.pop("message_prefix", "")
    assert expected.items() <= error.items()
    assert error["message"].startswith(prefix)
    if error["code"] == -32023:
        assert isinstance(error["data"], str)


def test_the_development_account() -> None:
    described = next(account for account in _FILE["accounts"] if account["name"] == "dev")
    key = DevelopmentKey()
    assert key.address == raw(described["address"])
    opened = key.open("")
    assert opened is not None
    assert opened == secret(described["private_key"])
    assert mul_base(opened).raw64 == raw(described["public"])
    assert key.open("x") is None
