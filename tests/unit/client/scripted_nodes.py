"""Nodes that answer over HTTP from a script, without a network."""

import json
from collections import defaultdict
from dataclasses import dataclass, field

from keyserver.client.attempts import Persistence, Retry
from keyserver.client.conversation import Conversation
from keyserver.client.doors import DoorKind
from keyserver.client.errors import ClientError
from keyserver.client.http import HttpKeyServers
from keyserver.client.node_http import HttpAnswer, HttpRequest
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import Address, NodeId

ONE, TWO, THREE = "http://one", "http://two", "http://three"
CONTRACT = Address(b"\x42" * 20)
RNG = SeededRandom("scripted nodes")


@dataclass(frozen=True)
class Said:
    """What a node answers."""

    status: int
    body: bytes


def said(fields: object, status: int = 200) -> Said:
    return Said(status, json.dumps(fields).encode())


def problem(code: str, status: int, *, retriable: bool = False) -> Said:
    return said({"error": {"code": code, "message": code, "retriable": retriable}}, status)


def text(words: str, status: int) -> Said:
    return said(f'"{words}"', status)


def hex_of(value: Point | bytes) -> str:
    return "0x" + (value.raw64 if isinstance(value, Point) else value).hex()


def about(chain_id: int = 5) -> Said:
    node_id = NodeId.of(SecretScalar.from_int(9).public())
    return said(
        {
            "node_id": hex_of(node_id),
            "address": hex_of(node_id.address),
            "chain_id": chain_id,
            "verifying_contract": hex_of(CONTRACT),
            "version": "test",
        }
    )


Script = list[Said | ClientError]


@dataclass
class ScriptedNodes:
    """A `Transport`: each node has answers in store, and is in a network."""

    answers: dict[str, Script] = field(default_factory=lambda: defaultdict(list))
    chain_ids: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, HttpRequest]] = field(default_factory=list)

    async def exchange(self, node: str, request: HttpRequest) -> HttpAnswer:
        if request.path == "/v1/node":
            found: Said | ClientError = about(self.chain_ids.get(node, 5))
        else:
            self.asked.append((node, request))
            assert self.answers[node], f"{node} was not expected to be asked again"
            found = self.answers[node].pop(0)
        if isinstance(found, ClientError):
            raise found
        return HttpAnswer(node, found.status, found.body)

    def will(self, node: str, *answers: Said | ClientError) -> None:
        self.answers[node] += answers

    @property
    def nodes_asked(self) -> list[str]:
        return [node for node, _ in self.asked]


@dataclass
class Client:
    """A client of scripted nodes, without pauses."""

    wallet: Wallet
    nodes: ScriptedNodes = field(default_factory=ScriptedNodes)
    told: list[Retry] = field(default_factory=list)

    def servers(
        self,
        *urls: str,
        door: DoorKind = DoorKind.V1,
        confirm_with: tuple[str, ...] = (),
        domain: SigningDomain | None = None,
    ) -> HttpKeyServers:
        conversation = Conversation(
            self.nodes, self.wallet, door, domain=domain, rng=RNG, unix_time=lambda: 1e9
        )
        persistence = Persistence(20.0, RNG, self.told.append, _no_pause)
        return HttpKeyServers(
            conversation, urls or (ONE,), self.wallet, persistence, confirm_with=confirm_with
        )


async def _no_pause(seconds: float) -> None:
    assert seconds > 0
