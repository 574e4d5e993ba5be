"""Answers of an Ethereum node: its JSON, logs and results of calls of contracts."""

import json
from random import Random
from typing import Any

from keyserver.chain import rpc_codec as codec
from keyserver.chain import set_reading
from keyserver.chain.access import permission_in
from keyserver.chain.client import CallResult, Returned, Reverted
from keyserver.errors import ChainError
from keyserver.evm.abi import AbiError, ContractAbi
from keyserver.evm.artifacts import load_artifact
from keyserver.model.identifiers import Address, NodeId
from keyserver.services.base import decode_count, requests_in_log
from keyserver.services.message_signing.bindings import ECDSA, SCHNORR
from keyserver.services.registry import CONTRACTS
from tests.fuzz.mutation import altered, altered_json
from tests.support.fake_cluster import node_of

_SERVICE = ContractAbi.of(load_artifact("SecretStoreService").abi)
_CHAIN = 31337
_WORD = 32
_LARGEST = 2**63
"""Numbers of blocks and times must fit into a column of the database."""


class Answers:
    """Logs, blocks, receipts, pending lists, node sets and permissions that were altered."""

    def __init__(self) -> None:
        self._logs = [_log(event) for event in _request_events()]
        self._block = {
            "number": "0x10",
            "hash": "0x" + "11" * 32,
            "parentHash": "0x" + "12" * 32,
            "timestamp": "0x65000000",
            "baseFeePerGas": "0x7",
        }
        self._receipt = {
            "transactionHash": "0x" + "21" * 32,
            "status": "0x1",
            "blockNumber": "0x10",
            "blockHash": "0x" + "11" * 32,
            "gasUsed": "0x5208",
            "effectiveGasPrice": "0x7",
        }
        self._failure = {"code": 3, "message": "execution reverted", "data": "0x08c379a0"}
        self._others = [*self._logs, self._block, self._receipt, self._failure]
        self._items = _items()
        self._members = [node_of(number) for number in range(1, 4)]

    def feed(self, random: Random) -> str:
        try:
            match random.randrange(6):
                case 0 | 1:
                    return self._feed_log(random)
                case 2:
                    return self._feed_object(random)
                case 3:
                    return self._feed_item(random)
                case 4:
                    return self._feed_set(random)
            result = self._result(random, bytes(31) + b"\x01")
            return "permission" if permission_in(result) else "no permission"
        except (AbiError, ChainError):
            return "refused"

    def _feed_log(self, random: Random) -> str:
        value = [random.choice(self._logs) for _ in range(random.randrange(1, 3))]
        answer = altered_json(random, value, self._others) if random.random() < 0.9 else value
        found = codec.logs(json.loads(json.dumps(answer)))
        requests = 0
        for log in found:
            assert log.block_number < _LARGEST
            assert log.log_index < _LARGEST
            requests += len(requests_in_log(CONTRACTS, _CHAIN, log))
        return "request" if requests else "no request"

    def _feed_object(self, random: Random) -> str:
        if random.random() < 0.4:
            block = codec.block(altered_json(random, self._block, self._others))
            assert block is None or max(block.number, block.timestamp) < _LARGEST
            return "block"
        if random.random() < 0.6:
            receipt = codec.receipt(altered_json(random, self._receipt, self._others))
            assert receipt is None or receipt.block_number < _LARGEST
            return "receipt"
        codec.failure(altered_json(random, self._failure, self._others))
        return "error"

    def _feed_item(self, random: Random) -> str:
        service, data = random.choice(self._items)
        asked = service.asked_in_item(altered(random, data, [item for _, item in self._items]))
        decode_count(altered(random, bytes(31) + b"\x05", []))
        return "entry" if asked else "nothing asked"

    def _feed_set(self, random: Random) -> str:
        """Three members, a migration, and anything in any of the answers."""
        addresses = [member.address for member in self._members]
        called = set_reading.first_calls(with_migration=True)
        answers: list[Any] = [7, addresses, addresses[:2], [], addresses[0], b"\x01" * 32]
        first = [
            self._result(random, function.encode_result(value))
            for (function, _), value in zip(called, answers, strict=True)
        ]
        members = set_reading.membership(first)
        me = addresses[0]
        calls = set_reading.second_calls(members, me, {})
        assert len(calls) <= 6 * len(first[1].data + first[2].data + first[3].data) // _WORD + 1
        publics = {member.address: bytes(member) for member in self._members}
        second = []
        for function, arguments in calls:
            value: Any = publics.get(arguments[0], bytes(64))
            if function.outputs == ("string",):
                value = "127.0.0.1:8083"
            elif function.outputs == ("bool",):
                value = True
            second.append(self._result(random, function.encode_result(value), often=0.05))
        reading = set_reading.reading(members, me, {}, calls, second)
        for member in (*reading.current, *reading.new, *reading.migration):
            assert isinstance(member.node, NodeId)
        return "node set"

    def _result(self, random: Random, data: bytes, often: float = 0.3) -> CallResult:
        chance = random.random()
        if chance < often / 10:
            return Reverted(random.randbytes(random.randrange(40)))
        if chance < often:
            return Returned(altered(random, data, [bytes(_WORD), b"\xff" * _WORD]))
        return Returned(data)

    def close(self) -> None:
        return


def _request_events() -> list[tuple[Any, tuple[Any, ...]]]:
    key, author, public = b"\x09" * 32, Address(b"\x0a" * 20), b"\x0b" * 64
    return [
        (_SERVICE.event("ServerKeyGenerationRequested"), (key, author, 1)),
        (_SERVICE.event("ServerKeyRetrievalRequested"), (key,)),
        (_SERVICE.event("DocumentKeyStoreRequested"), (key, author, public, public)),
        (_SERVICE.event("DocumentKeyCommonRetrievalRequested"), (key, author)),
        (_SERVICE.event("DocumentKeyPersonalRetrievalRequested"), (key, public)),
    ]


def _log(made: tuple[Any, tuple[Any, ...]]) -> dict[str, Any]:
    event, values = made
    topics, data = event.encode(*values)
    return {
        "address": "0x" + "0c" * 20,
        "topics": [f"0x{topic.hex()}" for topic in topics],
        "data": f"0x{data.hex()}",
        "blockNumber": "0x10",
        "blockHash": "0x" + "11" * 32,
        "transactionHash": "0x" + "21" * 32,
        "logIndex": "0x0",
        "removed": False,
    }


def _items() -> list[tuple[Any, bytes]]:
    """A valid entry of every pending list."""
    key, author, public = b"\x09" * 32, Address(b"\x0a" * 20), b"\x0b" * 64
    values: dict[str, tuple[Any, ...]] = {
        "getServerKeyGenerationRequest": (key, author, 1),
        "getServerKeyRetrievalRequest": (key,),
        "getDocumentKeyStoreRequest": (key, author, public, public),
        "getDocumentKeyShadowRetrievalRequest": (key, public, False),
    }
    items = []
    for service in CONTRACTS:
        selector = service.item_call(0)[:4]
        for name, value in values.items():
            function = _SERVICE.function(name)
            if function.selector == selector:
                items.append((service, function.encode_result(*value)))
    assert len(items) == len(values)
    signed = (key, author, b"\x0c" * 32, False)
    signing = ((each, each.calls.item.encode_result(*signed)) for each in (ECDSA, SCHNORR))
    return [*items, *signing]
