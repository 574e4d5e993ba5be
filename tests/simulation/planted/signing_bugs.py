"""Bugs in what serves once: nonces, presignatures, and who may have them used."""

from typing import Any

from keyserver.crypto.randomness import SeededRandom
from keyserver.crypto.schnorr import commit
from keyserver.engine.contexts import Contexts
from keyserver.engine.presignature_stock import PresignatureStock
from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.sessions.ecdsa_presigning import OwnPresignature
from keyserver.sessions.ecdsa_signing import participant as ecdsa_signer
from keyserver.sessions.frost_signing import participant as schnorr_signer
from keyserver.sessions.presignature_pool import PresignaturePool
from tests.simulation.planted.bug import Bug, nothing, replacing


def _same_nonces(form: Any, x: Any, share: Any, _: Any) -> Any:
    """What a node draws that has come back from a snapshot of its memory."""
    return commit(form, x, share, SeededRandom(b"snapshot"))


def _left_there(
    stock: PresignatureStock, key_id: KeyId, record_hash: Hash32, signers: frozenset[NodeId]
) -> OwnPresignature | None:
    shelf = stock._shelf(key_id, record_hash)
    fit = () if shelf is None else shelf.made
    return next((m.presignature for m in fit if signers.issuperset(m.presignature.signers)), None)


_begin = Contexts.__init__
_kept: dict[int, tuple[object, PresignaturePool]] = {}
"""By what outlives the processes of a node in a run."""


def _with_what_was_kept(contexts: Contexts, identity: Any, ports: Any, avoided: Any) -> None:
    """The pool of a node survives its process."""
    _begin(contexts, identity, ports, avoided)
    node = ports.observer
    contexts.presignatures = _kept.setdefault(id(node), (node, contexts.presignatures))[1]


BUGS = (
    Bug("nonces", "nonces are fresh", replacing((schnorr_signer, "commit", _same_nonces))),
    Bug(
        "stock",
        "a coordinator gives each presignature out once",
        replacing((PresignatureStock, "take", _left_there)),
    ),
    Bug(
        "pool in memory",
        "presignatures end with the process",
        replacing((Contexts, "__init__", _with_what_was_kept)),
    ),
    Bug(
        "permission to sign",
        "a signer asks its own chain for the permission",
        replacing(
            (ecdsa_signer, "_check_allowed", nothing),
            (schnorr_signer, "verdict_refusal", nothing),
        ),
    ),
)
