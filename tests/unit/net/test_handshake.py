import pytest

from keyserver.crypto.curve import Point, SecretScalar, ecdh_sha256
from keyserver.crypto.hashing import sha256
from keyserver.model.identifiers import NodeId
from keyserver.net.cipher import RotatingKey
from keyserver.net.errors import Flaw, HandshakeError
from keyserver.net.handshake import AwaitingActOne, AwaitingActThree, begin
from keyserver.net.node_key import LocalNodeKey
from tests.unit.net.peers import keys_of_both_ends, node_key

INITIATOR, RESPONDER = node_key(1), node_key(2)
SECRETS = [SecretScalar.from_int(number) for number in (11, 12)]


def until_act_three(prologue: bytes = b"tks/1") -> tuple[AwaitingActThree, bytes]:
    initiator, act_one = begin(INITIATOR, RESPONDER.public, SECRETS[0], prologue)
    responder, act_two = AwaitingActOne(RESPONDER, SECRETS[1], prologue).receive(act_one)
    act_three, _ = initiator.receive(act_two)
    return responder, act_three


def test_both_ends_derive_the_same_keys() -> None:
    initiator, responder = keys_of_both_ends()
    assert initiator.sending == responder.receiving
    assert initiator.receiving == responder.sending
    assert initiator.chaining == responder.chaining
    assert len({initiator.sending, initiator.receiving, initiator.chaining}) == 3


def test_admission_is_asked_about_the_initiator_and_can_refuse() -> None:
    responder, act_three = until_act_three()
    asked: list[NodeId] = []

    def admits(peer: NodeId) -> bool:
        asked.append(peer)
        return False

    with pytest.raises(HandshakeError) as caught:
        responder.receive(act_three, admits)
    assert caught.value.flaw is Flaw.NOT_ADMITTED
    assert asked == [NodeId.of(INITIATOR.public)]


def test_admission_is_not_asked_before_the_initiator_has_proven_its_key() -> None:
    responder, act_three = until_act_three()
    forged = act_three[:-1] + bytes([act_three[-1] ^ 1])
    with pytest.raises(HandshakeError) as caught:
        responder.receive(forged, lambda _: pytest.fail("asked too early"))
    assert caught.value.flaw is Flaw.BAD_TAG


def test_prologues_must_agree() -> None:
    _, act_one = begin(INITIATOR, RESPONDER.public, SECRETS[0], b"tks/1")
    with pytest.raises(HandshakeError) as caught:
        AwaitingActOne(RESPONDER, SECRETS[1], b"lightning").receive(act_one)
    assert (caught.value.act, caught.value.flaw) == (1, Flaw.BAD_TAG)


def test_the_initiator_must_mean_this_responder() -> None:
    _, act_one = begin(INITIATOR, node_key(3).public, SECRETS[0])
    with pytest.raises(HandshakeError):
        AwaitingActOne(RESPONDER, SECRETS[1]).receive(act_one)


@pytest.mark.parametrize("position", range(50))
def test_every_byte_of_act_two_counts(position: int) -> None:
    initiator, act_one = begin(INITIATOR, RESPONDER.public, SECRETS[0])
    _, act_two = AwaitingActOne(RESPONDER, SECRETS[1]).receive(act_one)
    changed = bytearray(act_two)
    changed[position] ^= 1
    with pytest.raises(HandshakeError):
        initiator.receive(bytes(changed))


def test_secrets_are_not_printed() -> None:
    keys, _ = keys_of_both_ends()
    responder, _ = until_act_three()
    initiator, _ = begin(INITIATOR, RESPONDER.public, SECRETS[0])
    rotating = RotatingKey(keys.sending, keys.chaining)
    printed = repr([keys, responder, initiator, rotating, AwaitingActOne(RESPONDER, SECRETS[1])])
    for secret in (keys.sending, keys.receiving, keys.chaining):
        assert secret.hex() not in printed
        assert repr(secret) not in printed
    assert "sealing" not in printed
    assert "SecretScalar" not in printed


def test_the_local_key_does_what_the_interface_says() -> None:
    secret = SecretScalar.from_int(0xABCDEF)
    key = LocalNodeKey(secret)
    other = SecretScalar.from_int(0x1234)
    assert key.public == secret.public()
    assert key.ecdh(other.public()) == ecdh_sha256(other, key.public)
    product = Point.parse(SecretScalar.from_int(0xABCDEF * 0x1234).public().compressed)
    assert key.ecdh(other.public()) == sha256(product.compressed)
    assert secret.expose().hex() not in repr(key)
