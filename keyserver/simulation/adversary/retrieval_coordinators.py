"""Coordinators that cheat honest holders of a retrieval (engine design, sections 9 and 10)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId
from keyserver.model.requests import (
    BoundCredential,
    LegacyCredential,
    OnChainPublic,
    Operation,
    Proof,
    Request,
)
from keyserver.sessions.identity import session_id
from keyserver.sessions.retrieval.messages import DecRequest, Mode, Select
from keyserver.sessions.retrieval.parts import select_hash
from keyserver.sessions.wire import pack
from keyserver.simulation.adversary import floods
from keyserver.simulation.adversary.generation_coordinators import half
from keyserver.simulation.adversary.generation_members import (
    IDENTITY,
    IDENTITY_RAW,
    OFF_CURVE,
    OFF_CURVE_RAW,
)
from keyserver.simulation.adversary.retrieval_holders import SHADOW_PROTOCOLS
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
from keyserver.simulation.liars import (
    OTHER_POINT,
    UNSIGNED,
    Lie,
    Place,
    garbage,
    silent,
    to_some,
    unsigned,
    with_bytes,
    with_field,
)

B = Behaviour
FRIEND = SecretScalar.from_int(666)
"""A requester whose key the liars know."""
_NO_CONTRACT = Address(bytes(20))


def selecting(change: Callable[[Place, tuple[Any, ...]], tuple[Any, ...]]) -> Lie:
    """Another selection, well signed by the coordinator."""

    def select(place: Place, message: Select) -> Select:
        partials = change(place, message.partials)
        named = select_hash(place.ctx.sid, partials)
        return Select(partials, place.signer.sign(named))

    return select


def _reversed(_: Place, partials: tuple[Any, ...]) -> tuple[Any, ...]:
    return partials[::-1]


def _only_receiver(place: Place, partials: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(p for p in partials if p.node == place.to)


def _receiver_repeated(place: Place, partials: tuple[Any, ...]) -> tuple[Any, ...]:
    return _only_receiver(place, partials) * len(partials)


def _with_stranger(place: Place, partials: tuple[Any, ...]) -> tuple[Any, ...]:
    victim = next(p for p in partials if p.node != place.to)
    stranger = replace(victim, node=NodeId.of(OTHER_POINT))
    others = [stranger if p is victim else p for p in partials]
    return tuple(sorted(others, key=lambda entry: entry.node))


def _others_altered(place: Place, partials: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(p if p.node == place.to else replace(p, point=OTHER_POINT) for p in partials)


def _others_unsigned(place: Place, partials: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(p if p.node == place.to else replace(p, signature=UNSIGNED) for p in partials)


def _receiver_altered(place: Place, partials: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(replace(p, point=OTHER_POINT) if p.node == place.to else p for p in partials)


def asking_for(change: Callable[[Request], Request]) -> Lie:
    """Open the session with another request, under the session id that belongs to it."""

    def ask(place: Place, message: DecRequest) -> bytes:
        ctx, request = place.ctx, change(message.request)
        sid = session_id(ctx.kind, ctx.me, ctx.boot_nonce, ctx.counter, request.hash)
        return pack(sid, replace(message, request=request))

    return ask


def _by_credential(change: Callable[[Any], Any]) -> Lie:
    return asking_for(lambda request: Request.of(request.operation(), change(request.credential())))


def _unproven(credential: LegacyCredential | BoundCredential) -> Any:
    return replace(credential, proof=Proof(bytes(64)))


def _for_friend(credential: Any) -> Any:
    """The same request, with the answer for somebody else."""
    return replace(credential, requester=FRIEND.public())


def _longer(credential: BoundCredential) -> BoundCredential:
    return replace(credential, not_after=credential.not_after + 1)


def _other_nonce(credential: BoundCredential) -> BoundCredential:
    return replace(credential, nonce=type(credential.nonce)(b"\x0d" * 32))


def _of_other_operation(request: Request) -> Request:
    shadow = request.operation_number == Operation.RETRIEVE_SHADOW
    other = Operation.RETRIEVE_PLAIN if shadow else Operation.RETRIEVE_SHADOW
    return replace(request, operation_number=int(other))


def _of_other_key(request: Request) -> Request:
    return replace(request, key_id=KeyId(b"\x4a" * 32))


def _document_points(message: DecRequest) -> bytes:
    assert message.document is not None
    return message.document.document.common.raw64


def _partial_point(message: Select) -> bytes:
    return message.partials[0].point.compressed


def _always(value: int) -> Callable[[Any], int]:
    return lambda _: value


Maker = Callable[..., Row]


def _rows(protocol: Protocol) -> tuple[Row, ...]:
    def row(
        behaviour: Behaviour,
        name: str,
        deed: Deed,
        must: Must = Must.REFUSED,
        *,
        provable: bool = False,
        least_threshold: int = 0,
    ) -> Row:
        return Row(
            behaviour,
            protocol,
            Part.COORDINATOR,
            name,
            deed,
            must,
            provable,
            least_threshold=least_threshold,
        )

    return (
        row(B.SILENT, "no DecRequest", Tells("DecRequest", silent)),
        row(B.CRASH, "ends before its DecRequest", Crashes("DecRequest")),
        row(
            B.BAD_POINT,
            "a document key off the curve",
            Tells("DecRequest", with_bytes(_document_points, OFF_CURVE_RAW)),
        ),
        row(
            B.BAD_POINT,
            "the identity as document key",
            Tells("DecRequest", with_bytes(_document_points, IDENTITY_RAW)),
        ),
        row(B.REPLAY, "the opening of an earlier session under a new id", Replays(), Must.REFUSED),
        row(B.REPLAY, "the opening of an earlier session, byte by byte", Replays(whole=True)),
        *(
            row(B.OVERSIZED, f"a DecRequest with {what}", Tells("DecRequest", lie))
            for what, lie in (*floods.OVERSIZED.items(), ("garbage", garbage))
        ),
        row(B.STALE_ACL, "it alone permits it", Acts(floods.permitted_only_here), Must.DENIED),
        row(
            B.FALSE_ACCUSATION,
            "evidence that convicts nobody",
            Acts(floods.accuse_wrongly),
            Must.DECIDED,
        ),
        row(B.FLOOD, "sessions opened and left alone", Acts(floods.OPENINGS), Must.DECIDED),
        row(
            B.LIED_REQUEST,
            "another record",
            Tells("DecRequest", with_field("record_hash", lambda _: Hash32(bytes(32)))),
        ),
        row(
            B.LIED_REQUEST,
            "another operation",
            Tells("DecRequest", asking_for(_of_other_operation)),
        ),
        row(B.LIED_REQUEST, "another key", Tells("DecRequest", asking_for(_of_other_key))),
        row(B.LIED_REQUEST, "for somebody else", Tells("DecRequest", _by_credential(_for_friend))),
        *(
            row(
                B.LIED_REQUEST,
                f"mode {mode}",
                Tells("DecRequest", with_field("mode", _always(mode))),
            )
            for mode in (Mode.PLAIN, Mode.SHADOW, Mode.SHADOW_ON_CHAIN, 9)
            if mode is not _MODES[protocol]
        ),
        *(_signed_rows(row) if protocol is not Protocol.SHADOW_CONTRACT else ()),
        *(_bound_rows(row) if protocol is Protocol.SHADOW_BOUND else ()),
        *(_shadow_rows(row, protocol) if protocol in SHADOW_PROTOCOLS else ()),
    )


_MODES = {
    Protocol.PLAIN: Mode.PLAIN,
    Protocol.SHADOW_LEGACY: Mode.SHADOW,
    Protocol.SHADOW_BOUND: Mode.SHADOW,
    Protocol.SHADOW_CONTRACT: Mode.SHADOW_ON_CHAIN,
}


def _signed_rows(row: Maker) -> tuple[Row, ...]:
    return (
        row(
            B.BAD_PROOF,
            "no proof of the client's signature",
            Tells("DecRequest", _by_credential(_unproven)),
        ),
        row(
            B.LIED_REQUEST,
            "a request on a contract that nobody made there",
            Tells(
                "DecRequest", _by_credential(lambda _: OnChainPublic(_NO_CONTRACT, FRIEND.public()))
            ),
        ),
    )


def _bound_rows(row: Maker) -> tuple[Row, ...]:
    return (
        row(
            B.NONCE,
            "another nonce than was signed",
            Tells("DecRequest", _by_credential(_other_nonce)),
        ),
        row(
            B.LIED_REQUEST,
            "a credential that lives longer",
            Tells("DecRequest", _by_credential(_longer)),
        ),
    )


def _shadow_rows(row: Maker, protocol: Protocol) -> tuple[Row, ...]:
    published = protocol is Protocol.SHADOW_CONTRACT
    return (
        row(B.SILENT, "no Select", Tells("Select", silent)),
        row(B.SILENT, "no Done", Tells("Done", silent), Must.DECIDED),
        row(B.CRASH, "ends before its Select", Crashes("Select")),
        *(
            (row(B.CRASH, "ends before its Done", Crashes("Done"), Must.DECIDED),)
            if published
            else ()
        ),
        row(
            B.EQUIVOCATION,
            "a wrong selection for half of them",
            Tells("Select", to_some(half, selecting(_others_altered))),
            Must.DECIDED,
            provable=True,
            least_threshold=1,
        ),
        row(
            B.BAD_POINT,
            "a part off the curve",
            Tells("Select", with_bytes(_partial_point, OFF_CURVE)),
        ),
        row(
            B.BAD_POINT,
            "the identity as part",
            Tells("Select", with_bytes(_partial_point, IDENTITY)),
        ),
        row(
            B.LIED_SET,
            "a selection out of order",
            Tells("Select", selecting(_reversed)),
            provable=True,
            least_threshold=1,
        ),
        row(
            B.DEGREE,
            "a selection of too few",
            Tells("Select", selecting(_only_receiver)),
            provable=True,
            least_threshold=1,
        ),
        row(
            B.LIED_SET,
            "a selection of one node",
            Tells("Select", selecting(_receiver_repeated)),
            provable=True,
            least_threshold=1,
        ),
        row(
            B.LIED_SET,
            "a selection with a stranger",
            Tells("Select", selecting(_with_stranger)),
            provable=True,
            least_threshold=1,
        ),
        row(
            B.BAD_PARTIAL,
            "others' parts altered",
            Tells("Select", selecting(_others_altered)),
            provable=True,
            least_threshold=1,
        ),
        row(
            B.BAD_PROOF,
            "others' parts unsigned",
            Tells("Select", selecting(_others_unsigned)),
            provable=True,
            least_threshold=1,
        ),
        row(
            B.BAD_PARTIAL,
            "the receiver's part altered",
            Tells("Select", selecting(_receiver_altered)),
            provable=True,
        ),
        row(B.BAD_PROOF, "an unsigned selection", Tells("Select", unsigned)),
        *(
            row(B.OVERSIZED, f"a Select with {what}", Tells("Select", lie))
            for what, lie in (*floods.OVERSIZED.items(), ("garbage", garbage))
        ),
    )


def _with_others(row: Row) -> Row:
    """A coordinator that holds a share itself selects nobody else where one share is enough."""
    return replace(row, least_threshold=1) if row.message == "Select" else row


ROWS: tuple[Row, ...] = tuple(
    _with_others(row) for protocol in (Protocol.PLAIN, *SHADOW_PROTOCOLS) for row in _rows(protocol)
)
