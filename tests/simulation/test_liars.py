"""Coordinators that lie, one lie after the other, and the secrets that no message must contain.

A liar follows the protocol but for what it alters. The rest of the cluster must finish all the
same, agree, blame nobody else, and keep its secrets. Liars in a mixture with everything else: the
scenarios.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, cycle, islice
from typing import Any

import pytest

from keyserver.crypto import elgamal
from keyserver.crypto.curve import Point, Scalar, SecretScalar
from keyserver.crypto.polynomial import SecretPolynomial, interpolate_secret
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import KeyId, NodeId
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import OnChainAddress, OnChainPublic, Operation
from keyserver.sessions.core import DeniedError, KeyState, Policy, UnavailableError
from keyserver.simulation import cluster as cluster_module
from keyserver.simulation import liars
from keyserver.simulation.cluster import CONTRACT, Cluster, SimulatedNode
from keyserver.simulation.loop import run_virtual
from tests.simulation.story import Story
from tests.unit.sessions.test_retrieval import COORDINATOR_LIES as RETRIEVAL_LIES
from tests.unit.sessions.test_sharing import COORDINATOR_LIES as GENERATION_LIES
from tests.unit.sessions.test_sharing_liars import PROVEN
from tests.unit.sessions.test_storing import COORDINATOR_LIES as STORING_LIES

LEADING = GENERATION_LIES | STORING_LIES | RETRIEVAL_LIES


def _policy(nodes: int, faulty: int) -> Policy:
    services = frozenset((CONTRACT, operation) for operation in Operation)
    return Policy(generation_quorum=nodes - faulty, service_contracts=services)


@dataclass
class HonestStory(Story):
    """The story as honest nodes drive and see it."""

    liars: frozenset[NodeId] = field(default_factory=frozenset)

    @property
    def honest(self) -> list[SimulatedNode]:
        return [node for node in self.cluster.nodes if node.id not in self.liars]

    def _nodes_in_turn(self) -> Iterator[SimulatedNode]:
        return islice(cycle(self.honest), 40)

    async def _everywhere(self, holds: Callable[[KeyState], bool]) -> bool:
        return all([holds(await node.store.load(self.key_id)) for node in self.honest])

    def document_for(self, public: Point) -> DocumentKey:
        """What the author wants stored, whoever runs the session."""
        made = elgamal.encrypt_document_key(public, self.document_key, SeededRandom(b"author"))
        return DocumentKey(made.common, made.encrypted)

    async def has_document(self) -> bool:
        return await self._everywhere(lambda state: state.document is not None)

    async def check(self) -> None:
        """Honest nodes agree, hold shares that work, and have named liars only."""
        states = [await node.store.load(self.key_id) for node in self.honest]
        (record,) = {s.active.record.hash: s.active.record for s in states if s.active}.values()
        assert len({state.document.document for state in states if state.document}) == 1
        shares = [state.share for state in states if state.share is not None]
        assert len(shares) >= record.required_nodes
        for chosen in islice(combinations(shares, record.required_nodes), 20):
            secret = interpolate_secret([s.x for s in chosen], [s.value for s in chosen])
            assert secret.public() == record.public
        named = set().union(*(node.recorder.culprits for node in self.honest))
        assert named <= self.liars, "an honest node was blamed"


async def _lead(story: HonestStory, liar: SimulatedNode) -> None:
    """The liar coordinates everything once; whatever comes of it."""
    credential = OnChainAddress(CONTRACT, story.author)
    with contextlib.suppress(UnavailableError, DeniedError):
        await liar.api.generate_server_key(story.key_id, story.threshold, credential)
    with contextlib.suppress(UnavailableError, DeniedError):
        record = await liar.api.find_record(story.key_id)
        if record is not None:
            await liar.api.store_document_key(
                story.key_id, story.document_for(record.record.public), credential
            )
            requester = OnChainPublic(CONTRACT, story.requester.public())
            await liar.api.retrieve_shadow(story.key_id, requester)


@pytest.mark.parametrize("name", LEADING)
def test_a_lying_coordinator(name: str) -> None:
    """It can delay the others; it cannot make them differ, lose their secrets or blame anyone."""
    nodes, threshold, faulty = 4, 1, 1

    async def scenario() -> None:
        async with Cluster(nodes, seed=7, policy=_policy(nodes, faulty)) as cluster:
            liar = cluster.nodes[1]
            liars.in_cluster(cluster, liar, LEADING[name])
            story = HonestStory(cluster, threshold, liars=frozenset({liar.id}))
            await _lead(story, liar)
            await story.generate()
            await _lead(story, liar)
            if not await story.has_document():
                await story.store()
            await _lead(story, liar)
            await story.retrieve()
            await story.check()

    run_virtual(scenario())


def test_messages_of_one_session_mean_nothing_in_another() -> None:
    """A liar answers with what it, and others, said in an earlier session."""

    async def scenario() -> None:
        async with Cluster(4, seed=3, policy=_policy(4, 1)) as cluster:
            liar = cluster.nodes[2]
            earlier: dict[str, Any] = {}

            def remember(_: liars.Place, message: Any) -> Any:
                return earlier.setdefault(type(message).__name__, message)

            liars.in_cluster(cluster, liar, remember)
            ids = frozenset({liar.id})
            first = HonestStory(cluster, 1, key_id=KeyId(b"\1" * 32), liars=ids)
            await first.run()
            second = HonestStory(cluster, 1, key_id=KeyId(b"\2" * 32), liars=ids)
            await second.run()
            await first.check()
            await second.check()
            assert {"Accept", "Deal", "Ready", "Partial"} & earlier.keys()

    run_virtual(scenario())


# --- secrets -------------------------------------------------------------------------------------


class Drawn(SeededRandom):
    """A random source that remembers the secrets drawn from it; the first is the boot nonce."""

    __slots__ = ("_calls",)
    secrets: set[bytes] = set()  # noqa: RUF012 - one for the whole cluster

    def __init__(self, seed: int | str | bytes) -> None:
        super().__init__(seed)
        self._calls = 0

    def bytes(self, n: int) -> bytes:
        drawn = super().bytes(n)
        self._calls += 1
        if n == 32 and self._calls > 1:
            self.secrets.add(drawn)
        return drawn


def test_no_secret_is_in_any_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the quarrels of a generation nor anywhere else; recovery included."""
    monkeypatch.setattr(cluster_module, "SeededRandom", Drawn)
    shared = _recorded_shares(monkeypatch)
    Drawn.secrets = set()
    sent: list[bytes] = []

    async def scenario() -> None:
        async with Cluster(7, seed=11, policy=_policy(7, 2)) as cluster:
            _listen(cluster, sent)
            cheats = cluster.nodes[1], cluster.nodes[4]
            for cheat, name in zip(
                cheats, ("false shares for all", "an accusation without cause"), strict=True
            ):
                liars.in_cluster(cluster, cheat, PROVEN[name])
            story = HonestStory(cluster, 2, liars=frozenset(cheat.id for cheat in cheats))
            await story.run()
            await story.check()
            for node in cluster.nodes:
                share = (await node.store.load(story.key_id)).share
                if share is not None:
                    shared.add(share.value.expose())
                shared.add(node._signer._secret.expose())

    run_virtual(scenario())
    everything = b"|".join(sent)
    assert len(Drawn.secrets) > 50
    assert len(shared) > 40
    assert not [secret for secret in Drawn.secrets | shared if secret in everything]


def _recorded_shares(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    values: set[bytes] = set()
    evaluate = SecretPolynomial.evaluate_all

    def recording(polynomial: SecretPolynomial, xs: Sequence[Scalar]) -> list[SecretScalar]:
        shares = evaluate(polynomial, xs)
        values.update(share.expose() for share in shares)
        return shares

    monkeypatch.setattr(SecretPolynomial, "evaluate_all", recording)
    return values


def _listen(cluster: Cluster, sent: list[bytes]) -> None:
    send = cluster.network.send

    def listening(sender: NodeId, to: NodeId, message: bytes) -> bool:
        sent.append(message)
        return send(sender, to, message)

    cluster.network.send = listening  # type: ignore[method-assign]
