"""Signatures checked by other means than the program's own (HTTP interface, section 5.3)."""

from coincurve import PublicKey
from eth_utils.crypto import keccak

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def is_ecdsa(public: bytes, message: bytes, signature: bytes) -> bool:
    """`r || s || v` recovers to the key (64 bytes), v is 0 or 1, and s is the lower one."""
    if len(signature) != 65 or signature[64] > 1:
        return False
    made_by = PublicKey.from_signature_and_message(signature, message, hasher=None)
    low = int.from_bytes(signature[32:64], "big") <= ORDER // 2
    return low and made_by.format(compressed=False)[1:] == public


def is_schnorr(public: bytes, message: bytes, signature: bytes) -> bool:
    """`c || s`, the original's form: c is the hash of the message and of x(s*G + c*Y)."""
    if len(signature) != 64:
        return False
    c, s = signature[:32], signature[32:]
    known = PublicKey(b"\x04" + public).multiply(c)
    nonce = PublicKey.combine_keys([PublicKey.from_secret(s), known])
    digest = keccak(message + nonce.format()[1:])
    return int.from_bytes(digest, "big") % ORDER == int.from_bytes(c, "big")
