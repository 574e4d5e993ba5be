"""From logs to outcomes, without a chain."""

import pytest

from keyserver.client import answers
from keyserver.client.contracts import (
    GENERATION,
    RETRIEVAL,
    SHADOW_RETRIEVAL,
    SIGNING,
    STORE,
    Service,
)
from keyserver.client.errors import BadAnswerError, RefusedByKeyServersError
from keyserver.client.ethereum import EventLog
from keyserver.client.results import ServerKey, ShadowAnswer
from keyserver.client.wallet import Wallet
from keyserver.crypto import ecies
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.randomness import SeededRandom
from keyserver.evm.abi import Event
from keyserver.model.identifiers import Address, Hash32
from keyserver.model.requests import SigningScheme

RNG = SeededRandom("answers")
KEY_ID = bytes(range(32))
BOB = Wallet(SecretScalar.random(RNG))
WHO = "0x" + BOB.address.hex()
COMMON, PERSONAL = SHADOW_RETRIEVAL.results
LONG, SHORT = RETRIEVAL.results


def point() -> Point:
    return SecretScalar.random(RNG).public()


def log(event: Event, *values: object) -> EventLog:
    topics, data = event.encode(*values)
    return EventLog(Address(bytes(20)), topics, data, 7, 0)


def test_nothing_is_open_yet() -> None:
    assert answers.generated([]) is None
    assert answers.retrieved([]) is None
    assert not answers.stored([])
    assert answers.shadow_retrieved([]) is None
    assert answers.personal_answers([]) is None


def test_a_generated_key() -> None:
    public = point()
    assert answers.generated([log(GENERATION.results[0], KEY_ID, public.raw64)]) == public
    with pytest.raises(BadAnswerError, match="server key"):
        answers.generated([log(GENERATION.results[0], KEY_ID, bytes(64))])
    with pytest.raises(RefusedByKeyServersError) as raised:
        answers.generated([log(GENERATION.error, KEY_ID)])
    assert raised.value.advice


def test_the_event_with_threshold_wins() -> None:
    public = point()
    long, short = log(LONG, KEY_ID, public.raw64, 3), log(SHORT, KEY_ID, public.raw64)
    for logs in ([long, short], [short, long], [long]):
        assert answers.retrieved(logs) == ServerKey(public, 3)
    assert answers.retrieved([short]) == ServerKey(public, None)


def test_an_error_after_the_answer_belongs_to_another_request() -> None:
    public = point()
    short, error = log(SHORT, KEY_ID, public.raw64), log(RETRIEVAL.error, KEY_ID)
    assert answers.retrieved([short, error]) == ServerKey(public, None)
    with pytest.raises(RefusedByKeyServersError):
        answers.retrieved([error, short])


def test_stored_or_refused() -> None:
    assert answers.stored([log(STORE.results[0], KEY_ID)])
    with pytest.raises(RefusedByKeyServersError):
        answers.stored([log(STORE.error, KEY_ID)])


def test_a_group_is_complete_with_threshold_plus_one() -> None:
    common, first, second = point(), point(), point()
    logs = [
        log(COMMON, KEY_ID, WHO, common.raw64, 1),
        log(PERSONAL, KEY_ID, WHO, first.raw64, b"a"),
        log(PERSONAL, KEY_ID, WHO, second.raw64, b"b"),
    ]
    assert answers.shadow_retrieved(logs) is None
    assert answers.personal_answers(logs) == (1, 2)
    logs.append(log(PERSONAL, KEY_ID, WHO, second.raw64, b"c"))
    assert answers.personal_answers(logs) == (2, 2)
    assert answers.shadow_retrieved(logs) == ShadowAnswer(common, second, (b"b", b"c"))


def test_personal_answers_wait_for_the_common_one() -> None:
    secret = point()
    logs = [log(PERSONAL, KEY_ID, WHO, secret.raw64, b"a")]
    assert answers.personal_answers(logs) is None
    logs.append(log(COMMON, KEY_ID, WHO, point().raw64, 0))
    assert answers.shadow_retrieved(logs) is None


def test_garbage_in_between_is_passed_over() -> None:
    common, secret = point(), point()
    good = log(PERSONAL, KEY_ID, WHO, secret.raw64, b"a")
    garbage = [
        EventLog(Address(bytes(20)), (), b"", 7, 1),
        EventLog(Address(bytes(20)), (Hash32(bytes(32)),), b"", 7, 2),
        EventLog(good.address, good.topics, good.data[:40], 7, 3),
        log(PERSONAL, KEY_ID, WHO, bytes(64), b"x"),
        log(PERSONAL, KEY_ID, WHO, b"short", b"x"),
    ]
    logs = [log(COMMON, KEY_ID, WHO, common.raw64, 0), *garbage, good]
    assert answers.shadow_retrieved(logs) == ShadowAnswer(common, secret, (b"a",))


def test_a_refused_retrieval() -> None:
    with pytest.raises(RefusedByKeyServersError, match="retrieval"):
        answers.shadow_retrieved([log(SHADOW_RETRIEVAL.error, KEY_ID, WHO)])


@pytest.mark.parametrize("plain", [b"", bytes(32), b"\xff" * 32, bytes(31)])
def test_shadows_that_are_no_numbers_do_not_open(plain: bytes) -> None:
    shadow = ecies.encrypt(Point.from_raw64(BOB.public_key), plain, RNG)
    with pytest.raises(BadAnswerError, match="do not open"):
        ShadowAnswer(point(), point(), (shadow,)).open(BOB)


def test_shadows_for_another_account_do_not_open() -> None:
    shadow = ecies.encrypt(point(), b"\1" * 32, RNG)
    with pytest.raises(BadAnswerError, match="altered, or for another key"):
        ShadowAnswer(point(), point(), (shadow,)).open(BOB)


@pytest.mark.parametrize("service", SIGNING.values(), ids=lambda service: service.title)
def test_signatures(service: Service) -> None:
    common, made = service.results
    public, subject = point(), (KEY_ID, WHO, bytes(32))
    agreed = log(common, *subject, public.raw64, 1)
    signed = log(made, *subject, b"\x01" * 64)
    assert answers.signed(service, []) is None
    assert answers.signed(service, [agreed]) is None
    assert answers.signed(service, [signed]) is None, "of a key that nobody has agreed on"
    assert answers.signed(service, [agreed, signed]) == (public, b"\x01" * 64)
    with pytest.raises(BadAnswerError, match="server key"):
        answers.signed(service, [log(common, *subject, bytes(64), 1), signed])
    for logs in ([], [agreed]):
        with pytest.raises(RefusedByKeyServersError) as raised:
            answers.signed(service, [*logs, log(service.error, *subject)])
        for reason in ("no such key", "permission", "keyserver client show"):
            assert reason in raised.value.advice
        assert ("2t + 1" in raised.value.advice) == (service is SIGNING[SigningScheme.ECDSA])
