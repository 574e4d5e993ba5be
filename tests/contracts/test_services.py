"""What all services have in common, alone and in the combined contract."""

import pytest

from tests.contracts.chain import ETHER, Contract, RevertError, key_of
from tests.contracts.world import (
    ALL_SERVICES,
    CLIENT,
    COMBINED,
    FEE,
    GENERATION,
    KEY,
    NEWCOMER,
    OTHER_CLIENT,
    OTHER_KEY,
    POINT,
    RETRIEVAL,
    SERVERS,
    SHADOW_RETRIEVAL,
    SIGNING_SERVICES,
    STORE,
    STRANGER,
    Service,
    World,
    deploy_set,
)

SERVICES = (*ALL_SERVICES, *SIGNING_SERVICES)
each_service = pytest.mark.parametrize("service", SERVICES, ids=lambda s: s.noun)
each_home = pytest.mark.parametrize(
    ("service", "combined"),
    [
        *(pytest.param(service, False, id=f"{service.noun}-own") for service in SERVICES),
        *(pytest.param(service, True, id=f"{service.noun}-combined") for service in ALL_SERVICES),
    ],
)
COMMON = [*(service.contract for service in SERVICES), COMBINED]
each_contract = pytest.mark.parametrize("name", COMMON)


def request(contract: Contract, service: Service, key: bytes = KEY, value: int = FEE) -> None:
    contract.send(service.request, *service.request_args(key), sender=CLIENT, value=value)


# --- fees and limits


@each_home
def test_request_needs_its_fee(world: World, service: Service, combined: bool) -> None:
    contract = world.service(service, combined)
    args = service.request_args()

    assert contract.call(f"{service.lower}Fee") == service.fee
    for value in (0, service.fee // 2, service.fee - 1):
        reason = contract.revert_reason(service.request, *args, sender=CLIENT, value=value)
        assert reason == "FeeNotPaid"
    receipt = contract.send(service.request, *args, sender=CLIENT, value=service.fee)
    assert receipt.names == [service.requested_event]
    assert contract.call(f"{service.lower}RequestsCount") == 1


@each_home
def test_the_whole_value_is_credited_at_once(
    world: World, service: Service, combined: bool
) -> None:
    contract = world.service(service, combined)
    request(contract, service, value=service.fee + 4)

    share, rest = divmod(service.fee + 4, 5)
    balances = [contract.call("keyServerBalance", key_of(s).address) for s in SERVERS]
    assert balances == [share] * 4 + [share + rest]
    assert world.chain.balance(contract.address) == sum(balances)


@each_home
def test_requests_are_limited_in_number(world: World, service: Service, combined: bool) -> None:
    contract = world.service(service, combined)
    assert contract.call(f"max{service.noun}Requests") == service.limit
    contract.send(f"setMax{service.noun}Requests", 2)
    request(contract, service, b"\x01" * 32)
    request(contract, service, b"\x02" * 32)

    args = service.request_args(b"\x03" * 32)
    assert contract.revert_reason(service.request, *args, sender=CLIENT, value=FEE) == (
        "TooManyPending"
    )
    contract.send(f"delete{service.noun}Request", *service.subject(world, b"\x01" * 32))
    request(contract, service, b"\x03" * 32)


@each_home
def test_one_pending_request_per_id(world: World, service: Service, combined: bool) -> None:
    contract = world.service(service, combined)
    request(contract, service)

    args = service.request_args()
    reason = contract.revert_reason(service.request, *args, sender=CLIENT, value=FEE)
    assert reason == "AlreadyPending"


@each_service
def test_no_request_without_key_servers(world: World, service: Service) -> None:
    # C-07: the original divided by zero.
    empty = deploy_set(world.chain, ())
    contract = world.chain.deploy(service.contract, empty.address)

    args = service.request_args()
    reason = contract.revert_reason(service.request, *args, sender=CLIENT, value=FEE)
    assert reason == "NoKeyServers"


# --- silent answers


@each_home
def test_answers_to_unknown_requests_are_silent(
    world: World, service: Service, combined: bool
) -> None:
    contract = world.service(service, combined)
    assert service.answer(world, contract, SERVERS[0]).names == []
    assert service.answer(world, contract, STRANGER).names == []

    subject = service.subject(world)
    assert contract.send(service.error, *subject, sender=SERVERS[0]).names == []
    if service is GENERATION:
        assert contract.revert_reason(service.error, *subject, sender=STRANGER) == "NotKeyServer"
    else:
        assert contract.send(service.error, *subject, sender=STRANGER).names == []


@each_home
def test_only_key_servers_answer(world: World, service: Service, combined: bool) -> None:
    contract = world.service(service, combined)
    request(contract, service)

    with pytest.raises(RevertError, match="NotKeyServer"):
        service.answer(world, contract, STRANGER)
    reason = contract.revert_reason(service.error, *service.subject(world), sender=STRANGER)
    assert reason == "NotKeyServer"


@each_home
def test_a_repeated_answer_is_silent(world: World, service: Service, combined: bool) -> None:
    contract = world.service(service, combined)
    request(contract, service)

    for _ in range(3):
        assert service.answer(world, contract, SERVERS[0]).names == []
    assert contract.call(f"{service.lower}RequestsCount") == 1


# --- who has to answer


def required(world: World, contract: Contract, service: Service, server: int) -> bool:
    args = (*service.subject(world), key_of(server).address)
    return bool(contract.call(f"is{service.noun}ResponseRequired", *args))


@each_home
def test_response_is_required_until_given(world: World, service: Service, combined: bool) -> None:
    contract = world.service(service, combined)
    # C-22: not for a request that does not exist.
    assert required(world, contract, service, SERVERS[0]) is False
    request(contract, service)

    assert [required(world, contract, service, s) for s in SERVERS] == [True] * 5
    service.answer(world, contract, SERVERS[1])
    assert [required(world, contract, service, s) for s in SERVERS[:3]] == [True, False, True]
    with pytest.raises(RevertError, match="NotKeyServer"):
        required(world, contract, service, STRANGER)


@each_home
def test_a_migration_drops_all_answers(world: World, service: Service, combined: bool) -> None:
    contract = world.service(service, combined)
    request(contract, service)
    service.answer(world, contract, SERVERS[0])
    service.answer(world, contract, SERVERS[1])

    world.migrate((*SERVERS[:4], NEWCOMER))

    members = (*SERVERS[:4], NEWCOMER)
    assert [required(world, contract, service, s) for s in members] == [True] * 5
    with pytest.raises(RevertError, match="NotKeyServer"):
        required(world, contract, service, SERVERS[4])
    with pytest.raises(RevertError, match="NotKeyServer"):
        service.answer(world, contract, SERVERS[4])
    assert service.answer(world, contract, SERVERS[0]).names == []
    assert required(world, contract, service, SERVERS[0]) is False
    assert contract.call(f"{service.lower}RequestsCount") == 1


@each_service
def test_editing_before_initialization_moves_no_answer(world: World, service: Service) -> None:
    # C-14: the original attributed an answer to whoever came to stand at the same index.
    key_servers = deploy_set(world.chain, SERVERS[:3], initialized=False)
    contract = world.chain.deploy(service.contract, key_servers.address)
    request(contract, service)
    service.answer(world, contract, SERVERS[0])

    key_servers.send("removeKeyServer", key_of(SERVERS[0]).address)

    assert [required(world, contract, service, s) for s in SERVERS[1:3]] == [True, True]


@each_home
def test_another_set_contract_starts_anew(world: World, service: Service, combined: bool) -> None:
    # C-16
    contract = world.service(service, combined)
    request(contract, service)
    service.answer(world, contract, SERVERS[0])
    other = deploy_set(world.chain, (SERVERS[0], STRANGER))

    changed = contract.send("setKeyServerSetAddress", other.address)

    assert [(e.name, e.args) for e in changed.events] == [
        ("KeyServerSetChanged", (world.key_servers.address, other.address))
    ]
    assert contract.call("keyServerSetAddress") == other.address
    assert contract.call("keyServersCount") == 2
    assert required(world, contract, service, SERVERS[0]) is True
    assert required(world, contract, service, STRANGER) is True
    with pytest.raises(RevertError, match="NotKeyServer"):
        required(world, contract, service, SERVERS[1])


# --- enumeration


def listed(contract: Contract, service: Service) -> list[bytes]:
    ids = []
    for index in range(contract.call(f"{service.lower}RequestsCount")):
        entry = contract.call(f"get{service.noun}Request", index)
        ids.append(entry[0] if isinstance(entry, list) else entry)
    return ids


@each_home
def test_pending_requests_are_enumerated(world: World, service: Service, combined: bool) -> None:
    contract = world.service(service, combined)
    keys = [bytes([n]) * 32 for n in range(1, 5)]
    for key in keys:
        request(contract, service, key)
        service.answer(world, contract, SERVERS[0], key)
    assert listed(contract, service) == keys

    # The last one moves into the hole, with all that is known about it.
    contract.send(f"delete{service.noun}Request", *service.subject(world, keys[1]))
    assert listed(contract, service) == [keys[0], keys[3], keys[2]]
    moved = (*service.subject(world, keys[3]), key_of(SERVERS[0]).address)
    assert contract.call(f"is{service.noun}ResponseRequired", *moved) is False
    contract.send(f"delete{service.noun}Request", *service.subject(world, keys[3]))
    contract.send(f"delete{service.noun}Request", *service.subject(world, keys[0]))
    assert listed(contract, service) == [keys[2]]
    contract.send(f"delete{service.noun}Request", *service.subject(world, keys[2]))
    assert listed(contract, service) == []
    with pytest.raises(RevertError, match="NotPending"):
        contract.call(f"get{service.noun}Request", 0)


# --- the owner and the life time


@each_home
def test_owner_changes_fee_and_limit(world: World, service: Service, combined: bool) -> None:
    contract = world.service(service, combined)
    fee = contract.send(f"set{service.noun}Fee", 7)
    limit = contract.send(f"setMax{service.noun}Requests", 9)

    assert contract.call(f"{service.lower}Fee") == 7
    assert contract.call(f"max{service.noun}Requests") == 9
    assert [(e.name, e.args) for e in (*fee.events, *limit.events)] == [
        (f"{service.noun}FeeChanged", (7,)),
        (f"Max{service.noun}RequestsChanged", (9,)),
    ]
    request(contract, service, value=7)
    assert contract.revert_reason(f"set{service.noun}Fee", 2**96) == "FeeTooHigh"
    assert contract.revert_reason(f"setMax{service.noun}Requests", 2**16) == "LimitTooHigh"


@each_home
def test_strangers_do_not_administrate(world: World, service: Service, combined: bool) -> None:
    contract = world.service(service, combined)
    request(contract, service)
    for function, args in (
        (f"set{service.noun}Fee", (1,)),
        (f"setMax{service.noun}Requests", (1,)),
        (f"delete{service.noun}Request", service.subject(world)),
        ("setKeyServerSetAddress", (world.key_servers.address,)),
        ("setRequestLifetimeBlocks", (1,)),
        ("setOwner", (key_of(STRANGER).address,)),
    ):
        assert contract.revert_reason(function, *args, sender=STRANGER) == "NotOwner"


@each_home
def test_owner_deletes_a_request(world: World, service: Service, combined: bool) -> None:
    contract = world.service(service, combined)
    subject = service.subject(world)
    # C-23: not one that does not exist.
    assert contract.revert_reason(f"delete{service.noun}Request", *subject) == "NotPending"
    request(contract, service)

    deleted = contract.send(f"delete{service.noun}Request", *subject)

    assert [(e.name, e.args) for e in deleted.events] == [(service.error_event, subject)]
    assert contract.call(f"{service.lower}RequestsCount") == 0
    request(contract, service)


@each_home
def test_anybody_ends_an_expired_request(world: World, service: Service, combined: bool) -> None:
    # C-19
    contract = world.service(service, combined)
    subject = service.subject(world)
    expire = f"expire{service.noun}Request"
    assert contract.call("requestLifetimeBlocks") == 600
    changed = contract.send("setRequestLifetimeBlocks", 10)
    assert [(e.name, e.args) for e in changed.events] == [("RequestLifetimeChanged", (10,))]
    assert contract.revert_reason(expire, *subject, sender=STRANGER) == "NotPending"
    request(contract, service)
    created = world.chain.block

    world.chain.mine(created + 8 - world.chain.block)
    assert contract.revert_reason(expire, *subject, sender=STRANGER) == "NotExpired"
    expired = contract.send(expire, *subject, sender=STRANGER)

    assert expired.block == created + 10
    assert [(e.name, e.args) for e in expired.events] == [(service.error_event, subject)]
    assert contract.call(f"{service.lower}RequestsCount") == 0


@each_service
def test_without_a_life_time_nothing_expires(world: World, service: Service) -> None:
    contract = world.service(service)
    contract.send("setRequestLifetimeBlocks", 0)
    request(contract, service)
    world.chain.mine(20)

    reason = contract.revert_reason(f"expire{service.noun}Request", *service.subject(world))
    assert reason == "NotExpired"


# --- the common base


@each_contract
def test_key_servers_are_known(world: World, name: str) -> None:
    contract = world.contracts[name]

    assert contract.call("keyServersCount") == 5
    for index, server in enumerate(SERVERS):
        assert contract.call("requireKeyServer", key_of(server).address) == index
    with pytest.raises(RevertError, match="NotKeyServer"):
        contract.call("requireKeyServer", key_of(STRANGER).address)


@each_contract
def test_the_set_has_to_be_a_contract(world: World, name: str) -> None:
    contract = world.contracts[name]
    stranger = key_of(STRANGER).address

    assert contract.revert_reason("setKeyServerSetAddress", stranger) == "NotAContract"
    with pytest.raises(RevertError):
        world.chain.deploy(name, stranger)


@each_contract
def test_plain_ether_is_refused(world: World, name: str) -> None:
    assert not world.chain.transact(CLIENT, world.contracts[name].address, value=1).succeeded


@each_contract
def test_service_ownership(world: World, name: str) -> None:
    contract = world.contracts[name]
    assert contract.revert_reason("setOwner", "0x" + "00" * 20) == "OwnerIsZero"
    contract.send("setOwner", key_of(STRANGER).address)

    assert contract.call("owner") == key_of(STRANGER).address
    contract.send("setRequestLifetimeBlocks", 5, sender=STRANGER)
    assert contract.revert_reason("setRequestLifetimeBlocks", 2**32, sender=STRANGER) == (
        "ValueTooLarge"
    )


# --- the combined contract


def test_combined_contract_has_one_balance(world: World) -> None:
    contract = world.contracts[COMBINED]
    for service in ALL_SERVICES:
        request(contract, service, value=ETHER)

    assert contract.call("keyServerBalance", key_of(SERVERS[0]).address) == 4 * ETHER // 5


def test_combined_contract_keeps_fees_and_lists_apart(world: World) -> None:
    contract = world.contracts[COMBINED]
    contract.send("setServerKeyGenerationFee", 1)
    request(contract, GENERATION, value=1)

    assert contract.call("documentKeyShadowRetrievalFee") == SHADOW_RETRIEVAL.fee
    counts = [contract.call(f"{service.lower}RequestsCount") for service in ALL_SERVICES]
    assert counts == [1, 0, 0, 0]
    request(contract, RETRIEVAL)
    request(contract, STORE)
    counts = [contract.call(f"{service.lower}RequestsCount") for service in ALL_SERVICES]
    assert counts == [1, 1, 1, 0]


def test_combined_contract_knows_the_authors_of_its_keys(world: World) -> None:
    # C-20: a key generated here is bound to a document by its author only.
    contract = world.contracts[COMBINED]
    request(contract, GENERATION)
    for server in SERVERS:
        GENERATION.answer(world, contract, server)
    args = STORE.request_args()

    reason = contract.revert_reason(STORE.request, *args, sender=OTHER_CLIENT, value=FEE)
    assert reason == "NotAuthor"
    contract.send(STORE.request, *args, sender=CLIENT, value=FEE)
    # A key of another origin is anybody's, as far as the contract knows.
    contract.send(STORE.request, OTHER_KEY, POINT, POINT, sender=OTHER_CLIENT, value=FEE)


def test_a_failed_generation_makes_nobody_the_author(world: World) -> None:
    contract = world.contracts[COMBINED]
    request(contract, GENERATION)
    contract.send("serverKeyGenerationError", KEY, sender=SERVERS[0])

    contract.send(STORE.request, *STORE.request_args(), sender=OTHER_CLIENT, value=FEE)
