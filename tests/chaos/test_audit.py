"""The audit finds what is lost, doubled or wrong: on figures that are made up."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import Address, KeyId
from tests.chaos.audit import NO_ACCOUNT, SERVICE, ChainFacts, check_chain, read_chain
from tests.chaos.clients import Book, Kind, Served

KEY = KeyId(bytes(31) + b"\1")
ALICE, NODE = Address(b"\1" * 20), Address(b"\2" * 20)
PUBLIC, OTHER = (SecretScalar(bytes([n]) * 32).public() for n in (3, 4))
GENERATED = (Kind.GENERATE, KEY, NO_ACCOUNT)
SHADOWED = (Kind.SHADOW, KEY, ALICE)


def right() -> tuple[ChainFacts, Book]:
    """A key that was generated, a retrieval, and one that was refused."""
    carol = Address(b"\3" * 20)
    facts = ChainFacts()
    facts.requests.update([GENERATED, SHADOWED, (Kind.SHADOW, KEY, carol)])
    facts.results.update([GENERATED, SHADOWED])
    facts.errors.update([(Kind.SHADOW, KEY, carol)])
    facts.publics[KEY].add(PUBLIC.raw64)
    facts.answers[(NODE, "serverKeyGenerated", b"it")] = 1
    facts.both_ways[(NODE, GENERATED)] = {"serverKeyGenerated"}
    facts.both_ways[(NODE, SHADOWED)] = {"documentKeyCommonRetrieved", "documentKey...Error"}
    book = Book(publics={KEY: PUBLIC})
    for kind, who in ((Kind.GENERATE, ALICE), (Kind.SHADOW, ALICE), (Kind.REFUSED, carol)):
        book.served.append(Served(kind, KEY, who, 1.0, under_faults=True))
    return facts, book


def test_what_is_right_is_no_trouble() -> None:
    assert check_chain(*right()) == []


def _lose(facts: ChainFacts, book: Book) -> None:
    del facts.results[SHADOWED]


def _double(facts: ChainFacts, book: Book) -> None:
    facts.answers[(NODE, "serverKeyGenerated", b"it")] = 2


def _say_both(facts: ChainFacts, book: Book) -> None:
    facts.both_ways[(NODE, GENERATED)].add("serverKeyGenerationError")


def _swap_key(facts: ChainFacts, book: Book) -> None:
    book.publics[KEY] = OTHER


def _two_keys(facts: ChainFacts, book: Book) -> None:
    facts.publics[KEY].add(OTHER.raw64)


def _permit(facts: ChainFacts, book: Book) -> None:
    facts.results.update(facts.errors)


def _refuse(facts: ChainFacts, book: Book) -> None:
    facts.errors[SHADOWED] += 1


def _take_request_away(facts: ChainFacts, book: Book) -> None:
    del facts.requests[GENERATED]


def _ask_twice(facts: ChainFacts, book: Book) -> None:
    facts.requests[GENERATED] += 1


def _fail(facts: ChainFacts, book: Book) -> None:
    book.served.append(Served(Kind.STORE, KEY, ALICE, 1.0, under_faults=True, trouble="no answer"))


@pytest.mark.parametrize(
    "change",
    [
        _lose,
        _double,
        _say_both,
        _swap_key,
        _two_keys,
        _permit,
        _refuse,
        _take_request_away,
        _ask_twice,
        _fail,
    ],
)
def test_what_is_wrong_is_found(change: Callable[[ChainFacts, Book], None]) -> None:
    facts, book = right()
    change(facts, book)
    assert check_chain(facts, book)


# --- reading the chain ----------------------------------------------------------------------------

CONTRACT = Address(b"\4" * 20)
REQUEST = (ALICE, SERVICE.function("retrieveDocumentKeyShadow").encode(KEY, bytes(64)))
ANSWER = (NODE, SERVICE.function("documentKeyCommonRetrieved").encode(KEY, ALICE, bytes(64), 1))


class Chain:
    """A chain of one transaction in each block."""

    def __init__(self, calls: Sequence[tuple[Address, bytes]]) -> None:
        self._calls = calls

    async def head(self) -> int:
        return len(self._calls) - 1

    async def blocks(self, first: int, last: int) -> list[dict[str, Any]]:
        return [
            {
                "number": hex(number),
                "transactions": [
                    {
                        "hash": hex(number),
                        "from": f"0x{sender.hex()}",
                        "to": f"0x{CONTRACT.hex()}",
                        "input": f"0x{data.hex()}",
                    }
                ],
            }
            for number, (sender, data) in enumerate(self._calls)
            if first <= number <= last
        ]

    async def ask(self, method: str, *params: object) -> Any:
        assert method == "eth_getBlockReceipts"
        return [{"transactionHash": params[0], "status": "0x1", "gasUsed": "0x1", "logs": []}]


@pytest.mark.parametrize(
    ("calls", "is_doubled", "too_early"),
    [
        ([REQUEST, ANSWER], False, 0),
        ([REQUEST, ANSWER, ANSWER], True, 0),
        ([ANSWER, REQUEST, ANSWER], False, 1),
        ([ANSWER, ANSWER, REQUEST, ANSWER], False, 2),
        ([ANSWER, REQUEST, ANSWER, ANSWER], True, 1),
    ],
)
async def test_an_answer_counts_from_its_request_on(
    calls: Sequence[tuple[Address, bytes]], is_doubled: bool, too_early: int
) -> None:
    """A reorganisation may put a request behind an answer to it, which then does nothing."""
    facts = await read_chain(Chain(calls), CONTRACT, [NODE], 0)
    doubled = [trouble for trouble in check_chain(facts, Book()) if "doubled" in trouble]
    assert (bool(doubled), facts.too_early) == (is_doubled, too_early)
    assert facts.mined_answers == calls.count(ANSWER)
