"""The key servers over HTTP: lost answers, lies, swapped keys, other networks."""

import json
from collections.abc import Awaitable, Callable

import pytest

from keyserver.client.doors import DoorKind
from keyserver.client.errors import (
    BadAnswerError,
    ClientError,
    KeyNotConfirmedError,
    LyingNodesError,
    NoAnswerError,
    NodeNotTrustedError,
    NodeUnreachableError,
    NotAuthorError,
    RefusedOverHttpError,
)
from keyserver.client.http import HttpKeyServers, connect_nodes
from keyserver.client.wallet import Wallet
from keyserver.crypto import ecies
from keyserver.crypto.curve import Point, SecretScalar, add, mul_secret, negate
from keyserver.crypto.elgamal import EncryptedDocumentKey
from keyserver.errors import ConfigError
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.requests import SigningScheme
from tests.support.server_signatures import sign_with
from tests.unit.client.scripted_nodes import (
    CONTRACT,
    ONE,
    RNG,
    THREE,
    TWO,
    Client,
    Said,
    hex_of,
    problem,
    said,
    text,
)

ALICE, BOB = (Wallet(SecretScalar.random(RNG)) for _ in range(2))
KEY_ID = KeyId(b"\x21" * 32)
PUBLIC, OTHER, COMMON, DOCUMENT_KEY = (SecretScalar.random(RNG).public() for _ in range(4))
ENCRYPTED = EncryptedDocumentKey(COMMON, OTHER)
MAKERS = [NodeId.of(SecretScalar.from_int(number).public()) for number in (1, 2, 3)]
TAKEN = problem("SERVER_KEY_ALREADY_GENERATED", 400)
STORED = problem("DOCUMENT_KEY_ALREADY_STORED", 400)
DENIED = problem("CONSENSUS_UNREACHABLE", 403)


def lost(node: str = ONE) -> NodeUnreachableError:
    """The request arrived, and its answer did not."""
    return NodeUnreachableError(node, "reset", may_have_worked=True)


def never_sent(node: str = ONE) -> NodeUnreachableError:
    return NodeUnreachableError(node, "refused", may_have_worked=False)


def key(public: Point = PUBLIC, threshold: int = 1, author: bytes = ALICE.address) -> Said:
    return said({"public": hex_of(public), "threshold": threshold, "author": hex_of(author)})


def shadow(
    who: Wallet, *makers: NodeId, liars: tuple[NodeId, ...] = (), common: Point = COMMON
) -> Said:
    """The shadow of DOCUMENT_KEY for an account; what the liars sealed is something else."""
    drawn = [SecretScalar.random(RNG) for _ in makers]
    secret = add(DOCUMENT_KEY, *(negate(mul_secret(common, each)) for each in drawn))
    assert secret is not None
    sealed = [
        SecretScalar.random(RNG) if m in liars else d for m, d in zip(makers, drawn, strict=True)
    ]
    recipient = Point.from_raw64(who.public_key)
    return said(
        {
            "decrypted_secret": hex_of(secret),
            "common_point": hex_of(common),
            "decrypt_shadows": [hex_of(ecies.encrypt(recipient, s.expose(), RNG)) for s in sealed],
            "shadow_commitments": [hex_of(each.public()) for each in drawn],
            "shadow_nodes": [hex_of(maker) for maker in makers],
        }
    )


async def test_a_key_is_generated() -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, key())
    answer = await client.servers().generate_server_key(KEY_ID, 1)
    assert (answer.value.public, answer.value.threshold) == (PUBLIC, 1)
    assert answer.value.author == ALICE.address
    assert (answer.node, answer.attempts) == (ONE, 1)


async def test_a_lost_answer_to_a_generation_is_looked_up() -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, lost(), TAKEN, key())
    answer = await client.servers().generate_server_key(KEY_ID, 1)
    assert answer.value.public == PUBLIC
    assert [request.method for _, request in client.nodes.asked] == ["POST", "POST", "GET"]
    headers = {request.headers["Secretstore-Auth"] for _, request in client.nodes.asked}
    assert len(headers) == 3, "every attempt has a credential of its own"


async def test_a_taken_id_is_reported_when_nothing_was_lost() -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, TAKEN)
    with pytest.raises(RefusedOverHttpError, match="ALREADY_GENERATED") as raised:
        await client.servers().generate_server_key(KEY_ID, 1)
    assert raised.value.advice
    client.nodes.will(ONE, never_sent(), TAKEN)
    with pytest.raises(RefusedOverHttpError, match="ALREADY_GENERATED"):
        await client.servers().generate_server_key(KEY_ID, 1)


@pytest.mark.parametrize(
    "found",
    [key(author=BOB.address), key(threshold=2), problem("ACCESS_DENIED", 403)],
    ids=["of another", "of another request", "not told"],
)
async def test_a_key_that_is_not_of_the_lost_attempt_is_not_taken_for_it(found: Said) -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, lost(), TAKEN, found)
    with pytest.raises(RefusedOverHttpError, match="ALREADY_GENERATED"):
        await client.servers().generate_server_key(KEY_ID, 1)


async def test_what_was_not_asked_for_is_noticed() -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, key(threshold=2), key(threshold=2))
    with pytest.raises(BadAnswerError, match="threshold is 2, not 1"):
        await client.servers().generate_server_key(KEY_ID, 1)
    client.nodes.will(ONE, key(author=BOB.address))
    with pytest.raises(NotAuthorError):
        await client.servers().generate_server_key(KEY_ID, 1)
    for threshold in (-1, 255):
        with pytest.raises(ClientError, match="threshold"):
            await client.servers().generate_server_key(KEY_ID, threshold)
        with pytest.raises(ClientError, match="threshold"):
            await client.servers().generate_both(KEY_ID, threshold)


async def test_other_nodes_confirm_a_key() -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, key())
    client.nodes.will(TWO, key())
    client.nodes.will(THREE, key())
    servers = client.servers(confirm_with=(TWO, THREE))
    answer = await servers.retrieve_server_key(KEY_ID)
    assert answer.confirmed_by == (TWO, THREE)


@pytest.mark.parametrize(
    "ask",
    [
        lambda servers: servers.generate_server_key(KEY_ID, 1),
        lambda servers: servers.retrieve_server_key(KEY_ID),
        lambda servers: servers.key_to_encrypt_to(KEY_ID),
    ],
    ids=["generate", "retrieve", "encrypt"],
)
async def test_a_swapped_key_is_noticed(
    ask: Callable[[HttpKeyServers], Awaitable[object]],
) -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, key(OTHER))
    client.nodes.will(TWO, key())
    with pytest.raises(KeyNotConfirmedError, match="two server keys") as raised:
        await ask(client.servers(confirm_with=(TWO,)))
    assert ONE in str(raised.value)
    assert TWO in str(raised.value)


async def test_a_key_that_the_other_node_does_not_tell_is_not_confirmed() -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, key())
    client.nodes.will(TWO, problem("SERVER_KEY_IS_NOT_FOUND", 404))
    with pytest.raises(KeyNotConfirmedError, match="NOT_FOUND"):
        await client.servers(confirm_with=(TWO,)).retrieve_server_key(KEY_ID)


async def test_a_node_does_not_confirm_itself() -> None:
    """Who stops the first node and owns the second one could swap the key else."""
    client = Client(ALICE)
    client.nodes.will(ONE, never_sent())
    client.nodes.will(TWO, key(OTHER))
    servers = client.servers(ONE, TWO, confirm_with=(TWO,))
    with pytest.raises(KeyNotConfirmedError, match=f"only {TWO} has told it"):
        await servers.retrieve_server_key(KEY_ID)
    client.nodes.will(TWO, key())
    client.nodes.will(THREE, key())
    servers = client.servers(TWO, confirm_with=("http://TWO", THREE))
    assert (await servers.retrieve_server_key(KEY_ID)).confirmed_by == (THREE,)


async def test_a_key_to_encrypt_to_is_one_of_this_account() -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, key())
    assert await client.servers().key_to_encrypt_to(KEY_ID) == PUBLIC
    for refusal in (key(author=BOB.address), problem("ACCESS_DENIED", 403)):
        client.nodes.will(ONE, refusal)
        with pytest.raises(NotAuthorError):
            await client.servers().key_to_encrypt_to(KEY_ID)
    client.nodes.will(ONE, problem("SERVER_KEY_IS_NOT_FOUND", 404))
    with pytest.raises(RefusedOverHttpError):
        await client.servers().key_to_encrypt_to(KEY_ID)


async def test_a_liar_is_named_and_left_out() -> None:
    client = Client(BOB)
    client.nodes.will(
        ONE,
        shadow(BOB, *MAKERS[:2], liars=(MAKERS[1],)),
        shadow(BOB, MAKERS[0], MAKERS[2]),
    )
    answer = await client.servers().retrieve_document_key(KEY_ID)
    assert answer.value == DOCUMENT_KEY
    assert json.loads(client.nodes.asked[1][1].body) == {"exclude": [hex_of(MAKERS[1])]}
    assert MAKERS[1].hex() in str(client.told[0])


async def test_liars_are_left_out_one_after_the_other() -> None:
    client = Client(BOB)
    client.nodes.will(
        ONE,
        shadow(BOB, *MAKERS[:2], liars=(MAKERS[1],)),
        shadow(BOB, MAKERS[0], MAKERS[2], liars=(MAKERS[0],)),
        shadow(BOB, MAKERS[2]),
    )
    assert (await client.servers().retrieve_document_key(KEY_ID)).value == DOCUMENT_KEY
    excluded = json.loads(client.nodes.asked[2][1].body)["exclude"]
    assert excluded == sorted(hex_of(maker) for maker in MAKERS[:2])


async def test_the_next_node_is_asked_without_prejudice_when_excluding_does_not_help() -> None:
    client = Client(BOB)
    lie = shadow(BOB, *MAKERS[:2], liars=(MAKERS[1],))
    client.nodes.will(ONE, lie, lie)
    client.nodes.will(TWO, shadow(BOB, *MAKERS[:2]))
    answer = await client.servers(ONE, TWO).retrieve_document_key(KEY_ID)
    assert (answer.value, answer.node) == (DOCUMENT_KEY, TWO)
    assert client.nodes.asked[2][1].body == b""


async def test_when_nothing_helps_the_liars_are_named() -> None:
    client = Client(BOB)
    lie = shadow(BOB, *MAKERS[:2], liars=(MAKERS[1],))
    busy = problem("CONSENSUS_UNREACHABLE", 503, retriable=True)
    client.nodes.will(ONE, lie, DENIED, lie, busy)
    with pytest.raises(LyingNodesError) as raised:
        await client.servers().retrieve_document_key(KEY_ID)
    assert raised.value.nodes == {MAKERS[1]}


async def test_a_denied_reader_is_told_so() -> None:
    client = Client(BOB)
    client.nodes.will(ONE, DENIED)
    with pytest.raises(RefusedOverHttpError, match="permission for the key"):
        await client.servers().retrieve_document_key(KEY_ID)


async def test_storing() -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, said({}))
    assert (await client.servers().store_document_key(KEY_ID, ENCRYPTED)).value
    client.nodes.will(ONE, STORED)
    with pytest.raises(RefusedOverHttpError, match="ALREADY_STORED"):
        await client.servers().store_document_key(KEY_ID, ENCRYPTED)


@pytest.mark.parametrize("common", [COMMON, negate(COMMON)], ids=["even", "odd"])
async def test_a_lost_answer_to_storing_is_looked_up(common: Point) -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, lost(), STORED, shadow(ALICE, MAKERS[0], common=common))
    assert (await client.servers().store_document_key(KEY_ID, ENCRYPTED)).value


async def test_another_document_key_is_not_taken_for_the_one_that_was_sent() -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, lost(), STORED, shadow(ALICE, MAKERS[0], common=PUBLIC))
    with pytest.raises(RefusedOverHttpError, match="ALREADY_STORED"):
        await client.servers().store_document_key(KEY_ID, ENCRYPTED)
    client.nodes.will(ONE, lost(), STORED, DENIED)
    with pytest.raises(NoAnswerError, match="cannot be told"):
        await client.servers().store_document_key(KEY_ID, ENCRYPTED)


def sealed(who: Wallet, plain: bytes = DOCUMENT_KEY.raw64) -> Said:
    message = ecies.encrypt(Point.from_raw64(who.public_key), plain, RNG)
    return said({"encrypted_key": hex_of(message)})


async def test_both_keys_at_once_and_the_plain_key() -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, sealed(ALICE), sealed(ALICE))
    assert (await client.servers().generate_both(KEY_ID, 1)).value == DOCUMENT_KEY
    assert (await client.servers().retrieve_plain(KEY_ID)).value == DOCUMENT_KEY
    client.nodes.will(ONE, sealed(BOB), sealed(ALICE, bytes(64)))
    with pytest.raises(BadAnswerError, match="does not open"):
        await client.servers().retrieve_plain(KEY_ID)


async def test_a_lost_answer_to_both_is_looked_up() -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, lost(), TAKEN, key(), sealed(ALICE))
    assert (await client.servers().generate_both(KEY_ID, 1)).value == DOCUMENT_KEY
    client.nodes.will(ONE, lost(), TAKEN, key(), problem("DOCUMENT_KEY_IS_NOT_FOUND", 404))
    with pytest.raises(ClientError, match="but no document key"):
        await client.servers().generate_both(KEY_ID, 1)
    client.nodes.will(ONE, lost(), TAKEN, key(), DENIED)
    with pytest.raises(RefusedOverHttpError, match="CONSENSUS"):
        await client.servers().generate_both(KEY_ID, 1)
    client.nodes.will(ONE, TAKEN)
    with pytest.raises(RefusedOverHttpError, match="ALREADY"):
        await client.servers().generate_both(KEY_ID, 1)


@pytest.mark.parametrize(
    "found",
    [key(author=BOB.address), key(threshold=2), problem("ACCESS_DENIED", 403)],
    ids=["of another", "of another request", "not told"],
)
@pytest.mark.parametrize(
    "before", [lost(), problem("DUPLICATE_SESSION_ID", 503, retriable=True)], ids=["lost", "busy"]
)
async def test_the_document_key_of_whoever_was_faster_is_not_taken_for_ones_own(
    before: Said | ClientError, found: Said
) -> None:
    """Whoever sees the id first can generate both in their own name, and know the document key."""
    client = Client(ALICE)
    client.nodes.will(ONE, before, TAKEN, found)
    with pytest.raises(RefusedOverHttpError, match="ALREADY_GENERATED"):
        await client.servers().generate_both(KEY_ID, 1)


async def test_nothing_is_signed_for_another_network() -> None:
    client = Client(ALICE)
    client.nodes.chain_ids[TWO] = 6
    client.nodes.will(ONE, problem("SEALED", 503, retriable=True))
    with pytest.raises(NodeNotTrustedError, match="chain 6"):
        await client.servers(ONE, TWO).retrieve_server_key(KEY_ID)
    assert client.nodes.nodes_asked == [ONE]
    known = SigningDomain(7, CONTRACT)
    with pytest.raises(NodeNotTrustedError, match=f"{TWO}: is in another network"):
        await client.servers(TWO, domain=known).retrieve_server_key(KEY_ID)


async def test_the_network_is_told_where_the_interface_does() -> None:
    client = Client(ALICE)
    assert await client.servers().chain_id() == 5
    assert await client.servers(door=DoorKind.ORIGINAL).chain_id() is None
    assert client.nodes.asked == []


async def test_the_original_interface_is_asked_in_the_same_way() -> None:
    client = Client(ALICE)
    servers = client.servers(door=DoorKind.ORIGINAL)
    taken = text("Server key with this ID is already generated", 400)
    client.nodes.will(ONE, lost(), taken, said(hex_of(PUBLIC)))
    answer = await servers.generate_server_key(KEY_ID, 1)
    assert answer.value.public == PUBLIC
    assert answer.value.threshold is None, "the interface does not tell it"
    client.nodes.will(ONE, text("Access denied", 403))
    with pytest.raises(NotAuthorError):
        await servers.key_to_encrypt_to(KEY_ID)
    client.nodes.will(ONE, said(hex_of(PUBLIC)))
    assert await servers.key_to_encrypt_to(KEY_ID) == PUBLIC
    client.nodes.will(
        ONE, shadow(ALICE, *MAKERS[:2], liars=(MAKERS[0],)), shadow(ALICE, *MAKERS[1:])
    )
    assert (await servers.retrieve_document_key(KEY_ID)).value == DOCUMENT_KEY
    assert client.nodes.asked[-1][1].headers["Secretstore-Exclude"] == hex_of(MAKERS[0])


async def test_the_shadow_itself_can_be_had() -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, shadow(ALICE, *MAKERS))
    answer = await client.servers().retrieve_shadow(KEY_ID, frozenset(MAKERS[:1]))
    assert [each.node for each in answer.value.commitments] == MAKERS


async def test_without_nodes_there_is_nobody_to_ask() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        async with connect_nodes([], ALICE):
            pass


# --- signatures ------------------------------------------------------------------------------

SERVER_KEY = SecretScalar.random(RNG)
MESSAGE = Hash32(b"\x4d" * 32)


def signature(
    scheme: SigningScheme,
    key: SecretScalar = SERVER_KEY,
    message: bytes = MESSAGE,
    to: Wallet = BOB,
) -> Said:
    sealed = ecies.encrypt(Point.from_raw64(to.public_key), sign_with(scheme, key, message), RNG)
    return said({"encrypted_signature": hex_of(sealed)})


@pytest.mark.parametrize("scheme", list(SigningScheme))
async def test_a_signature_is_opened_and_checked(scheme: SigningScheme) -> None:
    client = Client(BOB)
    client.nodes.will(ONE, signature(scheme))
    answer = await client.servers().sign(KEY_ID, MESSAGE, scheme, public=SERVER_KEY.public())
    assert (answer.value.scheme, answer.value.message) == (scheme, MESSAGE)
    assert answer.value.public == SERVER_KEY.public()
    assert answer.node == ONE


async def test_the_author_need_not_know_the_key() -> None:
    client = Client(ALICE)
    client.nodes.will(ONE, key(SERVER_KEY.public()), signature(SigningScheme.ECDSA, to=ALICE))
    answer = await client.servers().sign(KEY_ID, MESSAGE, SigningScheme.ECDSA)
    assert answer.value.public == SERVER_KEY.public()


async def test_who_is_not_told_the_key_must_bring_it() -> None:
    client = Client(BOB)
    client.nodes.will(ONE, problem("ACCESS_DENIED", 403))
    with pytest.raises(NotAuthorError, match="another account's") as raised:
        await client.servers().sign(KEY_ID, MESSAGE, SigningScheme.ECDSA)
    assert "--public" in raised.value.advice
    client.nodes.will(ONE, problem("SERVER_KEY_IS_NOT_FOUND", 404))
    with pytest.raises(RefusedOverHttpError, match="NOT_FOUND"):
        await client.servers().sign(KEY_ID, MESSAGE, SigningScheme.ECDSA)


@pytest.mark.parametrize("scheme", list(SigningScheme))
@pytest.mark.parametrize("lie", ["another key", "another message", "to another account", "nothing"])
async def test_a_node_that_lies_is_named_and_another_asked(scheme: SigningScheme, lie: str) -> None:
    wrong = {
        "another key": signature(scheme, key=SecretScalar.random(RNG)),
        "another message": signature(scheme, message=b"\x4e" * 32),
        "to another account": signature(scheme, to=ALICE),
        "nothing": said({}),
    }[lie]
    client = Client(BOB)
    client.nodes.will(ONE, wrong)
    client.nodes.will(TWO, signature(scheme))
    public = SERVER_KEY.public()
    answer = await client.servers(ONE, TWO).sign(KEY_ID, MESSAGE, scheme, public=public)
    assert (answer.node, answer.attempts) == (TWO, 2)
    assert ONE in str(client.told[0])
    client.nodes.will(ONE, wrong, wrong)
    with pytest.raises(BadAnswerError, match=ONE):
        await client.servers(ONE).sign(KEY_ID, MESSAGE, scheme, public=public)


async def test_who_has_no_permission_gets_no_signature() -> None:
    client = Client(BOB)
    client.nodes.will(ONE, DENIED)
    with pytest.raises(RefusedOverHttpError, match="CONSENSUS_UNREACHABLE") as raised:
        await client.servers().sign(
            KEY_ID, MESSAGE, SigningScheme.ECDSA, public=SERVER_KEY.public()
        )
    assert "2t + 1" in raised.value.advice
