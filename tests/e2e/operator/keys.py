"""A key from generation to reading, as a client of the original's HTTP interface does it."""

import json
from dataclasses import dataclass

from keyserver.crypto import ecies
from keyserver.crypto.curve import Point, SecretScalar
from keyserver.crypto.elgamal import encrypt_document_key, recover_document_key
from keyserver.crypto.randomness import SystemRandom
from tests.e2e.operator.static_network import StaticNetwork
from tests.support.client_node import sign_id
from tests.support.raw_http import Answer

AUTHOR = SecretScalar.from_int(77)


@dataclass(frozen=True)
class Key:
    """A server key with a document key."""

    id: bytes
    document_key: Point

    @property
    def path(self) -> str:
        """Id and author's signature."""
        return path_of(self.id)


def path_of(key_id: bytes) -> str:
    """The two segments that begin every request of the author."""
    return f"{key_id.hex()}/{sign_id(AUTHOR, key_id)}"


def publish(network: StaticNetwork, name: str, *, threshold: int) -> Key:
    """Generate a server key at a node and store a document key there."""
    random = SystemRandom()
    key = Key(random.bytes(32), SecretScalar.random(random).public())
    made = network.ask(name, "POST", f"/shadow/{key.path}/{threshold}")
    assert made.status == 200, made
    public = Point.from_raw64(bytes.fromhex(json.loads(made.body)[2:]))
    sealed = encrypt_document_key(public, key.document_key, random)
    points = f"{sealed.common.raw64.hex()}/{sealed.encrypted.raw64.hex()}"
    stored = network.ask(name, "POST", f"/shadow/{key.path}/{points}")
    assert (stored.status, stored.body) == (200, b"")
    return key


def read(network: StaticNetwork, name: str, key: Key) -> tuple[Answer, Answer]:
    """Ask a node for the document key and for its shadow (operations 5 and 6)."""
    return (
        network.ask(name, "GET", f"/{key.path}"),
        network.ask(name, "GET", f"/shadow/{key.path}"),
    )


def is_readable(network: StaticNetwork, name: str, key: Key) -> bool:
    """Whether both operations give the same document key as was stored."""
    plain, shadow = read(network, name, key)
    if (plain.status, shadow.status) != (200, 200):
        return False
    wanted = key.document_key.raw64
    opened = ecies.decrypt(AUTHOR, bytes.fromhex(json.loads(plain.body)[2:]))
    return opened == wanted == _from_shadow(shadow).raw64


def _from_shadow(answer: Answer) -> Point:
    fields = json.loads(answer.body)
    shadows = [
        SecretScalar(ecies.decrypt(AUTHOR, bytes.fromhex(sealed[2:])))
        for sealed in fields["decrypt_shadows"]
    ]
    return recover_document_key(
        Point.from_raw64(bytes.fromhex(fields["decrypted_secret"][2:])),
        Point.from_raw64(bytes.fromhex(fields["common_point"][2:])),
        shadows,
    )
