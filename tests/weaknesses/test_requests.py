"""Attacks on who may ask for what: W5, W8, W9, W20, W35, W40."""

from dataclasses import replace
from typing import Any

import pytest

from keyserver.crypto.curve import sign_digest
from keyserver.model.codec import encode
from keyserver.model.identifiers import Address, NodeId, SessionId
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import (
    GenerateServerKey,
    LegacyCredential,
    NodeCredential,
    OnChainAddress,
    OnChainPublic,
    Operation,
    Proof,
    Request,
    RetrieveDocumentKey,
    StoreDocumentKey,
)
from keyserver.sessions.core import DeniedError, Refusal, SessionKind, Verdict
from keyserver.sessions.messages import Refuse
from keyserver.sessions.retrieval.messages import DecRequest, Partial
from keyserver.sessions.sharing.messages import Propose
from keyserver.sessions.storing.messages import StoreAck, StorePropose
from keyserver.simulation.clock import VirtualClock
from keyserver.simulation.cluster import CONTRACT
from tests.weaknesses.asking import (
    ON_CHAIN,
    PLAIN,
    SHADOW,
    Asker,
    bound,
    path_credential,
    request_of,
)
from tests.weaknesses.by_hand import point
from tests.weaknesses.scene import KEY, OTHER_KEY, Scene, account, failing, perform


def _only_pending(scene: Scene, *requesters: Address) -> None:
    """What every node sees on its chain: requests of these accounts, and of nobody else."""
    scene.deny(lambda who: who in requesters)


def test_w05_requester_is_whom_the_coordinator_names() -> None:
    """A member asks for the document key in the name of a permitted user who has not asked: as a
    pending request that is not there, with a proof it cannot make, with none, as a node."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await Asker.at(scene)
        user = scene.user.public()
        _only_pending(scene)  # the user is permitted, but has asked for nothing
        forged = LegacyCredential(user, point(5), Proof(b"\x01" * 64))
        own = path_credential(scene.intruder.secret)(
            asker.opening(1, RetrieveDocumentKey(KEY, shadow=False))
        )
        in_his_name = replace(own, requester=user)
        assert not await asker.ask(request_of(OnChainPublic(CONTRACT, user)), mode=ON_CHAIN)
        scene.deny(lambda _: True)  # from here on the chain would allow everything
        for credential in (forged, in_his_name, NodeCredential()):
            assert not await asker.ask(request_of(credential), mode=SHADOW)
            assert not await asker.ask(request_of(credential, shadow=False), mode=PLAIN)
        strange = OnChainPublic(Address(b"\x99" * 20), user)  # a contract of the attacker's own
        assert not await asker.ask(request_of(strange), mode=ON_CHAIN)
        for permitted in (OnChainAddress(CONTRACT, account(scene.user)),):
            assert not await asker.ask(request_of(permitted, shadow=False), mode=PLAIN)
        assert not scene.intruder.heard(Partial)
        await scene.all_is_well()

    perform(play)


def test_w08_credential_seen_in_one_session_is_used_in_another() -> None:
    """A participant keeps what an old client's credential looks like in a session, and uses it as
    coordinator: the same request again, the plain mode, another operation. And it looks for the
    signature itself in everything it hears."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await Asker.at(scene)
        signature = sign_digest(scene.user, KEY)
        scene.intruder.inbox.clear()
        for _ in range(3):
            await scene.victim.api.retrieve_shadow(KEY, path_credential(scene.user))
        seen = [message.request for _, message in scene.intruder.heard(DecRequest)]
        assert seen, "the attacker must have taken part"
        assert signature[32:64] not in scene.intruder.heard_from(scene.victim.id)
        for request in seen:
            assert isinstance(request.credential(), LegacyCredential)
            assert not await asker.ask(request, mode=SHADOW)
            plain = replace(request, operation_number=int(Operation.RETRIEVE_PLAIN))
            assert not await asker.ask(plain, mode=PLAIN)
        assert not scene.intruder.heard(Partial)

    perform(play)


def test_w08_bound_credential_is_good_for_one_request() -> None:
    """The contacted node does see the signature. In the new form it is good for what was signed:
    no other operation, no other key, no other node, not after its time."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await Asker.at(scene)
        now = VirtualClock().unix()
        source = bound(scene, RetrieveDocumentKey(KEY), now + 60)
        _, parts = await asker.ask_with(source, RetrieveDocumentKey(KEY), mode=SHADOW)
        assert len(parts) == 3, "this is what the client has asked for"
        other = RetrieveDocumentKey(KEY, shadow=False)
        assert not (await asker.ask_with(source, other, mode=PLAIN))[1]
        seen = scene.honest[1].api._driver  # another node of the cluster, with the same signature
        opening = replace(asker.opening(7, RetrieveDocumentKey(KEY)), coordinator=seen.me)
        assert not await asker.ask(request_of(source(opening)), mode=SHADOW)
        await scene.settle(120)
        assert not (await asker.ask_with(source, RetrieveDocumentKey(KEY), mode=SHADOW))[1]
        far = bound(scene, RetrieveDocumentKey(KEY), VirtualClock().unix() + 601)
        assert not (await asker.ask_with(far, RetrieveDocumentKey(KEY), mode=SHADOW))[1]

    perform(play)


def test_w09_plain_modes_where_operators_forbid_them() -> None:
    """A coordinator whose own operator allows it asks for the plain mode, or to make both keys, for
    a permitted user. n - t nodes that forbid it are enough to make it impossible."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await Asker.at(scene)
        for node in scene.honest:
            node.policy = replace(node.policy, forbid_plain_modes=True)
        _, parts = await asker.ask_with(
            path_credential(scene.user), RetrieveDocumentKey(KEY, shadow=False), mode=PLAIN
        )
        assert not parts
        refusals = [refuse.refusal for _, refuse in scene.intruder.heard(Refuse)]
        assert refusals[-3:] == [Refusal.POLICY] * 3
        with failing():
            await scene.intruder.node.api.generate_both(
                OTHER_KEY, 1, path_credential(scene.author_key, OTHER_KEY), scene.user.public()
            )
        await scene.nothing_happened(OTHER_KEY)
        await scene.all_is_well()

    perform(play)


def test_w20_two_values_for_two_halves_of_the_nodes() -> None:
    """The coordinator of a storing gives half of the nodes other points, each half with a request
    that names them; then it stops. No two nodes ever hold different document keys."""

    async def play(scene: Scene) -> None:
        made = await scene.generate()
        intruder = scene.intruder
        right = scene.document_for(made.record.public)
        other = DocumentKey(point(31), point(32))
        template = await _store_template(scene, right)
        for number, node in enumerate(scene.honest):
            document = right if number % 2 else other
            request = _store_request(scene, document)
            counter = intruder.next_counter()
            sid = intruder.session(SessionKind.STORING, counter, request)
            message = replace(template, counter=counter, request=request, document=document)
            intruder.send(node.id, sid, message)
        await scene.settle(5)
        assert len(intruder.heard(StoreAck)) == 3, "each has voted for what it was shown"
        await scene.settle(400)
        held = {state.document.document for state in await scene.states() if state.document}
        assert len(held) <= 1
        if not held:
            await scene.store()
        await scene.key_is_whole()

    perform(play)


async def _store_template(scene: Scene, document: DocumentKey) -> StorePropose:
    kept: list[StorePropose] = []

    def keep(_: NodeId, message: object) -> None:
        if isinstance(message, StorePropose):
            kept.append(message)

    scene.intruder.rewrite = keep
    with failing():
        await scene.intruder.node.api.store_document_key(
            KEY, document, OnChainAddress(CONTRACT, scene.author)
        )
    await scene.settle()
    scene.intruder.rewrite = lambda _, message: message
    return kept[0]


def _store_request(scene: Scene, document: DocumentKey) -> Request:
    return Request.of(StoreDocumentKey(KEY, document), OnChainAddress(CONTRACT, scene.author))


def test_w20_generation_credential_stores_no_document_key() -> None:
    """A member took part in the author's generation, and uses the credential it saw there to store
    a document key of its own first; then it says that the key was made for both."""

    async def play(scene: Scene) -> None:
        credential = path_credential(scene.author_key)
        made = await scene.victim.api.generate_server_key(KEY, 1, credential)
        await scene.settle()
        intruder = scene.intruder
        (seen,) = {message.request for _, message in intruder.heard(Propose)}
        mine = DocumentKey(point(31), point(32))
        template = await _store_template(scene, mine)
        intruder.inbox.clear()
        for operation in (
            StoreDocumentKey(KEY, mine),
            GenerateServerKey(KEY, 1, with_document_key=True),
        ):
            request = replace(
                seen, operation_number=int(operation.number), payload=operation.payload()
            )
            counter = intruder.next_counter()
            sid = intruder.session(SessionKind.STORING, counter, request)
            for node in scene.honest:
                message = replace(template, counter=counter, request=request, document=mine)
                intruder.send(node.id, sid, message)
            await scene.settle(30)
        assert not intruder.heard(StoreAck)
        assert all(state.document_candidate is None for state in await scene.states())
        document = scene.document_for(made.record.public)
        await scene.victim.api.store_document_key(KEY, document, credential)
        await scene.settle()
        assert {s.document.document for s in await scene.states() if s.document} == {document}

    perform(play)


def test_w20_points_off_the_curve_are_not_stored() -> None:
    """Points that are not on the curve, or at infinity, are sent to be stored; a share times such
    a point would tell about the share."""

    async def play(scene: Scene) -> None:
        await scene.generate()
        intruder = scene.intruder
        template = await _store_template(scene, DocumentKey(point(31), point(32)))
        honest = encode(template)
        good = encode(template.document)
        for bad in (bytes(64), b"\x01" * 64, good[:63] + bytes([good[63] ^ 1])):
            data = honest.replace(good, bad + good[64:])
            sid = SessionId(b"\x07" * 32)
            for node in scene.honest:
                intruder.send_bytes(node.id, b"\x03\x01" + sid + data)
            await scene.settle(5)
        assert all(state.document_candidate is None for state in await scene.states())
        scene.nodes_live()
        await scene.store()
        await scene.all_is_well()

    perform(play)


def test_w35_nobody_coordinates_for_somebody_else() -> None:
    """A member tells another node to run a session for it and to hand over the result: every
    message it knows, as if that node were the coordinator of it."""

    async def play(scene: Scene) -> None:
        told: list[Any] = []

        def note(_: NodeId, message: Any) -> Any:
            told.append(message)
            return message

        scene.intruder.rewrite = note
        await scene.own_key()
        for _ in range(3):
            await scene.retrieve()
        await scene.settle()
        scene.intruder.inbox.clear()
        strange = SessionId(b"\x35" * 32)
        assert {type(message).__name__ for message in told} >= {"Accept", "Deal", "Ready"}
        for message in told:
            for node in scene.honest:
                scene.intruder.send(node.id, strange, message)
        await scene.settle(30)
        assert not [one for one in scene.intruder.inbox if one.sid is not None]
        assert all(node.api._driver.open_sessions == 0 for node in scene.honest)
        await scene.all_is_well()

    perform(play)


def test_w40_one_permission_serves_every_operation() -> None:
    """Accepted, as the contract's interface knows one permission per key id: who may decrypt in
    shadow form is asked about in the same way when he decrypts in plain form. What operators can do
    about it is per node: `forbid_plain_modes`, `strict_credentials`."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asked: set[tuple[int, Address]] = set()

        def remember(request: Request, who: Address) -> Verdict:
            asked.add((request.operation_number, who))
            return Verdict.ALLOWED

        for node in scene.honest:
            node.access.verdict = remember
        credential = path_credential(scene.user)
        await scene.victim.api.retrieve_shadow(KEY, credential)
        await scene.victim.api.retrieve_plain(KEY, credential)
        user = account(scene.user)
        assert asked == {(6, user), (5, user)}
        scene.deny(lambda who: who != user)
        for ask in (scene.victim.api.retrieve_shadow, scene.victim.api.retrieve_plain):
            with pytest.raises(DeniedError):
                await ask(KEY, credential)

    perform(play)
