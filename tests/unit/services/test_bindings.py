"""The bindings against the built contracts, and logs and entries to tasks."""

import pytest

from keyserver.evm.abi import AbiError, ContractAbi, Event, Function
from keyserver.evm.artifacts import load_artifact
from keyserver.model.codec import decode
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32
from keyserver.services import fees
from keyserver.services.base import REQUIRE_KEY_SERVER, decode_count, requests_in_log
from keyserver.services.document_key_retrieval import bindings as retrieval
from keyserver.services.document_key_store import bindings as storing
from keyserver.services.message_signing.bindings import ECDSA, SCHNORR, MessageSigning
from keyserver.services.registry import COMBINED, CONTRACT_OF, CONTRACTS, SERVICES
from keyserver.services.server_key_generation import bindings as generation
from keyserver.services.server_key_retrieval import bindings as public_key
from keyserver.tasks.answers import PublicSignature
from keyserver.tasks.model import COMMON_STAGE_OF, TaskKey, TaskKind
from tests.support.fake_cluster import node_of, point_of
from tests.support.work import CHAIN_ID, CONTRACT, EPOCH, KEY_ID, block_hash

ARTIFACT = {
    "server_key_generation": "SecretStoreServerKeyGenerationService",
    "server_key_retrieval": "SecretStoreServerKeyRetrievalService",
    "document_key_store": "SecretStoreDocumentKeyStoreService",
    "document_key_retrieval": "SecretStoreDocumentKeyShadowRetrievalService",
}
MODULES = {
    "server_key_generation": generation,
    "server_key_retrieval": public_key,
    "document_key_store": storing,
    "document_key_retrieval": retrieval,
}
AUTHOR = node_of(7).address
SERVER = node_of(1).address
POINT = point_of(3)


class FakeLog:
    """A log of the given event."""

    def __init__(self, event: Event, *values: object, data: bytes | None = None) -> None:
        self.address = CONTRACT
        self.topics, encoded = event.encode(*values)
        self.data = encoded if data is None else data
        self.block_number = 12
        self.block_hash = block_hash(12)
        self.log_index = 3


@pytest.mark.parametrize("name", [*ARTIFACT])
@pytest.mark.parametrize("combined", [False, True])
def test_every_function_and_event_is_one_of_the_contract(name: str, combined: bool) -> None:
    contract = "SecretStoreService" if combined else ARTIFACT[name]
    abi = ContractAbi.of(load_artifact(contract).abi)
    ours = [value for value in vars(MODULES[name]).values() if isinstance(value, Function)]
    assert len(ours) >= 5
    for function in [*ours, REQUIRE_KEY_SERVER, fees.BALANCE, fees.DRAIN]:
        theirs = abi.function(function.signature)
        assert function.outputs in ((), theirs.outputs)
    for event in (value for value in vars(MODULES[name]).values() if isinstance(value, Event)):
        assert abi.event(event.signature).topic0 == event.topic0


def test_every_kind_of_task_has_one_contract() -> None:
    of_this_node = {
        TaskKind.COLLECT_FEES,
        TaskKind.START_MIGRATION,
        TaskKind.CONFIRM_MIGRATION,
    }
    assert set(CONTRACT_OF) == set(TaskKind) - of_this_node
    assert len({contract.registry_name for contract in CONTRACTS}) == len(SERVICES) == 6
    assert [contract.name for contract in COMBINED] == [*ARTIFACT]


def read(log: FakeLog) -> list[tuple[TaskKind, bytes, Address]]:
    found = requests_in_log(CONTRACTS, CHAIN_ID, log)
    assert all(each.seen.block_hash == block_hash(12) for each in found)
    assert all((each.seen.block, each.seen.log_index) == (12, 3) for each in found)
    assert all(each.key.contract == CONTRACT for each in found)
    assert all(each.key.chain_id == CHAIN_ID for each in found)
    return [(each.key.kind, each.payload, each.key.requester) for each in found]


def test_generation_requests() -> None:
    ((kind, payload, _),) = read(FakeLog(generation.REQUESTED, KEY_ID, AUTHOR, 255))
    assert kind is TaskKind.GENERATE_SERVER_KEY
    request = decode(generation.GenerationRequest, payload)
    assert request == generation.GenerationRequest(AUTHOR, 255)
    item = entry("bytes32,address,uint256", KEY_ID, AUTHOR, 255)
    (asked,) = generation.ServerKeyGeneration().asked_in_item(item)
    assert asked.payload == payload


def test_a_threshold_beyond_all_bounds_stays_beyond() -> None:
    item = entry("bytes32,address,uint256", KEY_ID, AUTHOR, 2**200)
    (asked,) = generation.ServerKeyGeneration().asked_in_item(item)
    threshold = decode(generation.GenerationRequest, asked.payload).threshold
    assert threshold > generation.LARGEST_THRESHOLD


def entry(types: str, *values: object) -> bytes:
    """What a getter with these outputs returns."""
    return Function.parse(f"f({types})").encode(*values)[4:]


def test_public_key_requests() -> None:
    assert read(FakeLog(public_key.REQUESTED, KEY_ID)) == [
        (TaskKind.RETRIEVE_SERVER_KEY, b"", Address(bytes(20)))
    ]
    (asked,) = public_key.ServerKeyRetrieval().asked_in_item(KEY_ID)
    assert asked.key_id == KEY_ID


def test_store_requests() -> None:
    log = FakeLog(storing.REQUESTED, KEY_ID, AUTHOR, POINT.raw64, point_of(4).raw64)
    ((kind, payload, _),) = read(log)
    assert kind is TaskKind.STORE_DOCUMENT_KEY
    request = decode(storing.StoreRequest, payload)
    document = request.document()
    assert document is not None
    assert (document.common, document.encrypted) == (POINT, point_of(4))
    item = entry("bytes32,address,bytes,bytes", KEY_ID, AUTHOR, POINT.raw64, point_of(4).raw64)
    (asked,) = storing.DocumentKeyStore().asked_in_item(item)
    assert asked.payload == payload


@pytest.mark.parametrize("bad", [b"", b"\1" * 63, b"\1" * 64, b"\1" * 500])
def test_points_that_are_none(bad: bytes) -> None:
    ((_, payload, _),) = read(FakeLog(storing.REQUESTED, KEY_ID, AUTHOR, POINT.raw64, bad))
    assert len(payload) < 300
    assert decode(storing.StoreRequest, payload).document() is None


def test_a_shadow_request_becomes_two_tasks() -> None:
    requester = node_of(3).address
    both = [
        (TaskKind.RETRIEVE_COMMON, b"", requester),
        (TaskKind.RETRIEVE_PERSONAL, b"", requester),
    ]
    assert read(FakeLog(retrieval.COMMON_REQUESTED, KEY_ID, requester)) == both
    assert read(FakeLog(retrieval.PERSONAL_REQUESTED, KEY_ID, POINT.raw64)) == both[1:]
    service = retrieval.DocumentKeyRetrieval()
    pending = service.asked_in_item(entry("bytes32,bytes,bool", KEY_ID, POINT.raw64, False))
    assert [(each.kind, each.payload, each.requester) for each in pending] == both
    completed = service.asked_in_item(entry("bytes32,bytes,bool", KEY_ID, POINT.raw64, True))
    assert [each.kind for each in completed] == [TaskKind.RETRIEVE_PERSONAL]
    assert completed[0].requester_public == POINT.raw64


def test_unpadded_events_of_the_originals_are_read() -> None:
    whole = FakeLog(retrieval.PERSONAL_REQUESTED, KEY_ID, b"\7" * 64)
    cut = FakeLog(retrieval.PERSONAL_REQUESTED, KEY_ID, b"\7" * 64, data=whole.data[:160])
    assert read(cut) == read(whole)


@pytest.mark.parametrize(
    "log",
    [
        FakeLog(retrieval.PERSONAL_REQUESTED, KEY_ID, b"\7" * 63),
        FakeLog(generation.REQUESTED, KEY_ID, AUTHOR, 1, data=b"\1" * 40),
        FakeLog(public_key.REQUESTED, KEY_ID, data=b""),
    ],
)
def test_events_that_do_not_decode(log: FakeLog) -> None:
    with pytest.raises(AbiError):
        read(log)


def test_other_events_are_no_requests() -> None:
    log = FakeLog(Event.parse("ServerKeyGenerated(bytes32,bytes)"), KEY_ID, b"x")
    assert read(log) == []
    log.topics = ()
    assert read(log) == []
    log.topics = (Hash32(bytes(32)),)
    assert requests_in_log((), CHAIN_ID, log) == ()


def test_answers_are_the_calls_of_the_contract() -> None:
    requester = node_of(3).address
    made = [
        (generation.generated(EPOCH, KEY_ID, POINT), generation.GENERATED, (POINT.raw64,)),
        (generation.generation_error(EPOCH, KEY_ID), generation.ERROR, ()),
        (public_key.retrieved(EPOCH, KEY_ID, POINT, 2), public_key.RETRIEVED, (POINT.raw64, 2)),
        (public_key.retrieval_error(EPOCH, KEY_ID), public_key.ERROR, ()),
        (storing.stored(EPOCH, KEY_ID), storing.STORED, ()),
        (storing.store_error(EPOCH, KEY_ID), storing.ERROR, ()),
        (
            retrieval.common_retrieved(EPOCH, KEY_ID, requester, POINT, 2),
            retrieval.COMMON_RETRIEVED,
            (requester, POINT.raw64, 2),
        ),
        (
            retrieval.retrieval_error(EPOCH, KEY_ID, requester),
            retrieval.ERROR,
            (requester,),
        ),
    ]
    for answer, function, arguments in made:
        assert (answer.epoch, answer.method) == (EPOCH, function.name)
        assert function.decode_call(answer.data) == (KEY_ID, *arguments)
        assert answer.is_error == function.name.endswith("Error")
        assert not answer.bound_to_epoch
        assert answer.variant == ZERO_HASH


def test_personal_answers_are_one_per_mask_and_secret() -> None:
    requester = node_of(3).address
    mask = retrieval.participants_mask([0, 2, 255])
    assert mask == 1 + 4 + (1 << 255)
    first = retrieval.PersonalAnswer(mask, POINT, b"s" * 145)
    answer = retrieval.personal_retrieved(EPOCH, KEY_ID, requester, first)
    arguments = retrieval.PERSONAL_RETRIEVED.decode_call(answer.data)
    assert arguments == (KEY_ID, requester, mask, POINT.raw64, b"s" * 145)
    assert answer.bound_to_epoch
    others = [
        retrieval.PersonalAnswer(5, POINT, b"s"),
        retrieval.PersonalAnswer(mask, point_of(4), b"s"),
    ]
    variants = {
        retrieval.personal_retrieved(EPOCH, KEY_ID, requester, each).variant
        for each in [first, *others]
    }
    assert len(variants) == 3


def test_views_of_the_contracts() -> None:
    key = TaskKey(CHAIN_ID, CONTRACT, TaskKind.RETRIEVE_COMMON, KEY_ID, AUTHOR)
    for service in COMBINED:
        module = MODULES[service.name]
        assert service.count_call == module.COUNT.encode()
        assert module.ITEM.decode_call(service.item_call(4)) == (4,)
        arguments = module.REQUIRED.decode_call(service.required_call(key, SERVER))
        between = (AUTHOR,) if service.name == "document_key_retrieval" else ()
        assert arguments == (KEY_ID, *between, SERVER)


# --- signatures ------------------------------------------------------------------------------

MESSAGE = Hash32(b"\x33" * 32)
ASKED = (KEY_ID, AUTHOR, MESSAGE)
SIGNING = {
    ECDSA: "SecretStoreEcdsaSigningService",
    SCHNORR: "SecretStoreSchnorrSigningService",
}
each_scheme = pytest.mark.parametrize("service", SIGNING, ids=lambda service: service.name)


@each_scheme
def test_functions_and_events_of_signing_are_those_of_its_contract(
    service: MessageSigning,
) -> None:
    abi = ContractAbi.of(load_artifact(SIGNING[service]).abi)
    calls = [getattr(service.calls, name) for name in type(service.calls).__slots__]
    functions = [each for each in calls if isinstance(each, Function)]
    events = [each for each in calls if isinstance(each, Event)]
    assert len(functions) + len(events) == len(calls)
    for function in [*functions, REQUIRE_KEY_SERVER, fees.BALANCE, fees.DRAIN]:
        assert function.outputs in ((), abi.function(function.signature).outputs)
    for event in events:
        assert abi.event(event.signature).topic0 == event.topic0
    assert service.topics == {event.topic0 for event in events}


@each_scheme
def test_a_message_to_sign_becomes_two_tasks(service: MessageSigning) -> None:
    common, personal = service.kinds
    assert COMMON_STAGE_OF[personal] is common
    for event, kinds in (
        (service.calls.common_requested, (common, personal)),
        (service.calls.personal_requested, (personal,)),
    ):
        found = requests_in_log(CONTRACTS, CHAIN_ID, FakeLog(event, *ASKED))
        assert [each.key for each in found] == [
            TaskKey(CHAIN_ID, CONTRACT, kind, KEY_ID, AUTHOR, MESSAGE) for kind in kinds
        ]
        assert {each.payload for each in found} == {b""}
    for completed, kinds in ((False, (common, personal)), (True, (personal,))):
        asked = service.asked_in_item(entry("bytes32,address,bytes32,bool", *ASKED, completed))
        assert [each.kind for each in asked] == [*kinds]
        assert {(each.key_id, each.requester, each.message) for each in asked} == {ASKED}


@each_scheme
def test_views_of_the_signing_contracts(service: MessageSigning) -> None:
    key = TaskKey(CHAIN_ID, CONTRACT, service.kinds[0], KEY_ID, AUTHOR, MESSAGE)
    assert service.calls.required.decode_call(service.required_call(key, SERVER)) == (
        *ASKED,
        SERVER,
    )
    assert service.calls.item.decode_call(service.item_call(4)) == (4,)
    assert service.count_call == service.calls.count.encode()


@each_scheme
def test_answers_about_messages(service: MessageSigning) -> None:
    key = TaskKey(CHAIN_ID, CONTRACT, service.kinds[0], KEY_ID, AUTHOR, MESSAGE)
    common = service.common_retrieved(EPOCH, key, POINT, 2)
    arguments = service.calls.common_retrieved.decode_call(common.data)
    assert arguments == (*ASKED, POINT.raw64, 2)
    error = service.signing_error(EPOCH, key)
    assert service.calls.error.decode_call(error.data) == ASKED
    assert (common.is_error, error.is_error) == (False, True)
    assert {common.epoch, error.epoch} == {EPOCH}


def test_signatures_are_written_as_the_contracts_check_them() -> None:
    key = TaskKey(CHAIN_ID, CONTRACT, TaskKind.ECDSA_PERSONAL, KEY_ID, AUTHOR, MESSAGE)
    for v in (0, 1):
        made = PublicSignature(b"s" * 64 + bytes([v]))
        answer = ECDSA.signed(EPOCH, key, made)
        on_chain = b"s" * 64 + bytes([27 + v])
        assert ECDSA.calls.signed.decode_call(answer.data) == (*ASKED, on_chain)
        assert (answer.method, answer.variant) == ("ecdsaMessageSigned", ZERO_HASH)
    made = PublicSignature(b"s" * 64, POINT.raw64)
    answer = SCHNORR.signed(EPOCH, key, made)
    assert SCHNORR.calls.signed.decode_call(answer.data) == (*ASKED, b"s" * 64, POINT.raw64)
    assert answer.method == "schnorrMessageSigned"


def test_the_length_of_a_list() -> None:
    assert decode_count((7).to_bytes(32, "big")) == 7
    for bad in (None, b"", b"\1" * 31):
        with pytest.raises(AbiError):
            decode_count(bad)
