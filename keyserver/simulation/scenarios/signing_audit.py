"""Watches what honest nodes answer with nonces and presignatures: each of them answers once, ever.

Two answers under one nonce, or with one presignature, are enough to compute a share, or the key. So
it counts over the whole life of a node: crashes, restarts, and disks brought back from a backup
included. Everything is judged by what is on the wire, but for one thing: which presignatures a
process of a node has made itself, which is asked of the process.
"""

from keyserver.model.identifiers import ZERO_HASH, Hash32, NodeId, SessionId
from keyserver.sessions.ecdsa_presigning.messages import PresignatureKept
from keyserver.sessions.ecdsa_signing.messages import EcdsaPart, EcdsaRequest
from keyserver.sessions.frost_signing.messages import (
    ChosenSigner,
    NonceCommitments,
    Package,
    SignatureShare,
)
from keyserver.simulation.cluster import Cluster
from keyserver.simulation.scenarios.violation import require


class SigningAudit:
    """What nonces and presignatures were used for so far."""

    def __init__(self, cluster: Cluster, liars: frozenset[NodeId]) -> None:
        self._cluster = cluster
        self._liars = liars
        self._nonces: dict[bytes, tuple[NodeId, SessionId]] = {}
        """Of whom, and in which session, by the commitment."""
        self._committed: dict[tuple[NodeId, SessionId], tuple[int, ChosenSigner]] = {}
        """In which life of the node, and to what."""
        self._packages: dict[tuple[NodeId, SessionId], list[Package]] = {}
        self._packed: dict[SessionId, Package] = {}
        self._shared: set[tuple[NodeId, bytes]] = set()
        self._made: dict[tuple[NodeId, Hash32], int] = {}
        """In which life of a node it was there first."""
        self._requests: dict[tuple[NodeId, SessionId], EcdsaRequest] = {}
        self._asked: dict[Hash32, SessionId] = {}
        self._spent: set[tuple[NodeId, Hash32]] = set()
        self.answers = 0
        """How many shares and parts were looked at."""

    def on_arrive(self, to: NodeId, sid: SessionId, message: object) -> None:
        """A message of a session has reached a node."""
        match message:
            case Package():
                self._packages.setdefault((to, sid), []).append(message)
            case EcdsaRequest():
                self._requests[to, sid] = message

    def on_send(self, sender: NodeId, sid: SessionId, message: object) -> None:
        """A node sends a message of a session; raises `Violation`."""
        if sender in self._liars:
            return
        match message:
            case NonceCommitments():
                self._check_commitments(sender, sid, message)
            case Package():
                self._check_package(sender, sid, message)
            case SignatureShare():
                self._check_share(sender, sid)
            case PresignatureKept():
                self._note_made(sender)
            case EcdsaRequest():
                self._check_request(sender, sid, message)
            case EcdsaPart():
                self._check_part(sender, sid)

    # --- nonces -----------------------------------------------------------------------------------

    def _check_commitments(self, node: NodeId, sid: SessionId, made: NonceCommitments) -> None:
        require((node, sid) not in self._committed, "a session was opened twice", node.short)
        signer = ChosenSigner(node, made.hiding, made.binding)
        self._check_fresh(node, sid, signer)
        self._committed[node, sid] = (self._life(node), signer)

    def _check_fresh(self, node: NodeId, sid: SessionId, signer: ChosenSigner) -> None:
        require(signer.hiding != signer.binding, "a nonce is used twice in one session", node.short)
        for point in (signer.hiding, signer.binding):
            first = self._nonces.setdefault(point.compressed, (node, sid))
            require(first == (node, sid), "a nonce is used in two sessions", node.short)

    def _check_package(self, node: NodeId, sid: SessionId, package: Package) -> None:
        """An honest coordinator sends one; its own commitments are seen nowhere else."""
        first = self._packed.setdefault(sid, package)
        require(first == package, "a coordinator sends two packages", node.short)
        for entry in package.signers:
            if entry.signer.node == node:
                self._check_fresh(node, sid, entry.signer)

    def _check_share(self, node: NodeId, sid: SessionId) -> None:
        self.answers += 1
        require((node, sid) in self._committed, "a share for no nonce", node.short)
        life, signer = self._committed[node, sid]
        require(life == self._life(node), "a nonce outlives its process", node.short)
        packages = self._packages.get((node, sid), [])
        listed = any(signer == entry.signer for each in packages for entry in each.signers)
        require(listed, "a share for nonces that were not asked for", node.short)
        use = (node, signer.hiding.compressed)
        require(use not in self._shared, "a nonce answers twice", node.short)
        self._shared.add(use)

    # --- presignatures ----------------------------------------------------------------------------

    def _note_made(self, node: NodeId) -> None:
        for name in self._cluster.node(node).presignatures:
            self._made.setdefault((node, name), self._life(node))

    def _check_request(self, node: NodeId, sid: SessionId, request: EcdsaRequest) -> None:
        if request.presig_id != ZERO_HASH:
            first = self._asked.setdefault(request.presig_id, sid)
            require(first == sid, "a presignature is asked for twice", node.short)

    def _check_part(self, node: NodeId, sid: SessionId) -> None:
        self.answers += 1
        require((node, sid) in self._requests, "a part that was not asked for", node.short)
        name = self._requests[node, sid].presig_id
        require((node, name) not in self._spent, "a presignature answers twice", node.short)
        self._spent.add((node, name))
        made = self._made.get((node, name))
        require(made == self._life(node), "a presignature outlives its process", node.short)

    def _life(self, node: NodeId) -> int:
        return self._cluster.node(node).boots
