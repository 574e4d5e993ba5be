"""Names, ciphertexts and rows that keep none of their rules."""

import pytest
from sqlalchemy import update

from keyserver.errors import StorageError
from keyserver.sealing.errors import BadNameError
from keyserver.sealing.ports import Actor, ActorKind, Caller, Scope
from keyserver.sealing.service_keys.boxes import CorruptKeyError
from keyserver.sealing.service_keys.data import MOST_DATA, Ciphertext, encrypt
from keyserver.sealing.service_keys.model import Pair, Version
from keyserver.sealing.service_keys.names import check_name, new_key_id
from keyserver.storage.access import Transaction
from keyserver.storage.schema import API_TOKENS, SERVICE_KEYS
from tests.support.service_key_desk import Desk

PAIR = Pair("svc:a", "mail")
LOCAL = Caller(Actor(ActorKind.LOCAL), "local", frozenset(Scope))


@pytest.mark.parametrize("text", ["", "\ud800", "a\x00", "\x7f", "\x85", "ä" * 129])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(BadNameError, match="owner: must"):
        check_name("owner", text)


@pytest.mark.parametrize("text", ["ä" * 128, " ", "~", "../..", "\u200b", "a\u2028b"])
def test_what_is_one(text: str) -> None:
    assert check_name("owner", text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ksb1",
        "ksb2.9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d.AAAA",
        "ksb1.9B1DEB4D-3b7d-4bad-9bdd-2b0d7b3dcb6d.AAAA",
        "ksb1.9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d.AAAA=",
        "ksb1.9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d.AAAAA",
        "ksb1.9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d.AAB",  # bits that say nothing
        "ksb1.9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d.AA+/",
        "ksb1.------------------------------------.AAAA",
    ],
)
def test_what_is_no_ciphertext(text: str) -> None:
    with pytest.raises(BadNameError):
        Ciphertext.read(text)


async def test_data_is_bounded_whoever_asks(desk: Desk) -> None:
    key = (await desk.keys.current(desk.asker(PAIR.owner), PAIR.service)).key
    for plaintext, aad in ((bytes(MOST_DATA + 1), b""), (b"", bytes(MOST_DATA + 1))):
        with pytest.raises(BadNameError, match="65536"):
            encrypt(key.key, PAIR, key.version.key_id, plaintext, aad, desk.random)


@pytest.mark.parametrize("length", [0, 31, 32, 33])
async def test_a_box_of_a_key_alone_is_corrupt(desk: Desk, length: int) -> None:
    await desk.keys.current(desk.asker(PAIR.owner), PAIR.service)
    [stored] = await desk.store.all_of(PAIR.owner)
    place = ("service_keys", "key_box", stored.version.row_key)
    sealed = desk.vault.boxes.seal(*place, bytes(length))
    await desk.database.write_shared(
        lambda connection: connection.execute(update(SERVICE_KEYS).values(key_box=sealed.box))
    )
    with pytest.raises(CorruptKeyError, match="says not what was sealed"):
        await desk.keys.current(desk.asker(PAIR.owner), PAIR.service)


async def test_a_token_that_cannot_be_read_opens_nothing(desk: Desk) -> None:
    token = await desk.token("svc:mail")
    changes = [{"scopes": '["all"]'}, {"scopes": "x"}, {"services": "5", "scopes": "[]"}]
    changes += [{"services": "[[]]", "scopes": "[]"}, {"services": "[" * 200_000, "scopes": "[]"}]
    for change in (*changes, {"scopes": "[" * 200_000}):
        await desk.database.write_shared(_changing(change))
        with pytest.raises(StorageError, match="cannot be read"):
            await desk.tokens.find(token[5:21])


def _changing(values: dict[str, str]) -> Transaction[object]:
    return lambda connection: connection.execute(update(API_TOKENS).values(**values))


async def test_lives_are_bounded(desk: Desk) -> None:
    for days in (0, 367):
        with pytest.raises(BadNameError, match="days"):
            await desk.parts.credentials.make_grant(LOCAL, "svc:a", "*", "*", days)


def test_a_version_says_where_its_box_belongs(desk: Desk) -> None:
    version = Version(PAIR, new_key_id(desk.random), 1, 0, 1, "made")
    assert version.row_key == ("svc:a", "mail", version.key_id)
