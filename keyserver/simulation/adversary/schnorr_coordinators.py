"""Coordinators that cheat honest signers of a Schnorr signature (engine design, section 11)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keyserver.crypto.curve import Scalar
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId
from keyserver.model.requests import OnChainAddress, Operation, Proof, Request
from keyserver.sessions.frost_signing.messages import Package, SignedSigner
from keyserver.sessions.identity import session_id
from keyserver.sessions.wire import pack
from keyserver.simulation.adversary import floods
from keyserver.simulation.adversary.generation_coordinators import half
from keyserver.simulation.adversary.generation_members import IDENTITY, OFF_CURVE
from keyserver.simulation.adversary.retrieval_coordinators import FRIEND
from keyserver.simulation.adversary.rows import (
    Acts,
    Behaviour,
    Crashes,
    Deed,
    Must,
    Part,
    Protocol,
    Replays,
    Row,
    Tells,
)
from keyserver.simulation.adversary.schnorr_signers import FORMS, oversized
from keyserver.simulation.liars import (
    OTHER_POINT,
    UNSIGNED,
    Lie,
    Place,
    silent,
    to_some,
    with_bytes,
    with_field,
)

B = Behaviour
Signers = tuple[SignedSigner, ...]


# --- other requests ------------------------------------------------------------------------------


def asking_for(change: Callable[[Request], Request]) -> Lie:
    """Open the session with another request, under the session id that belongs to it."""

    def ask(place: Place, message: Any) -> bytes:
        ctx, request = place.ctx, change(message.request)
        sid = session_id(ctx.kind, ctx.me, ctx.boot_nonce, ctx.counter, request.hash)
        return pack(sid, replace(message, request=request))

    return ask


def by_credential(change: Callable[[Any], Any]) -> Lie:
    """The same with another credential for the same operation."""
    return asking_for(lambda request: Request.of(request.operation(), change(request.credential())))


def unproven(credential: Any) -> Any:
    """Without the proof that the requester has signed."""
    return replace(credential, proof=Proof(bytes(64)))


def _for_friend(credential: Any) -> Any:
    if isinstance(credential, OnChainAddress):
        return replace(credential, requester=Address(b"\x66" * 20))
    return replace(credential, requester=FRIEND.public())


def _of_other_operation(request: Request) -> Request:
    others = {
        Operation.SIGN_SCHNORR: Operation.SIGN_FROST,
        Operation.SIGN_FROST: Operation.SIGN_ECDSA,
        Operation.SIGN_ECDSA: Operation.SIGN_SCHNORR,
    }
    return replace(request, operation_number=int(others[Operation(request.operation_number)]))


def other_requests(message: str, row: Any) -> tuple[Row, ...]:
    """Requests that nobody has made."""
    changes = {
        "another operation": _of_other_operation,
        "another key": lambda request: replace(request, key_id=KeyId(b"\x4a" * 32)),
        "another message": lambda request: replace(request, payload=b"\x77" * 32),
    }
    return (
        row(
            B.LIED_REQUEST,
            "another record",
            Tells(message, with_field("record_hash", lambda _: Hash32(bytes(32)))),
        ),
        *(
            row(B.LIED_REQUEST, name, Tells(message, asking_for(change)))
            for name, change in changes.items()
        ),
        row(B.LIED_REQUEST, "for somebody else", Tells(message, by_credential(_for_friend))),
        row(
            B.LIED_REQUEST,
            "a request on a contract that nobody made there",
            Tells(message, by_credential(lambda _: OnChainAddress(Address(bytes(20)), _NOBODY))),
        ),
    )


_NOBODY = Address(b"\x13" * 20)


def led(message: str, row: Any) -> tuple[Row, ...]:
    """What is the same in everything that is led with a request."""
    return (
        row(B.SILENT, f"no {message}", Tells(message, silent)),
        row(B.CRASH, f"ends before its {message}", Crashes(message)),
        row(B.REPLAY, "the messages of an earlier session under a new id", Replays()),
        row(B.REPLAY, "the messages of an earlier session, byte by byte", Replays(whole=True)),
        row(
            B.FALSE_ACCUSATION,
            "evidence that convicts nobody",
            Acts(floods.accuse_wrongly),
            Must.DECIDED,
        ),
        row(B.FLOOD, "sessions opened and left alone", Acts(floods.OPENINGS), Must.DECIDED),
    )


# --- packages ------------------------------------------------------------------------------------


def _packing(change: Callable[[Place, Signers], Signers]) -> Lie:
    return lambda place, message: Package(change(place, message.signers))


def _own(place: Place, signers: Signers) -> Signers:
    return tuple(entry for entry in signers if entry.signer.node == place.to)


def _others(place: Place, signers: Signers) -> Signers:
    return tuple(entry for entry in signers if entry.signer.node != place.to)


def _with_other_points(entry: SignedSigner) -> SignedSigner:
    return replace(entry, signer=replace(entry.signer, hiding=OTHER_POINT))


def _others_altered(place: Place, signers: Signers) -> Signers:
    others = _others(place, signers)
    return tuple(_with_other_points(one) if one in others else one for one in signers)


def _own_altered(place: Place, signers: Signers) -> Signers:
    own = _own(place, signers)
    return tuple(_with_other_points(one) if one in own else one for one in signers)


def _others_unsigned(place: Place, signers: Signers) -> Signers:
    others = _others(place, signers)
    return tuple(replace(one, signature=UNSIGNED) if one in others else one for one in signers)


def _resigned(place: Place, signers: Signers) -> Signers:
    """Its own commitments are others, well signed, as it is a signer itself."""
    signing = place.coordinator_phase.signing

    def other(entry: SignedSigner) -> SignedSigner:
        if entry.signer.node != place.ctx.me:
            return entry
        made = _with_other_points(entry).signer
        return SignedSigner(made, place.signer.sign(signing.commitment_digest(made)))

    return tuple(other(entry) for entry in signers)


def _with_stranger(place: Place, signers: Signers) -> Signers:
    victim = _others(place, signers)[0]
    stranger = replace(victim, signer=replace(victim.signer, node=NodeId.of(OTHER_POINT)))
    return tuple(stranger if one is victim else one for one in signers)


def _first_point(message: Package) -> bytes:
    return message.signers[0].signer.hiding.compressed


_PACKAGES: tuple[tuple[Behaviour, str, Lie], ...] = (
    (B.EQUIVOCATION, "its own commitments are others for each of them", _packing(_resigned)),
    (B.EQUIVOCATION, "a wrong package for half of them", to_some(half, _packing(_others_altered))),
    (B.BAD_POINT, "a commitment off the curve", with_bytes(_first_point, OFF_CURVE)),
    (B.BAD_POINT, "the identity as commitment", with_bytes(_first_point, IDENTITY)),
    (B.DEGREE, "a package of too few", _packing(_own)),
    (B.DEGREE, "a package of too many", _packing(lambda _, signers: (*signers, signers[0]))),
    (B.LIED_SET, "a package out of order", _packing(lambda _, signers: signers[::-1])),
    (B.LIED_SET, "a package with a stranger", _packing(_with_stranger)),
    (B.LIED_SET, "a package of one node", _packing(lambda p, s: _own(p, s) * len(s))),
    (B.BAD_PARTIAL, "others' commitments altered", _packing(_others_altered)),
    (B.BAD_PROOF, "others' commitments unsigned", _packing(_others_unsigned)),
    (B.NONCE, "the receiver's commitments are others", _packing(_own_altered)),
)


def _rows(protocol: Protocol) -> tuple[Row, ...]:
    def row(
        behaviour: Behaviour,
        name: str,
        deed: Deed,
        must: Must = Must.REFUSED,
        *,
        least_threshold: int = 0,
    ) -> Row:
        return Row(
            behaviour,
            protocol,
            Part.COORDINATOR,
            name,
            deed,
            must,
            least_threshold=least_threshold,
        )

    equivocating = {B.EQUIVOCATION: Must.DECIDED}
    return (
        *led("SignRequest", row),
        row(B.SILENT, "no Package", Tells("Package", silent), least_threshold=1),
        row(B.SILENT, "no Unneeded", Tells("Unneeded", silent), Must.DECIDED),
        row(B.CRASH, "ends before its Package", Crashes("Package"), least_threshold=1),
        *(
            row(
                kind,
                name,
                Tells("Package", lie),
                equivocating.get(kind, Must.REFUSED),
                least_threshold=1,
            )
            for kind, name, lie in _PACKAGES
        ),
        row(B.STALE_ACL, "it alone permits it", Acts(floods.permitted_only_here), Must.DENIED),
        *other_requests("SignRequest", row),
        *oversized(row, "SignRequest"),
        *(replace(one, least_threshold=1) for one in oversized(row, "Package")),
        *(_on_chain(row) if protocol is Protocol.SCHNORR else _over_http(row)),
    )


def _on_chain(row: Any) -> tuple[Row, ...]:
    """Every signer is told the signature, and publishes it."""
    other = with_field("response", lambda response: response + Scalar(1))
    return (
        row(B.SILENT, "no Signed", Tells("Signed", silent), Must.DECIDED, least_threshold=1),
        row(
            B.BAD_PARTIAL, "another Signed", Tells("Signed", other), Must.DECIDED, least_threshold=1
        ),
        row(
            B.EQUIVOCATION,
            "another Signed for half of them",
            Tells("Signed", to_some(half, other)),
            Must.DECIDED,
            least_threshold=1,
        ),
    )


def _over_http(row: Any) -> tuple[Row, ...]:
    return (
        row(
            B.BAD_PROOF,
            "no proof of the client's signature",
            Tells("SignRequest", by_credential(unproven)),
        ),
    )


ROWS: tuple[Row, ...] = tuple(row for protocol in FORMS for row in _rows(protocol))
