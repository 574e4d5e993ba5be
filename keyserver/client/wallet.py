"""The account of a person: signs transactions and opens what is encrypted to it."""

from keyserver.crypto import ecies
from keyserver.crypto.curve import SecretScalar, sign_digest
from keyserver.crypto.hashing import keccak256
from keyserver.crypto.randomness import RandomSource
from keyserver.evm.transaction import SignedTransaction, TransactionSigner, UnsignedTransaction
from keyserver.model.identifiers import Address, KeyId


class Wallet:
    """A private key with its address; the key stays inside."""

    __slots__ = ("_secret", "_signer", "address", "public_key")

    def __init__(self, secret: SecretScalar) -> None:
        self._secret = secret
        self._signer = TransactionSigner(secret)
        self.address: Address = self._signer.address
        self.public_key: bytes = secret.public().raw64
        """64 bytes, `x || y`."""

    def sign(self, transaction: UnsignedTransaction) -> SignedTransaction:
        """Sign a transaction."""
        return self._signer.sign(transaction)

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign 32 bytes as they are: `r || s || v`, 65 bytes, low s, v in 0..3.

        Only for what this program made itself: a digest chosen by others may be a transaction.
        """
        return sign_digest(self._secret, digest)

    def decrypt(self, message: bytes) -> bytes:
        """Open an ECIES message to this account; raises `DecryptionError`."""
        return ecies.decrypt(self._secret, message)

    def new_key_id(self, rng: RandomSource) -> KeyId:
        """Draw a key id that nobody can guess before it is used.

        An id belongs to whoever asks for it first; one that cannot be foreseen cannot be taken
        away (contracts, defect C-20). It is the hash of the address and 32 random bytes.
        """
        return KeyId(keccak256(self.address + rng.bytes(32)))

    def __repr__(self) -> str:
        return f"Wallet({self.address.hex()})"
