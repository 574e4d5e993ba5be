"""Attacks on our own requests and retrievals (engine design, sections 5.5, 6, 9 and 10)."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from keyserver.crypto.curve import Point
from keyserver.crypto.errors import InvalidPointError
from keyserver.crypto.hashing import tagged_hash
from keyserver.model.codec import encode
from keyserver.model.identifiers import Hash32, KeyId, NodeId, Nonce32, SessionId
from keyserver.model.requests import (
    GenerateServerKey,
    OnChainAddress,
    Request,
    RetrieveDocumentKey,
    RetrieveServerKey,
    StoreDocumentKey,
)
from keyserver.sessions.core import SessionKind
from keyserver.sessions.messages import Cancel, Refuse
from keyserver.sessions.retrieval.messages import (
    DecRequest,
    Done,
    Mode,
    Partial,
    Select,
    SelectedPartial,
    Shadow,
)
from keyserver.sessions.retrieval.parts import select_hash
from keyserver.sessions.sharing.messages import Accept, Start
from keyserver.sessions.storing.messages import StoreAck
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
from tests.weaknesses.intruder import Heard, rewriting
from tests.weaknesses.scene import KEY, Scene, failing, perform


def test_own_mode_that_does_not_fit_the_operation() -> None:
    """The coordinator asks in another mode than the request was made for: in the plain mode for a
    request in shadow form, in the contract's mode for one over HTTP, in modes that do not exist."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await Asker.at(scene)
        http = path_credential(scene.user)
        for shadow, right in ((True, Mode.SHADOW), (False, Mode.PLAIN)):
            operation = RetrieveDocumentKey(KEY, shadow=shadow)
            for mode in (*Mode, 0, 4, 255):
                if mode != right:
                    assert not (await asker.ask_with(http, operation, mode=int(mode)))[1]
        on_chain = request_of(scene.on_chain_user())
        for mode in (Mode.PLAIN, Mode.SHADOW, 0, 4):
            assert not await asker.ask(on_chain, mode=int(mode))
        assert len(await asker.ask(on_chain, mode=ON_CHAIN)) == 3, "the one that fits"

    perform(play)


def test_own_permission_is_not_asked_for_another_operation() -> None:
    """The permission is asked for operations that read a document key. The coordinator opens a
    retrieval with a request for something else, for which nobody needs a permission."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await Asker.at(scene)
        scene.deny(lambda _: False)
        http = path_credential(scene.user)
        document = scene.document_for(point(5))
        for operation in (
            RetrieveServerKey(KEY),
            GenerateServerKey(KEY, 1),
            GenerateServerKey(KEY, 1, with_document_key=True),
            StoreDocumentKey(KEY, document),
        ):
            for mode in Mode:
                assert not (await asker.ask_with(http, operation, mode=int(mode)))[1]
        for reading in (RetrieveDocumentKey(KEY), RetrieveDocumentKey(KEY, shadow=False)):
            for mode in Mode:
                assert not (await asker.ask_with(http, reading, mode=int(mode)))[1]
        request = Request.of(RetrieveServerKey(KEY), OnChainAddress(CONTRACT, scene.author))
        for mode in Mode:
            assert not await asker.ask(request, mode=int(mode))
        assert not scene.intruder.heard(Partial)

    perform(play)


def test_own_bound_credential_of_a_participant() -> None:
    """A client's bound credential, used once through an honest node, is used again through the
    attacker's, which has seen its signature (the client asked it before); and its nonce for another
    request that the client signed."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await Asker.at(scene)
        later = VirtualClock().unix() + 300
        source = bound(scene, RetrieveDocumentKey(KEY), later)
        await scene.victim.api.retrieve_shadow(KEY, source)
        await scene.settle()
        _, parts = await asker.ask_with(source, RetrieveDocumentKey(KEY), mode=SHADOW)
        refusers = {node for node, _ in scene.intruder.heard(Refuse)}
        assert not {node for node, _ in parts} & refusers
        assert scene.victim.id not in {node for node, _ in parts}, "it knows of the first use"
        assert len(parts) <= 1, "the holders that were asked before refuse"
        other = bound(scene, RetrieveDocumentKey(KEY, shadow=False), later)
        _, parts = await asker.ask_with(other, RetrieveDocumentKey(KEY, shadow=False), mode=PLAIN)
        assert scene.victim.id not in {node for node, _ in parts}

    perform(play)


@pytest.mark.parametrize("not_after", [0, 1, 2**63, 2**64 - 1])
def test_own_times_that_a_credential_lives(not_after: int) -> None:
    """A bound credential names a time at the end of the number range, or long past."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await Asker.at(scene)
        source = bound(scene, RetrieveDocumentKey(KEY), not_after)
        assert not (await asker.ask_with(source, RetrieveDocumentKey(KEY), mode=SHADOW))[1]
        scene.nodes_live()

    perform(play)


def test_own_parts_of_parallel_sessions() -> None:
    """Sixty-four sessions at once for one user (as for ROS and generalised birthday attacks), whose
    parts the coordinator mixes: parts of one session in the selection of another, and of two. Each
    part is bound to its session; every mask is used for one. (What waits for signatures: the same
    against nonces of several signers.)"""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        intruder, asker = scene.intruder, await Asker.at(scene)
        source, operation = path_credential(scene.user), RetrieveDocumentKey(KEY)
        sids = []
        for _ in range(64):
            counter = intruder.next_counter()
            request = request_of(source(asker.opening(counter, operation)))
            sid = intruder.session(SessionKind.RETRIEVAL, counter, request)
            message = replace(asker.like, counter=counter, request=request, mode=SHADOW)
            sids.append(sid)
            for node in scene.honest:
                intruder.send(node.id, sid, message)
        await scene.settle(3)
        parts = {sid: sorted(intruder.heard(Partial, sid=sid)) for sid in sids}
        assert all(len(found) == 3 for found in parts.values())
        masks = {part.mask for found in parts.values() for _, part in found}
        points = {part.point for found in parts.values() for _, part in found}
        assert len(masks) == len(points) == 64 * 3
        for first, second in itertools.pairwise(sids):
            mixed = [_listed(*parts[first][0]), _listed(*parts[second][1])]
            foreign = [_listed(*part) for part in parts[second][:2]]
            for chosen in (mixed, foreign):
                signed = intruder.sign(select_hash(first, chosen))
                for node in scene.honest:
                    intruder.send(node.id, first, Select(tuple(chosen), signed))
        await scene.settle(5)
        assert not intruder.heard(Shadow)

    perform(play)


def _listed(node: NodeId, part: Partial) -> SelectedPartial:
    return SelectedPartial(node, part.point, part.mask, part.proof, part.signature)


def test_own_different_selections_for_different_members() -> None:
    """An equivocating coordinator sends every member another selection, and more of them than a
    member answers. A shadow is sealed to the requester and belongs to one selection: those of
    different ones are never put together."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        intruder, asker = scene.intruder, await Asker.at(scene)
        sid, parts = await asker.ask_with(
            path_credential(scene.user), RetrieveDocumentKey(KEY), mode=SHADOW
        )
        parts = sorted(parts)
        listed = [_listed(*part) for part in parts]
        pairs = [[listed[0], listed[1]], [listed[0], listed[2]], [listed[1], listed[2]]]
        for _ in range(2):
            for pair in pairs:
                signed = intruder.sign(select_hash(sid, pair))
                for node in scene.honest:
                    if node.id in {entry.node for entry in pair}:
                        intruder.send(node.id, sid, Select(tuple(pair), signed))
        await scene.settle(5)
        shadows = intruder.heard(Shadow, sid=sid)
        named = {select_hash(sid, pair) for pair in pairs}
        assert {shadow.select_hash for _, shadow in shadows} <= named
        for node in scene.honest:
            assert sum(sender == node.id for sender, _ in shadows) <= 3
        everything = intruder.heard_from(scene.victim.id)
        state = await scene.victim.store.load(KEY)
        assert state.share is not None
        assert state.share.value.expose() not in everything

    perform(play)


def test_own_boot_nonce_of_an_earlier_process() -> None:
    """A member greets with the boot nonce of an earlier process of its own again, so that session
    ids repeat, and opens the same session as before. The node answers with a fresh mask: the two
    parts are those of two sessions, and nobody is convicted by them."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await Asker.at(scene)
        intruder, network = scene.intruder, scene.cluster.network
        counter, operation = intruder.next_counter(), RetrieveDocumentKey(KEY)
        request = request_of(path_credential(scene.user)(asker.opening(counter, operation)))
        first = dict(await asker.ask_as(counter, request, mode=SHADOW))
        old = intruder.boot_nonce
        network._boot_nonces[intruder.id] = Nonce32(b"\x01" * 32)
        await asker.ask(request, mode=SHADOW)
        network._boot_nonces[intruder.id] = old
        intruder.inbox.clear()
        again = dict(await asker.ask_as(counter, request, mode=SHADOW))
        for node, part in again.items():
            assert part.mask != first[node].mask
            assert part.point != first[node].point
        assert not scene.blamed
        await scene.all_is_well()

    perform(play)


def test_own_counters_at_the_end_of_their_range() -> None:
    """A member opens a session with the highest counter there is: it locks itself out, nobody else;
    and no node stumbles over the number."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await Asker.at(scene)
        request = request_of(scene.on_chain_user())
        assert len(await asker.ask_as(2**64 - 1, request, mode=ON_CHAIN)) == 3
        scene.intruder.inbox.clear()
        assert not await asker.ask_as(2**64 - 1, request, mode=ON_CHAIN)
        assert not await asker.ask_as(0, request, mode=ON_CHAIN)
        scene.intruder._counter = 5_000_000
        assert not await asker.ask(request, mode=ON_CHAIN)
        await scene.all_is_well()

    perform(play)


def test_own_session_ids_of_others() -> None:
    """A member opens sessions under ids that are not its own: that of a session another node has
    just opened, one it has chosen, one that fits another kind. The id follows from who opens it."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        intruder, asker = scene.intruder, await Asker.at(scene)
        request = request_of(scene.on_chain_user())
        counter = intruder.next_counter()
        message = replace(asker.like, counter=counter, request=request)
        foreign: list[SessionId] = []

        def race(heard: Heard) -> bool:
            if isinstance(heard.message, DecRequest) and heard.sid is not None:
                foreign.append(heard.sid)
                for node in scene.honest:
                    intruder.send(node.id, heard.sid, message)
            return False

        intruder.keeps = race
        for _ in range(4):
            await scene.all_is_well()
        assert foreign
        wrong = [
            SessionId(tagged_hash("tks/1/sid", b"mine")),
            *(
                intruder.session(kind, counter, request)
                for kind in SessionKind
                if kind is not SessionKind.RETRIEVAL
            ),
            intruder.session(SessionKind.RETRIEVAL, counter + 1, request),
        ]
        for sid in wrong:
            for node in scene.honest:
                intruder.send(node.id, sid, message)
        await scene.settle(5)
        assert not [p for sid in (*wrong, *foreign) for p in intruder.heard(Partial, sid=sid)]

    perform(play)


def test_own_later_messages_come_first() -> None:
    """The coordinator sends what belongs to later rounds before, together with, and instead of the
    opening: nothing is answered before its time, and the session goes its way."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        intruder, asker = scene.intruder, await Asker.at(scene)
        request = request_of(scene.on_chain_user())
        counter = intruder.next_counter()
        sid = intruder.session(SessionKind.RETRIEVAL, counter, request)
        unsigned = intruder.sign(Hash32(bytes(32)))
        early = [Select((), unsigned), Done(Hash32(bytes(32))), Start(()), Cancel(5)]
        for node in scene.honest:
            for message in early:
                intruder.send(node.id, sid, message)
        await scene.settle(2)
        assert not intruder.heard(Shadow, Partial)
        assert len(await asker.ask_as(counter, request, mode=ON_CHAIN)) == 3
        for name in ("Start", "Shares", "Finalize", "Cert", "Installed"):
            intruder.rewrite = rewriting(**{name: lambda to, message: _swapped(scene, to, message)})
            with failing():
                await intruder.node.api.generate_server_key(
                    KeyId(name.encode().ljust(32, b"\x00")),
                    1,
                    OnChainAddress(CONTRACT, scene.author),
                )
        intruder.rewrite = lambda _, message: message
        await scene.settle(100)
        await scene.all_is_well()

    perform(play)


def _swapped(scene: Scene, to: NodeId, message: Any) -> Any:
    """The end before what leads to it."""
    scene.intruder.send(to, scene.intruder.sid, Done(Hash32(bytes(32))))
    scene.intruder.send(to, scene.intruder.sid, Start(()))
    return message


NO_POINTS = {
    "infinity": bytes(33),
    "off the curve": b"\x02" + (5).to_bytes(32, "big"),
    "another prefix": b"\x05" + point(3).compressed[1:],
    "above the field": b"\x02" + b"\xff" * 32,
}
"""secp256k1 has no small subgroups: besides these there are only points of the whole group."""


@pytest.mark.parametrize("name", NO_POINTS)
def test_own_points_that_are_none(name: str) -> None:
    """In every field of every message that holds a point there is something else: infinity, a pair
    off the curve, another encoding. It does not get past the parser, and its sender is cut off."""
    bad33 = NO_POINTS[name]
    with pytest.raises(InvalidPointError):
        Point.parse(bad33)
    bad64 = bytes(64) if name == "infinity" else bad33[1:] + b"\x07" * 32

    async def play(scene: Scene) -> None:
        messages: dict[type, tuple[SessionId, Any]] = {}
        intruder = scene.intruder

        def note(_: NodeId, message: Any) -> Any:
            messages[type(message)] = (intruder.sid, message)
            return message

        intruder.rewrite = note
        with failing():
            await intruder.node.api.generate_server_key(
                KEY, 1, OnChainAddress(CONTRACT, scene.author)
            )
        await scene.settle()
        await scene.store()
        for _ in range(3):
            with failing():
                await intruder.node.api.retrieve_shadow(KEY, path_credential(scene.user))
            await scene.retrieve()
        listener = scene.cluster.network._listeners[scene.victim.id]
        refused, opened = 0, list[SessionId]()
        intruder.inbox.clear()
        for kind, (sid, message) in messages.items():
            data = kind.TYPE.to_bytes(2, "big") + sid + encode(message)  # type: ignore[attr-defined]
            for place, size in _points_in(data[34:]):
                at = 34 + place
                broken = data[:at] + (bad33 if size == 33 else bad64) + data[at + size :]
                if listener.on_message(intruder.id, broken):
                    # parsed later: credentials and masks by the session, a shadow by the requester
                    assert hasattr(message, "request") or kind in {Select, Partial, Shadow}
                    opened.append(sid)
                else:
                    refused += 1
        assert refused > 30
        assert len(messages) > 10
        await scene.settle()
        assert not intruder.heard(Accept, Partial, Shadow, StoreAck)
        await scene.all_is_well()

    perform(play)


def _points_in(body: bytes) -> list[tuple[int, int]]:
    """Where points stand in a message: known ones, as all were made by the parser itself."""
    found = []
    for known in _KNOWN:
        for form in (known.compressed, known.raw64):
            place = body.find(form)
            if place >= 0:
                found.append((place, len(form)))
    return found


_KNOWN: list[Point] = []


@pytest.fixture(autouse=True)
def _remember_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """All points that are parsed during a test."""
    _KNOWN.clear()
    parse, raw = Point.parse.__func__, Point.from_raw64.__func__  # type: ignore[attr-defined]

    def remembering(make: Any) -> Any:
        def made(cls: type[Point], data: bytes) -> Point:
            one: Point = make(cls, data)
            if len(_KNOWN) < 4000:
                _KNOWN.append(one)
            return one

        return classmethod(made)

    monkeypatch.setattr(Point, "parse", remembering(parse))
    monkeypatch.setattr(Point, "from_raw64", remembering(raw))
