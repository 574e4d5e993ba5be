"""Handlers with a key server and a contract of the test's making (chain watcher, 9, 12, 13)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from keyserver.crypto.curve import negate
from keyserver.engine.outcomes import ShadowReady
from keyserver.errors import ChainError
from keyserver.evm.abi import AbiError, Function
from keyserver.model.codec import encode
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32, KeyId, Signature
from keyserver.model.keys import DocumentKey
from keyserver.model.node_set import Migration, NodeSet, NodeSetSnapshot
from keyserver.services import fees
from keyserver.services.base import REQUIRE_KEY_SERVER, HandlerTools
from keyserver.services.document_key_retrieval import bindings as retrieval
from keyserver.services.document_key_store import bindings as storing
from keyserver.services.message_signing.bindings import ECDSA, SCHNORR, MessageSigning
from keyserver.services.registry import CONTRACT_OF, CONTRACTS, handlers
from keyserver.services.server_key_generation import bindings as generation
from keyserver.services.server_key_retrieval import bindings as public_key
from keyserver.services.standing import Standing, Want, read_standing
from keyserver.sessions.core import (
    DeniedError,
    DocumentCandidate,
    KeyState,
    UnavailableError,
    Verdict,
)
from keyserver.tasks.answers import PublicSignature
from keyserver.tasks.model import COMMON_STAGE_OF, TaskKind
from keyserver.tasks.ports import (
    Answered,
    Discard,
    Disposition,
    NothingOwed,
    NotMember,
    ReadAt,
    Reading,
    TryAgain,
    WaitUntil,
)
from keyserver.tasks.responsibility import turn_of
from tests.support.fake_cluster import (
    FakeCluster,
    FakeKeyServer,
    certified_document,
    certified_record,
    node_of,
    point_of,
)
from tests.support.work import (
    CHAIN_ID,
    CONTRACT,
    EPOCH,
    KEY_ID,
    block_hash,
    sighting,
    task,
    task_key,
)

ALL = tuple(sorted(node_of(number) for number in (1, 2, 3)))
AUTHOR = node_of(7).address
REQUESTER = point_of(8)
DOCUMENT = DocumentKey(point_of(21), point_of(22))
YES = (1).to_bytes(32, "big")
NO = bytes(32)
SEEN, HEAD, CONFIRMED = 10, 20, 17


def returned(types: str, *values: object) -> bytes:
    return Function.parse(f"f({types})").encode(*values)[4:]


@dataclass
class FakeContract:
    """One pending request, as the contract shows it at the head and at the confirmed block."""

    item: bytes = b""
    required: bytes | None = YES
    confirmed_required: bytes | None = YES
    count: int = 1
    indices: dict[Address, int] = field(default_factory=dict)
    balance: bytes | None = None
    trouble: ChainError | None = None

    async def read(self, contract: Address, calls: Sequence[bytes], at: ReadAt) -> Reading:
        if self.trouble:
            raise self.trouble
        block = HEAD if at is ReadAt.HEAD else CONFIRMED
        return await self.read_at(contract, calls, block, block_hash(block))

    async def read_at(
        self, contract: Address, calls: Sequence[bytes], block: int, block_hash: Hash32
    ) -> Reading:
        results = tuple(self._answer(call, block) for call in calls)
        return Reading(block, block_hash, results)

    def _answer(self, call: bytes, block: int) -> bytes | None:
        selector = call[:4]
        if selector == REQUIRE_KEY_SERVER.selector:
            (server,) = REQUIRE_KEY_SERVER.decode_call(call)
            index = self.indices.get(server)
            return None if index is None else index.to_bytes(32, "big")
        if selector == fees.BALANCE.selector:
            return self.balance
        modules = (generation, public_key, storing, retrieval)
        signing = (ECDSA.calls, SCHNORR.calls)
        if selector in {
            *(module.REQUIRED.selector for module in modules),
            *(calls.required.selector for calls in signing),
        }:
            return self.required if block == HEAD else self.confirmed_required
        if selector in {service.count_call[:4] for service in CONTRACTS}:
            return self.count.to_bytes(32, "big")
        return self.item


class Bench:
    def __init__(
        self, kind: TaskKind, item: bytes, payload: bytes = b"", message: Hash32 = ZERO_HASH
    ) -> None:
        self.contract = FakeContract(item)
        self.cluster = FakeCluster(ALL)
        nodes = NodeSet(CHAIN_ID, EPOCH.contract, ALL)
        self.snapshot = NodeSetSnapshot(
            nodes, nodes, None, (), epoch=EPOCH.last_change, block_number=HEAD
        )
        self.verdict = Verdict.ALLOWED
        self.kind = kind
        requester = Address(bytes(20))
        if kind in {*COMMON_STAGE_OF.keys(), *COMMON_STAGE_OF.values()}:
            requester = node_of(8).address
        key = task_key(kind, requester=requester, message=message)
        seen = sighting(SEEN)
        self.task = task(key=key, payload=payload, first_seen=seen, last_seen=seen)
        self.use_node(0)

    def use_node(self, turn: int) -> None:
        """Be the node whose turn it is after so many intervals."""
        nodes = self.snapshot.current
        self.me = next(each for each in ALL if turn_of(each, nodes, KEY_ID) == turn)
        self.key_server = FakeKeyServer(self.cluster, self.me)

    async def check(self, requester: Address, key_id: KeyId) -> Verdict:
        return self.verdict

    async def handle(self, head: int = HEAD, **changes: Any) -> Disposition:
        tools = HandlerTools(self.me, self.key_server, self, self.contract, self, 30)
        found = handlers(tools, drain_above=100)
        return await found[self.kind].handle(replace(self.task, **changes), head)

    @property
    def started(self) -> list[str]:
        return [name for name, _ in self.cluster.calls if name != "find_record"]

    def know(self, threshold: int = 1, author: Address = AUTHOR) -> None:
        self.cluster.records[KEY_ID] = certified_record(KEY_ID, author, threshold, ALL)

    def store(self, document: DocumentKey = DOCUMENT) -> None:
        self.cluster.documents[KEY_ID] = certified_document(document)


def method(disposition: Disposition) -> str:
    assert isinstance(disposition, Answered)
    assert disposition.answer.epoch == EPOCH
    return disposition.answer.method


# --- what all share --------------------------------------------------------------------------


def generating(threshold: int = 1) -> Bench:
    item = returned("bytes32,address,uint256", KEY_ID, AUTHOR, threshold)
    payload = encode(generation.GenerationRequest(AUTHOR, threshold))
    return Bench(TaskKind.GENERATE_SERVER_KEY, item, payload)


async def test_a_request_that_is_gone_is_not_answered() -> None:
    bench = generating()
    bench.contract.required = bench.contract.confirmed_required = NO
    assert await bench.handle() == NothingOwed(CONFIRMED, "not pending, or answered by this node")
    bench.contract.confirmed_required = YES
    assert isinstance(await bench.handle(), WaitUntil)


async def test_the_originals_say_required_for_requests_that_do_not_exist() -> None:
    bench = generating()
    bench.contract.count = 0
    assert isinstance(await bench.handle(), NothingOwed)
    bench.contract.count = 3
    bench.contract.item = returned("bytes32,address,uint256", bytes(32), AUTHOR, 1)
    assert isinstance(await bench.handle(), NothingOwed)
    bench.contract.item = b"garbage"
    assert isinstance(await bench.handle(), NothingOwed)
    assert bench.started == []


async def test_a_stranger_holds_its_tasks() -> None:
    bench = generating()
    bench.contract.required = None
    assert isinstance(await bench.handle(), NotMember)
    bench.contract.required = YES
    others = NodeSet(CHAIN_ID, EPOCH.contract, tuple(n for n in ALL if n != bench.me))
    bench.snapshot = replace(bench.snapshot, current=others)
    assert isinstance(await bench.handle(), NotMember)


async def test_trouble_and_garbage_are_no_answer() -> None:
    bench = generating()
    bench.contract.required = b"\1"
    with pytest.raises(AbiError):
        await bench.handle()
    bench.contract.trouble = ChainError("no route")
    with pytest.raises(ChainError):
        await bench.handle()


# --- generation ------------------------------------------------------------------------------


async def test_the_starter_generates_and_answers() -> None:
    bench = generating()
    assert method(await bench.handle()) == "serverKeyGenerated"
    assert bench.started == ["generate_server_key"]


async def test_others_wait_for_their_turn_and_answer_from_the_record() -> None:
    bench = generating()
    bench.use_node(2)
    waiting = await bench.handle()
    assert isinstance(waiting, WaitUntil)
    assert waiting.block == SEEN + 60
    bench.know()
    assert method(await bench.handle()) == "serverKeyGenerated"
    assert bench.started == []


@pytest.mark.parametrize(("threshold", "author"), [(0, AUTHOR), (1, node_of(9).address)])
async def test_another_key_of_this_id_is_an_error(threshold: int, author: Address) -> None:
    bench = generating()
    bench.know(threshold, author)
    assert method(await bench.handle()) == "serverKeyGenerationError"


@pytest.mark.parametrize("threshold", [3, 254, 255])
async def test_thresholds_that_cannot_be(threshold: int) -> None:
    bench = generating(threshold)
    bench.use_node(1)
    assert isinstance(await bench.handle(), WaitUntil)
    bench.use_node(0)
    assert method(await bench.handle()) == "serverKeyGenerationError"
    assert bench.started == []


async def test_a_stand_in_asks_the_peers_first() -> None:
    bench = generating()
    bench.use_node(1)
    bench.know()
    bench.key_server.knows = set()
    assert method(await bench.handle(SEEN + 31)) == "serverKeyGenerated"
    assert bench.started == []


async def test_a_denied_generation_is_an_error_unless_the_key_is_there() -> None:
    bench = generating()
    denied = DeniedError("no", "AccessDenied")
    bench.cluster.failures["generate_server_key"] = [denied, denied]
    assert method(await bench.handle()) == "serverKeyGenerationError"
    bench.know()
    bench.key_server.knows = set()
    assert method(await bench.handle()) == "serverKeyGenerated"


async def test_an_unavailable_generation_is_given_up_when_all_had_their_turn() -> None:
    bench = generating()
    lost = UnavailableError("peer lost")
    bench.cluster.failures["generate_server_key"] = [lost] * 4
    assert await bench.handle() == TryAgain("peer lost")
    hopeless = SEEN + 30 * 4
    assert isinstance(await bench.handle(hopeless - 1, attempts=5), TryAgain)
    assert isinstance(await bench.handle(hopeless, attempts=1), TryAgain)
    assert method(await bench.handle(hopeless, attempts=2)) == "serverKeyGenerationError"


async def test_a_node_without_its_peers_is_not_sure_that_there_will_be_no_key() -> None:
    bench = generating()
    bench.cluster.failures["generate_server_key"] = [
        UnavailableError("not all nodes are connected"),
        DeniedError("the key exists", "ServerKeyAlreadyGenerated"),
    ]
    bench.key_server.peers = frozenset()
    hopeless = SEEN + 30 * 4
    for reason in ("not all nodes are connected", "the key exists"):
        assert await bench.handle(hopeless, attempts=5) == TryAgain(reason)


# --- public keys -----------------------------------------------------------------------------


def asking() -> Bench:
    return Bench(TaskKind.RETRIEVE_SERVER_KEY, KEY_ID)


async def test_a_public_key_comes_from_the_store_or_a_peer() -> None:
    bench = asking()
    bench.use_node(2)
    bench.know()
    for knows in (None, frozenset[KeyId]()):
        bench.key_server.knows = knows
        answer = await bench.handle()
        assert method(answer) == "serverKeyRetrieved"
        assert isinstance(answer, Answered)
        public = bench.cluster.records[KEY_ID].record.public
        arguments = public_key.RETRIEVED.decode_call(answer.answer.data)
        assert arguments == (KEY_ID, public.raw64, 1)


async def test_not_found_is_said_only_by_a_node_that_is_sure() -> None:
    bench = asking()
    sure = bench.snapshot
    migration = Migration(Hash32(bytes(32)), frozenset(ALL), ALL[0], confirmed_by_self=False)
    for doubt in (replace(sure, stale=True), replace(sure, migration=migration)):
        bench.snapshot = doubt
        assert isinstance(await bench.handle(), WaitUntil)
        assert isinstance(await bench.handle(SEEN + 30), TryAgain)
    bench.snapshot = sure
    bench.key_server.peers = frozenset()
    assert isinstance(await bench.handle(), WaitUntil)
    bench.key_server.peers = frozenset(ALL[:2])
    assert method(await bench.handle()) == "serverKeyRetrievalError"


# --- storing ---------------------------------------------------------------------------------


def storing_bench(document: DocumentKey | None = DOCUMENT) -> Bench:
    common = document.common.raw64 if document else b"\1" * 64
    item = returned("bytes32,address,bytes,bytes", KEY_ID, AUTHOR, common, DOCUMENT.encrypted.raw64)
    request = storing.StoreRequest(AUTHOR, common, DOCUMENT.encrypted.raw64)
    return Bench(TaskKind.STORE_DOCUMENT_KEY, item, encode(request))


async def test_the_starter_stores_and_others_wait() -> None:
    bench = storing_bench()
    bench.know()
    bench.use_node(1)
    assert await bench.handle() == WaitUntil(SEEN + 30, "another node starts the storing")
    bench.use_node(0)
    assert method(await bench.handle()) == "documentKeyStored"
    assert bench.started == ["store_document_key"]
    bench.use_node(2)
    assert method(await bench.handle()) == "documentKeyStored"
    assert bench.started == ["store_document_key"]


async def test_every_node_refuses_what_is_no_point() -> None:
    bench = storing_bench(None)
    bench.use_node(2)
    assert method(await bench.handle()) == "documentKeyStoreError"


async def test_only_the_author_of_an_existing_key_may_store() -> None:
    bench = storing_bench()
    bench.snapshot = replace(bench.snapshot, stale=True)
    assert isinstance(await bench.handle(), WaitUntil)
    bench.snapshot = replace(bench.snapshot, stale=False)
    assert method(await bench.handle()) == "documentKeyStoreError"
    bench.know(author=node_of(9).address)
    assert method(await bench.handle()) == "documentKeyStoreError"


async def test_a_different_document_key_is_an_error() -> None:
    bench = storing_bench()
    bench.know()
    bench.store(DocumentKey(point_of(31), point_of(32)))
    assert method(await bench.handle()) == "documentKeyStoreError"


async def test_a_denied_storing_is_an_error_unless_it_is_stored() -> None:
    bench = storing_bench()
    bench.know()
    denied = DeniedError("stored", "DocumentKeyAlreadyStored")
    bench.cluster.failures["store_document_key"] = [denied]
    assert method(await bench.handle()) == "documentKeyStoreError"

    async def stored_meanwhile(*_: object) -> None:
        bench.store()
        raise denied

    bench.key_server.store_document_key = stored_meanwhile  # type: ignore[method-assign, assignment]
    assert method(await bench.handle()) == "documentKeyStored"


# --- the common stage ------------------------------------------------------------------------


def shadow_bench(kind: TaskKind, *, completed: bool = False) -> Bench:
    item = returned("bytes32,bytes,bool", KEY_ID, REQUESTER.raw64, completed)
    bench = Bench(kind, item)
    bench.contract.indices = {node.address: i for i, node in enumerate(ALL)}
    return bench


@pytest.mark.parametrize("threshold", [0, 1, 2])
async def test_the_common_point_is_negated_for_odd_thresholds(threshold: int) -> None:
    bench = shadow_bench(TaskKind.RETRIEVE_COMMON)
    bench.use_node(2)
    bench.know(threshold)
    bench.store()
    answer = await bench.handle()
    assert isinstance(answer, Answered)
    expected = negate(DOCUMENT.common) if threshold == 1 else DOCUMENT.common
    arguments = retrieval.COMMON_RETRIEVED.decode_call(answer.answer.data)
    assert arguments == (KEY_ID, node_of(8).address, expected.raw64, threshold)


async def test_permission_comes_first() -> None:
    bench = shadow_bench(TaskKind.RETRIEVE_COMMON)
    bench.verdict = Verdict.DENIED
    assert method(await bench.handle()) == "documentKeyShadowRetrievalError"
    bench.verdict = Verdict.UNAVAILABLE
    assert isinstance(await bench.handle(), WaitUntil)


async def test_what_is_missing_may_be_arriving() -> None:
    bench = shadow_bench(TaskKind.RETRIEVE_COMMON)
    assert method(await bench.handle()) == "documentKeyShadowRetrievalError"
    bench.snapshot = replace(bench.snapshot, stale=True)
    assert isinstance(await bench.handle(), WaitUntil)
    bench.snapshot = replace(bench.snapshot, stale=False)
    bench.know()
    assert method(await bench.handle()) == "documentKeyShadowRetrievalError"
    bench.key_server.knows = set()
    assert isinstance(await bench.handle(), WaitUntil)
    candidate = DocumentCandidate(1, Hash32(bytes(32)), DOCUMENT)

    async def undecided(key_id: KeyId) -> KeyState:
        return KeyState(active=bench.cluster.records[KEY_ID], document_candidate=candidate)

    bench.key_server.key_state = undecided  # type: ignore[method-assign]
    assert isinstance(await bench.handle(), WaitUntil)


async def test_a_completed_common_stage_needs_no_answer() -> None:
    bench = shadow_bench(TaskKind.RETRIEVE_COMMON, completed=True)
    assert isinstance(await bench.handle(), NothingOwed)


# --- the personal stage ----------------------------------------------------------------------


def ready(*participants: int, secret: int = 55) -> bytes:
    nodes = tuple(ALL[i] for i in participants)
    outcome = ShadowReady(CONTRACT, KEY_ID, REQUESTER, nodes, point_of(secret), b"s" * 145)
    return encode(outcome)


async def test_the_starter_decrypts_while_the_common_stage_runs() -> None:
    bench = shadow_bench(TaskKind.RETRIEVE_PERSONAL)
    bench.know()
    bench.use_node(1)
    assert await bench.handle() == WaitUntil(HEAD + 3, "another node starts the decryption")
    almost = await bench.handle(SEEN + 28)
    assert almost == WaitUntil(SEEN + 30, "another node starts the decryption")
    bench.use_node(0)
    bench.contract.required = NO  # this node has answered the common stage
    waiting = await bench.handle()
    assert waiting == WaitUntil(HEAD + 30, "the participants answer")
    assert bench.started == ["retrieve_shadow"]


async def test_a_starter_that_is_away_costs_no_time() -> None:
    bench = shadow_bench(TaskKind.RETRIEVE_PERSONAL)
    bench.know()
    bench.use_node(0)
    starter = bench.me
    bench.use_node(1)
    bench.key_server.peers -= {starter}
    assert await bench.handle() == WaitUntil(HEAD + 30, "the participants answer")
    assert bench.started == ["retrieve_shadow"]


async def test_a_denied_decryption_is_an_error() -> None:
    bench = shadow_bench(TaskKind.RETRIEVE_PERSONAL)
    bench.cluster.failures["retrieve_shadow"] = [DeniedError("no", "ConsensusUnreachable")]
    assert method(await bench.handle()) == "documentKeyShadowRetrievalError"


async def test_a_participant_answers_with_its_part() -> None:
    bench = shadow_bench(TaskKind.RETRIEVE_PERSONAL)
    bench.know()
    bench.me = ALL[2]
    answer = await bench.handle(result=ready(0, 2))
    assert isinstance(answer, Answered)
    arguments = retrieval.PERSONAL_RETRIEVED.decode_call(answer.answer.data)
    assert arguments[2:] == (0b101, point_of(55).raw64, b"s" * 145)
    assert answer.answer.bound_to_epoch


@pytest.mark.parametrize("participants", [(0, 1), (2,), (0, 1, 2), (2, 2)])
async def test_results_of_other_nodes_than_t_plus_one_with_us(
    participants: tuple[int, ...],
) -> None:
    bench = shadow_bench(TaskKind.RETRIEVE_PERSONAL)
    bench.know()
    bench.me = ALL[2]
    assert isinstance(await bench.handle(result=ready(*participants)), Discard)


async def test_a_result_is_worthless_without_record_or_member() -> None:
    bench = shadow_bench(TaskKind.RETRIEVE_PERSONAL)
    bench.me = ALL[2]
    assert isinstance(await bench.handle(result=ready(0, 2)), Discard)
    bench.know()
    del bench.contract.indices[ALL[0].address]
    assert isinstance(await bench.handle(result=ready(0, 2)), Discard)


async def test_a_requester_off_the_curve_is_an_error() -> None:
    bench = shadow_bench(TaskKind.RETRIEVE_PERSONAL)
    public = b"\1" * 64
    bench.contract.item = returned("bytes32,bytes,bool", KEY_ID, public, False)
    (common, personal) = CONTRACT_OF[bench.kind].asked_in_item(bench.contract.item)
    assert common.requester == personal.requester
    key = task_key(bench.kind, requester=personal.requester)
    assert method(await bench.handle(key=key)) == "documentKeyShadowRetrievalError"


async def standing(bench: Bench, at: ReadAt = ReadAt.HEAD) -> Standing:
    service = CONTRACT_OF[bench.kind]
    me = bench.me.address
    return await read_standing(bench.contract, service, bench.task.key, me, at)


async def test_a_personal_answer_is_wanted_after_the_common_stage() -> None:
    early = await standing(shadow_bench(TaskKind.RETRIEVE_PERSONAL))
    assert (early.want, early.block) == (Want.LATER, HEAD)
    late = await standing(shadow_bench(TaskKind.RETRIEVE_PERSONAL, completed=True))
    assert late.want is Want.ANSWER
    assert late.asked is not None
    assert late.asked.requester_public == REQUESTER.raw64


# --- signatures: the common stage ------------------------------------------------------------

MESSAGE = Hash32(b"\x33" * 32)
each_scheme = pytest.mark.parametrize("service", [ECDSA, SCHNORR], ids=lambda service: service.name)


def signing_bench(service: MessageSigning, *, personal: bool, completed: bool = True) -> Bench:
    item = returned(
        "bytes32,address,bytes32,bool",
        KEY_ID,
        node_of(8).address,
        MESSAGE,
        personal and completed,
    )
    return Bench(service.kinds[personal], item, message=MESSAGE)


@each_scheme
async def test_every_node_tells_the_key_that_signs(service: MessageSigning) -> None:
    bench = signing_bench(service, personal=False)
    bench.use_node(2)
    bench.know()
    for knows in (None, frozenset[KeyId]()):
        bench.key_server.knows = knows
        answer = await bench.handle()
        assert isinstance(answer, Answered)
        public = bench.cluster.records[KEY_ID].record.public
        arguments = service.calls.common_retrieved.decode_call(answer.answer.data)
        assert arguments == (KEY_ID, node_of(8).address, MESSAGE, public.raw64, 1)
    assert bench.started == []


@each_scheme
async def test_nobody_signs_without_permission(service: MessageSigning) -> None:
    for personal in (False, True):
        bench = signing_bench(service, personal=personal)
        bench.know()
        bench.verdict = Verdict.DENIED
        for turn in (0, 2):
            bench.use_node(turn)
            assert method(await bench.handle()) == service.calls.error.name
        bench.verdict = Verdict.UNAVAILABLE
        assert isinstance(await bench.handle(), WaitUntil)
        assert isinstance(await bench.handle(SEEN + 30), TryAgain)
        assert bench.started == []


@pytest.mark.parametrize(
    ("service", "threshold", "signs"),
    [(ECDSA, 1, True), (ECDSA, 2, False), (SCHNORR, 2, True)],
)
async def test_ecdsa_takes_more_holders(
    service: MessageSigning, threshold: int, signs: bool
) -> None:
    bench = signing_bench(service, personal=False)
    bench.know(threshold)
    expected = service.calls.common_retrieved if signs else service.calls.error
    assert method(await bench.handle()) == expected.name


async def test_a_threshold_that_no_contract_takes_is_an_error() -> None:
    bench = signing_bench(SCHNORR, personal=False)
    nodes = tuple(node_of(number) for number in range(1, 257))
    bench.cluster.records[KEY_ID] = certified_record(KEY_ID, AUTHOR, 255, nodes)
    assert method(await bench.handle()) == "schnorrSigningError"


@each_scheme
async def test_a_key_that_is_not_there_may_be_arriving(service: MessageSigning) -> None:
    bench = signing_bench(service, personal=False)
    assert method(await bench.handle()) == service.calls.error.name
    bench.snapshot = replace(bench.snapshot, stale=True)
    assert isinstance(await bench.handle(), WaitUntil)
    bench.know()
    assert method(await bench.handle()) == service.calls.common_retrieved.name


@each_scheme
async def test_another_message_of_the_same_account_is_another_request(
    service: MessageSigning,
) -> None:
    bench = signing_bench(service, personal=False)
    bench.know()
    key = replace(bench.task.key, message=Hash32(b"\x44" * 32))
    assert isinstance(await bench.handle(key=key), NothingOwed)


# --- signatures: the personal stage ----------------------------------------------------------


@each_scheme
async def test_one_node_has_the_message_signed(service: MessageSigning) -> None:
    bench = signing_bench(service, personal=True)
    bench.know()
    bench.use_node(1)
    assert await bench.handle() == WaitUntil(HEAD + 3, "another node has it signed")
    bench.use_node(0)
    answer = await bench.handle()
    assert method(answer) == service.calls.signed.name
    ((_, operation),) = bench.cluster.signed
    assert operation.scheme is service.scheme
    assert (operation.key_id, operation.message) == (KEY_ID, MESSAGE)


@each_scheme
async def test_nothing_is_signed_before_the_key_is_told(service: MessageSigning) -> None:
    bench = signing_bench(service, personal=True, completed=False)
    bench.know()
    assert isinstance(await bench.handle(), WaitUntil)
    assert isinstance(await bench.handle(SEEN + 30), TryAgain)
    assert bench.started == []
    early = await standing(bench)
    assert early.want is Want.LATER


@each_scheme
async def test_a_starter_of_signatures_that_is_away_costs_no_time(
    service: MessageSigning,
) -> None:
    bench = signing_bench(service, personal=True)
    bench.know()
    starter = bench.me
    bench.use_node(1)
    bench.key_server.peers -= {starter}
    assert method(await bench.handle()) == service.calls.signed.name


@each_scheme
async def test_a_node_outside_the_set_signs_nothing(service: MessageSigning) -> None:
    bench = signing_bench(service, personal=True)
    bench.know()
    others = NodeSet(CHAIN_ID, EPOCH.contract, tuple(n for n in ALL if n != bench.me))
    bench.snapshot = replace(bench.snapshot, current=others)
    assert isinstance(await bench.handle(), NotMember)
    assert bench.started == []


@each_scheme
async def test_a_signature_that_is_here_is_published_by_anybody(service: MessageSigning) -> None:
    bench = signing_bench(service, personal=True)
    bench.use_node(2)
    bench.verdict = Verdict.DENIED  # too late: it exists
    made = PublicSignature.of(Signature(b"s" * 64 + b"\1"))
    answer = await bench.handle(result=encode(made))
    assert isinstance(answer, Answered)
    assert answer.answer == service.signed(EPOCH, bench.task.key, made)
    assert bench.started == []


@each_scheme
async def test_a_denied_signature_is_an_error_unless_the_set_is_in_doubt(
    service: MessageSigning,
) -> None:
    bench = signing_bench(service, personal=True)
    bench.know()
    denied = DeniedError("no", "AccessDenied")
    bench.cluster.failures["sign"] = [denied, denied]
    assert method(await bench.handle()) == service.calls.error.name
    bench.snapshot = replace(bench.snapshot, stale=True)
    assert isinstance(await bench.handle(), WaitUntil)


@each_scheme
async def test_signers_that_are_missing_are_waited_for(service: MessageSigning) -> None:
    bench = signing_bench(service, personal=True)
    bench.know()
    bench.cluster.failures["sign"] = [UnavailableError("too few holders are connected")]
    with pytest.raises(UnavailableError):  # which the queue takes for `TryAgain`
        await bench.handle()
    assert method(await bench.handle()) == service.calls.signed.name


# --- fees ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("balance", "collected"),
    [(101, True), (100, False), (None, False)],
)
async def test_fees_are_collected_above_the_limit(balance: int | None, collected: bool) -> None:
    bench = Bench(TaskKind.COLLECT_FEES, b"")
    bench.contract.balance = None if balance is None else balance.to_bytes(32, "big")
    decided = await bench.handle()
    assert isinstance(decided, Answered) == collected
    if isinstance(decided, Answered):
        assert decided.answer.data == fees.DRAIN.encode()


async def test_fees_are_left_alone_when_collecting_is_off() -> None:
    bench = Bench(TaskKind.COLLECT_FEES, b"")
    tools = HandlerTools(bench.me, bench.key_server, bench, bench.contract, bench, 30)
    handler = handlers(tools)[TaskKind.COLLECT_FEES]
    assert isinstance(await handler.handle(bench.task, HEAD), NothingOwed)
