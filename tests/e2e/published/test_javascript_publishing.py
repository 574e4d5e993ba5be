"""The JavaScript client of Ocean and of Nevermined, on a devnet (client scenarios, C5)."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from tests.e2e.published.conftest import DevnetPlace
from tests.e2e.published.driver import ClientRaisedError, Driver, needs_package

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PACKAGES = ("@oceanprotocol/secret-store-client", "@nevermined-io/secret-store-client")
CLIENTS = [pytest.param(name, marks=needs_package(name)) for name in PACKAGES]
DOCUMENTS: list[Any] = [
    {"url": "https://example.org/Größe", "parts": [1, 2.5, None, True]},
    ["鍵", {}],
    "plain words",
]

Open = Callable[..., Driver]


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest, devnet: DevnetPlace) -> Iterator[Open]:
    """Opens the client in the name of somebody."""
    with ExitStack() as stack:

        @cache
        def open_for(who: str, threshold: int = 1, place: DevnetPlace = devnet) -> Driver:
            client = place.javascript(who, request.param, threshold=threshold)
            return stack.enter_context(client)

        yield open_for


@pytest.mark.parametrize("threshold", [0, 1, 2])
def test_a_document_goes_to_another_account(
    devnet: DevnetPlace, client: Open, threshold: int
) -> None:
    key_id, document = devnet.reserve(permit=("bob",)), DOCUMENTS[threshold]
    encrypted = client("alice", threshold)("encryptDocument", key_id, document)
    assert client("bob")("decryptDocument", key_id, encrypted) == document


def test_refusals(devnet: DevnetPlace, client: Open) -> None:
    key_id, alice = devnet.reserve(permit=("bob",)), client("alice")
    encrypted = alice("encryptDocument", key_id, "secret")
    with pytest.raises(ClientRaisedError, match="Forbidden"):
        client("charlie")("decryptDocument", key_id, encrypted)
    with pytest.raises(ClientRaisedError, match="Unable to generate Server Key Bad Request"):
        alice("encryptDocument", key_id, "again")
    with pytest.raises(ClientRaisedError, match="Not Found"):
        alice("decryptDocument", devnet.reserve(), encrypted)


def test_a_wrong_password(devnet: DevnetPlace, client: Open) -> None:
    account, _ = devnet.accounts["bob"]
    mistaken = replace(devnet, accounts={"bob": (account, "tenved")})
    bob = client("bob", place=mistaken)
    with pytest.raises(ClientRaisedError, match=r"error Could not sign raw hash\. \S+"):
        bob("decryptDocument", "11" * 32, "0x" + "00" * 20)
