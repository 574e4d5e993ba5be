"""Two ends of a finished handshake, and what else tests of the transport begin with."""

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import Hash32, Nonce32
from keyserver.net.handshake import AwaitingActOne, TransportKeys, begin
from keyserver.net.link import PROTOCOL, Hello
from keyserver.net.node_key import LocalNodeKey

CLUSTER = Hash32(bytes([7]) * 32)


def node_key(number: int) -> LocalNodeKey:
    return LocalNodeKey(SecretScalar.from_int(number))


def keys_of_both_ends(seed: int = 0) -> tuple[TransportKeys, TransportKeys]:
    """Keys of the initiator and of the responder after a real handshake."""
    random = SeededRandom(seed)
    responder = node_key(2)
    initiator, act_one = begin(node_key(1), responder.public, SecretScalar.random(random))
    waiting, act_two = AwaitingActOne(responder, SecretScalar.random(random)).receive(act_one)
    act_three, initiated = initiator.receive(act_two)
    return initiated.keys, waiting.receive(act_three, lambda _: True).keys


def hello(
    *, cluster_id: Hash32 = CLUSTER, protocol: int = PROTOCOL, boot: int = 1, software: bytes = b""
) -> Hello:
    return Hello(
        protocol=protocol,
        cluster_id=cluster_id,
        set_id=Hash32(bytes([8]) * 32),
        boot_nonce=Nonce32(bytes([boot]) * 32),
        features=0,
        unix_seconds=1_700_000_000,
        software=software,
    )
