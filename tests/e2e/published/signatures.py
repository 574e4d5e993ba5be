"""Signatures as Energy Web's clients ask for them."""

from keyserver.crypto import ecies
from tests.e2e.published.person import Person, new_id
from tests.support.signature_checks import is_ecdsa, is_schnorr
from tests.unit.app.samples import secret


def check_signatures(author: Person, bob: Person) -> None:
    """C2.4: both signatures of one hash, which the client takes bare."""
    key_id, message = new_id(), "22" * 32
    server_key = bytes.fromhex(author.session("generateServerKey", key_id, 1)[2:])
    sealed = bob.session("signSchnorr", key_id, message)
    assert len(sealed) == 2 + 2 * 177
    signature = ecies.decrypt(secret("bob"), bytes.fromhex(sealed[2:]))
    assert is_schnorr(server_key, bytes.fromhex(message), signature)
    sealed = bob.session("signEcdsa", key_id, message)
    assert len(sealed) == 2 + 2 * 178
    signature = ecies.decrypt(secret("bob"), bytes.fromhex(sealed[2:]))
    assert is_ecdsa(server_key, bytes.fromhex(message), signature)
