"""The operations of `/v1`: body in, engine asked, answer out (HTTP interface, section 13)."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Security
from fastapi.security import APIKeyHeader
from starlette.requests import Request

from keyserver.api.v1_admission import ClientRequest, V1Dependencies
from keyserver.api.v1_credentials import FORM, HEADER
from keyserver.api.v1_models import (
    Error,
    Exclusions,
    Generate,
    Node,
    Nothing,
    SealedDocumentKey,
    SealedSignature,
    ServerKey,
    Shadow,
    Sign,
    Store,
    Stored,
)
from keyserver.api.v1_values import PathKeyId
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import (
    GenerateServerKey,
    RetrieveDocumentKey,
    RetrieveServerKey,
    SigningScheme,
    SignMessage,
    StoreDocumentKey,
)

KEY: Final = "/v1/server-keys/{id}"
NO_BODY: Final = Nothing()
NO_EXCLUSIONS: Final = Exclusions()

SCHEMES: Final = {
    "schnorr": SigningScheme.SCHNORR,
    "frost": SigningScheme.FROST,
    "ecdsa": SigningScheme.ECDSA,
}


def new_router() -> APIRouter:
    """A router whose operations are described by the names of their functions."""
    return APIRouter(generate_unique_id_function=lambda route: route.name)


router = new_router()

CREDENTIAL: Final = APIKeyHeader(
    name=HEADER,
    scheme_name=HEADER,
    description=f"An EIP-712 signature over this one request: `{FORM}`.",
    auto_error=False,
)


async def _asked(request: Request, _: Annotated[str | None, Security(CREDENTIAL)]) -> ClientRequest:
    """The request; its credential is read when its operation is known.

    A coroutine, although it waits for nothing: FastAPI would run a function in a thread.
    """
    return ClientRequest(request.app.state.needs, request)


Id = Annotated[PathKeyId, Path(description="the server key id: 32 bytes of the client's choice")]
Asked = Annotated[ClientRequest, Depends(_asked)]

_EVERY: Final = {
    400: "`BAD_REQUEST`: a field that does not keep its rule; the message names it",
    408: "`REQUEST_TIMEOUT`: the body did not come in time",
    413: "`BODY_TOO_LARGE`: more than 64 KiB",
    429: "`RATE_LIMITED`: too many requests of this address or account",
    500: "`INTERNAL`, `DATABASE`: see the log of the node",
    503: "`SEALED`, `STANDBY`: the node does not serve now",
}
_CREDENTIAL: Final = {
    401: "`UNAUTHENTICATED`, `SIGNATURE_EXPIRED`, `NONCE_USED`: the credential is missing, wrong, "
    "too old, or was used",
}
_UNAVAILABLE: Final = (
    "`SEALED`, `STANDBY`; `NODE_DISCONNECTED`, `CONSENSUS_UNREACHABLE`, "
    "`CONSENSUS_TEMPORARY_UNREACHABLE`, `DUPLICATE_SESSION_ID`, …: repeat later with a new "
    "credential"
)
_NOT_FOUND: Final = "`SERVER_KEY_IS_NOT_FOUND`: no node has this key"
_NO_DOCUMENT: Final = (
    "`SERVER_KEY_IS_NOT_FOUND`, `DOCUMENT_KEY_IS_NOT_FOUND`: no node has this key, or nothing is "
    "stored under it"
)
_NOT_AUTHOR: Final = (
    "`ACCESS_DENIED`: the requester is not the author; `CONSENSUS_UNREACHABLE`: too many nodes "
    "refuse"
)
_EXISTS: Final = "`SERVER_KEY_ALREADY_GENERATED`, `NOT_ENOUGH_NODES_FOR_THRESHOLD`"
_NOT_LISTED: Final = (
    "`ACCESS_DENIED`: the operator lists who may generate; `CONSENSUS_UNREACHABLE`: too many nodes "
    "refuse"
)
_DISABLED: Final = "`OPERATION_DISABLED`: the operator forbids it; the message names key and way"
_NO_PERMISSION: Final = (
    "`CONSENSUS_UNREACHABLE`: the permissioning contract says no, or too many nodes refuse"
)


# Any: the form in which FastAPI takes responses.
def errors_of(described: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """All errors of a route; those of every route, with what this one adds."""
    known = dict(_EVERY)
    for status, text in described.items():
        known[status] = f"{known[status]}; {text}" if status == 400 else text
    return {status: {"model": Error, "description": text} for status, text in sorted(known.items())}


@router.get("/v1/node", summary="The node, and what to sign for", responses=errors_of({}))
async def node(request: Request) -> Node:
    """Tell who this node is and under which domain requests are signed. Open to everybody."""
    needs: V1Dependencies = request.app.state.needs
    request.state.access.update(operation="node")
    domain = ClientRequest(needs, request).signing_domain()
    return Node(
        node_id=needs.identity.node_id,
        address=needs.identity.node_id.address,
        chain_id=domain.chain_id,
        verifying_contract=domain.verifying_contract,
        version=needs.identity.version,
    )


router.add_api_route("/v1/node", node, methods=["HEAD"], include_in_schema=False)


@router.post(
    KEY,
    summary="Generate a server key",
    responses=errors_of(
        {
            **_CREDENTIAL,
            400: _EXISTS,
            403: _NOT_LISTED,
            503: _UNAVAILABLE,
        }
    ),
)
async def generate_server_key(id: Id, body: Generate, asked: Asked) -> ServerKey:  # noqa: A002
    """Have all nodes make a key that none of them has alone; the requester becomes its author.

    Operation 1; payload: `threshold` as two bytes, big-endian.
    """
    wanted = GenerateServerKey(id, body.threshold)
    async with asked.admitted(wanted) as who:
        work = asked.operations.generate_server_key(id, body.threshold, who)
        return ServerKey.of((await asked.run(wanted, work)).record)


@router.get(
    KEY,
    summary="Retrieve a server key",
    responses=errors_of(
        {
            **_CREDENTIAL,
            403: "`ACCESS_DENIED`: the requester is not the author",
            404: _NOT_FOUND,
            503: _UNAVAILABLE,
        }
    ),
)
async def retrieve_server_key(id: Id, asked: Asked) -> ServerKey:  # noqa: A002
    """Tell the author the public half of a server key. Operation 4; payload: empty."""
    wanted = RetrieveServerKey(id)
    async with asked.admitted(wanted) as who:
        work = asked.operations.retrieve_server_key(id, who.address)
        return ServerKey.of((await asked.run(wanted, work)).record)


@router.post(
    f"{KEY}/document-key",
    summary="Store a document key",
    responses=errors_of(
        {
            **_CREDENTIAL,
            400: "`DOCUMENT_KEY_ALREADY_STORED`",
            403: _NOT_AUTHOR,
            404: _NOT_FOUND,
            503: _UNAVAILABLE,
        }
    ),
)
async def store_document_key(id: Id, body: Store, asked: Asked) -> Stored:  # noqa: A002
    """Bind a document key, made and encrypted by the author, to a server key, once and for all.

    Operation 2; payload: `common_point`, `encrypted_point`, 64 bytes each.
    """
    document = DocumentKey(body.common_point, body.encrypted_point)
    wanted = StoreDocumentKey(id, document)
    async with asked.admitted(wanted) as who:
        await asked.run(wanted, asked.operations.store_document_key(id, document, who))
        return Stored()


@router.post(
    f"{KEY}/document-key/generate",
    summary="Generate a server key and a document key",
    responses=errors_of(
        {**_CREDENTIAL, 400: _EXISTS, 403: f"{_DISABLED}; {_NOT_LISTED}", 503: _UNAVAILABLE}
    ),
)
async def generate_both(id: Id, body: Generate, asked: Asked) -> SealedDocumentKey:  # noqa: A002
    """Generate both; this node makes the document key and so has seen it.

    Operation 3; payload: `threshold` as two bytes, big-endian. To show the document key to no node,
    generate a server key and store a document key of your own.
    """
    wanted = GenerateServerKey(id, body.threshold, with_document_key=True)
    async with asked.admitted(wanted) as who:
        work = asked.operations.generate_both(id, body.threshold, who, who.public)
        return SealedDocumentKey(encrypted_key=await asked.run(wanted, work))


@router.post(
    f"{KEY}/document-key/plain",
    summary="Retrieve a document key through one node",
    responses=errors_of(
        {**_CREDENTIAL, 403: f"{_DISABLED}; {_NO_PERMISSION}", 404: _NO_DOCUMENT, 503: _UNAVAILABLE}
    ),
)
async def retrieve_plain(
    id: Id,  # noqa: A002
    asked: Asked,
    body: Nothing = NO_BODY,
) -> SealedDocumentKey:
    """Have this node put the document key together, which so sees it, and encrypt it to you.

    Operation 5; payload: empty. The shadow form shows it to no node.
    """
    wanted = RetrieveDocumentKey(id, shadow=False)
    async with asked.admitted(wanted) as who:
        work = asked.operations.retrieve_plain(id, who)
        return SealedDocumentKey(encrypted_key=await asked.run(wanted, work))


@router.post(
    f"{KEY}/document-key/shadow",
    summary="Retrieve a document key in shadow form",
    responses=errors_of(
        {
            **_CREDENTIAL,
            403: _NO_PERMISSION,
            404: _NO_DOCUMENT,
            503: _UNAVAILABLE,
        }
    ),
)
async def retrieve_shadow(
    id: Id,  # noqa: A002
    asked: Asked,
    body: Exclusions = NO_EXCLUSIONS,
) -> Shadow:
    """Decrypt for everybody whom the permissioning contract lets pass; no node learns the key.

    Operation 6; payload: empty, whatever is excluded. Document key = `decrypted_secret` + (sum of
    the decrypted shadows) · `common_point`. Each shadow times G must be its commitment; if one is
    not, repeat without its node.
    """
    wanted = RetrieveDocumentKey(id)
    async with asked.admitted(wanted) as who:
        work = asked.operations.retrieve_shadow(id, who, frozenset(body.exclude))
        return Shadow.of(await asked.run(wanted, work))


@router.post(
    f"{KEY}/signature",
    summary="Sign a message hash",
    responses=errors_of(
        {
            **_CREDENTIAL,
            403: f"{_NO_PERMISSION}; for `ecdsa`, also if the key has less than 2t + 1 holders",
            404: _NOT_FOUND,
            503: _UNAVAILABLE,
        }
    ),
)
async def sign(id: Id, body: Sign, asked: Asked) -> SealedSignature:  # noqa: A002
    """Have the nodes sign 32 bytes with a server key that none of them has.

    Operation 7 (`schnorr`), 8 (`frost`) or 9 (`ecdsa`); payload: `message_hash`, 32 bytes. For
    everybody whom the permissioning contract lets pass. t + 1 nodes are needed, for `ecdsa` 2t + 1.
    The bytes are signed as they are: whoever may ask can have a transaction of the server key's own
    account signed. Check what you decrypt against the server key before you use it.
    """
    wanted = SignMessage(id, body.message_hash, SCHEMES[body.scheme])
    async with asked.admitted(wanted) as who:
        work = asked.operations.sign_sealed(wanted, who)
        return SealedSignature(encrypted_signature=await asked.run(wanted, work))
