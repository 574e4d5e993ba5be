"""Where attacks take place: a cluster, one member of it the attacker's, and somebody's key."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from itertools import combinations

from keyserver.crypto import ecies, elgamal
from keyserver.crypto.curve import Point, SecretScalar, mul_base
from keyserver.crypto.hashing import address_of
from keyserver.crypto.polynomial import interpolate_secret
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import Address, KeyId, NodeId
from keyserver.model.keys import CertifiedRecord, DocumentKey
from keyserver.model.quorums import Quorums
from keyserver.model.requests import OnChainAddress, OnChainPublic, Operation
from keyserver.sessions.core import DeniedError, KeyState, Policy, UnavailableError, Verdict
from keyserver.sessions.outcomes import ShadowResult
from keyserver.simulation.cluster import CONTRACT, Cluster, SimulatedNode
from keyserver.simulation.loop import run_virtual
from tests.weaknesses.intruder import Intruder

KEY = KeyId(b"\x4b" * 32)
OTHER_KEY = KeyId(b"\x4c" * 32)
SETTLED_S = 1.0
"""Far more than messages take; no timer of a session is as short."""
PLAY_S = 86_400.0
"""When a play is given up; in virtual time."""


class Scene:
    """A cluster with an attacker in it, an author with a document, and a user who may read it."""

    def __init__(self, cluster: Cluster, at: int) -> None:
        self.cluster = cluster
        self.intruder = Intruder(cluster, cluster.nodes[at])
        self.random = SeededRandom(b"people" + cluster.seed)
        self.author_key = SecretScalar.random(self.random)
        self.author = account(self.author_key)
        self.document_key: Point = mul_base(SecretScalar.random(self.random))
        self.user = SecretScalar.random(self.random)

    @property
    def honest(self) -> list[SimulatedNode]:
        return self.intruder.honest

    @property
    def victim(self) -> SimulatedNode:
        return self.honest[0]

    @property
    def quorums(self) -> Quorums:
        return Quorums.of(len(self.cluster.nodes))

    async def settle(self, seconds: float = SETTLED_S) -> None:
        """Let everything that was sent have its effect."""
        await asyncio.sleep(seconds)
        if self.intruder.mistake is not None:
            raise self.intruder.mistake

    # --- what honest people do --------------------------------------------------------------------

    async def generate(self, threshold: int = 1, key_id: KeyId = KEY) -> CertifiedRecord:
        credential = OnChainAddress(CONTRACT, self.author)
        made = await self.victim.api.generate_server_key(key_id, threshold, credential)
        await self.settle()
        return made

    def document_for(self, public: Point) -> DocumentKey:
        made = elgamal.encrypt_document_key(public, self.document_key, SeededRandom(b"author"))
        return DocumentKey(made.common, made.encrypted)

    async def store(self, key_id: KeyId = KEY) -> None:
        record = await self.victim.api.find_record(key_id)
        assert record is not None
        document = self.document_for(record.record.public)
        credential = OnChainAddress(CONTRACT, self.author)
        await self.victim.api.store_document_key(key_id, document, credential)
        await self.settle()

    async def own_key(self, threshold: int = 1) -> None:
        """The author's key, with the author's document under it."""
        await self.generate(threshold)
        await self.store()

    def on_chain_user(self) -> OnChainPublic:
        """The user's request, pending on the contract."""
        return OnChainPublic(CONTRACT, self.user.public())

    async def retrieve(self, key_id: KeyId = KEY) -> Point:
        """What the user gets at an honest node."""
        result = await self.victim.api.retrieve_shadow(key_id, self.on_chain_user())
        return opened(result, self.user)

    # --- what must not have happened --------------------------------------------------------------

    async def states(self, key_id: KeyId = KEY) -> list[KeyState]:
        """What the honest nodes have on their disks."""
        return [await node.store.load(key_id) for node in self.honest]

    async def nothing_happened(self, key_id: KeyId = KEY) -> None:
        """No honest node has, or has voted for, anything under this id."""
        for state in await self.states(key_id):
            assert state.active is None
            assert state.prepared is None
            assert state.document is None
            assert state.document_candidate is None

    async def key_is_whole(self, key_id: KeyId = KEY) -> None:
        """Honest nodes agree on one record, and any t + 1 of their shares are the private key."""
        states = await self.states(key_id)
        records = {
            state.active.record.hash: state.active.record for state in states if state.active
        }
        (record,) = records.values()
        shares = [state.share for state in states if state.share is not None]
        assert len(shares) >= record.required_nodes
        for chosen in combinations(shares, record.required_nodes):
            secret = interpolate_secret([s.x for s in chosen], [s.value for s in chosen])
            assert secret.public() == record.public

    async def all_is_well(self, key_id: KeyId = KEY) -> None:
        """The key is whole, the user can read, and every honest node runs on."""
        await self.key_is_whole(key_id)
        assert await self.retrieve(key_id) == self.document_key
        self.nodes_live()

    def nodes_live(self) -> None:
        for node in self.honest:
            assert node.is_up
            assert not any(task.done() for task in node._tasks), "a node's work has ended"

    @property
    def blamed(self) -> frozenset[NodeId]:
        """Whom honest nodes have caught."""
        return frozenset().union(*(node.recorder.culprits for node in self.honest))

    def deny(self, allowed: Callable[[Address], bool], verdict: Verdict = Verdict.DENIED) -> None:
        """The chain allows only these accounts, in the view of every honest node."""
        for node in self.honest:
            node.access.verdict = lambda _, who: Verdict.ALLOWED if allowed(who) else verdict


Play = Callable[[Scene], Awaitable[None]]


def perform(play: Play, *, nodes: int = 4, at: int = 1, seed: int = 1, **policy: object) -> None:
    """Play a scene on a fresh cluster, to its end."""

    async def main() -> None:
        services = frozenset((CONTRACT, operation) for operation in Operation)
        quorum = nodes - Quorums.of(nodes).faulty
        options = {"generation_quorum": quorum, "service_contracts": services} | policy
        async with Cluster(nodes, seed=seed, policy=Policy(**options)) as cluster:  # type: ignore[arg-type]
            scene = Scene(cluster, at)
            async with asyncio.timeout(PLAY_S):
                await play(scene)
            await scene.settle(0)

    run_virtual(main())


def opened(result: ShadowResult, user: SecretScalar) -> Point:
    """What a requester gets out of a result."""
    shadows = [SecretScalar(ecies.decrypt(user, sealed)) for sealed in result.shadows]
    return elgamal.recover_document_key(result.decrypted_secret, result.common_point, shadows)


def account(key: SecretScalar) -> Address:
    return Address(address_of(key.public().raw64))


def failing() -> contextlib.AbstractContextManager[None]:
    """For calls of which only the traces matter."""
    return contextlib.suppress(UnavailableError, DeniedError)
