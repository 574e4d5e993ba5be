"""Energy Web's clients, in Python and JavaScript (client scenarios, C2 and C3).

They use every operation of the original, also those that a new installation refuses: so they run
on nodes that were started from the original's files.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest

from keyserver.crypto import ecies
from tests.e2e.published.conftest import DevnetPlace, Place
from tests.e2e.published.driver import ClientRaisedError, needs_package, needs_python
from tests.e2e.published.person import Person, new_id
from tests.e2e.published.signatures import check_signatures
from tests.unit.app.samples import public, secret

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

DOCUMENT = b"Nur f\xc3\xbcr Bob".hex()
in_python = needs_python("ENERGY_WEB_PYTHON")
in_javascript = needs_package("secretstore")
TAKEN = "Server key with this ID is already generated"
Open = Callable[[str], Person]


@pytest.fixture(scope="module")
def python(old_network: Place) -> Iterator[Open]:
    with ExitStack() as stack:

        @cache
        def open_for(who: str) -> Person:
            client = old_network.python(who, "ENERGY_WEB_PYTHON", "run_energy_web.py")
            return Person(stack.enter_context(client), *old_network.accounts[who])

        yield open_for


@pytest.fixture(scope="module")
def javascript(old_network: Place) -> Iterator[Open]:
    with ExitStack() as stack:

        @cache
        def open_for(who: str) -> Person:
            client = old_network.javascript(who, "secretstore")
            return Person(stack.enter_context(client), *old_network.accounts[who])

        yield open_for


def opened(sealed: str) -> bytes:
    """What an answer of a plain operation holds for bob."""
    assert len(sealed) == 2 + 2 * 177
    return ecies.decrypt(secret("bob"), bytes.fromhex(sealed[2:]))


@in_python
def test_python_publishes_and_consumes(python: Open) -> None:
    alice, bob, key_id = python("alice"), python("bob"), new_id()
    server_key = alice.session("generateServerKey", key_id, 1)
    made = alice.rpc("generateDocumentKey", server_key)
    points = made["common_point"], made["encrypted_point"]
    assert alice.session("storeDocumentKey", key_id, *points) == ""

    sealed = bob.session("retrieveDocumentKey", key_id)
    assert len(opened(sealed)) == 64
    document = bob.rpc("encrypt", sealed, DOCUMENT)
    assert bob.rpc("decrypt", sealed, document) == f"0x{DOCUMENT}"
    document = alice.rpc("encrypt", made["encrypted_key"], DOCUMENT)
    assert python_reads(bob, key_id, document) == f"0x{DOCUMENT}"


def python_reads(person: Person, key_id: str, document: str) -> Any:
    shadow = person.session("shadowRetrieveDocumentKey", key_id)
    names = ("decrypted_secret", "common_point", "decrypt_shadows")
    return person.rpc("shadowDecrypt", *(shadow[name] for name in names), document)


@in_python
def test_python_has_both_keys_made_at_once(python: Open) -> None:
    alice, bob, key_id = python("alice"), python("bob"), new_id()
    sealed = alice.session("generateServerAndDocumentKey", key_id, 1)
    assert len(sealed) == 2 + 2 * 177
    document = alice.rpc("encrypt", sealed, DOCUMENT)
    assert python_reads(bob, key_id, document) == f"0x{DOCUMENT}"
    assert (
        bob.rpc("decrypt", bob.session("retrieveDocumentKey", key_id), document) == f"0x{DOCUMENT}"
    )


@in_python
def test_python_sees_the_exact_error(python: Open) -> None:
    alice, key_id = python("alice"), new_id()
    alice.session("generateServerKey", key_id, 0)
    with pytest.raises(ClientRaisedError) as caught:
        alice.session("generateServerKey", key_id, 0)
    assert (caught.value.status, caught.value.body) == (400, json.dumps(f'"{TAKEN}"'))


@in_python
def test_python_has_hashes_signed(python: Open) -> None:
    check_signatures(python("alice"), python("bob"))


@in_python
def test_python_gives_no_orders_to_nodes_without_an_administrator(python: Open) -> None:
    alice = python("alice")
    nodes = [f"0x{public(name)}" for name in "ab"]
    set_hash = alice.call("rpc.serversSetHash", nodes)
    signature = alice.rpc("signRawHash", set_hash)
    with pytest.raises(ClientRaisedError) as caught:
        alice.call("session.nodesSetChange", nodes, signature, signature)
    assert (caught.value.status, caught.value.body) == (403, r'"\"Access denied\""')


@in_python
def test_python_is_told_what_a_devnet_refuses(devnet: DevnetPlace) -> None:
    key_id = devnet.reserve()
    with devnet.python("alice", "ENERGY_WEB_PYTHON", "run_energy_web.py") as client:
        alice = Person(client, *devnet.accounts["alice"])
        with pytest.raises(ClientRaisedError) as caught:
            alice.session("generateServerAndDocumentKey", key_id, 1)
    assert caught.value.status == 403
    assert caught.value.body is not None
    assert "Operation is disabled: generate_both ([keyserver] " in caught.value.body


@in_javascript
@pytest.mark.parametrize("threshold", [0, 1, 2])
def test_javascript_publishes_and_consumes(javascript: Open, threshold: int) -> None:
    alice, bob, key_id = javascript("alice"), javascript("bob"), new_id()
    server_key = alice.session("generateServerKey", key_id, threshold)
    assert alice.session("retrieveServerKeyPublic", key_id) == server_key
    made = alice.rpc("generateDocumentKey", server_key)
    assert alice.session("storeDocumentKey", key_id, made) == ""
    document = alice.rpc("encrypt", DOCUMENT, made["encrypted_key"])
    shadow = bob.session("shadowRetrieveDocumentKey", key_id)
    assert len(shadow["decrypt_shadows"]) == threshold + 1
    assert bob.rpc("shadowDecrypt", document, shadow) == f"0x{DOCUMENT}"

    sealed = bob.session("retrieveDocumentKey", key_id)
    assert bob.rpc("decrypt", document, sealed) == f"0x{DOCUMENT}"
    with pytest.raises(ClientRaisedError, match=rf"^Bad Request \(400\): {TAKEN}$"):
        alice.session("generateServerKey", key_id, threshold)
    with pytest.raises(ClientRaisedError, match=r"^Forbidden \(403\): Access denied$"):
        bob.session("retrieveServerKeyPublic", key_id)


@in_javascript
def test_javascript_has_both_keys_made_at_once(javascript: Open) -> None:
    alice, bob, key_id = javascript("alice"), javascript("bob"), new_id()
    document = alice.rpc(
        "encrypt", DOCUMENT, alice.session("generateServerAndDocumentKey", key_id, 1)
    )
    sealed = bob.session("retrieveDocumentKey", key_id)
    assert bob.rpc("decrypt", document, sealed) == f"0x{DOCUMENT}"


@in_javascript
def test_javascript_shows_errors_as_the_original_did(javascript: Open) -> None:
    alice, key_id = javascript("alice"), new_id()
    unknown = r"^Not Found \(404\): Server key with this ID is not found$"
    with pytest.raises(ClientRaisedError, match=unknown):
        alice.session("retrieveDocumentKey", key_id)
    with pytest.raises(ClientRaisedError, match=r"^Bad Request \(400\): $"):
        alice.session("signSchnorr", key_id, f"0x{'22' * 32}")
    for method in ("signSchnorr", "signEcdsa"):
        with pytest.raises(ClientRaisedError, match=unknown):
            alice.session(method, key_id, "22" * 32)


@in_javascript
def test_javascript_has_hashes_signed(javascript: Open) -> None:
    check_signatures(javascript("alice"), javascript("bob"))


@in_javascript
def test_javascript_makes_the_administrators_signatures(javascript: Open) -> None:
    alice = javascript("alice")
    nodes = [f"0x{public(name)}" for name in "abc"]
    set_hash = alice.call("rpc.serversSetHash", nodes)
    signature = alice.rpc("signRawHash", set_hash)
    with pytest.raises(ClientRaisedError, match=r"^Forbidden \(403\): Access denied$"):
        alice.call("session.nodesSetChange", nodes, signature, signature)


@in_javascript
@needs_package("ecies-parity")
def test_another_ecies_opens_the_answers(old_network: Place, javascript: Open) -> None:
    """Without the JSON-RPC module, with the private key itself (C4.5)."""
    alice, bob, key_id = javascript("alice"), javascript("bob"), new_id()
    made = alice.session("generateServerAndDocumentKey", key_id, 1)
    sealed = bob.session("retrieveDocumentKey", key_id)
    with old_network.javascript("bob", "ecies-parity") as other:
        key = secret("bob").expose().hex()
        document_key = other("decrypt", key, sealed[2:])
        assert len(document_key) == 128
        public_key = f"04{public('alice')}"
        ours = other("encrypt", public_key, document_key)
    opened_again = ecies.decrypt(secret("alice"), bytes.fromhex(ours)).hex()
    assert opened_again == document_key
    assert document_key == ecies.decrypt(secret("alice"), bytes.fromhex(made[2:])).hex()
