"""The original's HTTP interface, as a client speaks it (HTTP interface, sections 3 to 7).

Its credential is the account's signature of the bare key id: it stands in every path, is good for
ever and for every operation, and whoever sees it can use it. `/v1` has none of that.
"""

from typing import Final

from keyserver.client.errors import ClientError
from keyserver.client.node_answers import (
    bad_answer,
    read_bytes,
    read_json,
    read_object,
    read_point,
    read_sealed_signature,
    unknown_failure,
)
from keyserver.client.node_http import HttpAnswer, HttpRequest
from keyserver.client.node_refusals import (
    NO_ADVICE,
    Advice,
    Kind,
    make_error,
    refusal_by_text,
)
from keyserver.client.results import ServerKey, ShadowAnswer
from keyserver.client.shadow_fields import read_commitments, read_shadow
from keyserver.client.wallet import Wallet
from keyserver.model.identifiers import NodeId
from keyserver.model.requests import (
    ClientOperation,
    GenerateServerKey,
    RetrieveDocumentKey,
    RetrieveServerKey,
    SigningScheme,
    SignMessage,
    StoreDocumentKey,
)

VERIFY: Final = "Secretstore-Verify"
EXCLUDE: Final = "Secretstore-Exclude"
SEALED_SIZE: Final = 177
"""Bytes of an ECIES message with a document key."""


class OriginalDoor:
    """A `Door`: the paths and texts of OpenEthereum's Secret Store."""

    def __init__(self, wallet: Wallet) -> None:
        self._wallet = wallet

    def request(
        self, operation: ClientOperation, exclude: frozenset[NodeId] = frozenset()
    ) -> HttpRequest:
        """See `Door`."""
        who = f"{operation.key_id.hex()}/{self._wallet.sign_digest(operation.key_id).hex()}"
        match operation:
            case GenerateServerKey(_, threshold, with_document_key=True):
                return HttpRequest("POST", f"/{who}/{threshold}")
            case GenerateServerKey(_, threshold):
                return HttpRequest("POST", f"/shadow/{who}/{threshold}")
            case StoreDocumentKey(_, document):
                points = f"{document.common.raw64.hex()}/{document.encrypted.raw64.hex()}"
                return HttpRequest("POST", f"/shadow/{who}/{points}")
            case RetrieveServerKey():
                return HttpRequest("GET", f"/server/{who}")
            case RetrieveDocumentKey(shadow=True):
                return HttpRequest("GET", f"/shadow/{who}", _shadow_headers(exclude))
            case RetrieveDocumentKey():
                return HttpRequest("GET", f"/{who}")
            case SignMessage(scheme=SigningScheme.FROST):
                raise ClientError(
                    "the original's interface has no FROST signatures", advice="Use --door v1."
                )
            case SignMessage(_, message, scheme):
                return HttpRequest("GET", f"/{scheme.name.lower()}/{who}/{message.hex()}")

    def server_key(self, answer: HttpAnswer) -> ServerKey:
        """See `Door`; the interface tells neither threshold nor author."""
        return ServerKey(read_point(answer, "server key", read_json(answer)), None)

    def stored(self, answer: HttpAnswer) -> bool:
        """See `Door`."""
        if answer.body:
            raise bad_answer(answer, "the answer to storing is not empty")
        return True

    def sealed_document_key(self, answer: HttpAnswer) -> bytes:
        """See `Door`."""
        return read_bytes(answer, "document key", read_json(answer), SEALED_SIZE)

    def sealed_signature(self, answer: HttpAnswer) -> bytes:
        """See `Door`."""
        return read_sealed_signature(answer, read_json(answer))

    def shadow(self, answer: HttpAnswer) -> ShadowAnswer:
        """See `Door`; servers of OpenEthereum do not tell what the shadows must be."""
        fields = read_object(answer)
        if "shadow_commitments" in fields:
            return read_shadow(answer, fields, read_commitments(answer, fields))
        return read_shadow(answer, fields, ())

    def refusal(self, answer: HttpAnswer) -> ClientError:
        """See `Door`."""
        return original_refusal(answer)


def original_refusal(answer: HttpAnswer, advice: Advice = NO_ADVICE) -> ClientError:
    """The error that an answer of another status than 200 is."""
    if answer.status == 400 and not answer.body:
        # Also what the original says to a point that is not on the curve; ours always are.
        text = "does not understand the request"
        return make_error(answer, "INVALID_REQUEST", text, Kind.FINAL)
    try:
        quoted = read_json(answer)
    except ClientError:
        return unknown_failure(answer)
    if not isinstance(quoted, str):
        return unknown_failure(answer)
    text = quoted.removeprefix('"').removesuffix('"')
    return refusal_by_text(answer, text, advice) or unknown_failure(answer)


def _shadow_headers(exclude: frozenset[NodeId]) -> dict[str, str]:
    headers = {VERIFY: "1"}
    if exclude:
        headers[EXCLUDE] = ",".join(sorted(f"0x{node.hex()}" for node in exclude))
    return headers
