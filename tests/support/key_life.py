"""The sessions of a key's life over a `Delivery`."""

from collections.abc import Sequence
from dataclasses import replace

from keyserver.crypto import ecies, elgamal
from keyserver.crypto.curve import Point, SecretScalar, mul_base
from keyserver.crypto.randomness import SeededRandom
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId
from keyserver.model.keys import CertifiedDocumentKey, CertifiedRecord, DocumentKey
from keyserver.model.requests import (
    AddShare,
    Credential,
    GenerateServerKey,
    NodeCredential,
    OnChainAddress,
    OnChainPublic,
    Presign,
    RetrieveDocumentKey,
    SigningScheme,
    SignMessage,
    StoreDocumentKey,
)
from keyserver.sessions.core import Completed, Failed
from keyserver.sessions.ecdsa_presigning import ECDSA_PRESIGNING, OwnPresignature
from keyserver.sessions.ecdsa_presigning import Target as PresigningTarget
from keyserver.sessions.ecdsa_signing import ECDSA_SIGNING, AloneTarget
from keyserver.sessions.ecdsa_signing import Target as EcdsaTarget
from keyserver.sessions.frost_signing import FROST_SIGNING
from keyserver.sessions.frost_signing import Target as SigningTarget
from keyserver.sessions.outcomes import ShadowResult, SignatureResult
from keyserver.sessions.retrieval import RETRIEVAL
from keyserver.sessions.retrieval import Target as RetrievalTarget
from keyserver.sessions.share_addition import SHARE_ADDITION
from keyserver.sessions.share_addition import Target as AdditionTarget
from keyserver.sessions.sharing import GENERATION
from keyserver.sessions.storing import STORING
from keyserver.sessions.storing import Target as StoringTarget
from tests.support.delivery import CONTRACT, Delivery

KEY_ID = KeyId(b"\x4b" * 32)
MESSAGE = Hash32(b"\x4d" * 32)
AUTHOR = Address(b"\xa1" * 20)
ON_CHAIN = OnChainAddress(CONTRACT, AUTHOR)
REQUESTER = SecretScalar.from_int(4711)
RANDOM = SeededRandom(b"client")
DOCUMENT_KEY: Point = mul_base(SecretScalar.from_int(4712))
SHADOW_ON_CHAIN = OnChainPublic(CONTRACT, REQUESTER.public())


def try_generate(
    net: Delivery, threshold: int, *, credential: Credential = ON_CHAIN, coordinator: int = 0
) -> Completed | Failed:
    operation = GenerateServerKey(KEY_ID, threshold)
    return net.run(GENERATION, operation, credential, None, coordinator=coordinator)


def generate(net: Delivery, threshold: int, coordinator: int = 0) -> CertifiedRecord:
    outcome = try_generate(net, threshold, coordinator=coordinator)
    assert isinstance(outcome, Completed), outcome
    assert isinstance(outcome.result, CertifiedRecord)
    return outcome.result


def document_for(public: Point, seed: int = 0) -> DocumentKey:
    encrypted = elgamal.encrypt_document_key(public, DOCUMENT_KEY, SeededRandom(seed))
    return DocumentKey(encrypted.common, encrypted.encrypted)


def try_store(
    net: Delivery,
    record: CertifiedRecord,
    document: DocumentKey | None = None,
    *,
    credential: Credential = ON_CHAIN,
    coordinator: int = 0,
) -> Completed | Failed:
    operation = StoreDocumentKey(KEY_ID, document or document_for(record.record.public))
    skipped = net.members[coordinator].key.document_skipped
    target = StoringTarget(record, skipped)
    return net.run(STORING, operation, credential, target, coordinator=coordinator)


def store(net: Delivery, record: CertifiedRecord, coordinator: int = 0) -> CertifiedDocumentKey:
    outcome = try_store(net, record, coordinator=coordinator)
    assert isinstance(outcome, Completed), outcome
    assert isinstance(outcome.result, CertifiedDocumentKey)
    return outcome.result


def try_retrieve(
    net: Delivery,
    record: CertifiedRecord,
    document: CertifiedDocumentKey,
    *,
    credential: Credential = SHADOW_ON_CHAIN,
    shadow: bool = True,
    coordinator: int = 0,
) -> Completed | Failed:
    holders = tuple(entry.node for entry in record.certificate.holding.signatures)
    target = RetrievalTarget(record, document, holders)
    operation = RetrieveDocumentKey(KEY_ID, shadow=shadow)
    return net.run(RETRIEVAL, operation, credential, target, coordinator=coordinator)


def retrieve(
    net: Delivery, record: CertifiedRecord, document: CertifiedDocumentKey, coordinator: int = 0
) -> ShadowResult:
    outcome = try_retrieve(net, record, document, coordinator=coordinator)
    assert isinstance(outcome, Completed), outcome
    assert isinstance(outcome.result, ShadowResult)
    return outcome.result


def try_sign(
    net: Delivery,
    record: CertifiedRecord,
    scheme: SigningScheme = SigningScheme.SCHNORR,
    *,
    credential: Credential = ON_CHAIN,
    coordinator: int = 0,
    excluded: frozenset[NodeId] = frozenset(),
) -> Completed | Failed:
    holders = tuple(entry.node for entry in record.certificate.holding.signatures)
    operation = SignMessage(KEY_ID, MESSAGE, scheme)
    target = SigningTarget(record, holders, excluded)
    return net.run(FROST_SIGNING, operation, credential, target, coordinator=coordinator)


def sign(net: Delivery, record: CertifiedRecord, coordinator: int = 0) -> SignatureResult:
    outcome = try_sign(net, record, coordinator=coordinator)
    assert isinstance(outcome, Completed), outcome
    assert isinstance(outcome.result, SignatureResult)
    return outcome.result


def try_presign(
    net: Delivery,
    record: CertifiedRecord,
    signers: Sequence[int] | None = None,
    *,
    coordinator: int = 0,
) -> Completed | Failed:
    """Make a presignature with 2t + 1 nodes, by default with the first ones."""
    places = range(2 * record.record.threshold + 1) if signers is None else signers
    target = PresigningTarget(record, tuple(sorted(net.members[i].id for i in places)))
    operation = Presign(KEY_ID)
    return net.run(ECDSA_PRESIGNING, operation, NodeCredential(), target, coordinator=coordinator)


def presign(net: Delivery, record: CertifiedRecord, coordinator: int = 0) -> OwnPresignature:
    outcome = try_presign(net, record, coordinator=coordinator)
    assert isinstance(outcome, Completed), outcome
    assert isinstance(outcome.result, OwnPresignature)
    return outcome.result


def try_ecdsa(
    net: Delivery,
    record: CertifiedRecord,
    presignature: OwnPresignature,
    *,
    credential: Credential = ON_CHAIN,
    coordinator: int = 0,
    message: Hash32 = MESSAGE,
) -> Completed | Failed:
    holders = len(record.certificate.holding.signatures)
    target = EcdsaTarget(record, presignature, holders)
    operation = SignMessage(KEY_ID, message, SigningScheme.ECDSA)
    return net.run(ECDSA_SIGNING, operation, credential, target, coordinator=coordinator)


def try_ecdsa_alone(
    net: Delivery, record: CertifiedRecord, holder: int, *, credential: Credential = ON_CHAIN
) -> Completed | Failed:
    holders = len(record.certificate.holding.signatures)
    target = AloneTarget(record, net.members[holder].id, holders)
    operation = SignMessage(KEY_ID, MESSAGE, SigningScheme.ECDSA)
    return net.run(ECDSA_SIGNING, operation, credential, target)


def lose_share(net: Delivery, node: int) -> None:
    """Make a node one that was not there when the key was generated."""
    member = net.members[node]
    member.stored = replace(member.stored, shares={})


def try_add_share(
    net: Delivery,
    record: CertifiedRecord,
    late: int,
    donors: Sequence[int] | None = None,
) -> Completed | Failed:
    """Give a node its share back; without `donors`, from the first t + 1 others."""
    places = [i for i in range(len(net.members)) if i != late] if donors is None else donors
    asked = sorted(net.members[i].id for i in places[: record.record.required_nodes])
    target = AdditionTarget(record.record.hash, tuple(asked))
    return net.run(SHARE_ADDITION, AddShare(KEY_ID), NodeCredential(), target, coordinator=late)


def opened(result: ShadowResult) -> Point:
    """What the requester gets out of a result."""
    shadows = [SecretScalar(ecies.decrypt(REQUESTER, sealed)) for sealed in result.shadows]
    return elgamal.recover_document_key(result.decrypted_secret, result.common_point, shadows)
