"""Signatures verified without a line of this program's mathematics."""

from coincurve import PublicKey
from eth_account import Account
from eth_utils.crypto import keccak

from keyserver.client.signatures import ServerSignature
from keyserver.devnet.local_chain import request
from keyserver.model.requests import SigningScheme

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
RECOVER = "0x" + "1".rjust(40, "0")
"""The contract that every chain has for the recovery of signers."""


def check(signature: ServerSignature, rpc_url: str) -> None:
    """Assert that the key has signed the message."""
    if signature.scheme is SigningScheme.ECDSA:
        _check_ecdsa(signature, rpc_url)
    else:
        _check_schnorr(signature)


def _check_ecdsa(signature: ServerSignature, rpc_url: str) -> None:
    encoded, message = signature.for_ethereum, bytes(signature.message)
    recoverable = encoded[:64] + bytes([encoded[64] - 27])
    public = PublicKey.from_signature_and_message(recoverable, message, hasher=None)
    assert public.format(compressed=False)[1:] == signature.public.raw64
    account = bytes(keccak(signature.public.raw64))[12:]
    assert bytes.fromhex(Account._recover_hash(message, signature=encoded)[2:]) == account
    assert int.from_bytes(encoded[32:64], "big") <= ORDER // 2
    call = message + encoded[64:].rjust(32, b"\0") + encoded[:64]
    recovered = request(rpc_url, "eth_call", {"to": RECOVER, "data": f"0x{call.hex()}"}, "latest")
    assert bytes.fromhex(recovered[2:])[12:] == account


def _check_schnorr(signature: ServerSignature) -> None:
    """`c == keccak256(message || x(s*G + c*P)) mod n`, the original network's equation."""
    challenge, response = signature.encoded[:32], signature.encoded[32:]
    public = PublicKey(b"\x04" + signature.public.raw64)
    nonce = PublicKey.combine_keys([PublicKey.from_secret(response), public.multiply(challenge)])
    digest = keccak(bytes(signature.message) + nonce.format(compressed=False)[1:33])
    assert int.from_bytes(digest, "big") % ORDER == int.from_bytes(challenge, "big")
