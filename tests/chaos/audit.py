"""Looks at everything when all is over: the chain, the nodes and their logs."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from keyserver.evm.abi import ContractAbi, Function
from keyserver.evm.artifacts import load_artifact
from keyserver.model.identifiers import Address, Hash32, KeyId
from tests.chaos.chain import Anvil
from tests.chaos.clients import Book, Kind, Served
from tests.chaos.nodes import Seat

SERVICE = ContractAbi.of(load_artifact("SecretStoreService").abi)

REQUESTS = {
    "generateServerKey": Kind.GENERATE,
    "retrieveServerKey": Kind.RETRIEVE,
    "storeDocumentKey": Kind.STORE,
    "retrieveDocumentKeyShadow": Kind.SHADOW,
}
ANSWERS = {
    "serverKeyGenerated": Kind.GENERATE,
    "serverKeyGenerationError": Kind.GENERATE,
    "serverKeyRetrieved": Kind.RETRIEVE,
    "serverKeyRetrievalError": Kind.RETRIEVE,
    "documentKeyStored": Kind.STORE,
    "documentKeyStoreError": Kind.STORE,
    "documentKeyCommonRetrieved": Kind.SHADOW,
    "documentKeyPersonalRetrieved": Kind.SHADOW,
    "documentKeyShadowRetrievalError": Kind.SHADOW,
}
RESULTS = {
    "ServerKeyGenerated": Kind.GENERATE,
    "ServerKeyRetrieved(bytes32,bytes,uint256)": Kind.RETRIEVE,
    "DocumentKeyStored": Kind.STORE,
    "DocumentKeyCommonRetrieved": Kind.SHADOW,
    "DocumentKeyPersonalRetrieved": Kind.SHADOW,
}
ERRORS = {
    "ServerKeyGenerationError": Kind.GENERATE,
    "ServerKeyRetrievalError": Kind.RETRIEVE,
    "DocumentKeyStoreError": Kind.STORE,
    "DocumentKeyShadowRetrievalError": Kind.SHADOW,
}
PENDING = (
    "serverKeyGenerationRequestsCount",
    "serverKeyRetrievalRequestsCount",
    "documentKeyStoreRequestsCount",
    "documentKeyShadowRetrievalRequestsCount",
)
NO_ACCOUNT = Address(bytes(20))

ON_CHAIN = {Kind.GENERATE, Kind.RETRIEVE, Kind.STORE, Kind.SHADOW, Kind.REFUSED}

OPEN_ANSWERS = {"queued", "signed", "broadcast", "mined"}
OPEN_TASKS = {"pending", "running", "answered", "held"}

BAD_IN_LOGS = ("peer_misbehaved", "Traceback (most recent call last)")

Subject = tuple[Kind, KeyId, Address]
"""What a request is about: the kind, the key and, of shadow retrievals, who asks."""

Json = Any


@dataclass
class ChainFacts:
    """What the canonical chain holds."""

    requests: Counter[Subject] = field(default_factory=Counter)
    results: Counter[Subject] = field(default_factory=Counter)
    errors: Counter[Subject] = field(default_factory=Counter)
    publics: dict[KeyId, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    answers: Counter[tuple[Address, str, bytes]] = field(default_factory=Counter)
    """Answers that were mined and not reverted, by node, method and arguments that must differ."""
    both_ways: dict[tuple[Address, Subject], set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )
    """Methods with which a node has answered a request."""
    too_early: int = 0
    """Answers before their request, which a reorganisation has put behind them: they do nothing."""
    reverted: Counter[str] = field(default_factory=Counter)
    """Answers that were mined and reverted, by method."""
    cancelled: int = 0
    """Transactions of nodes that do nothing."""
    client_failures: int = 0
    gas: int = 0
    """Used by the nodes' transactions."""
    blocks: int = 0

    @property
    def mined_answers(self) -> int:
        return self.answers.total() + self.too_early + self.reverted.total()


# --- the chain ------------------------------------------------------------------------------------


class Chain(Protocol):
    """Where blocks are read (`Anvil`)."""

    async def ask(self, method: str, *params: object) -> Json: ...

    async def head(self) -> int: ...

    async def blocks(self, first: int, last: int) -> list[Json]: ...


async def read_chain(
    chain: Chain, service: Address, nodes: Sequence[Address], first: int
) -> ChainFacts:
    """Everything about the service contract from block `first` on."""
    facts, last = ChainFacts(), await chain.head()
    facts.blocks = last - first + 1
    text = f"0x{service.hex()}"
    known = {f"0x{node.hex()}": node for node in nodes}
    for block in await chain.blocks(first, last):
        if not block["transactions"]:
            continue
        receipts = await chain.ask("eth_getBlockReceipts", block["number"])
        by_hash = {receipt["transactionHash"]: receipt for receipt in receipts}
        for sent in block["transactions"]:
            receipt = by_hash[sent["hash"]]
            sender, to = sent["from"].lower(), (sent["to"] or "").lower()
            if sender in known:
                _add_answer(facts, known[sender], sent, receipt, is_call=to == text)
            elif to == text:
                _add_request(facts, sent, receipt)
            for log in receipt["logs"]:
                if log["address"].lower() == text:
                    _add_event(facts, log)
    return facts


def _add_request(facts: ChainFacts, sent: Json, receipt: Json) -> None:
    if receipt["status"] != "0x1":
        facts.client_failures += 1
        return
    function, values = _call(sent["input"])
    kind = REQUESTS.get(function)
    if kind is not None:
        requester = Address(bytes.fromhex(sent["from"][2:]))
        facts.requests[_subject(kind, values[0], requester)] += 1


def _add_answer(
    facts: ChainFacts, node: Address, sent: Json, receipt: Json, *, is_call: bool
) -> None:
    facts.gas += int(receipt["gasUsed"], 16)
    if not is_call:
        facts.cancelled += 1
        return
    function, values = _call(sent["input"])
    if receipt["status"] != "0x1":
        facts.reverted[function] += 1
        return
    kind = ANSWERS[function]
    # A repeated decryption has other participants, and is another answer by the contract's rule.
    different = values[2:4] if function == "documentKeyPersonalRetrieved" else ()
    requester = Address(values[1]) if kind is Kind.SHADOW else NO_ACCOUNT
    subject = _subject(kind, values[0], requester)
    if not facts.requests[subject]:
        facts.too_early += 1
        return
    facts.answers[(node, function, repr((subject, different)).encode())] += 1
    facts.both_ways[(node, subject)].add(function)


def _add_event(facts: ChainFacts, log: Json) -> None:
    topics = [Hash32(bytes.fromhex(topic[2:])) for topic in log["topics"]]
    data = bytes.fromhex(log["data"][2:])
    for names, counter in ((RESULTS, facts.results), (ERRORS, facts.errors)):
        for name, kind in names.items():
            event = SERVICE.event(name)
            if event.topic0 != topics[0]:
                continue
            values = event.decode(topics, data)
            requester = Address(values[1]) if kind is Kind.SHADOW else NO_ACCOUNT
            counter[_subject(kind, values[0], requester)] += 1
            if name.startswith("ServerKey") and counter is facts.results:
                facts.publics[KeyId(values[0])].add(bytes(values[1]))


def _call(data: str) -> tuple[str, tuple[Any, ...]]:
    raw = bytes.fromhex(data[2:])
    for name in (*REQUESTS, *ANSWERS):
        function: Function = SERVICE.function(name)
        if raw[:4] == function.selector:
            return name, function.decode_call(raw)
    return "", ()


def _subject(kind: Kind, key_id: bytes, requester: Address) -> Subject:
    return kind, KeyId(key_id), requester if kind is Kind.SHADOW else NO_ACCOUNT


async def pending_requests(chain: Anvil, service: Address) -> int:
    """How many requests the contract still waits for answers to."""
    total = 0
    for name in PENDING:
        data = f"0x{SERVICE.function(name).encode().hex()}"
        total += int(await chain.ask("eth_call", {"to": f"0x{service.hex()}", "data": data}), 16)
    return total


def check_chain(facts: ChainFacts, book: Book) -> list[str]:
    """What is lost, doubled or wrong."""
    troubles = []
    for served in book.served:
        if served.trouble:
            troubles.append(f"{served.kind} 0x{served.key_id.hex()}: {served.trouble}")
        elif served.kind in ON_CHAIN:
            troubles += _check_served(facts, served)
    for subject, count in facts.requests.items():
        if not facts.results[subject] and not facts.errors[subject]:
            troubles.append(f"lost: {_name(subject)}")
        if count > 1:
            troubles.append(f"a client's request is there {count} times: {_name(subject)}")
    for (node, function, _), count in facts.answers.items():
        if count > 1:
            troubles.append(f"doubled: {count} times {function} of node 0x{node.hex()}")
    for (node, subject), functions in facts.both_ways.items():
        errors = {function for function in functions if function.endswith("Error")}
        # The stages of a shadow retrieval are answered one by one.
        if errors and functions - errors and subject[0] is not Kind.SHADOW:
            troubles.append(f"error and result of node 0x{node.hex()}: {_name(subject)}")
    for key_id, publics in facts.publics.items():
        told = book.publics.get(key_id)
        if len(publics) != 1 or told is None or told.raw64 not in publics:
            troubles.append(f"server key 0x{key_id.hex()}: the chain and the clients differ")
    return troubles


def _check_served(facts: ChainFacts, served: Served) -> list[str]:
    """A client's answer is still in the chain, and is the only one."""
    wants_error = served.kind is Kind.REFUSED
    kind = Kind.SHADOW if wants_error else served.kind
    subject = _subject(kind, served.key_id, served.requester)
    results, errors = facts.results[subject], facts.errors[subject]
    if not facts.requests[subject]:
        return [f"the request left the chain: {_name(subject)}"]
    if wants_error and (results or errors != 1):
        return [f"not refused once: {_name(subject)}: {results} results, {errors} errors"]
    if not wants_error and (errors or not results):
        return [f"not answered: {_name(subject)}: {results} results, {errors} errors"]
    return []


def _name(subject: Subject) -> str:
    kind, key_id, requester = subject
    who = f" of 0x{requester.hex()}" if requester != NO_ACCOUNT else ""
    return f"{kind} 0x{key_id.hex()}{who}"


# --- the nodes ------------------------------------------------------------------------------------


async def open_matters(chain: Anvil, service: Address, seats: Sequence[Seat]) -> list[str]:
    """What keeps the network from being at rest; empty when it is."""
    matters = []
    pending = await pending_requests(chain, service)
    if pending:
        matters.append(f"{pending} requests are pending in the contract")
    for seat in seats:
        matters += await _open_at(chain, seat)
    return matters


async def _open_at(chain: Anvil, seat: Seat) -> list[str]:
    name = f"node {seat.number}"
    try:
        status, facts = await asyncio.to_thread(seat.asks, "/v1/status")
    except (OSError, EOFError):
        return [f"{name} does not answer"]
    if status != 200:
        return [f"{name}: status {status}: {facts}"]
    matters = [f"{name}: {trouble['text']}" for trouble in facts["problems"]]
    for what, is_open in (("answers", OPEN_ANSWERS), ("tasks", OPEN_TASKS)):
        left = {state: count for state, count in facts[what].items() if state in is_open and count}
        if left:
            matters.append(f"{name}: {what} left: {left}")
    unreached = [peer for peer in facts["node_set"]["nodes"] if peer["state"] == "disconnected"]
    if unreached:
        matters.append(f"{name}: {len(unreached)} peers are not connected")
    latest, pending = await chain.counts(seat.account)
    if latest != pending:
        matters.append(f"{name}: {latest} transactions mined, {pending} with the pool's")
    return matters


async def check_keys(seats: Sequence[Seat], book: Book) -> list[str]:
    """Whether all nodes have the same of every key."""
    troubles = []
    for key_id in book.publics:
        told = {}
        for seat in seats:
            status, facts = await asyncio.to_thread(seat.asks, f"/v1/keys/{key_id.hex()}")
            told[seat.number] = _what_matters(facts) if status == 200 else (status,)
        if len(set(told.values())) != 1:
            troubles.append(f"the nodes differ about key 0x{key_id.hex()}: {told}")
        public = next(iter(told.values()))[0]
        if public != f"0x{book.publics[key_id].raw64.hex()}":
            troubles.append(f"the nodes have another public of key 0x{key_id.hex()}: {public}")
    return troubles


def _what_matters(facts: Json) -> tuple[object, ...]:
    fields = "public", "record_hash", "version", "threshold", "author", "has_document_key"
    return (*(facts[name] for name in fields), facts["undecided"], facts["share"])


@dataclass
class LogFacts:
    """What the nodes have logged."""

    events: Counter[str] = field(default_factory=Counter)
    """Of level warning and above, and those about answers."""
    troubles: list[str] = field(default_factory=list)


COUNTED = {
    "answer_sent",
    "answer_mined",
    "answer_confirmed",
    "answer_replaced",
    "chain_pins_not_supported",
}


def read_logs(seats: Sequence[Seat]) -> LogFacts:
    """Count events, and find what must not be there."""
    facts = LogFacts()
    for seat in seats:
        for line in seat.log_lines():
            if any(bad in line for bad in BAD_IN_LOGS):
                facts.troubles.append(f"node {seat.number} logs: {line.strip()[:1500]}")
            if not line.startswith("{"):
                continue
            try:
                event = json.loads(line)
            except ValueError:
                continue  # it was killed while it wrote
            if event["level"] not in ("debug", "info") or event["event"] in COUNTED:
                facts.events[f"{event['level']} {event['event']}"] += 1
    return facts
