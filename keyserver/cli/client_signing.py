"""`keyserver client sign` and `verify`: signatures of server keys."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyserver.cli.client_nodes import (
    CaFileOption,
    ConfirmOption,
    DoorName,
    DoorOption,
    NodeChoice,
    NodeOption,
    find_door,
)
from keyserver.cli.client_options import (
    AccountOption,
    ContractsOption,
    DevnetOption,
    KeyFileOption,
    KeyIdArgument,
    PasswordFileOption,
    RpcOption,
    hex_bytes,
    hex_text,
    read_hex,
    read_key_id,
)
from keyserver.cli.client_running import Facts, how_answered, run_anywhere
from keyserver.cli.output import FAILED, USAGE, CommandError, JsonOption, print_facts

if TYPE_CHECKING:
    from keyserver.client.interface import AnyKeyServers
    from keyserver.client.signatures import ServerSignature
    from keyserver.crypto.curve import Point
    from keyserver.model.identifiers import Hash32
    from keyserver.model.requests import SigningScheme


class SchemeName(StrEnum):
    """The kinds of signatures."""

    ECDSA = "ecdsa"
    SCHNORR = "schnorr"
    FROST = "frost"


SchemeOption = Annotated[
    SchemeName,
    typer.Option(
        help="ecdsa: for Ethereum; frost: Schnorr by RFC 9591; schnorr: the original's form."
    ),
]
HashOption = Annotated[
    str | None,
    typer.Option("--hash", metavar="HEX", help="What is signed, as it is: 32 bytes."),
]
FileOption = Annotated[
    Path | None, typer.Option("--file", metavar="FILE", help="Sign the Keccak-256 hash of a file.")
]


def sign(
    key_id: KeyIdArgument,
    message_hash: HashOption = None,
    file: FileOption = None,
    scheme: SchemeOption = SchemeName.ECDSA,
    public: Annotated[
        str | None,
        typer.Option(
            metavar="HEX",
            help="The server key, 64 bytes: who is not its author needs it with --node.",
        ),
    ] = None,
    node: NodeOption = None,
    door: DoorOption = None,
    confirm_with: ConfirmOption = None,
    ca_file: CaFileOption = None,
    devnet: DevnetOption = None,
    rpc: RpcOption = None,
    contracts: ContractsOption = None,
    account: AccountOption = None,
    key_file: KeyFileOption = None,
    password_file: PasswordFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the key servers sign with a server key, as this account, which needs permission.

    What comes back is checked under the server key. Through the contracts (ecdsa and schnorr) the
    signature is public; with --node only this account gets it.
    """
    if public is not None and confirm_with:
        raise CommandError(
            "--confirm-with: with --public nobody is asked for the server key",
            hint="Give one of them: nodes confirm what other nodes tell.",
            exit_code=USAGE,
        )
    choice = NodeChoice(node, door, confirm_with, ca_file)
    check_scheme(scheme, choice.way)
    wanted, message = read_key_id(key_id), _message(message_hash, file)
    expected = None if public is None else read_public(public)
    place = find_door(devnet, rpc, contracts, account, key_file, password_file, choice)

    async def work(servers: "AnyKeyServers") -> Facts:
        answer = await servers.sign(wanted, message, _scheme(scheme), public=expected)
        return {
            "key_id": hex_text(wanted),
            **signature_facts(answer.value),
            **how_answered(answer),
        }

    run_anywhere(place, work, as_json=as_json)


def verify(
    signature: Annotated[str, typer.Argument(metavar="SIGNATURE", help="64 or 65 bytes, in hex.")],
    public: Annotated[str, typer.Option(metavar="HEX", help="The server key, 64 bytes.")],
    message_hash: HashOption = None,
    file: FileOption = None,
    scheme: SchemeOption = SchemeName.ECDSA,
    as_json: JsonOption = False,
) -> None:
    """Check a signature of a server key; asks nobody. Exit code 1 if it does not hold."""
    from keyserver.client.signatures import check_signature
    from keyserver.crypto.errors import InvalidSignatureError

    key, message = read_public(public), _message(message_hash, file)
    encoded = hex_bytes(signature)
    if encoded is None:
        raise CommandError(
            "SIGNATURE: is not hexadecimal",
            hint="Digits in pairs, with or without 0x, and no blanks.",
            exit_code=USAGE,
        )
    try:
        checked = check_signature(_scheme(scheme), key, message, encoded)
    except InvalidSignatureError as error:
        raise CommandError(f"the signature does not hold: {error}", exit_code=FAILED) from error
    print_facts({"holds": True, **signature_facts(checked)}, as_json=as_json)


def check_scheme(scheme: SchemeName, door: DoorName) -> None:
    """Raise `CommandError` for a kind of signature that cannot be had this way."""
    if scheme is not SchemeName.FROST or door is DoorName.V1:
        return
    if door is DoorName.CONTRACTS:
        rule = "there is no contract for FROST signatures"
        hint = "Ask the nodes: --node URL, or --door v1 with --devnet DIR."
    else:
        rule, hint = "the original's interface has no FROST signatures", "Use --door v1."
    raise CommandError(f"--scheme frost: {rule}", hint=hint, exit_code=USAGE)


def signature_facts(signed: "ServerSignature") -> Facts:
    """What is told about a signature that holds."""
    from keyserver.model.requests import SigningScheme

    facts: Facts = {
        "scheme": signed.scheme.name.lower(),
        "message_hash": hex_text(signed.message),
        "public": hex_text(signed.public.raw64),
        "signature": hex_text(signed.encoded),
    }
    if signed.scheme is SigningScheme.ECDSA:
        facts["signer"] = hex_text(signed.signer)
        facts["for_ethereum"] = hex_text(signed.for_ethereum)
    return facts


def read_public(text: str) -> "Point":
    """A server key from the command line; raises `CommandError`."""
    from keyserver.crypto.curve import Point
    from keyserver.crypto.errors import CryptoError

    try:
        return Point.from_raw64(read_hex(text, 64, "a public key"))
    except CryptoError as error:
        raise CommandError(f"--public: {error}", exit_code=USAGE) from error


def _scheme(name: SchemeName) -> "SigningScheme":
    from keyserver.model.requests import SigningScheme

    return SigningScheme[name.name]


def _message(message_hash: str | None, file: Path | None) -> "Hash32":
    from keyserver.crypto.hashing import keccak256
    from keyserver.model.identifiers import Hash32

    if (message_hash is None) == (file is None):
        raise CommandError("What is signed? Give --hash or --file, one of them", exit_code=USAGE)
    if message_hash is not None:
        return Hash32(read_hex(message_hash, 32, "a message hash"))
    assert file is not None
    return Hash32(keccak256(file.read_bytes()))
