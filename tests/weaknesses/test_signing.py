"""Attacks on threshold signatures: W3, W4, W12, W14.

Nodes sign nothing with a server key yet: there is no session for it. What can be sent about it is
sent, with credentials that are right: no node may answer with anything made from its share. What
waits for the signing sessions: two requests under one nonce or presignature with real nonces.
"""

from dataclasses import dataclass

import pytest

from keyserver.model.identifiers import Hash32, KeyId, SessionId
from keyserver.model.requests import Operation, Request
from keyserver.sessions.core import SessionKind
from keyserver.sessions.messages import Refuse
from keyserver.sessions.retrieval.messages import Mode, Partial, Shadow
from tests.support.asgi import call
from tests.support.client_node import sign_id
from tests.support.scripted_node import ScriptedNode, app_of
from tests.weaknesses.asking import SHADOW, Asker, path_credential, request_of
from tests.weaknesses.by_hand import point, secret
from tests.weaknesses.scene import KEY, Scene, perform

FIRST, SECOND = Hash32(b"\x55" * 32), Hash32(b"\x56" * 32)


@dataclass(frozen=True)
class SignHash:
    """A request to sign, as a client would make it."""

    number: Operation
    message: Hash32
    key_id: KeyId = KEY

    def payload(self) -> bytes:
        return self.message


def _signing_request(scene: Scene, asker: Asker, counter: int, wanted: SignHash) -> Request:
    """With the user's own credential, made for this very session."""
    opening = asker.opening(counter, wanted)  # type: ignore[arg-type]
    return Request.of(wanted, path_credential(scene.user)(opening))  # type: ignore[arg-type]


async def _ask_for_two_messages(scene: Scene, number: Operation) -> None:
    """Two messages under one session's number, and the same one twice, in every mode."""
    asker = await Asker.at(scene)
    counter = scene.intruder.next_counter()
    for message in (FIRST, SECOND, FIRST):
        for mode in Mode:
            request = _signing_request(scene, asker, counter, SignHash(number, message))
            assert not await asker.ask_as(counter, request, mode=int(mode))
    assert not scene.intruder.heard(Partial, Shadow)
    refusals = scene.intruder.heard(Refuse)
    assert refusals, "the requests must have arrived"


async def _unknown_messages(scene: Scene, kind: SessionKind) -> None:
    """All message types that are set aside for a kind of session."""
    scene.intruder.inbox.clear()
    points = b"".join(point(n).compressed for n in range(1, 8))
    for number in range(0x20):
        for node in scene.honest:
            header = bytes([kind, number]) + SessionId(bytes([number]) * 32)
            scene.intruder.send_bytes(node.id, header + points + bytes(300))
        await scene.settle(2)
    assert not [one for one in scene.intruder.inbox if one.sid is not None]
    assert all(node.api._driver.open_sessions == 0 for node in scene.honest)


def test_w03_two_schnorr_requests_under_one_nonce() -> None:
    """A coordinator asks for partial Schnorr signatures of two messages in one session: with one
    nonce for both, their difference is a share."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        for number in (Operation.SIGN_SCHNORR, Operation.SIGN_FROST):
            await _ask_for_two_messages(scene, number)
        await _unknown_messages(scene, SessionKind.SCHNORR)
        await scene.all_is_well()

    perform(play)


def test_w03_two_answers_under_one_mask() -> None:
    """The same with what nodes do answer: a decryption's mask is used for one question only. The
    coordinator repeats the opening, asks for another document, and for the plain mode."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        asker = await Asker.at(scene)
        credential = path_credential(scene.user)
        counter = scene.intruder.next_counter()
        opening = asker.opening(counter, _Retrieve())  # type: ignore[arg-type]
        request = request_of(credential(opening))
        first = await asker.ask_as(counter, request, mode=SHADOW)
        again = await asker.ask_as(counter, request, mode=SHADOW)
        assert len(first) == 3
        assert again == first, "one answer each, in all"
        other = request_of(credential(opening), shadow=False)
        assert not await asker.ask_as(counter, other, mode=Mode.PLAIN)

    perform(play)


class _Retrieve(SignHash):
    def __init__(self) -> None:
        super().__init__(Operation.RETRIEVE_SHADOW, FIRST)

    def payload(self) -> bytes:
        return b""


def test_w04_two_ecdsa_digests_under_one_presignature() -> None:
    """A coordinator asks for partial ECDSA signatures of two digests with one presignature."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        await _ask_for_two_messages(scene, Operation.SIGN_ECDSA)
        await _unknown_messages(scene, SessionKind.ECDSA)
        await scene.all_is_well()

    perform(play)


def test_w12_wrong_shares_of_zero() -> None:
    """A dealer gives out wrong shares of zero while presignatures are made: every signature would
    be wrong, and nobody would know why. There is no such session to take part in."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        await _unknown_messages(scene, SessionKind.PRESIGNING)
        await scene.all_is_well()

    perform(play)


def test_w14_last_speaker_chooses_the_nonce() -> None:
    """A member waits for the nonces of all others in many sessions at once, and answers last. The
    sessions that exist have no nonce that several nodes make together; a mask is each node's own,
    and what others say does not change it."""

    async def play(scene: Scene) -> None:
        await scene.own_key()
        await _unknown_messages(scene, SessionKind.SCHNORR)
        asker = await Asker.at(scene)
        masks: set[bytes] = set()
        for _ in range(16):
            _, parts = await asker.ask_with(path_credential(scene.user), _Retrieve(), mode=SHADOW)  # type: ignore[arg-type]
            masks |= {bytes(part.mask) for _, part in parts}
        assert len(masks) == 16 * 3, "no mask is used twice"
        await scene.all_is_well()

    perform(play)


@pytest.mark.parametrize("row", ["schnorr", "ecdsa"])
async def test_w03_w04_signing_paths(row: str) -> None:
    """The original's paths for signatures, with a right credential: the node starts nothing."""
    node = ScriptedNode()
    path = f"/{row}/{KEY.hex()}/{sign_id(secret(2), KEY)}/{FIRST.hex()}"
    answer = await call(app_of(node), "GET", path)
    assert answer.status != 200
    assert node.operations.calls == []
