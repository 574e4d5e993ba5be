"""Signatures over whole clusters: who signs, who is left out, and what is made in advance."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from coincurve import PublicKey

from keyserver.crypto import ecies
from keyserver.crypto.curve import Scalar, SecretScalar
from keyserver.crypto.schnorr import Form, verify
from keyserver.engine.key_server import time_of_loop
from keyserver.engine.presignature_stock import MOST, USABLE_S, PresignatureStock
from keyserver.engine.signing import REST_S, Signing
from keyserver.model.identifiers import Hash32, Signature
from keyserver.model.keys import CertifiedRecord
from keyserver.model.requests import OnChainAddress, SigningScheme, SignMessage
from keyserver.sessions.core import DeniedError, SessionError, UnavailableError, Verdict
from keyserver.sessions.ecdsa_presigning import OwnPresignature
from keyserver.sessions.ecdsa_signing.messages import EcdsaPart
from keyserver.sessions.frost_signing.messages import SignatureShare
from keyserver.sessions.outcomes import EcdsaResult, SignatureResult
from keyserver.sessions.registry import MESSAGE_TABLE
from keyserver.sessions.wire import LINK_TYPES, message_type, pack
from keyserver.simulation.cluster import CONTRACT, Cluster
from keyserver.simulation.loop import run_virtual
from tests.support.delivery import Delivery
from tests.support.key_life import AUTHOR, KEY_ID, generate, presign
from tests.weaknesses.asking import path_credential

MESSAGE = Hash32(b"\x4d" * 32)
ON_CHAIN = OnChainAddress(CONTRACT, AUTHOR)
SCHNORR, FROST, ECDSA = (SignMessage(KEY_ID, MESSAGE, scheme) for scheme in SigningScheme)
USER = SecretScalar.from_int(4711)


def play(
    scenario: Callable[[Cluster, CertifiedRecord], Awaitable[None]],
    nodes: int = 4,
    threshold: int = 1,
) -> None:
    async def run() -> None:
        async with Cluster(nodes, seed=5) as cluster:
            api = cluster.nodes[0].api
            record = await api.generate_server_key(KEY_ID, threshold, ON_CHAIN)
            await asyncio.sleep(1)
            await scenario(cluster, record)

    run_virtual(run())


def check_ecdsa(result: object, record: CertifiedRecord) -> None:
    assert isinstance(result, EcdsaResult)
    made = PublicKey.from_signature_and_message(result.signature, MESSAGE, hasher=None)
    assert made.format() == record.record.public.compressed


def check_schnorr(result: object, record: CertifiedRecord) -> None:
    assert isinstance(result, SignatureResult)
    verify(Form.ORIGINAL, record.record.public, MESSAGE, result.signature.encode())


def altering(kind: type, change: Callable[[Any], Any]) -> Any:
    """A node's own messages of one type, changed on the network."""

    def tamper(_: Any, __: Any, data: bytes) -> bytes | None:
        if message_type(data) in LINK_TYPES:
            return data
        sid, message = MESSAGE_TABLE.unpack(data)
        return pack(sid, change(message)) if isinstance(message, kind) else data

    return tamper


def unsigned(message: Any) -> Any:
    return replace(message, value=message.value + Scalar(1), signature=Signature(bytes(65)))


async def refusal(call: Awaitable[object]) -> SessionError:
    with pytest.raises(SessionError) as caught:
        await call
    return caught.value


# --- signatures ------------------------------------------------------------------------------


def test_every_node_has_messages_signed() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        for node in cluster.nodes:
            check_schnorr(await node.api.sign(SCHNORR, ON_CHAIN), record)
            check_ecdsa(await node.api.sign(ECDSA, ON_CHAIN), record)

    play(scenario)


def test_over_http_signatures_are_sealed_to_the_requester() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        source, api = path_credential(USER, KEY_ID), cluster.nodes[1].api
        public = record.record.public
        original = ecies.decrypt(USER, await api.sign_sealed(SCHNORR, source))
        verify(Form.ORIGINAL, public, MESSAGE, original)
        frost = ecies.decrypt(USER, await api.sign_sealed(FROST, source))
        verify(Form.RFC9591, public, MESSAGE, frost)
        ecdsa = ecies.decrypt(USER, await api.sign_sealed(ECDSA, source))
        check_ecdsa(EcdsaResult(Signature(ecdsa), None), record)

    play(scenario)


def test_a_key_of_threshold_0_signs_as_well() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        check_ecdsa(await cluster.nodes[2].api.sign(ECDSA, ON_CHAIN), record)
        check_schnorr(await cluster.nodes[2].api.sign(SCHNORR, ON_CHAIN), record)

    play(scenario, nodes=3, threshold=0)


def test_a_node_without_the_record_asks_for_it() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        node = cluster.nodes[3]
        missing = replace(await node.store.load(KEY_ID), active=None, share=None)

        async def forgotten(_: object) -> Any:
            return missing

        signing = Signing(
            node.api._driver,
            node.store,
            node.api._knowledge,
            holders=node.api._holders_of,
            stock=PresignatureStock(time_of_loop),
        )
        signing._store = type("Empty", (), {"load": staticmethod(forgotten)})()
        check_schnorr(await signing.sign(SCHNORR, lambda _: ON_CHAIN), record)

    play(scenario)


# --- failures --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "kind", "check"),
    [(SCHNORR, SignatureShare, check_schnorr), (ECDSA, EcdsaPart, check_ecdsa)],
    ids=("schnorr", "ecdsa"),
)
def test_a_liar_is_left_out(operation: SignMessage, kind: type, check: Any) -> None:
    """However often it is chosen first."""

    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        for liar in cluster.nodes[1:]:
            cluster.network.corrupt(liar.id, altering(kind, unsigned))
            for _ in range(2):
                check(await cluster.nodes[0].api.sign(operation, ON_CHAIN), record)
            cluster.network.redeem(liar.id)

    play(scenario)


@pytest.mark.parametrize("operation", [SCHNORR, ECDSA], ids=("schnorr", "ecdsa"))
def test_an_absent_node_is_not_needed(operation: SignMessage) -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        await cluster.nodes[1].crash()
        await asyncio.sleep(1)
        result = await cluster.nodes[0].api.sign(operation, ON_CHAIN)
        (check_ecdsa if operation is ECDSA else check_schnorr)(result, record)

    play(scenario)


def test_too_few_nodes_sign_nothing() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        api = cluster.nodes[0].api
        await cluster.nodes[1].crash()
        await cluster.nodes[2].crash()
        await asyncio.sleep(1)
        error = await refusal(api.sign(ECDSA, ON_CHAIN))
        assert isinstance(error, UnavailableError)
        assert error.code == "ConsensusTemporaryUnreachable"
        check_schnorr(await api.sign(SCHNORR, ON_CHAIN), record)
        await cluster.nodes[3].crash()
        await asyncio.sleep(1)
        assert (await refusal(api.sign(SCHNORR, ON_CHAIN))).code == "ConsensusUnreachable"

    play(scenario)


def test_ecdsa_needs_more_nodes_than_twice_the_threshold() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        error = await refusal(cluster.nodes[0].api.sign(ECDSA, ON_CHAIN))
        assert isinstance(error, DeniedError)
        assert error.code == "ConsensusUnreachable"
        check_schnorr(await cluster.nodes[0].api.sign(SCHNORR, ON_CHAIN), record)

    play(scenario, nodes=4, threshold=2)


@pytest.mark.parametrize("operation", [SCHNORR, ECDSA], ids=("schnorr", "ecdsa"))
def test_who_has_no_permission_gets_no_signature(operation: SignMessage) -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        for node in cluster.nodes:
            node.access.verdict = lambda *_: Verdict.DENIED
        error = await refusal(cluster.nodes[0].api.sign(operation, ON_CHAIN))
        assert isinstance(error, DeniedError)
        assert error.code == "ConsensusUnreachable"

    play(scenario)


def test_a_liar_too_many_fails_after_some_attempts() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        for liar in cluster.nodes[1:3]:
            cluster.network.corrupt(liar.id, altering(EcdsaPart, unsigned))
        error = await refusal(cluster.nodes[0].api.sign(ECDSA, ON_CHAIN))
        assert error.retriable

    play(scenario)


# --- in advance ------------------------------------------------------------------------------


def test_presignatures_are_made_in_advance() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        api = cluster.nodes[0].api
        signing, stock = api.signing, api.signing._stock
        signing._in_advance = 2
        task = asyncio.create_task(signing.keep_stocked())
        assert len(stock) == 0
        check_ecdsa(await api.sign(ECDSA, ON_CHAIN), record)
        await asyncio.sleep(5)
        assert len(stock) == 2
        check_ecdsa(await api.sign(ECDSA, ON_CHAIN), record)
        assert len(stock) == 1
        await asyncio.sleep(5)
        assert len(stock) == 2
        await _ended(task)

    play(scenario)


def test_nothing_is_made_in_advance_for_a_key_of_threshold_0() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        api = cluster.nodes[0].api
        api.signing._in_advance = 2
        task = asyncio.create_task(api.signing.keep_stocked())
        check_ecdsa(await api.sign(ECDSA, ON_CHAIN), record)
        await asyncio.sleep(5)
        assert len(api.signing._stock) == 0
        await _ended(task)

    play(scenario, nodes=3, threshold=0)


def test_a_key_rests_when_none_can_be_made() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        api = cluster.nodes[0].api
        stock = api.signing._stock
        api.signing._in_advance = 1
        check_ecdsa(await api.sign(ECDSA, ON_CHAIN), record)
        for node in cluster.nodes[1:3]:
            cluster.network.cut(cluster.nodes[0].id, node.id)
        task = asyncio.create_task(api.signing.keep_stocked())
        await asyncio.sleep(5)
        assert len(stock) == 0
        for node in cluster.nodes[1:3]:
            cluster.network.mend(cluster.nodes[0].id, node.id)
        await asyncio.sleep(REST_S + 5)
        assert len(stock) == 1
        await _ended(task)

    play(scenario)


async def _ended(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_signer_that_was_started_anew_costs_one_attempt() -> None:
    """It has lost its share of the presignature; another one is made, with it if need be."""

    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        api = cluster.nodes[0].api
        made = await api.signing._presign(await api.signing._known(KEY_ID), frozenset())
        api.signing._stock.add(made)
        again = next(node for node in cluster.nodes[1:] if node.id in made.signers)
        await again.crash()
        again.boot()
        await asyncio.sleep(5)
        check_ecdsa(await api.sign(ECDSA, ON_CHAIN), record)

    play(scenario)


# --- the stock -------------------------------------------------------------------------------


def _own() -> tuple[OwnPresignature, Delivery]:
    net = Delivery(4)
    return presign(net, generate(net, 1)), net


def test_the_stock_gives_each_out_once() -> None:
    made, net = _own()
    now = [0.0]
    stock = PresignatureStock(lambda: now[0])
    everybody = frozenset(member.id for member in net.members)
    record = made.assembly.record
    stock.add(made)
    stock.add(made)
    assert stock.count(KEY_ID, record.hash) == 2
    assert stock.take(KEY_ID, record.hash, everybody - {made.signers[0]}) is None
    assert stock.take(KEY_ID, record.hash, everybody) is made
    assert len(stock) == 1
    now[0] = USABLE_S
    assert stock.take(KEY_ID, record.hash, everybody) is None
    assert len(stock) == 0


def test_the_stock_forgets_other_versions() -> None:
    made, _ = _own()
    stock = PresignatureStock(lambda: 0.0)
    stock.add(made)
    assert stock.count(KEY_ID, Hash32(bytes(32))) == 0
    assert len(stock) == 0


def test_the_stock_has_an_end() -> None:
    made, _ = _own()
    stock = PresignatureStock(lambda: 0.0)
    for _ in range(MOST):
        assert stock.has_room
        stock.add(made)
    assert not stock.has_room
