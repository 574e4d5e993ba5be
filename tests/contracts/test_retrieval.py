"""Server key retrieval: the rule, row by row, against a model, and after trouble."""

import random
from collections.abc import Sequence

import pytest

from tests.contracts.chain import Chain, Contract, key_of
from tests.contracts.reference_model import ERROR, Answer, Result, outcome
from tests.contracts.world import (
    CLIENT,
    FEE,
    KEY,
    NEWCOMER,
    RETRIEVAL,
    SERVERS,
    World,
    deploy_set,
)

PUBLICS = {name: bytes([ord(name)]) * 64 for name in "ABCD"}
NAMES = {public: name for name, public in PUBLICS.items()}


def vote(contract: Contract, server: int, answer: Answer, key: bytes = KEY) -> Result | None:
    """Send one vote and read the result from its events."""
    if answer == ERROR:
        receipt = contract.send("serverKeyRetrievalError", key, sender=server)
    else:
        args = key, PUBLICS[answer.public], answer.threshold
        receipt = contract.send("serverKeyRetrieved", *args, sender=server)
    if not receipt.events:
        return None
    if receipt.names == ["ServerKeyRetrievalError"]:
        assert receipt.events[0].args == (key,)
        return Result(None)
    # C-05: the documented event, and the one that the original emits.
    assert receipt.names == ["ServerKeyRetrieved", "ServerKeyRetrieved"]
    (told_key, public, threshold), short = receipt.events[0].args, receipt.events[1].args
    assert (told_key, short) == (key, (key, public))
    return Result(Answer(NAMES[public], threshold))


def votes(text: str) -> list[Answer]:
    """From `A1 B3 err`: publics with thresholds."""
    return [ERROR if word == "err" else Answer(word[0], int(word[1:])) for word in text.split()]


def run(contract: Contract, answers: Sequence[Answer], servers: Sequence[int] = SERVERS) -> None:
    """Vote in order and compare with the model after each vote."""
    contract.send("retrieveServerKey", KEY, sender=CLIENT, value=FEE)
    for number, answer in enumerate(answers):
        expected = outcome(answers[: number + 1], len(servers))
        assert vote(contract, servers[number], answer) == expected, answers[: number + 1]
        if expected is not None:
            assert contract.call("serverKeyRetrievalRequestsCount") == 0
            return
    contract.send("deleteServerKeyRetrievalRequest", KEY)


TABLE = [
    ("A1 A1 A1", Result(Answer("A", 1))),
    ("A3 B3 A3 A3 A3", Result(Answer("A", 3))),
    ("A3 A10 A3 A3 A3", Result(Answer("A", 3))),
    ("A1 A1 B1", Result(Answer("A", 1))),
    ("A3 B3 C3", Result(None)),
    ("A2 B2 C2 D2", Result(None)),
    ("A1 A2 A3 A4", Result(None)),
    ("err err err", Result(None)),
    ("A1 err A1 err B1", Result(Answer("A", 1))),
    ("A4 A4 err err err", Result(None)),
    ("A3 A3 A3 err err", Result(None)),
    ("A0 A0 A1 B1 C1", Result(None)),
]


@pytest.mark.parametrize(("text", "result"), TABLE)
@pytest.mark.parametrize("combined", [False, True], ids=["own", "combined"])
def test_worked_examples(world: World, text: str, result: Result, combined: bool) -> None:
    contract = world.service(RETRIEVAL, combined)
    answers = votes(text)
    assert [outcome(answers[:n], 5) for n in range(1, len(answers))] == [None] * (len(answers) - 1)
    assert outcome(answers, 5) == result

    run(contract, answers)


@pytest.mark.parametrize("text", ["A4 A4 err err", "A1 B1", "err err", "A3 A3 A3", "err A2 B2"])
def test_nothing_is_reported_too_early(world: World, text: str) -> None:
    assert outcome(votes(text), 5) is None
    contract = world.service(RETRIEVAL)
    contract.send("retrieveServerKey", KEY, sender=CLIENT, value=FEE)
    for server, answer in zip(SERVERS, votes(text), strict=False):
        assert vote(contract, server, answer) is None
    assert contract.call("serverKeyRetrievalRequestsCount") == 1


def test_on_a_tie_the_first_public_wins(world: World) -> None:
    # Only possible with t+1 faulty servers: two publics with t+1 votes each at the agreed t.
    run(world.service(RETRIEVAL), votes("A1 B1 B1"))
    run(world.service(RETRIEVAL), votes("A2 B2 err A2 A2"))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
def test_random_votes_end_as_in_the_model(chain: Chain, count: int) -> None:
    rng = random.Random(count)
    servers = list(range(201, 201 + count))
    key_servers = deploy_set(chain, servers)
    contract = chain.deploy(RETRIEVAL.contract, key_servers.address)
    thresholds = range(count) if count < 4 else (0, 1, 2, count - 1)
    choices = [Answer(name, t) for name in "ABC" for t in thresholds] + [ERROR] * 2
    for _ in range(12):
        # A few answers per round, so that some are equal.
        palette = rng.sample(choices, min(len(choices), rng.randint(1, 4)))
        run(contract, [rng.choice(palette) for _ in range(count)], rng.sample(servers, count))


def test_request_is_announced_and_enumerated(world: World) -> None:
    contract = world.service(RETRIEVAL)
    receipt = contract.send("retrieveServerKey", KEY, sender=CLIENT, value=FEE)

    assert [(e.name, e.args) for e in receipt.events] == [("ServerKeyRetrievalRequested", (KEY,))]
    assert contract.call("getServerKeyRetrievalRequest", 0) == KEY


def test_later_requests_start_without_old_votes(world: World) -> None:
    # C-02: in the original the old threshold votes stayed, so two servers settled the next one.
    contract = world.service(RETRIEVAL)
    run(contract, votes("A1 A1 A1"))
    run(contract, votes("A1 A1 A1"))
    run(contract, votes("A1 B1 A1"))
    run(contract, votes("A1 B2 C2 B2"))


def test_every_request_ends_when_all_have_answered() -> None:
    # C-03, for all sequences that a small palette allows; the contract follows the model above.
    palette = votes("A0 A1 B1 A3 err")
    for a in palette:
        for b in palette:
            for c in palette:
                for d in palette:
                    for e in palette:
                        assert outcome([a, b, c, d, e], 5) is not None


def test_a_public_needs_support_at_the_agreed_threshold(world: World) -> None:
    # C-04: the original published A, which one server had named with threshold 1.
    run(world.service(RETRIEVAL), votes("A0 A0 A1 B1 C1"))


def test_an_answer_with_the_reserved_threshold_is_an_error(world: World) -> None:
    contract = world.service(RETRIEVAL)
    contract.send("retrieveServerKey", KEY, sender=CLIENT, value=FEE)
    for server in SERVERS[:2]:
        assert vote(contract, server, Answer("A", 255)) is None
    assert vote(contract, SERVERS[2], Answer("A", 255)) == Result(None)


@pytest.mark.parametrize("public", [b"", bytes(63), bytes(65)])
@pytest.mark.parametrize("threshold", [1, 255])
def test_publics_of_another_length_revert(world: World, public: bytes, threshold: int) -> None:
    args = KEY, public, threshold
    reason = world.service(RETRIEVAL).revert_reason("serverKeyRetrieved", *args, sender=SERVERS[0])
    assert reason == "InvalidPoint"


def test_votes_of_another_set_do_not_count(world: World) -> None:
    # C-28: nor does the public that led before.
    contract = world.service(RETRIEVAL)
    contract.send("retrieveServerKey", KEY, sender=CLIENT, value=FEE)
    for server, answer in zip(SERVERS, votes("A1 B1"), strict=False):
        assert vote(contract, server, answer) is None
    members = (*SERVERS[:4], NEWCOMER)
    world.migrate(members)

    assert vote(contract, members[0], Answer("B", 1)) is None
    assert vote(contract, members[4], Answer("B", 1)) is None
    assert vote(contract, members[1], Answer("A", 1)) == Result(Answer("B", 1))


def test_the_kept_public_moves_with_its_request(world: World) -> None:
    contract = world.service(RETRIEVAL)
    other = b"\x77" * 32
    contract.send("retrieveServerKey", other, sender=CLIENT, value=FEE)
    contract.send("retrieveServerKey", KEY, sender=CLIENT, value=FEE)
    vote(contract, SERVERS[0], Answer("A", 1))
    contract.send("deleteServerKeyRetrievalRequest", other)
    vote(contract, SERVERS[1], Answer("A", 1))

    assert vote(contract, SERVERS[2], Answer("B", 1)) == Result(Answer("A", 1))


def test_who_has_answered_is_known_after_answers_differ(world: World) -> None:
    contract = world.service(RETRIEVAL)
    contract.send("retrieveServerKey", KEY, sender=CLIENT, value=FEE)
    for server, answer in zip(SERVERS, votes("A1 B1 err"), strict=False):
        vote(contract, server, answer)
        assert vote(contract, server, Answer("A", 1)) is None

    required = [
        contract.call("isServerKeyRetrievalResponseRequired", KEY, key_of(s).address)
        for s in SERVERS
    ]
    assert required == [False, False, False, True, True]
