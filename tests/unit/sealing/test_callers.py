"""Who a request is from, and what is remembered of it."""

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SeededRandom
from keyserver.errors import StorageError
from keyserver.model.identifiers import Address
from keyserver.sealing.callers import ALL_SCOPES, CallerRegistry
from keyserver.sealing.errors import ForbiddenError, NonceUsedError, UnauthenticatedError
from keyserver.sealing.ports import Scope, SignedRequest
from keyserver.sealing.service_keys.rights import check_scope
from keyserver.sealing.signed_requests import sign_request
from keyserver.sealing.tokens import StoredToken
from tests.support.manual_clock import ManualClock
from tests.support.service_key_desk import ADMIN, ALICE, NODE, address_of_key

RANDOM = SeededRandom(1)
NOW = 1_800_000_000


class Nonces:
    """`RequestNonces` in memory."""

    def __init__(self) -> None:
        self.taken: dict[tuple[Address, bytes], int] = {}
        self.fails = False

    async def take(self, address: Address, nonce: bytes, *, now: int, expires_at: int) -> bool:
        assert now <= expires_at <= now + 120
        if self.fails:
            raise StorageError("the database does not answer")
        is_new = (address, nonce) not in self.taken
        self.taken[(address, nonce)] = expires_at
        return is_new


class NoTokens:
    """`TokenLookup` without any."""

    async def find(self, token_id: str) -> StoredToken | None:
        return None

    async def used(self, token_id: str, at: int) -> None:
        raise NotImplementedError


def registry(nonces: Nonces, *admins: SecretScalar) -> CallerRegistry:
    addresses = [address_of_key(key) for key in admins]
    return CallerRegistry(NODE, addresses, nonces, NoTokens(), ManualClock(NOW))


def request(key: SecretScalar) -> SignedRequest:
    header = sign_request(key, NODE, "POST", "/x", b"", now=NOW, random=RANDOM)
    return SignedRequest("POST", "/x", b"", header)


async def test_administrators_have_every_scope_and_others_two() -> None:
    callers = registry(Nonces(), ADMIN)
    assert callers.has_administrators
    admin = await callers.authenticate(request(ADMIN), admins_only=True)
    assert admin.scopes == ALL_SCOPES
    other = await callers.authenticate(request(ALICE))
    assert other.scopes == {Scope.KEYS_USE, Scope.KEYS_DATA}
    assert other.principal == f"eth:0x{address_of_key(ALICE).hex()}"
    with pytest.raises(ForbiddenError, match="keys:admin"):
        check_scope(other, Scope.KEYS_ADMIN)
    assert not registry(Nonces()).has_administrators


async def test_nothing_is_remembered_of_strangers_where_administrators_are_wanted() -> None:
    nonces = Nonces()
    callers = registry(nonces, ADMIN)
    for _ in range(3):
        stranger = await callers.authenticate(request(ALICE), admins_only=True)
        assert stranger.scopes == frozenset()
        for scope in Scope:
            with pytest.raises(ForbiddenError):
                check_scope(stranger, scope)
    assert nonces.taken == {}
    once = request(ADMIN)
    await callers.authenticate(once, admins_only=True)
    with pytest.raises(NonceUsedError):
        await callers.authenticate(once, admins_only=True)


async def test_a_store_that_does_not_answer_stops_no_order_that_may_be_repeated() -> None:
    nonces = Nonces()
    callers, once = registry(nonces, ADMIN), request(ADMIN)
    nonces.fails = True
    with pytest.raises(StorageError):
        await callers.authenticate(once, admins_only=True)
    for _ in range(2):
        admin = await callers.authenticate(once, admins_only=True, may_repeat=True)
        assert admin.scopes == ALL_SCOPES
    stranger = await callers.authenticate(request(ALICE), admins_only=True, may_repeat=True)
    assert stranger.scopes == frozenset()
    nonces.fails = False
    await callers.authenticate(once, admins_only=True, may_repeat=True)
    with pytest.raises(NonceUsedError):
        await callers.authenticate(once, admins_only=True, may_repeat=True)


async def test_the_scheme_is_read_whatever_its_case() -> None:
    callers, signed = registry(Nonces(), ADMIN), request(ADMIN)
    assert signed.authorization is not None
    shouted = signed.authorization.replace("Keyserver-Eth", "KEYSERVER-ETH")
    found = await callers.authenticate(SignedRequest("POST", "/x", b"", shouted))
    assert found.scopes == ALL_SCOPES
    for none in (None, "", "Keyserver-Eth", "Negotiate abc", f"Bearer kst1_{'a' * 16}_{'A' * 43}"):
        with pytest.raises(UnauthenticatedError):
            await callers.authenticate(SignedRequest("POST", "/x", b"", none))
