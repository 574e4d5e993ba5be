"""Shadow retrieval: a majority for the common part, t+1 servers for the personal one."""

import pytest

from tests.contracts.chain import Contract, Receipt, key_of, public_of
from tests.contracts.world import (
    CLIENT,
    FEE,
    KEY,
    NEWCOMER,
    OTHER_CLIENT,
    OTHER_POINT,
    POINT,
    SERVERS,
    SHADOW,
    SHADOW_RETRIEVAL,
    STRANGER,
    THIRD_POINT,
    World,
)

A, B, C, D, E = SERVERS
REQUESTER = str(key_of(CLIENT).address)
ERROR = ("DocumentKeyShadowRetrievalError", (KEY, REQUESTER))


@pytest.fixture(params=[False, True], ids=["own", "combined"])
def contract(world: World, request: pytest.FixtureRequest) -> Contract:
    service = world.service(SHADOW_RETRIEVAL, request.param)
    service.send("retrieveDocumentKeyShadow", KEY, public_of(CLIENT), sender=CLIENT, value=FEE)
    return service


@pytest.fixture
def personal(contract: Contract) -> Contract:
    """With the common stage completed, t = 1."""
    for server in (A, B, C):
        common(contract, server)
    return contract


def events(receipt: Receipt) -> list[tuple[str, object]]:
    return [(event.name, event.args) for event in receipt.events]


def common(
    contract: Contract, server: int, point: bytes = POINT, threshold: int = 1
) -> list[tuple[str, object]]:
    args = KEY, REQUESTER, point, threshold
    return events(contract.send("documentKeyCommonRetrieved", *args, sender=server))


def error(contract: Contract, server: int) -> list[tuple[str, object]]:
    return events(contract.send("documentKeyShadowRetrievalError", KEY, REQUESTER, sender=server))


def answer(
    contract: Contract, server: int, mask: int = 0b11, secret: bytes = POINT, shadow: bytes = SHADOW
) -> list[tuple[str, object]]:
    args = KEY, REQUESTER, mask, secret, shadow
    return events(contract.send("documentKeyPersonalRetrieved", *args, sender=server))


def refused(
    contract: Contract, server: int, mask: int = 0b11, secret: bytes = POINT, shadow: bytes = SHADOW
) -> str:
    args = KEY, REQUESTER, mask, secret, shadow
    return contract.revert_reason("documentKeyPersonalRetrieved", *args, sender=server)


def pending(contract: Contract) -> int:
    return int(contract.call("documentKeyShadowRetrievalRequestsCount"))


# --- requests


def test_request_is_announced_and_enumerated(world: World) -> None:
    service = world.service(SHADOW_RETRIEVAL)
    receipt = service.send(
        "retrieveDocumentKeyShadow", KEY, public_of(CLIENT), sender=CLIENT, value=FEE
    )

    assert events(receipt) == [("DocumentKeyCommonRetrievalRequested", (KEY, REQUESTER))]
    entry = service.call("getDocumentKeyShadowRetrievalRequest", 0)
    assert entry == [KEY, public_of(CLIENT), False]


def test_nobody_asks_in_the_name_of_another(world: World) -> None:
    service = world.service(SHADOW_RETRIEVAL)
    for public, reason in (
        (public_of(OTHER_CLIENT), "NotYourPublic"),
        (public_of(CLIENT)[:63], "InvalidPoint"),
    ):
        args = KEY, public
        told = service.revert_reason("retrieveDocumentKeyShadow", *args, sender=CLIENT, value=FEE)
        assert told == reason


def test_several_requesters_ask_for_one_key_at_once(contract: Contract) -> None:
    other = OTHER_CLIENT
    contract.send("retrieveDocumentKeyShadow", KEY, public_of(other), sender=other, value=FEE)
    for server in (A, B, C):
        common(contract, server)

    entries = [contract.call("getDocumentKeyShadowRetrievalRequest", i) for i in (0, 1)]
    assert entries == [[KEY, public_of(CLIENT), True], [KEY, public_of(other), False]]
    contract.send("deleteDocumentKeyShadowRetrievalRequest", KEY, REQUESTER)
    entry = contract.call("getDocumentKeyShadowRetrievalRequest", 0)
    assert entry == [KEY, public_of(other), False]
    args = KEY, key_of(other).address, key_of(A).address
    assert contract.call("isDocumentKeyShadowRetrievalResponseRequired", *args) is True


# --- common stage


def test_a_majority_completes_the_common_stage(contract: Contract) -> None:
    assert common(contract, A) == common(contract, B) == []
    assert common(contract, C) == [
        ("DocumentKeyCommonRetrieved", (KEY, REQUESTER, POINT, 1)),
        ("DocumentKeyPersonalRetrievalRequested", (KEY, public_of(CLIENT))),
    ]
    assert common(contract, D) == []
    assert pending(contract) == 1
    assert contract.call("getDocumentKeyShadowRetrievalRequest", 0)[2] is True


@pytest.mark.parametrize("point", [b"", POINT[:63], POINT + b"\0"])
def test_common_points_of_another_length_revert(contract: Contract, point: bytes) -> None:
    args = KEY, REQUESTER, point, 1
    reason = contract.revert_reason("documentKeyCommonRetrieved", *args, sender=A)
    assert reason == "InvalidPoint"


def test_a_minority_does_not_stop_the_majority(contract: Contract) -> None:
    assert common(contract, A) == []
    assert common(contract, B, OTHER_POINT) == []
    assert error(contract, C) == []
    assert common(contract, D) == []
    assert common(contract, E)[0] == ("DocumentKeyCommonRetrieved", (KEY, REQUESTER, POINT, 1))


def test_point_and_threshold_are_agreed_together(contract: Contract) -> None:
    for server, threshold in ((A, 1), (B, 2), (C, 1), (D, 2)):
        assert common(contract, server, threshold=threshold) == []
    assert common(contract, E, threshold=3) == [ERROR]


def test_it_ends_as_soon_as_no_majority_is_possible(contract: Contract) -> None:
    assert common(contract, A) == []
    assert common(contract, B, OTHER_POINT) == []
    assert common(contract, C, THIRD_POINT) == []
    assert common(contract, D, threshold=2) == [ERROR]
    assert pending(contract) == 0


def test_a_majority_of_errors_ends_it(contract: Contract) -> None:
    assert error(contract, A) == error(contract, B) == error(contract, B) == []
    assert error(contract, C) == [ERROR]
    assert pending(contract) == 0


def test_a_server_has_one_vote_for_answer_or_error(contract: Contract) -> None:
    assert common(contract, A) == error(contract, A) == []
    assert error(contract, B) == common(contract, B) == []
    assert error(contract, C) == []
    assert error(contract, D) == [ERROR]


# --- personal stage


def test_all_participants_publish_and_it_is_done(personal: Contract) -> None:
    shadows = [SHADOW, b"\x55"]
    for server, shadow in zip((A, B), shadows, strict=True):
        assert answer(personal, server, shadow=shadow) == [
            ("DocumentKeyPersonalRetrieved", (KEY, REQUESTER, POINT, shadow))
        ]
    assert pending(personal) == 0
    assert answer(personal, A) == answer(personal, A, shadow=b"") == []


def test_no_personal_answer_before_the_common_stage_is_done(contract: Contract) -> None:
    assert refused(contract, A) == "CommonStageOpen"


@pytest.mark.parametrize(
    ("mask", "server"),
    [
        (0b11, C),  # not among the participants
        (0b1, A),  # too few
        (0b111, A),  # too many
        (0b100001, A),  # one that is no server
        (2**256 - 1, A),
        (0, A),
    ],
)
def test_the_mask_names_t_plus_1_servers_and_the_sender(
    personal: Contract, mask: int, server: int
) -> None:
    # C-21: the original took any bits.
    assert refused(personal, server, mask) == "InvalidParticipants"


@pytest.mark.parametrize(
    ("secret", "shadow", "reason"),
    [
        (POINT[:63], SHADOW, "InvalidPoint"),
        (POINT, b"", "InvalidShadow"),
        (POINT, bytes(1025), "InvalidShadow"),
    ],
)
def test_sizes_in_the_personal_stage(
    personal: Contract, secret: bytes, shadow: bytes, reason: str
) -> None:
    assert refused(personal, A, 0b11, secret, shadow) == reason


def test_the_longest_shadow(personal: Contract) -> None:
    assert len(answer(personal, A, shadow=bytes(1024))) == 1


def test_event_data_is_padded(world: World) -> None:
    # C-25
    service = world.service(SHADOW_RETRIEVAL)
    service.send("retrieveDocumentKeyShadow", KEY, public_of(CLIENT), sender=CLIENT, value=FEE)
    for server in (A, B, C):
        common(service, server)
    answer(service, A)
    (log,) = world.chain.w3.eth.get_logs({"address": service.address, "fromBlock": "latest"})  # type: ignore[typeddict-item]
    assert len(log["data"]) == 352


def test_a_second_answer_for_the_same_pair_reverts(personal: Contract) -> None:
    answer(personal, A)
    assert refused(personal, A) == "AlreadyAnswered"
    answer(personal, A, secret=OTHER_POINT)
    assert refused(personal, A, secret=OTHER_POINT) == "AlreadyAnswered"


def test_only_equal_pairs_add_up(personal: Contract) -> None:
    answer(personal, A, 0b11, POINT)
    answer(personal, B, 0b11, OTHER_POINT)
    answer(personal, C, 0b101, POINT)
    answer(personal, A, 0b101, THIRD_POINT)
    assert pending(personal) == 1

    answer(personal, A, 0b11, OTHER_POINT)
    assert pending(personal) == 0


def test_the_first_pair_can_be_completed_after_others(personal: Contract) -> None:
    answer(personal, A, 0b11, POINT)
    answer(personal, A, 0b11, OTHER_POINT)
    answer(personal, B, 0b11, POINT)
    assert pending(personal) == 0


def test_a_server_publishes_at_most_32_variants(personal: Contract) -> None:
    # C-21: the original let one server publish without end.
    for number in range(32):
        answer(personal, A, secret=bytes([number]) * 64)
    assert refused(personal, A, secret=b"\xee" * 64) == "TooManyAnswers"
    # That keeps nobody else from answering, and the clean-up does not depend on it.
    receipt = personal.send(
        "documentKeyPersonalRetrieved", KEY, REQUESTER, 0b11, bytes(64), SHADOW, sender=B
    )
    assert pending(personal) == 0
    assert receipt.gas < 70_000


def test_the_first_pair_counts_among_the_32(personal: Contract) -> None:
    answer(personal, B, secret=THIRD_POINT)
    for number in range(32):
        answer(personal, A, secret=bytes([number]) * 64)

    assert refused(personal, A, secret=THIRD_POINT) == "TooManyAnswers"


def test_a_majority_of_errors_ends_the_personal_stage(personal: Contract) -> None:
    answer(personal, A)
    assert error(personal, D) == error(personal, D) == error(personal, E) == []
    assert error(personal, A) == [ERROR]
    assert pending(personal) == 0


def test_errors_of_the_common_stage_are_forgotten(contract: Contract) -> None:
    error(contract, D)
    error(contract, E)
    for server in (A, B, C):
        common(contract, server)
    assert pending(contract) == 1
    assert error(contract, A) == error(contract, B) == []
    assert error(contract, C) == [ERROR]


def test_strangers_have_no_say_in_the_personal_stage(personal: Contract) -> None:
    assert refused(personal, STRANGER) == "NotKeyServer"
    reason = personal.revert_reason(
        "documentKeyShadowRetrievalError", KEY, REQUESTER, sender=STRANGER
    )
    assert reason == "NotKeyServer"


def test_responses_stay_required_in_the_personal_stage(personal: Contract) -> None:
    answer(personal, A)
    for server in SERVERS:
        args = KEY, REQUESTER, key_of(server).address
        assert personal.call("isDocumentKeyShadowRetrievalResponseRequired", *args) is True


def test_a_migration_keeps_the_common_result_and_drops_the_rest(
    world: World, personal: Contract
) -> None:
    answer(personal, A)
    error(personal, C)
    error(personal, D)
    world.migrate((A, B, C, D, NEWCOMER))

    again = ("DocumentKeyPersonalRetrievalRequested", (KEY, public_of(CLIENT)))
    assert error(personal, NEWCOMER) == [again]
    assert error(personal, A) == []
    # The same pair as before: the old answer does not count, nor does it stand in the way.
    assert len(answer(personal, A)) == 1
    assert pending(personal) == 1
    assert len(answer(personal, B)) == 1
    assert pending(personal) == 0


@pytest.mark.parametrize("first", ["answer", "error", "late common answer"])
def test_the_new_set_is_asked_once(world: World, personal: Contract, first: str) -> None:
    world.migrate((A, B, C, D, NEWCOMER))
    calls = {
        "answer": lambda: answer(personal, A),
        "error": lambda: error(personal, A),
        "late common answer": lambda: common(personal, A),
    }
    again = "DocumentKeyPersonalRetrievalRequested"
    assert calls[first]()[0][0] == again

    assert again not in [name for name, _ in answer(personal, B)]


def test_a_shrunken_set_cannot_exceed_its_size(world: World, personal: Contract) -> None:
    world.migrate((A,))

    assert refused(personal, A, 0b11) == "InvalidParticipants"
    assert error(personal, A)[-1] == ERROR
