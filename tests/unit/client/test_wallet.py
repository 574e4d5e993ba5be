from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import NodeId


def test_address_and_public_key_belong_together() -> None:
    secret = SecretScalar(keccak256(b"alice"))
    wallet = Wallet(secret)
    assert wallet.address == NodeId(wallet.public_key).address
    assert secret.expose().hex() not in repr(wallet)


def test_key_ids_are_drawn() -> None:
    wallet, rng = Wallet(SecretScalar(keccak256(b"alice"))), SeededRandom("ids")
    first, second = wallet.new_key_id(rng), wallet.new_key_id(rng)
    assert first != second
    assert first == keccak256(wallet.address + SeededRandom("ids").bytes(32))
