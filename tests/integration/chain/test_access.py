"""What the chain allows, over the real service and permission contracts."""

import asyncio
from collections.abc import Callable

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
from keyserver.model.identifiers import Address, KeyId
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
    StoreDocumentKey,
)
from keyserver.services.registry import CONTRACTS
from keyserver.sessions.core import Verdict
from tests.support import echo_contract as echo
from tests.support.chain_stack import CHAIN_ID, KEY_SERVER_SET, Deployment
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
    ) -> None:
        self.deployment = Deployment.of(1, 2, 3)
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
        permission = isinstance(operation, RetrieveDocumentKey)
        credential = (
            OnChainPublic(where, public_of(requester))
            if permission
            else OnChainAddress(where, account)
        )
        return await self.access().authorise(
            Request.of(operation, credential), account, needs_permission=permission
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


async def test_a_contract_that_is_not_configured_carries_nothing(bench: Bench) -> None:
    bench.deployment.request("generateServerKey", KEY, 1)
    await bench.mine(CONFIRMATIONS + 1)
    verdict = await bench.ask(GenerateServerKey(KEY, 1), contract=bench.acl)
    assert verdict is Verdict.UNAVAILABLE, "it may be an address that this node learns of later"


async def test_a_requester_that_is_not_the_one_named_is_denied(bench: Bench) -> None:
    request = Request.of(
        GenerateServerKey(KEY, 1), OnChainAddress(bench.service, bench.inner.account(0))
    )
    verdict = await bench.access().authorise(
        request, bench.inner.account(1), needs_permission=False
    )
    assert verdict is Verdict.DENIED


async def test_a_request_that_does_not_parse_is_denied(bench: Bench) -> None:
    request = Request(200, KEY, b"", b"\x09")
    verdict = await bench.access().authorise(
        request, bench.inner.account(0), needs_permission=False
    )
    assert verdict is Verdict.DENIED


async def test_other_credentials_only_need_the_permission(bench: Bench) -> None:
    await bench.grant(0)
    await bench.mine(CONFIRMATIONS)
    request = Request.of(RetrieveDocumentKey(KEY), NodeCredential())
    access = bench.access()
    alice, bob = bench.inner.account(0), bench.inner.account(1)
    assert await access.authorise(request, alice, needs_permission=True) is Verdict.ALLOWED
    assert await access.authorise(request, bob, needs_permission=True) is Verdict.DENIED
    assert await access.authorise(request, bob, needs_permission=False) is Verdict.ALLOWED
    everybody = bench.access(open_to_all=True)
    assert await everybody.authorise(request, bob, needs_permission=True) is Verdict.ALLOWED


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
