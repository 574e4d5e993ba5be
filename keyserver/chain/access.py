"""Whether the chain allows a request: is it pending there, has the requester permission.

Engine design, section 6; chain watcher, section 10 with W-09, W-12, W-32, W-33. Trouble with the
chain is never a denial: it is `Verdict.UNAVAILABLE`, and the request may come again.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from enum import Enum
from typing import Final

import structlog

from keyserver.chain.client import (
    BlockId,
    CallResult,
    ChainClient,
    ChainUnavailableError,
    ContractCall,
    Returned,
)
from keyserver.chain.name_registry import ACL_OPTION, ContractDirectory
from keyserver.chain.ports import ChainTip
from keyserver.crypto.hashing import address_of
from keyserver.engine.ports import NodeSets
from keyserver.errors import ChainError
from keyserver.evm.abi import AbiError, Function
from keyserver.model.codec import CodecError, encode
from keyserver.model.identifiers import Address, KeyId
from keyserver.model.requests import (
    GenerateServerKey,
    OnChainAddress,
    OnChainPublic,
    Request,
    RetrieveDocumentKey,
    SignMessage,
    StoreDocumentKey,
)
from keyserver.services.base import Asked, ServiceContract
from keyserver.services.document_key_store.bindings import StoreRequest
from keyserver.services.server_key_generation.bindings import GenerationRequest
from keyserver.services.standing import MAX_PENDING
from keyserver.sessions.core import Authorise, Verdict
from keyserver.tasks.model import TaskKind

CHECK_PERMISSIONS = Function.parse("checkPermissions(address,bytes32)", "bool")

PENDING_WAIT_S = 20.0
"""How long a participant waits until its own view shows the request (engine design, section 6)."""

RECENT_BLOCKS: Final = 2
"""How far below this node's confirmed block the one may be that a session agreed on.

Where blocks count as confirmed at once, nodes that are a moment apart must understand each other.
"""

_log = structlog.get_logger(__name__)


class AclDepth(Enum):
    """Where a permission must hold (W-33)."""

    HEAD = "head"
    BOTH = "both"
    """At the head and at the confirmed block."""


class OpenAccess:
    """The permissions of `acl_contract = "none"`: everybody may use every key."""

    reached = True
    """There is nothing that could be out of reach."""

    permission_block = None
    """Nothing is read."""

    async def check(self, requester: Address, key_id: KeyId) -> Verdict:
        """Always allowed."""
        return Verdict.ALLOWED

    async def check_in_session(
        self, requester: Address, key_id: KeyId, agreed: BlockId | None
    ) -> Verdict:
        """Always allowed."""
        return Verdict.ALLOWED


class PermissionContract:
    """What the permission contract says now; the tasks' `PermissionReader`."""

    def __init__(
        self,
        *,
        client: ChainClient,
        tip: ChainTip,
        contracts: ContractDirectory,
        node_sets: NodeSets,
        depth: AclDepth,
        wait_s: float = PENDING_WAIT_S,
    ) -> None:
        self._client = client
        self._tip = tip
        self._contracts = contracts
        self._node_sets = node_sets
        self._depth = depth
        self._wait_s = wait_s
        self._reached = True

    @property
    def permission_block(self) -> BlockId | None:
        """The confirmed block, or the head where permissions count from there on."""
        view = self._tip.view
        if self._depth is AclDepth.BOTH:
            return view.confirmed
        return None if view.head is None else view.head.id

    @property
    def reached(self) -> bool:
        """Whether there is a contract, and it could be asked when it was asked last."""
        return self._reached and self._contracts.address(ACL_OPTION) is not None

    async def check_in_session(
        self, requester: Address, key_id: KeyId, agreed: BlockId | None
    ) -> Verdict:
        """Whether the requester may use the key, now and at the block that the session agreed on.

        Waits until this node has that block, not for ever. Unavailable also if it is none of this
        node's chain, or too old.
        """
        if agreed is None:
            _log.warning("permission_block_missing")
            return Verdict.UNAVAILABLE
        if not await self._has(agreed):
            _log.info("permission_block_unknown", block=agreed.number)
            return Verdict.UNAVAILABLE
        confirmed = self._tip.view.confirmed
        if confirmed is None or agreed.number < confirmed.number - RECENT_BLOCKS:
            _log.info("permission_block_too_old", block=agreed.number)
            return Verdict.UNAVAILABLE
        verdict = await self.check(requester, key_id, agreed)
        if verdict is Verdict.UNAVAILABLE and await self._catches_up_with(agreed):
            verdict = await self.check(requester, key_id, agreed)
        return verdict

    async def _catches_up_with(self, block: BlockId) -> bool:
        """Wait until a block that this node has not processed yet is not above its head any more.

        False if it is not above it now, or stays there.
        """
        if not self._is_ahead(block):
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._wait_s):
                while self._is_ahead(block):
                    await self._tip.next_evaluation()
        return not self._is_ahead(block)

    def _is_ahead(self, block: BlockId) -> bool:
        head = self._tip.view.head
        return head is None or block.number > head.number

    async def _has(self, block: BlockId) -> bool:
        """Whether a block is one of this node's chain; one that is still to come is waited for.

        Height and hash are compared: reads are pinned by the hash only.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                while True:
                    view = self._tip.view
                    if block == view.confirmed or (view.head and block == view.head.id):
                        return True
                    if found := await self._client.block(block.number):
                        return found.id == block
                    await self._tip.next_evaluation()
        except TimeoutError:
            return False
        except ChainError as error:
            _log.warning("permission_block_unavailable", reason=str(error))
            return False

    async def check(
        self, requester: Address, key_id: KeyId, agreed: BlockId | None = None
    ) -> Verdict:
        """Whether the requester may use the key at the newest block known, and at `agreed`.

        Denied: the contract says no, refuses the call, or answers nonsense. Unavailable: it cannot
        be asked, endpoints answer differently, or it does not say yes as yet at the head, at the
        confirmed block (with depth `BOTH`) or at the agreed one. The head is asked in any case: an
        agreed block above it may be the invention of one endpoint.
        """
        contract, view = self._contracts.address(ACL_OPTION), self._tip.view
        trusted = is_trusted(self._tip, self._node_sets)
        if contract is None or view.head is None or view.confirmed is None or not trusted:
            return Verdict.UNAVAILABLE
        call = ContractCall(contract, CHECK_PERMISSIONS.encode(requester, key_id))
        newest = agreed if agreed and agreed.number > view.head.number else view.head.id
        earlier = {view.head.id} if agreed is None else {view.head.id, agreed}
        if self._depth is AclDepth.BOTH:
            earlier.add(view.confirmed)
        try:
            verdict = await self._ask(call, newest, earlier - {newest})
        except ChainError as error:
            self._reached = False
            _log.warning("permission_unavailable", reason=str(error))
            return Verdict.UNAVAILABLE
        self._reached = True
        return verdict

    async def _ask(self, call: ContractCall, newest: BlockId, earlier: set[BlockId]) -> Verdict:
        if not await self._allows(call, newest):
            return Verdict.DENIED
        for block in sorted(earlier, key=lambda each: each.number):
            if not await self._allows(call, block):
                return Verdict.UNAVAILABLE
        return Verdict.ALLOWED

    async def _allows(self, call: ContractCall, at: BlockId) -> bool:
        results = await self._client.call_everywhere(call, at)
        if len(results) > 1:
            raise ChainUnavailableError(f"endpoints disagree about a permission at {at.number}")
        (result,) = results
        allowed = permission_in(result)
        if allowed is None:
            _log.warning(
                "permission_contract_answers_nonsense", contract="0x" + call.to.hex(), result=result
            )
        return allowed is True


def permission_in(result: CallResult) -> bool | None:
    """The answer of `checkPermissions`; `None` if the contract refused or answered nonsense."""
    if not isinstance(result, Returned):
        return None
    try:
        return bool(CHECK_PERMISSIONS.decode_single(result.data))
    except AbiError:
        return None


def is_trusted(tip: ChainTip, node_sets: NodeSets) -> bool:
    """Whether approvals may be given at all: the chain is in sync and the node set is not stale."""
    return tip.view.synced and not node_sets.snapshot.stale


class PendingRequests:
    """Whether a request is pending in a service contract, as this node itself sees it."""

    def __init__(self, client: ChainClient, contracts: ContractDirectory) -> None:
        self._client = client
        self._contracts = contracts

    def services_at(self, contract: Address) -> tuple[ServiceContract, ...]:
        """The services at this address, as known now; none at an unknown one."""
        return self._contracts.by_address.get(contract, ())

    async def is_pending(
        self,
        contract: Address,
        service: ServiceContract,
        request: Request,
        requester: Address,
        at: BlockId,
    ) -> bool:
        """Whether the contract's list has this very request at that block; raises `ChainError`."""
        first = await self._client.call(ContractCall(contract, service.count_call), at)
        count = int.from_bytes(first.data, "big") if isinstance(first, Returned) else 0
        calls = [
            ContractCall(contract, service.item_call(index))
            for index in range(min(count, MAX_PENDING))
        ]
        results = await self._client.call_many(calls, at) if calls else ()
        return any(
            is_same_request(asked, request, requester)
            for result in results
            for asked in _asked_in(service, result)
        )


def carrier(services: Sequence[ServiceContract], request: Request) -> ServiceContract | None:
    """The service that carries the request's operation, if one does (pure)."""
    number = request.operation_number
    return next((service for service in services if service.operation == number), None)


def _asked_in(service: ServiceContract, result: CallResult) -> tuple[Asked, ...]:
    if not isinstance(result, Returned):
        return ()
    try:
        return service.asked_in_item(result.data)
    except AbiError:
        return ()


def is_same_request(asked: Asked, request: Request, requester: Address) -> bool:
    """Whether a pending entry asks exactly for this: key, requester, parameters (pure)."""
    if asked.key_id != request.key_id:
        return False
    match request.operation():
        case GenerateServerKey(threshold=threshold, with_document_key=False):
            return asked.payload == encode(GenerationRequest(requester, threshold))
        case StoreDocumentKey(document=document):
            points = StoreRequest(requester, document.common.raw64, document.encrypted.raw64)
            return asked.payload == encode(points)
        case RetrieveDocumentKey(shadow=True):
            # The contract ties the account to the public key, so the account says it all.
            return asked.kind is TaskKind.RETRIEVE_PERSONAL and asked.requester == requester
        case SignMessage(message=message):
            # The scheme is that of the contract: `carrier`.
            return (asked.message, asked.requester) == (message, requester)
        case _:
            return False


class ChainAccess:
    """The engine's `AccessPolicy` where there is a chain."""

    def __init__(
        self,
        *,
        tip: ChainTip,
        node_sets: NodeSets,
        pending: PendingRequests,
        permissions: PermissionContract | OpenAccess,
        wait_s: float = PENDING_WAIT_S,
    ) -> None:
        self._tip = tip
        self._node_sets = node_sets
        self._pending = pending
        self._permissions = permissions
        self._wait_s = wait_s

    @property
    def permission_block(self) -> BlockId | None:
        """What this node proposes to agree on when it opens a session."""
        return self._permissions.permission_block

    async def authorise(self, check: Authorise) -> Verdict:
        """Whether the request is authentic on chain and permitted; never raises for the chain.

        A request by credential kind 3 waits for this node's own view, block by block, until it and
        its permission are confirmed or the time is up.
        """
        request = check.request
        try:
            credential = request.credential()
            request.operation()
        except CodecError as error:
            _log.warning("request_malformed", reason=str(error))
            return Verdict.DENIED
        if not isinstance(credential, OnChainPublic | OnChainAddress):
            return await self._permitted(check)
        if _account(credential) != check.requester:
            return Verdict.DENIED
        try:
            async with asyncio.timeout(self._wait_s):
                while True:
                    seen = self._tip.view.head
                    verdict = await self._pending_and_permitted(credential.contract, check)
                    if verdict is not Verdict.UNAVAILABLE:
                        return verdict
                    if self._tip.view.head == seen:  # else a block came while we were asking
                        await self._tip.next_evaluation()
        except TimeoutError:
            return Verdict.UNAVAILABLE

    async def _pending_and_permitted(self, contract: Address, check: Authorise) -> Verdict:
        request, requester = check.request, check.requester
        confirmed = self._tip.view.confirmed
        services = self._pending.services_at(contract)
        if confirmed is None or not services or not is_trusted(self._tip, self._node_sets):
            return Verdict.UNAVAILABLE  # an address that is new in the registry may be unknown yet
        service = carrier(services, request)
        if service is None:
            return Verdict.DENIED
        try:
            if not await self._pending.is_pending(contract, service, request, requester, confirmed):
                return Verdict.UNAVAILABLE
        except ChainError as error:
            _log.warning("pending_requests_unavailable", reason=str(error))
            return Verdict.UNAVAILABLE
        return await self._permitted(check)

    async def _permitted(self, check: Authorise) -> Verdict:
        if not check.needs_permission:
            return Verdict.ALLOWED
        key_id, agreed = check.request.key_id, check.permission_block
        return await self._permissions.check_in_session(check.requester, key_id, agreed)


def _account(credential: OnChainPublic | OnChainAddress) -> Address:
    if isinstance(credential, OnChainPublic):
        return Address(address_of(credential.requester.raw64))
    return credential.requester
