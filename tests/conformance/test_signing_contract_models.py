"""The simulated services for signatures give the results of the compiled ones."""

from collections.abc import Sequence
from random import Random
from typing import Any, TypeVar

import pytest

from keyserver.model.identifiers import Address
from keyserver.simulation.contracts.contract import abi_of
from keyserver.simulation.contracts.signing import ECDSA, SCHNORR, Scheme, new_signing
from tests.conformance.contract_pair import (
    CUSTOMERS,
    EVERYBODY,
    FEES,
    KEYS,
    ODD_POINT,
    OWNER,
    SERVERS,
    STRANGER,
    Pair,
)
from tests.contracts import signatures
from tests.contracts.chain import Chain, public_of

SIGNERS = (201, 202)
MESSAGES = (b"\x33" * 32, b"\x44" * 32)
ANSWERS: dict[Scheme, dict[tuple[int, bytes], tuple[bytes, ...]]] = {
    ECDSA: {(s, m): (signatures.ecdsa(s, m),) for s in SIGNERS for m in MESSAGES},
    SCHNORR: {(s, m): signatures.schnorr(s, m) for s in SIGNERS for m in MESSAGES},
}

Choice = TypeVar("Choice")


def deployed(pair: Pair, scheme: Scheme) -> Address:
    contract = new_signing(scheme, pair.account(OWNER), pair.set)
    return pair.deploy(scheme.artifact, contract, pair.set)


def step(pair: Pair, scheme: Scheme, service: Address) -> None:
    draw = pair.random
    server = draw.choice(SERVERS) if draw.random() < 0.9 else draw.choice(EVERYBODY)
    asked, key = mostly_first(draw, CUSTOMERS), mostly_first(draw, KEYS)
    message = mostly_first(draw, MESSAGES)
    signer, threshold = mostly_first(draw, SIGNERS), mostly_first(draw, (1, 2))
    public = ODD_POINT if draw.random() < 0.03 else public_of(signer)
    subject = key, pair.account(asked), message
    answer = ANSWERS[scheme][signer, mostly_first(draw, (message, MESSAGES[1]))]
    choices: list[tuple[int, int, str, tuple[Any, ...], int]] = [
        (3, asked, f"signMessage{scheme.name}", (key, message), draw.choice(FEES)),
        (10, server, f"{scheme.lower}SigningCommonRetrieved", (*subject, public, threshold), 0),
        (5, server, f"{scheme.lower}MessageSigned", (*subject, *spoiled(draw, answer)), 0),
        (2, server, f"{scheme.lower}SigningError", subject, 0),
        (1, STRANGER, f"expire{scheme.name}SigningRequest", subject, 0),
    ]
    _, who, method, arguments, value = draw.choices(choices, [each[0] for each in choices])[0]
    pair.send(who, service, method, *arguments, value=value)


def mostly_first(draw: Random, choices: Sequence[Choice]) -> Choice:
    return choices[draw.random() < 0.2]


def spoiled(draw: Random, answer: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """The same, or with a byte changed, missing or too much."""
    if draw.random() < 0.6:
        return answer
    index = draw.randrange(len(answer))
    part, place = answer[index], draw.randrange(len(answer[index]))
    changed = draw.choice(
        (
            part[:place] + bytes([part[place] ^ draw.randrange(1, 256)]) + part[place + 1 :],
            part[:-1],
            part + b"\0",
            bytes(len(part)),
        )
    )
    return *answer[:index], changed, *answer[index + 1 :]


def compare(pair: Pair, scheme: Scheme, service: Address) -> None:
    for name in (f"{scheme.lower}SigningRequestsCount", f"{scheme.lower}SigningFee"):
        pair.compare(service, name)
    for index in range(5):
        pair.compare(service, f"get{scheme.name}SigningRequest", index)
    required = f"is{scheme.name}SigningResponseRequired"
    for number in (*SERVERS, STRANGER):
        for key in KEYS:
            subject = key, pair.account(CUSTOMERS[0]), MESSAGES[0]
            pair.compare(service, required, *subject, pair.account(number))
    for name in ("keyServersCount", "keyServerSetAddress", "requestLifetimeBlocks"):
        pair.compare(service, name)


@pytest.mark.parametrize("scheme", [ECDSA, SCHNORR], ids=lambda s: s.lower)
def test_random_calls_end_alike(scheme: Scheme) -> None:
    pair = Pair(Chain(rich=SERVERS), Random(21), members=4)
    service = deployed(pair, scheme)
    pair.send(OWNER, pair.set, "completeInitialization")
    for number in range(130):
        step(pair, scheme, service)
        if number % 65 == 64:
            compare(pair, scheme, service)
    assert pair.reverted > 10, pair.reverted
    abi = abi_of(scheme.artifact)
    for outcome in ("MessageSigned", "SigningError"):
        assert abi.event(f"{scheme.name}{outcome}").topic0 in pair.topics


def test_answers_of_an_earlier_set_do_not_count() -> None:
    """Before the initialization is completed the owner may change the current set at once."""
    scheme = SCHNORR
    pair = Pair(Chain(rich=SERVERS), Random(22), members=3)
    service = deployed(pair, scheme)
    for number in range(120):
        step(pair, scheme, service)
        if number % 9 == 8:
            server = pair.random.choice(SERVERS)
            edit = pair.random.choice(("addKeyServer", "removeKeyServer"))
            member = (
                (public_of(server), "10.0.0.2:1") if edit[0] == "a" else (pair.account(server),)
            )
            pair.send(OWNER, pair.set, edit, *member)
    compare(pair, scheme, service)
