"""The Python client of Ocean and of Nevermined, on a devnet (client scenarios, C1)."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache

import pytest

from tests.e2e.published.conftest import DevnetPlace
from tests.e2e.published.driver import ClientRaisedError, Driver, needs_python

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SCRIPT = "run_secret_store_client.py"
VARIABLES = ("NEVERMINED_PYTHON", "OCEAN_PYTHON")
CLIENTS = [pytest.param(variable, marks=needs_python(variable)) for variable in VARIABLES]

Open = Callable[..., Driver]


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest, devnet: DevnetPlace) -> Iterator[Open]:
    """Opens the client in the name of somebody."""
    with ExitStack() as stack:

        @cache
        def open_for(who: str, place: DevnetPlace = devnet) -> Driver:
            return stack.enter_context(place.python(who, request.param, SCRIPT))

        yield open_for


@pytest.mark.parametrize(
    ("text", "threshold"),
    [("Der Schlüssel liegt unter der Matte. 鍵", ()), ("", (1,)), ("x" * 100_000, (2,))],
)
def test_a_document_goes_to_another_account(
    devnet: DevnetPlace, client: Open, text: str, threshold: tuple[int, ...]
) -> None:
    """Without a threshold the client asks for 0."""
    key_id = devnet.reserve(permit=("bob",))
    document = client("alice")("publish_document", key_id, text, *threshold)
    assert client("bob")("decrypt_document", key_id, document) == text
    assert client("alice")("decrypt_document", key_id, document) == text


def test_an_account_without_permission(devnet: DevnetPlace, client: Open) -> None:
    key_id = devnet.reserve(permit=("bob",))
    document = client("alice")("publish_document", key_id, "secret", 1)
    with pytest.raises(ClientRaisedError, match=r"^Failed to retrieve decryption keys: Forbidden$"):
        client("charlie")("decrypt_document", key_id, document)


def test_an_unknown_id(devnet: DevnetPlace, client: Open) -> None:
    with pytest.raises(ClientRaisedError, match=r"^Failed to retrieve decryption keys: Not Found$"):
        client("bob")("decrypt_document", devnet.reserve(permit=("bob",)), "0x" + "00" * 20)


def test_an_id_that_is_taken(devnet: DevnetPlace, client: Open) -> None:
    key_id = devnet.reserve()
    document = client("alice")("publish_document", key_id, "first")
    for who in ("alice", "bob"):
        with pytest.raises(
            ClientRaisedError, match=r"^Failed to generate server key: Bad Request$"
        ):
            client(who)("publish_document", key_id, "second")
    assert client("alice")("decrypt_document", key_id, document) == "first"


def test_a_wrong_password(devnet: DevnetPlace, client: Open) -> None:
    account, _ = devnet.accounts["alice"]
    mistaken = replace(devnet, accounts={"alice": (account, "tenved")})
    with pytest.raises(ClientRaisedError, match=r"Failed to sign the document: .*-32023"):
        client("alice", mistaken)("publish_document", "11" * 32, "x")
