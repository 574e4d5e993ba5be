"""`keyserver client curl`: a signed request, to be sent by other means."""

import shlex
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from keyserver.cli.client_nodes import (
    CaFileOption,
    DoorName,
    DoorOption,
    NodeChoice,
    NodeOption,
    NodesPlace,
    find_door,
)
from keyserver.cli.client_options import (
    AccountOption,
    ContractsOption,
    DevnetOption,
    KeyFileOption,
    KeyIdArgument,
    PasswordFileOption,
    read_hex,
    read_key_id,
)
from keyserver.cli.client_running import run_http
from keyserver.cli.client_signing import SchemeName, check_scheme
from keyserver.cli.output import USAGE, CommandError, JsonOption, print_json

if TYPE_CHECKING:
    from keyserver.client.node_http import HttpRequest
    from keyserver.model.identifiers import KeyId
    from keyserver.model.requests import ClientOperation, SignMessage


class Asked(StrEnum):
    """The operations whose arguments fit a command line."""

    GENERATE = "generate-server-key"
    GENERATE_BOTH = "generate-both"
    RETRIEVE = "retrieve-server-key"
    RETRIEVE_SHADOW = "retrieve-shadow"
    RETRIEVE_PLAIN = "retrieve-plain"
    SIGN = "sign"


def curl(
    operation: Annotated[Asked, typer.Argument(help="What to ask for.")],
    key_id: KeyIdArgument,
    threshold: Annotated[int | None, typer.Option(help="For the two that generate.")] = None,
    message_hash: Annotated[
        str | None, typer.Option("--hash", metavar="HEX", help="For sign: 32 bytes.")
    ] = None,
    scheme: Annotated[
        SchemeName | None,
        typer.Option(help="For sign: as of `keyserver client sign`.", show_default="ecdsa"),
    ] = None,
    node: NodeOption = None,
    door: DoorOption = None,
    ca_file: CaFileOption = None,
    devnet: DevnetOption = None,
    contracts: ContractsOption = None,
    account: AccountOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a request to the first node, signed by this account, as a command for curl.

    It can be sent once, within five minutes (with --door original: by anybody, for ever).
    """
    choice = NodeChoice(node, door or DoorName.V1, None, ca_file)
    if choice.way is DoorName.CONTRACTS:
        raise CommandError("--door: contracts are not asked with curl", exit_code=USAGE)
    wanted = read_key_id(key_id)
    _check_threshold(operation, threshold)
    if operation is Asked.SIGN:
        chosen = scheme or SchemeName.ECDSA
        check_scheme(chosen, choice.way)
        asked: ClientOperation = _signing(wanted, message_hash, chosen)
    else:
        _refuse_signing_options(message_hash, scheme)
        asked = _operation(operation, wanted, threshold)
    place = find_door(devnet, None, contracts, account, key_file, password_file, choice)
    assert isinstance(place, NodesPlace)
    url, request = _signed(place, asked)
    if as_json:
        body = request.body.decode() or None
        told = {"headers": dict(request.headers), "body": body}
        print_json({"method": request.method, "url": url, **told})
        return
    trusted = [] if ca_file is None else ["--cacert", str(ca_file)]
    headed = [
        word for name, value in request.headers.items() for word in ("-H", f"{name}: {value}")
    ]
    data = ["--data", request.body.decode()] if request.body else []
    print(shlex.join(["curl", "-X", request.method, *trusted, *headed, *data, url]))


def _check_threshold(asked: Asked, threshold: int | None) -> None:
    generates = asked in (Asked.GENERATE, Asked.GENERATE_BOTH)
    if generates != (threshold is not None):
        rule = "is needed" if generates else "is for the operations that generate"
        raise CommandError(f"--threshold {rule}", exit_code=USAGE)
    if threshold is not None and not 0 <= threshold < 2**16:
        raise CommandError("--threshold: must fit 2 bytes", exit_code=USAGE)


def _refuse_signing_options(message_hash: str | None, scheme: SchemeName | None) -> None:
    for name, value in {"--hash": message_hash, "--scheme": scheme}.items():
        if value is not None:
            raise CommandError(f"{name}: is for sign", exit_code=USAGE)


def _signing(key_id: "KeyId", message_hash: str | None, scheme: SchemeName) -> "SignMessage":
    from keyserver.model.identifiers import Hash32
    from keyserver.model.requests import SigningScheme, SignMessage

    if message_hash is None:
        raise CommandError("--hash is needed: what is to be signed?", exit_code=USAGE)
    message = Hash32(read_hex(message_hash, 32, "a message hash"))
    return SignMessage(key_id, message, SigningScheme[scheme.name])


def _operation(asked: Asked, key_id: "KeyId", threshold: int | None) -> "ClientOperation":
    from keyserver.model.requests import GenerateServerKey, RetrieveDocumentKey, RetrieveServerKey

    if threshold is not None:
        return GenerateServerKey(key_id, threshold, with_document_key=asked is Asked.GENERATE_BOTH)
    if asked is Asked.RETRIEVE:
        return RetrieveServerKey(key_id)
    return RetrieveDocumentKey(key_id, shadow=asked is Asked.RETRIEVE_SHADOW)


def _signed(place: NodesPlace, operation: "ClientOperation") -> tuple[str, "HttpRequest"]:
    """The URL and the request; asks the node for its network, nothing else."""
    from keyserver.client.conversation import Conversation
    from keyserver.client.doors import DoorKind
    from keyserver.client.node_http import http_transport, node_url
    from keyserver.crypto.randomness import SystemRandom

    node = node_url(place.nodes[0])

    async def sign() -> "HttpRequest":
        async with http_transport(place.ca_file) as transport:
            conversation = Conversation(
                transport,
                place.wallet,
                DoorKind(place.door),
                domain=place.domain,
                rng=SystemRandom(),
                unix_time=time.time,
            )
            return (await conversation.door(node)).request(operation)

    request = run_http(sign)
    return node + request.path, request
