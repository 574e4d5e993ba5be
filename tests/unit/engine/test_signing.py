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
from keyserver.engine.knowledge import Known
from keyserver.engine.presignature_stock import MOST, USABLE_S, PresignatureStock
from keyserver.engine.signing import DOUBT_S, IDLE_S, QUIET_S, REST_S, Signing
from keyserver.engine.signing_counts import SigningCounts, SigningOutcome
from keyserver.errors import StorageError
from keyserver.model.identifiers import Hash32, KeyId, Signature
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


def silencing(kind: type) -> Any:
    """A node whose messages of one type never arrive."""

    def tamper(_: Any, __: Any, data: bytes) -> bytes | None:
        if message_type(data) in LINK_TYPES:
            return data
        return None if isinstance(MESSAGE_TABLE.unpack(data)[1], kind) else data

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


def test_strangers_cost_no_presignature() -> None:
    """Over HTTP, where an account costs nothing, this node asks itself first."""

    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        api, source = cluster.nodes[0].api, path_credential(USER, KEY_ID)
        made = await api.signing._presign(await api.signing._known(KEY_ID), frozenset())
        api.signing._stock.add(made)
        cluster.nodes[0].access.verdict = lambda *_: Verdict.DENIED
        for _ in range(3):
            error = await refusal(api.sign_sealed(ECDSA, source))
            assert (type(error), error.code) == (DeniedError, "ConsensusUnreachable")
        assert (api.signing.ready, api.signing.counts.presigned) == (1, 1)
        cluster.nodes[0].access.verdict = lambda *_: Verdict.ALLOWED
        await api.sign_sealed(ECDSA, source)
        assert (api.signing.ready, api.signing.counts.presigned) == (0, 1)

    play(scenario)


@pytest.mark.parametrize("refusing", [1, 2, 3])
def test_refusals_for_good_are_added_up_over_attempts(refusing: int) -> None:
    """Every attempt asks three of five; the request is denied when no three are left."""

    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        for node in cluster.nodes[5 - refusing :]:
            node.access.verdict = lambda *_: Verdict.DENIED
        for _ in range(4):
            if refusing < 3:
                check_ecdsa(await cluster.nodes[0].api.sign(ECDSA, ON_CHAIN), record)
            else:
                error = await refusal(cluster.nodes[0].api.sign(ECDSA, ON_CHAIN))
                assert (type(error), error.code) == (DeniedError, "ConsensusUnreachable")

    play(scenario, nodes=5)


def test_what_came_of_requests_is_counted() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        api = cluster.nodes[0].api
        counts = api.signing.counts
        await api.sign(SCHNORR, ON_CHAIN)
        await api.sign(ECDSA, ON_CHAIN)
        for node in cluster.nodes:
            node.access.verdict = lambda *_: Verdict.DENIED
        await refusal(api.sign(FROST, ON_CHAIN))
        for node in cluster.nodes[1:]:
            await node.crash()
        await asyncio.sleep(1)
        await refusal(api.sign(ECDSA, ON_CHAIN))
        assert counts.signatures == {
            (SigningScheme.SCHNORR, SigningOutcome.MADE): 1,
            (SigningScheme.ECDSA, SigningOutcome.MADE): 1,
            (SigningScheme.FROST, SigningOutcome.DENIED): 1,
            (SigningScheme.ECDSA, SigningOutcome.UNAVAILABLE): 1,
        }
        assert (counts.presigned, counts.presigning_failed) == (1, 1)

    play(scenario)


def test_a_request_that_is_broken_off_is_counted_as_such() -> None:
    counts = SigningCounts()
    with pytest.raises(asyncio.CancelledError), counts.counted(SigningScheme.FROST):
        raise asyncio.CancelledError
    assert counts.signatures == {(SigningScheme.FROST, SigningOutcome.BROKEN_OFF): 1}


def test_nodes_in_doubt_are_chosen_last() -> None:
    """Whoever has failed once costs the next signatures no time."""

    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        api = cluster.nodes[0].api
        silent = cluster.nodes[1]
        cluster.network.corrupt(silent.id, silencing(EcdsaPart))
        for _ in range(4):
            check_ecdsa(await api.sign(ECDSA, ON_CHAIN), record)
        known = await api.signing._known(KEY_ID)
        tried = {api.signing._chosen(known, frozenset()) for _ in range(8)}
        if api.signing._failed_at:  # it was asked at least once
            assert all(silent.id not in signers for signers in tried)
        api.signing._doubt(frozenset({silent.id}))
        assert all(silent.id not in api.signing._chosen(known, frozenset()) for _ in range(8))
        await asyncio.sleep(DOUBT_S)
        tried = {api.signing._chosen(known, frozenset()) for _ in range(16)}
        assert any(silent.id in signers for signers in tried)

    play(scenario)


def test_a_presignature_in_stock_with_a_node_in_doubt_is_left_there() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        signing = cluster.nodes[0].api.signing
        known = await signing._known(KEY_ID)
        made = await signing._presign(known, frozenset())
        signing._stock.add(made)
        doubtful = next(node for node in made.signers if node != cluster.nodes[0].id)
        signing._doubt(frozenset({doubtful}))
        other = await signing._presignature(known, frozenset())
        assert doubtful not in other.signers
        assert signing.ready == 1
        left_out = next(node.id for node in cluster.nodes if node.id not in made.signers)
        assert await signing._presignature(known, frozenset({left_out})) is made

    play(scenario)


# --- in advance ------------------------------------------------------------------------------


def stocking(cluster: Cluster, in_advance: int) -> Signing:
    """Signatures of the first node with a stock of their own, which nobody keeps filled yet."""
    node = cluster.nodes[0]
    return Signing(
        node.api._driver,
        node.store,
        node.api._knowledge,
        holders=node.api._holders_of,
        stock=PresignatureStock(time_of_loop),
        in_advance=in_advance,
    )


async def signed(signing: Signing) -> EcdsaResult:
    result = await signing.sign(ECDSA, lambda _: ON_CHAIN)
    assert isinstance(result, EcdsaResult)
    return result


def test_presignatures_are_made_in_advance() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        signing = stocking(cluster, 2)
        task = asyncio.create_task(signing.keep_stocked())
        assert signing.ready == 0
        check_ecdsa(await signed(signing), record)
        await asyncio.sleep(5)
        assert signing.ready == 2
        check_ecdsa(await signed(signing), record)
        assert signing.ready == 1
        await asyncio.sleep(5)
        assert signing.ready == 2
        await _ended(task)

    play(scenario)


def test_nothing_is_made_in_advance_for_a_key_of_threshold_0() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        signing = stocking(cluster, 2)
        task = asyncio.create_task(signing.keep_stocked())
        check_ecdsa(await signed(signing), record)
        await asyncio.sleep(5)
        assert signing.ready == 0
        await _ended(task)

    play(scenario, nodes=3, threshold=0)


def test_a_key_rests_when_none_can_be_made() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        signing = stocking(cluster, 1)
        check_ecdsa(await signed(signing), record)
        for node in cluster.nodes[1:3]:
            cluster.network.cut(cluster.nodes[0].id, node.id)
        task = asyncio.create_task(signing.keep_stocked())
        await asyncio.sleep(5)
        assert signing.ready == 0
        assert signing.counts.presigning_failed == 1
        assert signing.counts.last_failure == "too few holders are connected"
        for node in cluster.nodes[1:3]:
            cluster.network.mend(cluster.nodes[0].id, node.id)
        await asyncio.sleep(REST_S + 5)
        assert signing.ready == 1
        assert last_failure_of(signing) is None
        await _ended(task)

    play(scenario)


def last_failure_of(signing: Signing) -> str | None:
    return signing.counts.last_failure


def test_what_is_made_in_advance_makes_way_for_signatures() -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        signing = stocking(cluster, 1)
        task = asyncio.create_task(signing.keep_stocked())
        check_ecdsa(await signed(signing), record)
        until = asyncio.get_running_loop().time() + QUIET_S / 2
        while asyncio.get_running_loop().time() < until:  # one after the other
            with signing._with_precedence():
                await asyncio.sleep(IDLE_S / 2)
            await asyncio.sleep(IDLE_S / 2)
        assert signing.ready == 0
        with signing._with_precedence():
            await asyncio.sleep(QUIET_S)
            assert signing.ready == 1, "but not for ever"
        await _ended(task)

    play(scenario)


@pytest.mark.parametrize(
    ("failure", "is_tried_again"),
    [
        (DeniedError("no such key", "ServerKeyIsNotFound"), False),
        (StorageError("the disk is full"), True),
    ],
    ids=("denied", "storage"),
)
def test_trouble_with_a_key_stops_nothing(failure: Exception, is_tried_again: bool) -> None:
    async def scenario(cluster: Cluster, record: CertifiedRecord) -> None:
        signing = stocking(cluster, 1)
        check_ecdsa(await signed(signing), record)
        known = signing._known

        async def failing(key_id: KeyId) -> Known:
            raise failure

        signing._known = failing  # type: ignore[method-assign]  # put back below
        task = asyncio.create_task(signing.keep_stocked())
        await asyncio.sleep(1)
        assert (KEY_ID in signing._used) is is_tried_again
        signing._known = known  # type: ignore[method-assign]
        await asyncio.sleep(REST_S + 5)
        assert signing.ready == (1 if is_tried_again else 0)
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


def test_the_stock_forgets_what_is_old_of_all_keys() -> None:
    """Also of keys that nobody signs with any more: they must not take others' room for ever."""
    made, _ = _own()
    now = [0.0]
    stock = PresignatureStock(lambda: now[0])
    stock.add(made)
    now[0] = 1.0
    stock.add(made)
    now[0] = USABLE_S
    assert len(stock) == 1
    now[0] = USABLE_S + 1
    assert stock.has_room
    assert stock._shelves == {}
