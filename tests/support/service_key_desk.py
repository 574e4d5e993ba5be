"""Service keys of one replica, complete but for the seal: stores, audit log, both listeners."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.types import ASGIApp

from keyserver.api.administrators import Administrators
from keyserver.api.operator_owners import owner_routes
from keyserver.api.rate_limit import RateLimiter
from keyserver.api.refusals import Refusals
from keyserver.api.v1 import v1_routes
from keyserver.api.v1_admission import NodeIdentity, V1Dependencies
from keyserver.app.compose_service_keys import ServiceKeys, compose_service_keys
from keyserver.app.config.model import Config, KeyServer
from keyserver.app.config.model import ServiceKeys as ServiceKeysSection
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import address_of
from keyserver.crypto.randomness import RandomSource, SystemRandom
from keyserver.model.identifiers import Address, NodeId
from keyserver.sealing.audit_details import Detail, check_action, check_details
from keyserver.sealing.callers import CallerRegistry
from keyserver.sealing.errors import AuditUnavailableError, SealedError
from keyserver.sealing.keyring import Keyring, Term
from keyserver.sealing.ports import Actor, ActorKind, AuditOutcome, Caller, Scope
from keyserver.sealing.secret_boxes import SecretBoxes
from keyserver.sealing.secret_key import SecretKey
from keyserver.sealing.service_keys.proofs import ProvenTokens
from keyserver.sealing.service_keys.rights import Asker
from keyserver.sealing.signed_requests import sign_request
from keyserver.storage.callers import SqlGrantStore, SqlRequestNonces, SqlTokenStore
from keyserver.storage.database import Database, opened
from keyserver.storage.service_keys import SqlServiceKeyStore
from tests.support.asgi import call
from tests.support.manual_clock import ManualClock
from tests.support.raw_http import Answer
from tests.support.scripted_node import ScriptedNode

NODE = NodeId.of(SecretScalar.from_int(77).public())
OTHER_NODE = NodeId.of(SecretScalar.from_int(78).public())
ADMIN, ALICE, BOB = (SecretScalar.from_int(number) for number in (1001, 1002, 1003))


def address_of_key(key: SecretScalar) -> Address:
    return Address(address_of(key.public().raw64))


def owner_of_key(key: SecretScalar) -> str:
    return f"eth:0x{address_of_key(key).hex()}"


class StoredKeyring:
    """The keyring that all replicas read."""

    def __init__(self) -> None:
        self.now = Keyring.first(bytes(16), SecretKey(b"\x07" * 32), 0)

    def rotate(self) -> None:
        term = self.now.active_term + 1
        terms = {**self.now.terms, term: Term(term, 0, SecretKey(bytes([term]) * 32))}
        self.now = Keyring(self.now.seal_id, terms, term)


class ScriptedVault:
    """`KeyVault` that is shut and refreshed as the test says."""

    def __init__(self, stored: StoredKeyring) -> None:
        self.stored = stored
        self._boxes = SecretBoxes(stored.now, SystemRandom())
        self.is_open = True
        self.refreshed = 0

    @property
    def boxes(self) -> SecretBoxes:
        if not self.is_open:
            raise SealedError("the node is sealed")
        return self._boxes

    async def refresh(self) -> None:
        self.refreshed += 1
        self._boxes = SecretBoxes(self.stored.now, SystemRandom())


@dataclass
class AuditBook:
    """`AuditLog` that remembers, and takes no detail that the real one would not."""

    entries: list[tuple[str, str, Actor, dict[str, Detail]]] = field(default_factory=list)
    is_broken: bool = False

    async def record(
        self,
        action: str,
        outcome: AuditOutcome,
        actor: Actor,
        details: Mapping[str, Detail] | None = None,
    ) -> None:
        check_action(action)
        check_details(details or {})
        if self.is_broken:
            raise AuditUnavailableError("audit log: no room on the disk")
        self.entries.append((action, outcome.value, actor, dict(details or {})))

    @property
    def actions(self) -> list[str]:
        return [action for action, *_ in self.entries]


_EMPTY: list[bytes] = []
"""A database file with the present tables: making one takes longer than most tests."""


@asynccontextmanager
async def opened_store(folder: Path) -> AsyncIterator[Database]:
    """An empty database in a folder of the test."""
    file = folder / "store.sqlite"
    if not _EMPTY:
        async with opened(f"sqlite:///{folder / 'empty.sqlite'}"):
            pass
        _EMPTY.append((folder / "empty.sqlite").read_bytes())
    file.write_bytes(_EMPTY[0])
    async with opened(f"sqlite:///{file}") as database:
        yield database


class Desk:
    """One replica; several may share a database and a keyring."""

    def __init__(
        self,
        database: Database,
        *,
        stored: StoredKeyring | None = None,
        clock: ManualClock | None = None,
        random: RandomSource | None = None,
        rotation_days: int = 30,
        limiter: RateLimiter | None = None,
        admins: Sequence[SecretScalar] = (ADMIN,),
        is_local: bool = True,
    ) -> None:
        self.database, self.clock = database, clock or ManualClock()
        self.vault, self.audit = ScriptedVault(stored or StoredKeyring()), AuditBook()
        self.random: RandomSource = random or SystemRandom()
        self.store = SqlServiceKeyStore(database)
        self.grants, self.tokens = SqlGrantStore(database), SqlTokenStore(database)
        self.callers = CallerRegistry(
            NODE,
            [address_of_key(key) for key in admins],
            SqlRequestNonces(database),
            ProvenTokens(self.tokens, self.vault),
            self.clock,
        )
        denied = Refusals("auth.denied", self.audit, self.clock.monotonic, AuditOutcome.DENIED)
        self.parts: ServiceKeys = compose_service_keys(
            _config(rotation_days),
            database,
            self.vault,
            self.callers,
            self.audit,
            denied,
            self.clock,
            self.random,
        )
        self.node, self.limiter = ScriptedNode(), limiter or RateLimiter(0, lambda: 0.0)
        self.administrators = Administrators(self.callers, is_local, denied)
        self.keys = self.parts.client_needs.keys

    @cached_property
    def operators(self) -> ASGIApp:
        """The part of the operator listener that is about owners."""
        return Starlette(routes=owner_routes(self.parts.owner_needs(self.administrators)))

    @cached_property
    def clients(self) -> ASGIApp:
        """The part of the client listener under `/v1`."""
        needs = V1Dependencies(
            self.node,
            NodeIdentity(NODE, "1.2.3"),
            self.random,
            self.limiter,
            self.clock.unix,
            service_keys=self.parts.client_needs,
        )
        return Starlette(routes=v1_routes(needs))

    # --- asking in this process -------------------------------------------------------------

    def asker(self, owner: str, services: tuple[str, ...] = ("*",)) -> Asker:
        """Somebody with a token, who asks for keys of its own."""
        return asker_of(owner, services)

    # --- asking over HTTP -------------------------------------------------------------------

    def signed(
        self,
        key: SecretScalar,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        node: NodeId = NODE,
        late_s: int = 0,
    ) -> list[tuple[str, str]]:
        """The header of a signed request."""
        now = self.clock.unix() - late_s
        text = sign_request(key, node, method, target, body, now=now, random=self.random)
        return [("Authorization", text)]

    async def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        key: SecretScalar | None = None,
        token: str | None = None,
        owner: str | None = None,
        headers: list[tuple[str, str]] | None = None,
    ) -> Answer:
        """A request to the client listener, signed or with a token."""
        text = _written(body)
        sent = list(headers or [])
        if key is not None:
            sent += self.signed(key, method, target, text)
        if token is not None:
            sent.append(("Authorization", f"Bearer {token}"))
        if owner is not None:
            sent.append(("Keyserver-Owner", quote(owner, safe="")))
        return await call(self.clients, method, target, sent, text)

    async def order(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        key: SecretScalar | None = ADMIN,
        token: str | None = None,
    ) -> Answer:
        """A request to the operator listener, with a token or signed."""
        text = _written(body)
        headers = [] if key is None else self.signed(key, method, target, text)
        if token is not None:
            headers = [("Authorization", f"Bearer {token}")]
        return await call(self.operators, method, target, headers, text)

    async def token(
        self,
        principal: str,
        scopes: tuple[Scope, ...] = (Scope.KEYS_USE,),
        services: tuple[str, ...] = ("*",),
        days: int = 30,
    ) -> str:
        """A token made by the administrator."""
        caller = Caller(Actor(ActorKind.LOCAL), "local", frozenset(Scope))
        made = await self.parts.credentials.make_token(caller, principal, scopes, services, days)
        return made.token.text()


def asker_of(owner: str, services: tuple[str, ...] = ("*",)) -> Asker:
    """Somebody with a token, who asks for keys of its own."""
    actor = Actor(ActorKind.TOKEN, "a" * 16)
    return Asker(Caller(actor, owner, frozenset({Scope.KEYS_USE}), services), owner, ("*",))


def service_path(service: str, end: str = "") -> str:
    """The path of a service's keys."""
    return f"/v1/keys/{quote(service, safe='')}{end}"


def owner_path(owner: str, end: str = "") -> str:
    """The path of an owner."""
    return f"/v1/admin/owners/{quote(owner, safe='')}{end}"


def code_of(answer: Answer) -> str:
    """The code of an error."""
    code: str = json.loads(answer.body)["error"]["code"]
    return code


def fields_of(answer: Answer) -> dict[str, Any]:
    """The fields of an answer that is no error."""
    assert answer.status < 300, answer.text
    fields: dict[str, Any] = json.loads(answer.body)
    return fields


def _written(body: object) -> bytes:
    match body:
        case None:
            return b""
        case bytes():
            return body
    return json.dumps(body).encode()


def _config(rotation_days: int) -> Config:
    section = ServiceKeysSection(enabled=True, rotation_days=rotation_days)
    return Config.model_construct(keyserver=KeyServer.model_construct(service_keys=section))
