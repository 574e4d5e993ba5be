"""Energy Web's older JavaScript clients (client scenarios, C4): they show bodies as they came."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache

import pytest

from tests.e2e.published.conftest import DevnetPlace, Place
from tests.e2e.published.driver import ClientRaisedError, needs_package
from tests.e2e.published.person import Person, new_id
from tests.e2e.published.signatures import check_signatures

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PACKAGES = ("secretstore-0.1.0", "secretstore-0.0.3")
CLIENTS = [pytest.param(name, marks=needs_package(name)) for name in PACKAGES]
GENERATED = r'"\"Server key with this ID is already generated\""'
REGISTERED = r'"\"session with the same id is already registered\""'
NOT_FOUND = r'"\"Server key with this ID is not found\""'
UNREACHABLE = r'"\"Consensus unreachable\""'
DOCUMENT = f"0x{b'mySecretDocument'.hex()}"

Open = Callable[[str], Person]


@pytest.fixture(scope="module", params=CLIENTS)
def client(request: pytest.FixtureRequest, old_network: Place) -> Iterator[Open]:
    """Opens the client in the name of somebody."""
    with ExitStack() as stack:

        @cache
        def open_for(who: str) -> Person:
            driver = stack.enter_context(old_network.javascript(who, request.param))
            return Person(driver, *old_network.accounts[who])

        yield open_for


def publish(person: Person, key_id: str, server_key: str) -> str:
    """Store a document key under a server key and encrypt the document with it."""
    made = person.rpc("generateDocumentKey", server_key)
    points = made["common_point"], made["encrypted_point"]
    assert person.session("storeDocumentKey", key_id, *points) == ""
    document: str = person.rpc("encrypt", made["encrypted_key"], DOCUMENT)
    return document


def consume(person: Person, key_id: str, document: str) -> object:
    shadow = person.session("shadowRetrieveDocumentKey", key_id)
    names = ("decrypted_secret", "common_point", "decrypt_shadows")
    return person.rpc("shadowDecrypt", *(shadow[name] for name in names), document)


def generate_or_fetch(person: Person, key_id: str) -> str | None:
    """As the tutorial's program does it; nothing if another run has not finished yet."""
    public, refused = tried(person, "generateServerKey", key_id, 1)
    if public is not None:
        return public
    assert refused in ((400, GENERATED), (500, REGISTERED))
    public, refused = tried(person, "retrieveServerKeyPublic", key_id)
    assert refused in (None, (404, NOT_FOUND))
    return public


def tried(person: Person, method: str, key_id: str, *more: object) -> tuple[str | None, object]:
    """What an operation gives, or status and body of the refusal."""
    try:
        return person.session(method, key_id, *more), None
    except ClientRaisedError as error:
        return None, (error.status, error.body)


def test_publishing_and_consuming(client: Open) -> None:
    alice, bob, key_id = client("alice"), client("bob"), new_id()
    document = publish(alice, key_id, alice.session("generateServerKey", key_id, 1))
    assert consume(bob, key_id, document) == DOCUMENT
    sealed = bob.session("retrieveDocumentKey", key_id)
    assert bob.rpc("decrypt", sealed, document) == DOCUMENT


def test_hashes_are_signed(client: Open) -> None:
    check_signatures(client("alice"), client("bob"))


@needs_package(PACKAGES[0])
def test_the_tutorials_program_twice(old_network: Place) -> None:
    key_id = new_id()
    with old_network.javascript("alice", PACKAGES[0]) as driver:
        alice = Person(driver, *old_network.accounts["alice"])
        first = generate_or_fetch(alice, key_id)
        assert first is not None
        assert generate_or_fetch(alice, key_id) == first


@needs_package(PACKAGES[0])
def test_the_tutorials_program_twice_at_once(old_network: Place) -> None:
    """Two programs of the same author; whichever was too early repeats."""
    key_id = new_id()
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        twins = [
            Person(driver, *old_network.accounts["alice"])
            for driver in (
                stack.enter_context(old_network.javascript("alice", PACKAGES[0])) for _ in range(2)
            )
        ]
        found = set(pool.map(lambda twin: generate_or_fetch(twin, key_id), twins))
        public = generate_or_fetch(twins[0], key_id)
    assert public is not None
    assert found - {None} == {public}


@needs_package(PACKAGES[0])
def test_a_denied_account_sees_the_raw_body(devnet: DevnetPlace) -> None:
    key_id = devnet.reserve(permit=("bob",))
    with ExitStack() as stack:
        people = {}
        for who in ("alice", "bob", "charlie"):
            driver = stack.enter_context(devnet.javascript(who, PACKAGES[0]))
            people[who] = Person(driver, *devnet.accounts[who])
        alice, charlie = people["alice"], people["charlie"]
        document = publish(alice, key_id, alice.session("generateServerKey", key_id, 1))
        assert consume(people["bob"], key_id, document) == DOCUMENT
        with pytest.raises(ClientRaisedError) as caught:
            charlie.session("shadowRetrieveDocumentKey", key_id)
    assert (caught.value.status, caught.value.body) == (403, UNREACHABLE)
