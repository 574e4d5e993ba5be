"""The interface `/v1`, as a client speaks it (HTTP interface, section 13).

Each request carries a signature of its own, over operation, key, payload, expiry, nonce and
network (`keyserver.model.bound_requests`): nobody can use it for anything else.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from keyserver.client.errors import ClientError
from keyserver.client.node_answers import (
    bad_answer,
    read_bytes,
    read_number,
    read_object,
    read_point,
    read_sealed_signature,
    unknown_failure,
)
from keyserver.client.node_http import HttpAnswer, HttpRequest
from keyserver.client.node_refusals import (
    NO_ADVICE,
    Advice,
    Kind,
    make_error,
    refusal_by_code,
)
from keyserver.client.original_door import SEALED_SIZE
from keyserver.client.results import ServerKey, ShadowAnswer
from keyserver.client.shadow_fields import read_commitments, read_shadow
from keyserver.client.wallet import Wallet
from keyserver.crypto.randomness import RandomSource
from keyserver.model.bound_requests import SigningDomain, bound_digest
from keyserver.model.identifiers import Address, NodeId, Nonce32
from keyserver.model.requests import (
    ClientOperation,
    GenerateServerKey,
    RetrieveDocumentKey,
    RetrieveServerKey,
    SignMessage,
    StoreDocumentKey,
)

CREDENTIAL: Final = "Secretstore-Auth"
LIFETIME_S: Final = 300
"""How long a credential of ours is good; nodes take up to 600 seconds."""
_MOST_CHAIN_ID = 2**256
_MOST_THRESHOLD = 2**16
_MOST_VERSION = 100

_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
"""The name of an error; it is shown on terminals."""

ABOUT: Final = HttpRequest("GET", "/v1/node")
"""Asks a node who it is; open to everybody."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a node says about itself and its network."""

    node_id: NodeId
    domain: SigningDomain
    version: str


def credential(
    wallet: Wallet,
    domain: SigningDomain,
    operation: ClientOperation,
    not_after: int,
    nonce: Nonce32,
) -> str:
    """The value of the header `Secretstore-Auth` for one operation; `not_after` in unix seconds."""
    signature = wallet.sign_digest(bound_digest(domain, operation, not_after, nonce))
    return f"v1 {not_after} {nonce.hex()} {signature.hex()}"


class V1Door:
    """A `Door`: JSON in and out, with bound credentials."""

    def __init__(
        self,
        wallet: Wallet,
        domain: SigningDomain,
        rng: RandomSource,
        unix_time: Callable[[], float],
    ) -> None:
        self._wallet = wallet
        self._domain = domain
        self._rng = rng
        self._unix_time = unix_time

    def request(
        self, operation: ClientOperation, exclude: frozenset[NodeId] = frozenset()
    ) -> HttpRequest:
        """See `Door`."""
        method, path, fields = _form(operation, exclude)
        not_after, nonce = int(self._unix_time()) + LIFETIME_S, Nonce32(self._rng.bytes(32))
        headers = {CREDENTIAL: credential(self._wallet, self._domain, operation, not_after, nonce)}
        if fields is None:
            return HttpRequest(method, path, headers)
        headers["Content-Type"] = "application/json"
        return HttpRequest(method, path, headers, json.dumps(fields).encode())

    def server_key(self, answer: HttpAnswer) -> ServerKey:
        """See `Door`."""
        fields = read_object(answer)
        threshold = read_number(answer, "threshold", fields.get("threshold"))
        if threshold >= _MOST_THRESHOLD:
            raise bad_answer(answer, "threshold: does not fit 2 bytes")
        return ServerKey(
            read_point(answer, "public", fields.get("public")),
            threshold,
            Address(read_bytes(answer, "author", fields.get("author"), Address.SIZE)),
        )

    def stored(self, answer: HttpAnswer) -> bool:
        """See `Door`."""
        read_object(answer)
        return True

    def sealed_document_key(self, answer: HttpAnswer) -> bytes:
        """See `Door`."""
        fields = read_object(answer)
        return read_bytes(answer, "encrypted_key", fields.get("encrypted_key"), SEALED_SIZE)

    def sealed_signature(self, answer: HttpAnswer) -> bytes:
        """See `Door`."""
        return read_sealed_signature(answer, read_object(answer).get("encrypted_signature"))

    def shadow(self, answer: HttpAnswer) -> ShadowAnswer:
        """See `Door`; what the shadows must be is always told."""
        fields = read_object(answer)
        return read_shadow(answer, fields, read_commitments(answer, fields))

    def refusal(self, answer: HttpAnswer) -> ClientError:
        """See `Door`."""
        return v1_refusal(answer)


def read_facts(answer: HttpAnswer) -> NodeFacts:
    """The answer to `ABOUT`; raises `BadAnswerError`."""
    fields = read_object(answer)
    node_id = NodeId(read_bytes(answer, "node_id", fields.get("node_id"), NodeId.SIZE))
    address = read_bytes(answer, "address", fields.get("address"), Address.SIZE)
    if address != node_id.address:
        raise bad_answer(answer, "address: is not that of node_id")
    chain_id = read_number(answer, "chain_id", fields.get("chain_id"))
    if chain_id >= _MOST_CHAIN_ID:
        raise bad_answer(answer, "chain_id: does not fit 32 bytes")
    contract = fields.get("verifying_contract")
    version = fields.get("version")
    if not isinstance(version, str) or not version.isprintable() or len(version) > _MOST_VERSION:
        raise bad_answer(answer, "version: is not a line of text")
    domain = SigningDomain(
        chain_id, Address(read_bytes(answer, "verifying_contract", contract, Address.SIZE))
    )
    return NodeFacts(node_id, domain, version)


def v1_refusal(answer: HttpAnswer, advice: Advice = NO_ADVICE) -> ClientError:
    """The error that an answer of another status than 200 is."""
    if answer.status in (400, 404) and not answer.body:
        # How the original answers a path it does not know.
        text = "has no interface /v1; use the original's: --door original"
        return make_error(answer, "NO_V1", text, Kind.FINAL)
    try:
        error: Any = read_object(answer).get("error")
    except ClientError:
        return unknown_failure(answer)
    if not isinstance(error, dict):
        return unknown_failure(answer)
    code, message, retriable = (error.get(name) for name in ("code", "message", "retriable"))
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        return unknown_failure(answer)
    if not isinstance(message, str) or type(retriable) is not bool:
        return unknown_failure(answer)
    return refusal_by_code(answer, code, message, retriable=retriable, advice=advice)


def _form(
    operation: ClientOperation, exclude: frozenset[NodeId]
) -> tuple[str, str, dict[str, Any] | None]:
    """Method, path and the fields of the body (None: no body)."""
    key = f"/v1/server-keys/{operation.key_id.hex()}"
    match operation:
        case GenerateServerKey(_, threshold, with_document_key=True):
            return "POST", f"{key}/document-key/generate", {"threshold": threshold}
        case GenerateServerKey(_, threshold):
            return "POST", key, {"threshold": threshold}
        case StoreDocumentKey(_, document):
            points = {"common_point": document.common, "encrypted_point": document.encrypted}
            fields = {name: f"0x{point.raw64.hex()}" for name, point in points.items()}
            return "POST", f"{key}/document-key", fields
        case RetrieveServerKey():
            return "GET", key, None
        case RetrieveDocumentKey(shadow=True):
            unwanted = sorted(f"0x{node.hex()}" for node in exclude)
            return "POST", f"{key}/document-key/shadow", {"exclude": unwanted} if exclude else None
        case RetrieveDocumentKey():
            return "POST", f"{key}/document-key/plain", None
        case SignMessage(_, message, scheme):
            fields = {"scheme": scheme.name.lower(), "message_hash": f"0x{message.hex()}"}
            return "POST", f"{key}/signature", fields
