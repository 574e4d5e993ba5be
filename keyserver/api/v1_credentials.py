"""The header of `/v1`: who asks, and for exactly what (engine design, section 6).

`Secretstore-Auth: v1 <not_after> <nonce> <signature>`, an EIP-712 signature over operation, key id,
payload, expiry and nonce. The signature stays in memory until the request ends; the other nodes are
shown a proof that it is known, made anew for each session.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from keyserver.api.v1_errors import ProblemError, expired, unauthenticated
from keyserver.crypto.credentials import (
    OpenedSignature,
    bound_context,
    credential_statement,
    open_signature,
)
from keyserver.crypto.curve import Point
from keyserver.crypto.errors import InvalidSignatureError
from keyserver.crypto.hashing import address_of
from keyserver.crypto.proofs import prove
from keyserver.crypto.randomness import RandomSource
from keyserver.engine.credentials import Opening
from keyserver.model.bound_requests import MAX_BOUND_LIFETIME_S, SigningDomain, request_digest
from keyserver.model.identifiers import Address, Hash32, KeyId, Nonce32
from keyserver.model.requests import BoundCredential, Operation, Proof

HEADER: Final = "Secretstore-Auth"
FORM: Final = "v1 <not_after> <nonce, 64 hex digits> <signature, 130 hex digits>"

_HEADER: Final = re.compile(
    r"v1 (0|[1-9][0-9]{0,19}) (?:0x)?([0-9a-fA-F]{64}) (?:0x)?([0-9a-fA-F]{130})"
)
_LARGEST_RECOVERY_ID: Final = 3


class BoundRequest(Protocol):
    """What is asked for, as far as it is signed (any operation of `keyserver.model.requests`)."""

    @property
    def number(self) -> Operation:
        """The operation."""
        ...

    @property
    def key_id(self) -> KeyId:
        """The key."""
        ...

    def payload(self) -> bytes:
        """The operation's parameters in canonical encoding."""
        ...


@dataclass(frozen=True, slots=True)
class AuthHeader:
    """The header, read."""

    not_after: int
    """Unix seconds."""
    nonce: Nonce32
    signature: bytes = field(repr=False)


def read_header(values: Sequence[str]) -> AuthHeader:
    """Read the header from all its occurrences; raises `ProblemError` (401)."""
    if not values:
        raise ProblemError(unauthenticated(f"the header {HEADER} is missing: {FORM}"))
    if len(values) > 1:
        raise ProblemError(unauthenticated(f"the header {HEADER} stands there more than once"))
    match = _HEADER.fullmatch(values[0])
    if match is None or int(match[1]) >= 2**64:
        raise ProblemError(unauthenticated(f"the header {HEADER} must be: {FORM}"))
    nonce, signature = Nonce32(bytes.fromhex(match[2])), bytes.fromhex(match[3])
    if signature[64] > _LARGEST_RECOVERY_ID:
        raise ProblemError(
            unauthenticated(
                f"the last byte of the signature is {signature[64]}; it must be the recovery id, "
                "0 to 3 (where a wallet says 27 or 28, subtract 27)"
            )
        )
    return AuthHeader(int(match[1]), nonce, signature)


def check_expiry(not_after: int, now: int) -> None:
    """Raise `ProblemError` (401) for a credential that is too old, or would live too long."""
    if not_after < now:
        raise ProblemError(expired(not_after, now))
    if not_after > now + MAX_BOUND_LIFETIME_S:
        raise ProblemError(
            unauthenticated(
                f"not_after {not_after} is more than {MAX_BOUND_LIFETIME_S} seconds ahead: the "
                f"clock of this node says {now}"
            )
        )


class BoundCredentialSource:
    """A checked signature over one request; a `CredentialSource`, called once a session."""

    def __init__(
        self, header: AuthHeader, digest: Hash32, opened: OpenedSignature, random: RandomSource
    ) -> None:
        self._header = header
        self._digest = digest
        self._opened = opened
        self._random = random
        self.was_shown = False
        """Whether other nodes have seen a proof, so that the nonce is used up."""

    def __repr__(self) -> str:
        return f"BoundCredentialSource({self.address!r})"

    @property
    def public(self) -> Point:
        """The requester's key: answers are encrypted to it."""
        return self._opened.requester

    @property
    def address(self) -> Address:
        """The requester's account: it decides what is allowed."""
        return Address(address_of(self.public.raw64))

    @property
    def nonce(self) -> Nonce32:
        """What tells this request from all others of the requester."""
        return self._header.nonce

    @property
    def not_after(self) -> int:
        """The last second at which it counts, unix time."""
        return self._header.not_after

    def __call__(self, opening: Opening) -> BoundCredential:
        """Prove to the nodes of one session that the signature is known."""
        self.was_shown = True
        opened, operation, header = self._opened, opening.operation, self._header
        context = bound_context(
            coordinator=opening.coordinator.point,
            boot_nonce=opening.boot_nonce,
            counter=opening.counter,
            operation=operation.number,
            key_id=operation.key_id,
            payload=operation.payload(),
            digest=self._digest,
        )
        statement = credential_statement(
            context, self._digest, opened.requester, opened.nonce_point
        )
        proof = Proof(prove(statement, [opened.response], self._random))
        return BoundCredential(
            header.not_after, header.nonce, opened.requester, opened.nonce_point, proof
        )


def open_bound_credential(
    header: AuthHeader, wanted: BoundRequest, domain: SigningDomain, random: RandomSource
) -> BoundCredentialSource:
    """Recover who signed this request; raises `ProblemError` (401).

    Nearly every signature recovers to some account: one that was made for another request, or
    under another domain, belongs to an account nobody has.
    """
    digest = request_digest(
        domain, wanted.number, wanted.key_id, wanted.payload(), header.not_after, header.nonce
    )
    try:
        opened = open_signature(digest, header.signature)
    except InvalidSignatureError:
        raise ProblemError(unauthenticated("the signature belongs to no account")) from None
    return BoundCredentialSource(header, digest, opened, random)
