"""A key server without sessions: what the nodes of one cluster would have agreed on.

Keys are made by one dealer in this process, and every node is told the outcome as the engine
would tell it. Tests decide who is connected and what fails.
"""

from collections import defaultdict
from collections.abc import Set
from dataclasses import dataclass, field

from keyserver.crypto.curve import Point, Scalar, SecretScalar
from keyserver.crypto.ecdsa import sign_alone
from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.schnorr import (
    Form,
    SchnorrSignature,
    aggregate,
    commit,
    prepare,
    sign_part,
)
from keyserver.engine.key_server import ShadowResult
from keyserver.engine.outcomes import (
    DocumentInstalled,
    EcdsaReady,
    OutcomeListener,
    RecordInstalled,
    ShadowReady,
    SignatureReady,
)
from keyserver.model.identifiers import ZERO_HASH, Address, Hash32, KeyId, NodeId, Signature
from keyserver.model.keys import (
    Certificate,
    CertifiedDocumentKey,
    CertifiedRecord,
    CommitteeMember,
    Decision,
    DocumentKey,
    HoldingCertificate,
    KeyRecord,
)
from keyserver.model.requests import (
    Credential,
    OnChainAddress,
    OnChainPublic,
    SigningScheme,
    SignMessage,
)
from keyserver.sessions.core import DeniedError, KeyState, SessionError
from keyserver.sessions.outcomes import EcdsaResult, SignatureResult


def secret_of(number: int) -> SecretScalar:
    return SecretScalar(number.to_bytes(32, "big"))


def node_of(number: int) -> NodeId:
    return NodeId.of(secret_of(number).public())


def point_of(number: int) -> Point:
    return secret_of(number).public()


def key_secret(key_id: KeyId, seed: int = 1) -> SecretScalar:
    """The private key behind a record of `certified_record`."""
    return SecretScalar.random(SeededRandom(key_id + bytes([seed])))


def schnorr_signature(key: SecretScalar, message: Hash32) -> SchnorrSignature:
    """In the original's form, by the owner of the whole key."""
    x = Scalar(1)
    nonces = commit(Form.ORIGINAL, x, key, SeededRandom(message))
    package = prepare(Form.ORIGINAL, key.public(), message, [nonces.commitment])
    return aggregate(package, [sign_part(nonces, key, package)], [key.public()])


def certified_record(
    key_id: KeyId, author: Address, threshold: int, nodes: tuple[NodeId, ...], seed: int = 1
) -> CertifiedRecord:
    """A record that parses; its signatures are of no interest here."""
    rng = SeededRandom(key_id + bytes([seed]))
    commitments = tuple(SecretScalar.random(rng).public() for _ in range(threshold + 1))
    record = KeyRecord(
        record_format=1,
        key_id=key_id,
        author=author,
        threshold=threshold,
        public=commitments[0],
        version=1,
        previous=ZERO_HASH,
        set_id=ZERO_HASH,
        document=ZERO_HASH,
        committee=tuple(
            CommitteeMember(node, Scalar(i)) for i, node in enumerate(sorted(nodes), 1)
        ),
        commitments=commitments,
    )
    decision = Decision(0, record.hash, ())
    return CertifiedRecord(record, Certificate(HoldingCertificate(ZERO_HASH, ()), decision))


def certified_document(document: DocumentKey) -> CertifiedDocumentKey:
    return CertifiedDocumentKey(document, ZERO_HASH, 1, Decision(0, ZERO_HASH, ()))


@dataclass
class FakeCluster:
    """What all nodes have agreed on."""

    nodes: tuple[NodeId, ...]
    records: dict[KeyId, CertifiedRecord] = field(default_factory=dict)
    documents: dict[KeyId, CertifiedDocumentKey] = field(default_factory=dict)
    listeners: dict[NodeId, OutcomeListener] = field(default_factory=dict)
    calls: list[tuple[str, NodeId]] = field(default_factory=list)
    failures: dict[str, list[SessionError]] = field(default_factory=lambda: defaultdict(list))
    """Errors that the next calls of a method raise, in order; of "signed" after the session."""
    sessions: int = 0
    signed: list[tuple[NodeId, SignMessage]] = field(default_factory=list)
    """What was signed, and who had it signed."""
    signers: tuple[NodeId, ...] = ()
    """Who takes part in signing; all if empty."""

    def tell(self, outcome: RecordInstalled | DocumentInstalled) -> None:
        for listener in self.listeners.values():
            listener.on_outcome(outcome)


class FakeKeyServer:
    """`KeyServerApi` of one node of the cluster."""

    def __init__(self, cluster: FakeCluster, me: NodeId) -> None:
        self.cluster = cluster
        self.me = me
        self.knows: Set[KeyId] | None = None
        """Keys of which this node itself has the record; `None`: all."""
        self.peers: frozenset[NodeId] = frozenset(cluster.nodes) - {me}

    @property
    def connected(self) -> frozenset[NodeId]:
        return self.peers

    async def key_state(self, key_id: KeyId) -> KeyState:
        if self.knows is not None and key_id not in self.knows:
            return KeyState()
        return KeyState(
            active=self.cluster.records.get(key_id), document=self.cluster.documents.get(key_id)
        )

    async def find_record(self, key_id: KeyId) -> CertifiedRecord | None:
        self._call("find_record")
        return self.cluster.records.get(key_id)

    async def generate_server_key(
        self, key_id: KeyId, threshold: int, credential: Credential
    ) -> CertifiedRecord:
        self._call("generate_server_key")
        assert isinstance(credential, OnChainAddress)
        if key_id in self.cluster.records:
            raise DeniedError("exists", "ServerKeyAlreadyGenerated")
        author = credential.requester
        record = certified_record(key_id, author, threshold, self.cluster.nodes)
        self.cluster.records[key_id] = record
        self.cluster.tell(RecordInstalled(key_id))
        return record

    async def store_document_key(
        self, key_id: KeyId, document: DocumentKey, credential: Credential
    ) -> CertifiedDocumentKey:
        self._call("store_document_key")
        if key_id in self.cluster.documents:
            raise DeniedError("stored", "DocumentKeyAlreadyStored")
        certified = certified_document(document)
        self.cluster.documents[key_id] = certified
        self.cluster.tell(DocumentInstalled(key_id))
        return certified

    async def retrieve_shadow(self, key_id: KeyId, credential: Credential) -> ShadowResult:
        self._call("retrieve_shadow")
        assert isinstance(credential, OnChainPublic)
        self.cluster.sessions += 1
        required = self.cluster.records[key_id].record.required_nodes
        chosen = self.cluster.nodes[:required]
        secret = point_of(1000 + self.cluster.sessions)
        shadows = tuple(bytes([i]) * 145 for i, _ in enumerate(chosen))
        for node, shadow in zip(chosen, shadows, strict=True):
            ready = ShadowReady(
                credential.contract, key_id, credential.requester, chosen, secret, shadow
            )
            if node in self.cluster.listeners:
                self.cluster.listeners[node].on_outcome(ready)
        return ShadowResult(secret, secret, shadows, chosen, (secret,) * required)

    async def sign(
        self, operation: SignMessage, credential: Credential
    ) -> SignatureResult | EcdsaResult:
        self._call("sign")
        assert isinstance(credential, OnChainAddress)
        self.cluster.sessions += 1
        self.cluster.signed.append((self.me, operation))
        key_id, message = operation.key_id, operation.message
        asked = (credential.contract, key_id, credential.requester, message)
        key = key_secret(key_id)
        result: SignatureResult | EcdsaResult
        ready: SignatureReady | EcdsaReady
        if operation.scheme is SigningScheme.ECDSA:
            ecdsa = Signature(sign_alone(key, message))
            result, ready = EcdsaResult(ecdsa, None), EcdsaReady(*asked, ecdsa)
        else:
            schnorr = schnorr_signature(key, message)
            result, ready = SignatureResult(schnorr, None), SignatureReady(*asked, schnorr)
        for node in self.cluster.signers or self.cluster.nodes:
            if node in self.cluster.listeners:
                self.cluster.listeners[node].on_outcome(ready)
        self._fail("signed")
        return result

    async def retrieve_plain(self, key_id: KeyId, credential: Credential) -> bytes:
        raise NotImplementedError

    def _call(self, method: str) -> None:
        self.cluster.calls.append((method, self.me))
        self._fail(method)

    def _fail(self, method: str) -> None:
        if self.cluster.failures[method]:
            raise self.cluster.failures[method].pop(0)
