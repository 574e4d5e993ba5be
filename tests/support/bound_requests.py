"""Requests to `/v1`, signed as a client signs them."""

import json
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from starlette.types import ASGIApp

from keyserver.api.cors import OriginPolicy
from keyserver.api.original import ClientDependencies, client_app
from keyserver.api.ports import SetChangeService
from keyserver.api.rate_limit import RateLimiter
from keyserver.api.v1 import v1_routes
from keyserver.api.v1_admission import NodeIdentity, V1Dependencies
from keyserver.api.v1_credentials import HEADER
from keyserver.api.v1_nonces import UsedNonces
from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.bound_requests import SigningDomain, request_digest
from keyserver.model.identifiers import Address, KeyId, Nonce32
from keyserver.sessions.core import Policy
from tests.support.scripted_node import NODES, ScriptedNode

NOW = 1_800_000_000
"""What the clock of a scripted node says."""

DOMAIN = SigningDomain(100, Address(b"\xc0" * 20))
POLICY = Policy(chain_id=DOMAIN.chain_id, verifying_contract=DOMAIN.verifying_contract)
"""Of a node in that domain."""

ALICE = SecretScalar.from_int(5)
KEY_ID = KeyId(b"\x4b" * 32)
KEY = f"/v1/server-keys/{KEY_ID.hex()}"

_NONCES = count(1)


@dataclass(frozen=True)
class Signed:
    """One request: what is sent, and what the header is made from."""

    method: str
    path: str
    body: bytes
    number: int
    key_id: KeyId
    payload: bytes
    key: SecretScalar
    domain: SigningDomain = DOMAIN
    not_after: int = NOW + 60
    nonce: Nonce32 = field(default_factory=lambda: fresh_nonce())

    @property
    def header(self) -> str:
        """The value of the header."""
        digest = request_digest(
            self.domain, self.number, self.key_id, self.payload, self.not_after, self.nonce
        )
        signature = sign_digest(self.key, digest)
        return f"v1 {self.not_after} {self.nonce.hex()} {signature.hex()}"

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The header, and the length of the body."""
        return [(HEADER, self.header), ("Content-Length", str(len(self.body)))]

    @property
    def again(self) -> "Signed":
        """The same request under a nonce of its own."""
        return replace(self, nonce=fresh_nonce())


def signed(
    method: str,
    path: str,
    number: int,
    payload: bytes = b"",
    body: object = None,
    **changes: Any,
) -> Signed:
    """A request about `KEY_ID` by Alice, unless told otherwise; the body is written as JSON."""
    text = b"" if body is None else json.dumps(body).encode()
    request = Signed(method, path, text, number, KEY_ID, payload, ALICE)
    return replace(request, **changes)


def fresh_nonce() -> Nonce32:
    """A nonce no other test uses."""
    return Nonce32(next(_NONCES).to_bytes(32, "big"))


def v1_app_of(
    node: ScriptedNode,
    *,
    limiter: RateLimiter | None = None,
    nonces: UsedNonces | None = None,
    now: int = NOW,
    set_changes: SetChangeService | None = None,
) -> ASGIApp:
    """The client listener's application on this node, with both doors."""
    limits, random = limiter or RateLimiter(0, lambda: 0.0), SeededRandom(1)
    needs = V1Dependencies(
        node,
        NodeIdentity(NODES[0], "1.2.3"),
        random,
        limits,
        lambda: now,
        UsedNonces() if nonces is None else nonces,
        set_changes,
    )
    original = ClientDependencies(node, random, OriginPolicy(()), limits, set_changes)
    return client_app(original, v1_routes(needs))
