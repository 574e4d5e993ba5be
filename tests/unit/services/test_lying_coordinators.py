"""A coordinator that has something else signed than what is pending, over whole clusters.

It is a member of the set and its own chain says yes to everything; the others go by the pending
lists that they see. None of them gives a part of a signature away.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import pytest

from keyserver.chain.access import carrier, is_same_request
from keyserver.engine.outcomes import EcdsaReady, SignatureReady
from keyserver.model.identifiers import Address, Hash32, KeyId
from keyserver.model.requests import OnChainAddress, Request, SigningScheme, SignMessage
from keyserver.services.base import Asked
from keyserver.services.message_signing.bindings import ECDSA, SCHNORR, MessageSigning
from keyserver.sessions.core import SessionError, Verdict
from keyserver.sessions.ecdsa_signing.messages import EcdsaPart
from keyserver.sessions.frost_signing.messages import SignatureShare
from keyserver.sessions.registry import MESSAGE_TABLE
from keyserver.sessions.wire import LINK_TYPES, message_type
from keyserver.simulation.cluster import CONTRACT, Cluster, SimulatedNode
from keyserver.simulation.loop import run_virtual
from tests.support.key_life import AUTHOR, KEY_ID

OTHER_KEY = KeyId(b"\x0d" * 32)
MESSAGE, OTHER = Hash32(b"\x4d" * 32), Hash32(b"\x4e" * 32)
STRANGER = Address(b"\x55" * 20)
each_scheme = pytest.mark.parametrize("service", [ECDSA, SCHNORR], ids=lambda each: each.name)


@dataclass
class Scene:
    """Three honest nodes and a liar, who coordinates; two keys of threshold 1."""

    cluster: Cluster
    service: MessageSigning
    pending: list[Asked]
    parts: list[object] = field(default_factory=list)
    """Of signatures, sent by honest nodes."""

    @property
    def liar(self) -> SimulatedNode:
        return self.cluster.nodes[0]

    @property
    def honest(self) -> list[SimulatedNode]:
        return self.cluster.nodes[1:]

    def verdict(self, request: Request, requester: Address) -> Verdict:
        """As of a chain with one contract for this scheme, which has these requests."""
        if carrier([self.service], request) is None:
            return Verdict.DENIED
        found = any(is_same_request(asked, request, requester) for asked in self.pending)
        return Verdict.ALLOWED if found else Verdict.UNAVAILABLE

    def watch(self, _: object, __: object, data: bytes) -> bytes:
        if message_type(data) not in LINK_TYPES:
            message = MESSAGE_TABLE.unpack(data)[1]
            self.parts += [message] if isinstance(message, EcdsaPart | SignatureShare) else []
        return data

    async def begin(self) -> None:
        for key_id in (KEY_ID, OTHER_KEY):
            await self.liar.api.generate_server_key(key_id, 1, OnChainAddress(CONTRACT, AUTHOR))
        await asyncio.sleep(1)
        for node in self.honest:
            node.access.verdict = self.verdict
            self.cluster.network.corrupt(node.id, self.watch)

    async def asks(self, operation: SignMessage, requester: Address = AUTHOR) -> object:
        return await self.liar.api.sign(operation, OnChainAddress(CONTRACT, requester))


def play(service: MessageSigning, scenario: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Cluster(4, seed=7) as cluster:
            asked = Asked(service.kinds[1], KEY_ID, requester=AUTHOR, message=MESSAGE)
            scene = Scene(cluster, service, [asked])
            await scene.begin()
            await scenario(scene)

    run_virtual(run())


@each_scheme
def test_what_is_pending_is_signed_and_told_to_the_signers(service: MessageSigning) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.asks(SignMessage(KEY_ID, MESSAGE, service.scheme))
        assert scene.parts
        await asyncio.sleep(1)
        told = [
            (each.contract, each.key_id, each.requester, each.message)
            for node in scene.honest
            for each in node.recorder.outcomes
            if isinstance(each, EcdsaReady | SignatureReady)
        ]
        assert set(told) == {(CONTRACT, KEY_ID, AUTHOR, MESSAGE)}

    play(service, scenario)


@each_scheme
def test_nothing_else_is(service: MessageSigning) -> None:
    right = SignMessage(KEY_ID, MESSAGE, service.scheme)

    async def scenario(scene: Scene) -> None:
        others = [scheme for scheme in SigningScheme if scheme is not service.scheme]
        lies = [
            (replace(right, message=OTHER), AUTHOR),
            (replace(right, key_id=OTHER_KEY), AUTHOR),
            (right, STRANGER),
            *((replace(right, scheme=scheme), AUTHOR) for scheme in others),
        ]
        for operation, requester in lies:
            with pytest.raises(SessionError):
                await scene.asks(operation, requester)
        assert scene.parts == []

    play(service, scenario)


@each_scheme
def test_what_was_signed_is_signed_again_only_while_it_is_pending(service: MessageSigning) -> None:
    async def scenario(scene: Scene) -> None:
        right = SignMessage(KEY_ID, MESSAGE, service.scheme)
        await scene.asks(right)
        scene.pending.clear()
        scene.parts.clear()
        with pytest.raises(SessionError):
            await scene.asks(right)
        assert scene.parts == []

    play(service, scenario)
