"""Requests that an attacker's node sends by hand to holders of a key."""

from dataclasses import replace
from typing import Any

from keyserver.api.credentials import open_path_credential
from keyserver.api.v1_credentials import AuthHeader, BoundCredentialSource
from keyserver.crypto.credentials import open_signature
from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.engine.credentials import Opening
from keyserver.model.bound_requests import bound_digest
from keyserver.model.identifiers import KeyId, NodeId, Nonce32, SessionId
from keyserver.model.requests import (
    AnyOperation,
    Credential,
    OnChainPublic,
    Request,
    RetrieveDocumentKey,
)
from keyserver.sessions.core import SessionKind
from keyserver.sessions.retrieval.messages import DecRequest, Mode, Partial
from keyserver.sessions.retrieval.parts import partial_digest
from keyserver.sessions.runner import Role
from keyserver.simulation.cluster import CONTRACT
from tests.weaknesses.by_hand import RANDOM, point
from tests.weaknesses.intruder import Intruder
from tests.weaknesses.scene import KEY, Scene, failing

FIRST_NONCE = Nonce32(b"\x0e" * 32)


async def template(scene: Scene) -> DecRequest:
    """A DEC_REQUEST as honest code makes it, kept back: the attacker alters copies of it."""
    kept: list[DecRequest] = []

    def keep(_: NodeId, message: Any) -> None:
        if isinstance(message, DecRequest):
            kept.append(message)

    before, scene.intruder.rewrite = scene.intruder.rewrite, keep
    credential = OnChainPublic(CONTRACT, scene.user.public())
    with failing():
        await scene.intruder.node.api.retrieve_shadow(KEY, credential)
    scene.intruder.rewrite = before
    await scene.settle()
    return kept[0]


class Asker:
    """Asks all honest nodes at once for their parts, in a session of its own each time."""

    def __init__(self, scene: Scene, like: DecRequest) -> None:
        self.scene = scene
        self.like = like

    @classmethod
    async def at(cls, scene: Scene) -> "Asker":
        return cls(scene, await template(scene))

    @property
    def intruder(self) -> Intruder:
        return self.scene.intruder

    async def ask(self, request: Request, **changes: Any) -> list[tuple[NodeId, Partial]]:
        """The parts that come back; a session id that fits, whatever else is wrong."""
        return await self.ask_as(self.intruder.next_counter(), request, **changes)

    async def ask_as(
        self, counter: int, request: Request, **changes: Any
    ) -> list[tuple[NodeId, Partial]]:
        sid = self.intruder.session(SessionKind.RETRIEVAL, counter, request)
        message = replace(self.like, counter=counter, request=request, **changes)
        for node in self.scene.honest:
            self.intruder.send(node.id, sid, message)
        await self.scene.settle(30)
        return self.intruder.heard(Partial, sid=sid)

    def opening(self, counter: int, operation: AnyOperation) -> Opening:
        return Opening(self.intruder.id, self.intruder.boot_nonce, counter, operation)

    async def ask_with(
        self, source: Any, operation: AnyOperation, **changes: Any
    ) -> tuple[SessionId, list[tuple[NodeId, Partial]]]:
        """With a credential made for this very session."""
        counter = self.intruder.next_counter()
        request = Request.of(operation, source(self.opening(counter, operation)))
        sid = self.intruder.session(SessionKind.RETRIEVAL, counter, request)
        return sid, await self.ask_as(counter, request, **changes)


def path_credential(user: SecretScalar, key_id: KeyId = KEY) -> Any:
    """What an old client's signature in a path becomes at the node it contacts."""
    return open_path_credential(key_id, sign_digest(user, key_id), RANDOM)


def request_of(credential: Credential, *, shadow: bool = True, key_id: KeyId = KEY) -> Request:
    return Request.of(RetrieveDocumentKey(key_id, shadow=shadow), credential)


def bound(
    scene: Scene,
    operation: AnyOperation,
    not_after: int,
    *,
    user: SecretScalar | None = None,
    nonce: Nonce32 = FIRST_NONCE,
) -> BoundCredentialSource:
    """A client's signature over one request, at the node it contacts."""
    domain = scene.victim.policy.signing_domain
    digest = bound_digest(domain, operation, not_after, nonce)
    signature = sign_digest(user or scene.user, digest)
    header = AuthHeader(not_after, nonce, signature)
    return BoundCredentialSource(header, digest, open_signature(digest, signature), RANDOM)


def wrong_part(intruder: Intruder, part: Partial) -> Partial:
    """Another point than the holder's, under a right signature; for a session in shadow form."""
    session = intruder.node.api._driver._table.get((intruder.sid, Role.PARTICIPANT))
    assert session is not None
    assert session.runner is not None
    ctx, subject = session.runner.ctx, session.runner.phase.subject
    wrong = replace(part, point=point(77))
    signed = partial_digest(ctx, subject, intruder.id, wrong)
    return replace(wrong, signature=intruder.sign(signed))


PLAIN, SHADOW, ON_CHAIN = Mode.PLAIN, Mode.SHADOW, Mode.SHADOW_ON_CHAIN
