"""Service keys over HTTP: the keys that one node hands out, for a service's own data.

    signer = AccountCredential(key, node_id)          # or TokenCredential("kst1_…")
    async with connect_service_keys("https://node.example:8082", signer) as keys:
        key = await keys.current("mail")              # encrypt with key.key, store key.id
        old = await keys.by_id("mail", stored_id)     # decrypt what was encrypted with it

Keys belong to one node: no other can answer for it. Sealing, C15 and C16.
"""

import base64
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from keyserver.client.errors import (
    BadAnswerError,
    NodeFailedError,
    NodeNotReadyError,
    RefusedOverHttpError,
)
from keyserver.client.node_http import (
    HttpAnswer,
    HttpRequest,
    Transport,
    http_transport,
    is_exposed,
    node_url,
)
from keyserver.client.v1_door import ABOUT, read_facts
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import address_of
from keyserver.crypto.randomness import RandomSource, SystemRandom
from keyserver.errors import ConfigError
from keyserver.model.identifiers import NodeId
from keyserver.sealing.errors import UnauthenticatedError
from keyserver.sealing.secret_key import SecretKey
from keyserver.sealing.signed_requests import sign_request
from keyserver.sealing.tokens import Token

_KEY: Final = re.compile(r"[0-9a-f]{64}")
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

_ADVICE: Final[Mapping[str, str]] = {
    "SIGNATURE_EXPIRED": "The clocks of the two machines differ by more than a minute: set them.",
    "OWNER_NOT_PROVEN": "An administrator can grant it: `keyserver service-keys grant`.",
    "OWNER_DELETED": "An administrator can restore the keys: `keyserver service-keys restore`.",
    "SEALED": "Its operators have to unseal it.",
}


class RequestCredential(Protocol):
    """Proves who asks."""

    @property
    def principal(self) -> str | None:
        """Who that is; `None` where only the node knows."""
        ...

    def header(self, method: str, target: str, body: bytes) -> str:
        """The value of the header `Authorization` for one request."""
        ...


class AccountCredential:
    """Signs every request with an account's key, for one node."""

    def __init__(
        self, key: SecretScalar, node_id: NodeId, random: RandomSource | None = None
    ) -> None:
        """`node_id` must be known from elsewhere than the node: one that names another's could
        use the request there.
        """
        self._key = key
        self._node_id = node_id
        self._random: RandomSource = random or SystemRandom()
        self.principal: str | None = f"eth:0x{address_of(key.public().raw64).hex()}"

    def header(self, method: str, target: str, body: bytes) -> str:
        """A signature of this one request."""
        now = int(time.time())
        return sign_request(
            self._key, self._node_id, method, target, body, now=now, random=self._random
        )


class TokenCredential:
    """Shows a token."""

    principal: str | None = None

    def __init__(self, text: str) -> None:
        """Raises `ConfigError`, which does not repeat it, for what is no token."""
        try:
            self._token = Token.read(text.strip())
        except UnauthenticatedError as error:
            raise ConfigError(str(error)) from None

    def header(self, method: str, target: str, body: bytes) -> str:
        """The token; whoever reads it can use it."""
        return f"Bearer {self._token.text()}"


@dataclass(frozen=True, slots=True)
class HandedKey:
    """A key as the node handed it out; times in milliseconds since 1970."""

    id: str
    """Keep it with what is encrypted."""
    key: SecretKey = field(repr=False)
    service: str
    owner: str
    created_at: int
    expires_at: int
    current: bool
    """False for one that a newer key has replaced, or whose time is over."""


class ServiceKeysClient:
    """Service keys of one owner, at one node.

    The methods raise `RefusedOverHttpError` (final), `NodeNotReadyError` (sealed, too many
    requests: later), `NodeFailedError`, `NodeUnreachableError`, `NodeNotTrustedError` and
    `BadAnswerError`.
    """

    def __init__(
        self,
        transport: Transport,
        node: str,
        credential: RequestCredential,
        *,
        owner: str | None = None,
    ) -> None:
        """`node`: a URL of `node_url`'s form; `owner`: for whom to ask, where not for oneself.

        Raises `ConfigError` for a URL over which others could read along.
        """
        if is_exposed(node):
            raise ConfigError(f"{node}: keys are not sent over a network without encryption")
        self.node = node
        self._transport = transport
        self._credential = credential
        self._owner = owner

    async def told_node(self) -> NodeId:
        """Which node this says it is: to compare with the one that is meant, not to sign for it."""
        answer = await self._transport.exchange(self.node, ABOUT)
        return read_facts(answer).node_id

    async def current(self, service: str) -> HandedKey:
        """The key to encrypt with now."""
        answer = await self._ask("POST", f"{_path(service)}/current")
        return self._key(answer, service)

    async def by_id(self, service: str, key_id: str) -> HandedKey:
        """The key of this id, however old."""
        answer = await self._ask("GET", f"{_path(service)}/{quote(key_id, safe='')}")
        return self._key(answer, service)

    # Any: JSON as the node sends it, for people to look at.
    async def services(self, after: str = "") -> dict[str, Any]:
        """A page of the services that have keys: `services` and `next_after`."""
        query = f"?after={quote(after, safe='')}" if after else ""
        return _fields(await self._ask("GET", f"/v1/keys{query}"))

    async def versions(self, service: str, before: int | None = None) -> dict[str, Any]:
        """A page of the versions of a service's key: `versions` and `next_before`."""
        query = "" if before is None else f"?before={before}"
        return _fields(await self._ask("GET", f"{_path(service)}{query}"))

    async def encrypt(self, service: str, data: bytes, aad: bytes = b"") -> str:
        """Have up to 64 KiB encrypted; the node sees them, the key stays there."""
        body = {"plaintext": _base64(data), "aad": _base64(aad)}
        answer = await self._ask("POST", f"{_path(service)}/encrypt", body)
        return _text(answer, "ciphertext")

    async def decrypt(self, service: str, ciphertext: str, aad: bytes = b"") -> bytes:
        """What was encrypted, with the same associated data."""
        body = {"ciphertext": ciphertext, "aad": _base64(aad)}
        answer = await self._ask("POST", f"{_path(service)}/decrypt", body)
        try:
            return base64.b64decode(_text(answer, "plaintext"), validate=True)
        except ValueError:
            raise BadAnswerError(f"{answer.node}: plaintext is not base64") from None

    async def _ask(
        self, method: str, target: str, body: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        data = b"" if body is None else json.dumps(body).encode()
        headers = {"Authorization": self._credential.header(method, target, data)}
        if data:
            headers["Content-Type"] = "application/json"
        if self._owner is not None:
            headers["Keyserver-Owner"] = quote(self._owner, safe="")
        request = HttpRequest(method, target, headers, data)
        answer = await self._transport.exchange(self.node, request)
        if answer.status not in (200, 201):
            raise _refusal(answer)
        return answer

    def _key(self, answer: HttpAnswer, service: str) -> HandedKey:
        """The key, if it is the one that was asked for."""
        fields = _fields(answer)
        secret, owner = _text(answer, "key"), _text(answer, "owner")
        expected = self._owner or self._credential.principal
        if not _KEY.fullmatch(secret) or fields.get("service") != service:
            raise BadAnswerError(f"{answer.node}: this is no key of the service that was asked for")
        if expected is not None and owner != expected:
            raise BadAnswerError(
                f"{answer.node}: this is another owner's key than was asked for; where an account "
                "asks: is the node's id right?"
            )
        created_at, expires_at = fields.get("created_at"), fields.get("expires_at")
        current = fields.get("current")
        if type(created_at) is not int or type(expires_at) is not int or type(current) is not bool:
            raise BadAnswerError(f"{answer.node}: the answer lacks a field")
        return HandedKey(
            id=_text(answer, "id"),
            key=SecretKey(bytes.fromhex(secret)),
            service=service,
            owner=owner,
            created_at=created_at,
            expires_at=expires_at,
            current=current,
        )


@asynccontextmanager
async def connect_service_keys(
    node: str,
    credential: RequestCredential,
    *,
    owner: str | None = None,
    ca_file: Path | None = None,
) -> AsyncIterator[ServiceKeysClient]:
    """Service keys of the node at a URL; `ca_file`: certificates to trust instead of the machine's.

    Raises `ConfigError` for what cannot be used; nothing is sent yet.
    """
    async with http_transport(ca_file) as transport:
        yield ServiceKeysClient(transport, node_url(node), credential, owner=owner)


def _path(service: str) -> str:
    return f"/v1/keys/{quote(service, safe='')}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _fields(answer: HttpAnswer) -> dict[str, Any]:
    try:
        fields = json.loads(answer.body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise BadAnswerError(f"{answer.node}: the answer is no object in JSON")
    return fields


def _text(answer: HttpAnswer, name: str) -> str:
    value = _fields(answer).get(name)
    if not isinstance(value, str):
        raise BadAnswerError(f"{answer.node}: the answer has no {name}")
    return value


def _printable(text: object) -> str:
    """A node's own words, for a terminal."""
    words = text if isinstance(text, str) else ""
    return "".join(character for character in words if character.isprintable())[:300]


def _refusal(
    answer: HttpAnswer,
) -> RefusedOverHttpError | NodeNotReadyError | NodeFailedError:
    """Why the node did not do it."""
    try:
        error = _fields(answer).get("error")
    except BadAnswerError:
        error = None
    told: dict[str, Any] = error if isinstance(error, dict) else {}
    code = str(told.get("code", ""))
    code = code if _CODE.fullmatch(code) else "UNKNOWN"
    text = _printable(told.get("message")) or "no reason given"
    status, advice = answer.status, _ADVICE.get(code, "")
    if status in (429, 503):
        return NodeNotReadyError(
            answer.node,
            text,
            status=status,
            error_code=code,
            retry_after_s=answer.retry_after_s,
            advice=advice,
        )
    if status >= 500:
        return NodeFailedError(answer.node, text, status=status, error_code=code, advice=advice)
    return RefusedOverHttpError(answer.node, text, status=status, error_code=code, advice=advice)
