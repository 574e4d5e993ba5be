"""What the chain allows, over the real service and permission contracts."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from keyserver.chain.access import (
    AclDepth,
    ChainAccess,
    OpenAccess,
    PendingRequests,
    PermissionContract,
    permission_in,
)
from keyserver.chain.client import (
    BlockId,
    BlockTag,
    CallResult,
    ChainUnavailableError,
    Returned,
    Reverted,
    WrongChainError,
)
from keyserver.chain.name_registry import (
    ACL_OPTION,
    COMBINED_OPTION,
    SET_OPTION,
    ContractDirectory,
    FixedContract,
)
from keyserver.chain.node_set import NodeSetTracker
from keyserver.chain.watcher import Watcher, WatcherSettings
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.errors import ChainError
from keyserver.evm.abi import ContractAbi
from keyserver.evm.artifacts import load_artifact
from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import (
    AnyOperation,
    GenerateServerKey,
    NodeCredential,
    OnChainAddress,
    OnChainPublic,
    Request,
    RetrieveDocumentKey,
    RetrieveServerKey,
    SigningScheme,
    SignMessage,
    StoreDocumentKey,
)
from keyserver.services.message_signing.bindings import ECDSA, SCHNORR, MessageSigning
from keyserver.services.registry import CONTRACTS
from keyserver.sessions.core import Authorise, Verdict
from tests.support import echo_contract as echo
from tests.support.chain_stack import CHAIN_ID, KEY_SERVER_SET, SIGNING, Deployment
from tests.support.fake_cluster import node_of
from tests.support.faulty_client import FaultyClient
from tests.support.manual_clock import ManualClock
from tests.support.watched_chain import MemorySink

PERMISSION = ContractAbi.of(load_artifact("OnceTransferablePermission").abi)
PERMISSION_CODE = load_artifact("OnceTransferablePermission").bytecode
KEY = KeyId(keccak256(b"access"))
CONFIRMATIONS = 3


class Bench:
    """Contracts, a node that watches them, and its access policy."""

    def __init__(
        self,
        *,
        depth: AclDepth = AclDepth.BOTH,
        wait_s: float = 0.0,
        acl_code: bytes = PERMISSION_CODE,
        signing: bool = False,
    ) -> None:
        self.deployment = Deployment.of(1, 2, 3)
        if signing:
            self.deployment.add_signing()
        self.inner = self.deployment.client
        self.service = self.deployment.service
        self.acl = self.inner.deploy(acl_code) if acl_code else Address(b"\x05" * 20)
        self.client = FaultyClient(self.inner)
        self.clock = ManualClock()
        self.directory = ContractDirectory(
            client=self.client,
            registry=None,
            sources={
                SET_OPTION: FixedContract(self.deployment.key_server_set),
                ACL_OPTION: FixedContract(self.acl),
                COMBINED_OPTION: FixedContract(self.service),
                **{
                    service.option: FixedContract(place)
                    for service, place in self.deployment.signing.items()
                },
            },
            services=CONTRACTS,
            retry_interval_blocks=30,
        )
        self.sets = NodeSetTracker(
            client=self.client,
            contracts=self.directory,
            chain_id=CHAIN_ID,
            me=node_of(1),
            with_migration=True,
            clock=self.clock,
        )
        self.watcher = Watcher(
            client=self.client,
            sink=MemorySink(),
            contracts=self.directory,
            observers=[self.sets],
            clock=self.clock,
            settings=WatcherSettings(max_head_age_s=0),
        )
        self.permissions = PermissionContract(
            client=self.client,
            tip=self.watcher,
            contracts=self.directory,
            node_sets=self.sets,
            depth=depth,
            wait_s=wait_s,
        )
        self.wait_s = wait_s

    def access(self, *, open_to_all: bool = False) -> ChainAccess:
        return ChainAccess(
            tip=self.watcher,
            node_sets=self.sets,
            pending=PendingRequests(self.client, self.directory),
            permissions=OpenAccess() if open_to_all else self.permissions,
            wait_s=self.wait_s,
        )

    async def look(self) -> None:
        head = await self.inner.block(BlockTag.LATEST)
        assert head is not None
        await self.watcher.process(head)

    async def mine(self, count: int = 1) -> None:
        for _ in range(count):
            self.inner.mine()
            await self.look()

    async def grant(self, owner: int) -> None:
        """The development account becomes the key's only user; in a block of its own."""
        self.inner.transact(self.acl, PERMISSION.function("createKey").encode(KEY), sender=owner)
        await self.mine()

    async def hand_over(self, owner: int, to: int) -> None:
        data = PERMISSION.function("transferPermission").encode(KEY, self.inner.account(to))
        self.inner.transact(self.acl, data, sender=owner)
        await self.mine()

    async def ask(
        self, operation: AnyOperation, requester: int = 0, *, contract: Address | None = None
    ) -> Verdict:
        """Authorise a request of credential kind 3."""
        account = self.inner.account(requester)
        where = contract or self.service
        permission = isinstance(operation, RetrieveDocumentKey | SignMessage)
        credential = (
            OnChainPublic(where, public_of(requester))
            if isinstance(operation, RetrieveDocumentKey)
            else OnChainAddress(where, account)
        )
        request, access = Request.of(operation, credential), self.access()
        return await access.authorise(
            Authorise(request, account, permission, access.permission_block)
        )


def public_of(account: int) -> Point:
    """The public key of a development account, whose private key is its number plus 1."""
    return SecretScalar.from_int(account + 1).public()


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.mine(CONFIRMATIONS)
    return made


# --- permissions ---------------------------------------------------------------------------------


async def test_who_has_the_permission_is_allowed_and_nobody_else(bench: Bench) -> None:
    await bench.grant(0)
    await bench.mine(CONFIRMATIONS)
    assert await bench.permissions.check(bench.inner.account(0), KEY) is Verdict.ALLOWED
    assert await bench.permissions.check(bench.inner.account(1), KEY) is Verdict.DENIED


async def test_a_permission_one_block_old_is_waited_for() -> None:
    both, head = Bench(depth=AclDepth.BOTH), Bench(depth=AclDepth.HEAD)
    for bench in (both, head):
        await bench.mine(CONFIRMATIONS)
        await bench.grant(0)
    account = both.inner.account(0)
    assert await head.permissions.check(account, KEY) is Verdict.ALLOWED
    verdicts = []
    for _ in range(CONFIRMATIONS + 1):
        verdicts.append(await both.permissions.check(account, KEY))
        await both.mine()
    assert verdicts == [Verdict.UNAVAILABLE] * CONFIRMATIONS + [Verdict.ALLOWED]


@pytest.mark.parametrize("depth", list(AclDepth))
async def test_a_permission_taken_away_is_gone_at_once(depth: AclDepth) -> None:
    bench = Bench(depth=depth)
    await bench.grant(0)
    await bench.mine(CONFIRMATIONS)
    assert await bench.permissions.check(bench.inner.account(0), KEY) is Verdict.ALLOWED
    await bench.hand_over(0, 1)
    assert await bench.permissions.check(bench.inner.account(0), KEY) is Verdict.DENIED


async def test_a_permission_contract_that_reverts_denies() -> None:
    bench = Bench(acl_code=echo.CREATION_CODE)
    await bench.mine(CONFIRMATIONS)
    assert await bench.permissions.check(bench.inner.account(0), KEY) is Verdict.DENIED


@pytest.mark.parametrize(
    ("result", "allowed"),
    [
        (Returned(bytes(31) + b"\x01"), True),
        (Returned(bytes(32)), False),
        (Returned(b""), None),
        (Returned(bytes(31) + b"\x02"), None),
        (Reverted(b"reason"), None),
    ],
)
def test_answers_of_a_permission_contract(result: CallResult, allowed: bool | None) -> None:
    assert permission_in(result) is allowed


async def test_trouble_with_the_chain_is_never_a_denial(bench: Bench) -> None:
    await bench.grant(0)
    await bench.mine(CONFIRMATIONS)
    account = bench.inner.account(0)
    bench.client.fail_next("call", ChainUnavailableError("timeout"))
    assert await bench.permissions.check(account, KEY) is Verdict.UNAVAILABLE
    reached = [bench.permissions.reached]
    bench.client.fail_next("syncing", ChainUnavailableError("timeout"))
    bench.watcher.request_reread()
    bench.inner.mine()
    with pytest.raises(ChainUnavailableError):
        await bench.look()
    assert await bench.permissions.check(account, KEY) is Verdict.ALLOWED
    assert [*reached, bench.permissions.reached] == [False, True]
    bench.clock.advance(301)
    bench.sets.on_unavailable()
    bench.clock.advance(301)
    bench.sets.on_unavailable()
    assert bench.sets.snapshot.stale
    assert await bench.permissions.check(account, KEY) is Verdict.UNAVAILABLE


async def test_without_a_permission_contract_nobody_can_be_allowed() -> None:
    bench = Bench(acl_code=b"")
    await bench.mine()
    assert bench.watcher.view.synced
    assert await bench.permissions.check(bench.inner.account(0), KEY) is Verdict.UNAVAILABLE
    assert not bench.permissions.reached


async def test_before_the_first_block_nothing_is_allowed() -> None:
    bench = Bench()
    assert await bench.permissions.check(bench.inner.account(0), KEY) is Verdict.UNAVAILABLE
    assert await bench.ask(GenerateServerKey(KEY, 1)) is Verdict.UNAVAILABLE


def times_out(bench: Bench) -> None:
    bench.client.fail_next("logs", ChainUnavailableError("no answer within 10 s"))


def is_down(bench: Bench) -> None:
    bench.client.go_down()


def is_another_chain(bench: Bench) -> None:
    bench.client.go_down(WrongChainError(CHAIN_ID, 1))


def is_catching_up(bench: Bench) -> None:
    bench.client.is_syncing = True


def disagrees(bench: Bench) -> None:
    bench.client.agrees = False


def refuses_logs(bench: Bench) -> None:
    bench.client.max_log_blocks = 0


def fails_to_call(bench: Bench) -> None:
    bench.client.fail_next("call_many", ChainUnavailableError("refused"))


@pytest.mark.parametrize(
    "fault",
    [times_out, is_down, is_another_chain, is_catching_up, disagrees, refuses_logs, fails_to_call],
)
async def test_a_faulty_endpoint_never_changes_the_node_set(
    bench: Bench, fault: Callable[[Bench], None]
) -> None:
    before = bench.sets.snapshot
    add = KEY_SERVER_SET.function("addKeyServer").encode(node_of(4), "127.0.0.1:1")
    bench.inner.transact(bench.deployment.key_server_set, add)
    bench.inner.mine()
    fault(bench)
    bench.watcher.request_reread()
    with pytest.raises(ChainError):
        await bench.look()
    assert bench.sets.snapshot == before


async def test_an_endpoint_that_has_stopped_never_changes_the_node_set(bench: Bench) -> None:
    before = bench.sets.snapshot
    head = await bench.inner.block(BlockTag.LATEST)
    assert head is not None
    bench.inner.mine(3)
    assert not await bench.watcher.process(head)
    assert bench.sets.snapshot == before


# --- one agreed, recent block --------------------------------------------------------------------


class Asking:
    """A retrieval by account 0, whose permission is read at a block that a coordinator names."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.request = Request.of(RetrieveDocumentKey(KEY), NodeCredential())

    async def at(self, block: BlockId | None) -> Verdict:
        access = self.bench.access()
        check = Authorise(self.request, self.bench.inner.account(0), True, block)
        return await access.authorise(check)

    async def block(self, number: int) -> BlockId:
        found = await self.bench.inner.block(number)
        assert found is not None
        return found.id

    @property
    def head(self) -> int:
        head = self.bench.watcher.view.head
        assert head is not None
        return head.number


@pytest.fixture
async def asking(bench: Bench) -> Asking:
    await bench.grant(0)
    await bench.mine(2 * CONFIRMATIONS)
    return Asking(bench)


async def test_the_block_must_be_recent(asking: Asking) -> None:
    confirmed = asking.head - CONFIRMATIONS
    verdicts = {
        back: await asking.at(await asking.block(confirmed - back)) for back in (0, 2, 3, 5)
    }
    assert verdicts == {
        0: Verdict.ALLOWED,
        2: Verdict.ALLOWED,
        3: Verdict.UNAVAILABLE,
        5: Verdict.UNAVAILABLE,
    }


async def test_a_coordinator_must_name_a_block(asking: Asking) -> None:
    assert await asking.at(None) is Verdict.UNAVAILABLE


async def test_the_block_must_be_one_of_this_chain(asking: Asking) -> None:
    wrong = BlockId(asking.head, Hash32(b"\x66" * 32))
    assert await asking.at(wrong) is Verdict.UNAVAILABLE


async def test_a_grant_counts_from_the_agreed_block_on() -> None:
    """Nodes that are a block apart come to one verdict: that of the block they agreed on."""
    bench = Bench(depth=AclDepth.HEAD)
    await bench.mine(CONFIRMATIONS)
    asking = Asking(bench)
    before = await asking.block(asking.head)
    await bench.grant(0)
    assert await asking.at(before) is Verdict.UNAVAILABLE
    assert await asking.at(await asking.block(asking.head)) is Verdict.ALLOWED


@pytest.mark.parametrize("depth", [0, 1, CONFIRMATIONS, CONFIRMATIONS + 4])
async def test_no_revocation_is_overtaken(asking: Asking, depth: int) -> None:
    """Whatever block a coordinator names, however deep the revocation is by now."""
    await asking.bench.hand_over(0, 1)
    revoked = asking.head
    await asking.bench.mine(depth)
    for number in range(revoked - 4, asking.head + 1):
        verdict = await asking.at(await asking.block(number))
        assert verdict is not Verdict.ALLOWED, f"block {number}, revoked in {revoked}"
    assert await asking.at(await asking.block(asking.head)) is Verdict.DENIED


async def test_a_node_whose_endpoint_has_the_block_sees_the_revocation_at_once(
    asking: Asking,
) -> None:
    """It has not processed the block yet, but hears of it."""
    bench = asking.bench
    data = PERMISSION.function("transferPermission").encode(KEY, bench.inner.account(1))
    bench.inner.transact(bench.acl, data, sender=0)
    bench.inner.mine()
    assert await asking.at(await asking.block(asking.head + 1)) is Verdict.DENIED


async def test_a_node_behind_waits_for_the_block() -> None:
    bench = Bench(wait_s=20)
    await bench.grant(0)
    await bench.mine(2 * CONFIRMATIONS)
    asking = Asking(bench)
    asked = asyncio.create_task(asking.at(BlockId(asking.head + 1, Hash32(b"\x66" * 32))))
    await settle()
    assert not asked.done()
    await bench.mine()
    assert await asyncio.wait_for(asked, 5) is Verdict.UNAVAILABLE, "its hash is another one here"


async def test_a_node_that_stays_behind_refuses(asking: Asking) -> None:
    unknown = BlockId(asking.head + 2, Hash32(b"\x66" * 32))
    assert await asking.at(unknown) is Verdict.UNAVAILABLE


async def test_an_old_block_under_a_new_number_is_noticed(asking: Asking) -> None:
    """A read is pinned by the hash: the height that a coordinator claims is compared."""
    granted = await asking.block(asking.head - CONFIRMATIONS)
    await asking.bench.hand_over(0, 1)
    for number in (asking.head, asking.head - 1, asking.head + 1):
        assert await asking.at(BlockId(number, granted.hash)) is Verdict.UNAVAILABLE


async def test_endpoints_that_disagree_about_the_permission_are_believed_neither(
    asking: Asking,
) -> None:
    newest = await asking.block(asking.head)
    assert await asking.at(newest) is Verdict.ALLOWED
    asking.bench.client.second_answer = frozenset({Returned(bytes(32))})
    assert await asking.at(newest) is Verdict.UNAVAILABLE
    await asking.bench.hand_over(0, 1)
    asking.bench.client.second_answer = frozenset({Returned(bytes(31) + b"\x01")})
    assert await asking.at(await asking.block(asking.head)) is Verdict.UNAVAILABLE


@pytest.mark.parametrize("depth", list(AclDepth))
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("age", [0, 2 * CONFIRMATIONS])
async def test_a_block_that_one_endpoint_makes_up_overtakes_no_revocation(
    depth: AclDepth, waits: bool, age: int
) -> None:
    """A coordinator names a block that is still to come; one endpoint knows it, and says yes."""
    bench = Bench(depth=depth, wait_s=20 if waits else 0)
    await bench.grant(0)
    await bench.mine(CONFIRMATIONS)
    await bench.hand_over(0, 1)
    await bench.mine(age)
    asking = Asking(bench)
    head = await bench.inner.block(BlockTag.LATEST)
    assert head is not None
    bench.client.invented = replace(head, number=head.number + 1, hash=Hash32(b"\x66" * 32))
    asked = asyncio.create_task(asking.at(bench.client.invented.id))
    await settle()
    if waits:
        await bench.mine()
    assert await asyncio.wait_for(asked, 5) is not Verdict.ALLOWED


async def test_a_grant_in_a_block_that_is_not_processed_yet_is_waited_for() -> None:
    bench = Bench(depth=AclDepth.HEAD, wait_s=20)
    await bench.mine(CONFIRMATIONS)
    asking = Asking(bench)
    bench.inner.transact(bench.acl, PERMISSION.function("createKey").encode(KEY), sender=0)
    bench.inner.mine()
    granted = await asking.block(asking.head + 1)
    asked = asyncio.create_task(asking.at(granted))
    await settle()
    assert not asked.done()
    await bench.look()
    assert await asyncio.wait_for(asked, 5) is Verdict.ALLOWED


# --- requests on chain ---------------------------------------------------------------------------


async def test_a_generation_is_allowed_once_it_is_confirmed_and_exactly_as_asked(
    bench: Bench,
) -> None:
    bench.deployment.request("generateServerKey", KEY, 1)
    await bench.mine(CONFIRMATIONS)
    assert await bench.ask(GenerateServerKey(KEY, 1)) is Verdict.UNAVAILABLE
    await bench.mine()
    assert await bench.ask(GenerateServerKey(KEY, 1)) is Verdict.ALLOWED
    assert await bench.ask(GenerateServerKey(KEY, 2)) is Verdict.UNAVAILABLE
    assert await bench.ask(GenerateServerKey(KEY, 1), requester=1) is Verdict.UNAVAILABLE
    assert await bench.ask(GenerateServerKey(KeyId(bytes(32)), 1)) is Verdict.UNAVAILABLE
    assert await bench.ask(GenerateServerKey(KEY, 1, with_document_key=True)) is Verdict.DENIED
    assert await bench.ask(RetrieveServerKey(KEY)) is Verdict.UNAVAILABLE


async def test_a_document_key_is_allowed_with_these_points_only(bench: Bench) -> None:
    common, encrypted = public_of(5), public_of(6)
    bench.deployment.request("storeDocumentKey", KEY, common.raw64, encrypted.raw64)
    await bench.mine(CONFIRMATIONS + 1)
    right = StoreDocumentKey(KEY, DocumentKey(common, encrypted))
    wrong = StoreDocumentKey(KEY, DocumentKey(encrypted, common))
    assert await bench.ask(right) is Verdict.ALLOWED
    assert await bench.ask(wrong) is Verdict.UNAVAILABLE
    assert await bench.ask(right, requester=1) is Verdict.UNAVAILABLE


async def test_a_shadow_retrieval_needs_the_request_and_the_permission(bench: Bench) -> None:
    await bench.grant(1)
    for account in (1, 2):
        bench.deployment.request(
            "retrieveDocumentKeyShadow", KEY, public_of(account).raw64, sender=account
        )
    await bench.mine(CONFIRMATIONS + 1)
    assert await bench.ask(RetrieveDocumentKey(KEY), requester=1) is Verdict.ALLOWED
    assert await bench.ask(RetrieveDocumentKey(KEY), requester=2) is Verdict.DENIED
    assert await bench.ask(RetrieveDocumentKey(KEY), requester=3) is Verdict.UNAVAILABLE


MESSAGE, OTHER = Hash32(keccak256(b"message")), Hash32(keccak256(b"another message"))


@pytest.fixture
async def signing() -> Bench:
    bench = Bench(signing=True)
    await bench.grant(1)
    await bench.mine(CONFIRMATIONS)
    return bench


@pytest.mark.parametrize("service", [ECDSA, SCHNORR], ids=lambda service: service.name)
async def test_nothing_is_signed_but_what_is_pending(
    signing: Bench, service: MessageSigning
) -> None:
    """A coordinator that lies about key, message, requester, scheme or contract gets nothing."""
    bench, places = signing, signing.deployment.signing
    place = places[service]
    asked = SignMessage(KEY, MESSAGE, service.scheme)
    (elsewhere,) = (address for each, address in places.items() if each is not service)
    bench.deployment.request_signature(service, KEY, MESSAGE, sender=1)
    bench.deployment.request_signature(service, KEY, OTHER, sender=2)
    await bench.mine(CONFIRMATIONS)
    assert await bench.ask(asked, 1, contract=place) is Verdict.UNAVAILABLE
    await bench.mine()
    assert await bench.ask(asked, 1, contract=place) is Verdict.ALLOWED
    for lie in (replace(asked, message=OTHER), replace(asked, key_id=KeyId(bytes(32)))):
        assert await bench.ask(lie, 1, contract=place) is Verdict.UNAVAILABLE
    assert await bench.ask(asked, 2, contract=place) is Verdict.UNAVAILABLE
    for scheme in set(SigningScheme) - {service.scheme}:
        lie = replace(asked, scheme=scheme)
        assert await bench.ask(lie, 1, contract=place) is Verdict.DENIED
    assert await bench.ask(asked, 1, contract=elsewhere) is Verdict.DENIED
    assert await bench.ask(asked, 1, contract=bench.service) is Verdict.DENIED
    stranger = replace(asked, message=OTHER)
    assert await bench.ask(stranger, 2, contract=place) is Verdict.DENIED, "no permission"


async def test_a_message_that_was_signed_is_not_pending_any_more(signing: Bench) -> None:
    bench, place = signing, signing.deployment.signing[ECDSA]
    bench.deployment.request_signature(ECDSA, KEY, MESSAGE, sender=1)
    await bench.mine(CONFIRMATIONS + 1)
    account = bench.inner.account(1)
    delete = SIGNING[ECDSA].function("deleteEcdsaSigningRequest").encode(KEY, account, MESSAGE)
    bench.inner.transact(place, delete)
    await bench.mine(CONFIRMATIONS + 1)
    asked = SignMessage(KEY, MESSAGE, SigningScheme.ECDSA)
    assert await bench.ask(asked, 1, contract=place) is Verdict.UNAVAILABLE


async def test_a_signer_waits_for_its_own_view() -> None:
    bench = Bench(wait_s=20, signing=True)
    await bench.grant(1)
    await bench.mine(CONFIRMATIONS)
    place = bench.deployment.signing[ECDSA]
    bench.deployment.request_signature(ECDSA, KEY, MESSAGE, sender=1)
    await bench.mine(CONFIRMATIONS)
    asked = SignMessage(KEY, MESSAGE, SigningScheme.ECDSA)
    waiting = asyncio.create_task(bench.ask(asked, 1, contract=place))
    await settle()
    assert not waiting.done()
    await bench.mine()
    assert await asyncio.wait_for(waiting, 5) is Verdict.ALLOWED


async def test_a_contract_that_is_not_configured_carries_nothing(bench: Bench) -> None:
    bench.deployment.request("generateServerKey", KEY, 1)
    await bench.mine(CONFIRMATIONS + 1)
    verdict = await bench.ask(GenerateServerKey(KEY, 1), contract=bench.acl)
    assert verdict is Verdict.UNAVAILABLE, "it may be an address that this node learns of later"


async def test_a_requester_that_is_not_the_one_named_is_denied(bench: Bench) -> None:
    request = Request.of(
        GenerateServerKey(KEY, 1), OnChainAddress(bench.service, bench.inner.account(0))
    )
    verdict = await bench.access().authorise(Authorise(request, bench.inner.account(1), False))
    assert verdict is Verdict.DENIED


async def test_a_request_that_does_not_parse_is_denied(bench: Bench) -> None:
    request = Request(200, KEY, b"", b"\x09")
    verdict = await bench.access().authorise(Authorise(request, bench.inner.account(0), False))
    assert verdict is Verdict.DENIED


async def test_other_credentials_only_need_the_permission(bench: Bench) -> None:
    await bench.grant(0)
    await bench.mine(CONFIRMATIONS)
    request = Request.of(RetrieveDocumentKey(KEY), NodeCredential())
    access, everybody = bench.access(), bench.access(open_to_all=True)
    alice, bob = bench.inner.account(0), bench.inner.account(1)
    at = access.permission_block
    assert await access.authorise(Authorise(request, alice, True, at)) is Verdict.ALLOWED
    assert await access.authorise(Authorise(request, bob, True, at)) is Verdict.DENIED
    assert await access.authorise(Authorise(request, bob, False)) is Verdict.ALLOWED
    assert await everybody.authorise(Authorise(request, bob, True)) is Verdict.ALLOWED


async def test_a_participant_waits_for_its_own_view() -> None:
    bench = Bench(wait_s=20)
    await bench.mine(CONFIRMATIONS)
    bench.deployment.request("generateServerKey", KEY, 1)
    asked = asyncio.create_task(bench.ask(GenerateServerKey(KEY, 1)))
    for _ in range(CONFIRMATIONS):
        await bench.mine()
        await settle()
        assert not asked.done()
    await bench.mine()
    assert await asyncio.wait_for(asked, 5) is Verdict.ALLOWED


async def test_trouble_while_waiting_is_waited_for_as_well() -> None:
    bench = Bench(wait_s=20)
    await bench.mine(CONFIRMATIONS)
    bench.deployment.request("generateServerKey", KEY, 1)
    await bench.mine(CONFIRMATIONS + 1)
    bench.client.fail_next("call", ChainUnavailableError("timeout"))
    asked = asyncio.create_task(bench.ask(GenerateServerKey(KEY, 1)))
    await settle()
    assert not asked.done()
    await bench.mine()
    assert await asyncio.wait_for(asked, 5) is Verdict.ALLOWED


async def test_a_block_that_comes_while_asking_is_not_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(wait_s=5)
    await bench.mine(CONFIRMATIONS)
    bench.deployment.request("generateServerKey", KEY, 1)
    await bench.mine(CONFIRMATIONS)
    honest: Callable[..., object] = bench.inner.call
    mined = False

    async def call(*args: object) -> object:
        nonlocal mined
        result = await honest(*args)  # type: ignore[misc]
        if not mined:
            mined = True
            await bench.mine()
        return result

    monkeypatch.setattr(bench.inner, "call", call)
    assert await asyncio.wait_for(bench.ask(GenerateServerKey(KEY, 1)), 2) is Verdict.ALLOWED


async def settle() -> None:
    """Let other tasks run until they wait for a block."""
    for _ in range(50):
        await asyncio.sleep(0)
