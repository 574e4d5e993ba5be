"""Orders to a running node that an administrator signs: the options, and the listener to ask."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from keyserver.cli.operator_client import Authorize, OperatorClient, Trust, find_operator
from keyserver.cli.output import USAGE, CommandError
from keyserver.cli.passwords import ask_password

CaFileOption = Annotated[
    Path | None,
    typer.Option("--ca-file", metavar="FILE", help="Who issued the certificate the node shows."),
]
CertificateOption = Annotated[
    Path | None,
    typer.Option("--certificate", metavar="FILE", help="The certificate itself that it shows."),
]
AdminKeyOption = Annotated[
    Path | None,
    typer.Option("--admin-key", metavar="FILE", help="Key file of an administrator, who signs."),
]
AdminPasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file", metavar="FILE", help="Its first line opens --admin-key; else asked."
    ),
]
NodeIdOption = Annotated[
    str | None,
    typer.Option(
        "--node-id", metavar="HEX", help="With --url and --admin-key: the node that is ordered."
    ),
]


@dataclass(frozen=True, slots=True)
class Place:
    """Which node is meant: the first of `url`, `path`, `config`, or the usual configuration."""

    url: str | None = None
    path: Path | None = None
    config: Path | None = None
    ca_file: Path | None = None
    certificate: Path | None = None

    @property
    def trust(self) -> Trust | None:
        """What the options say of certificates; `None` if nothing."""
        if self.ca_file is None and self.certificate is None:
            return None
        if self.ca_file is not None and self.certificate is not None:
            raise CommandError("--ca-file, --certificate: give one of the two", exit_code=USAGE)
        for file in (self.ca_file, self.certificate):
            if file is not None and not file.is_file():
                raise CommandError(f"{file}: is no file", exit_code=USAGE)
        return Trust(self.ca_file, self.certificate)

    def operator(self) -> OperatorClient:
        """Its listener; raises `CommandError`."""
        return find_operator(self.url, self.path, self.config, self.trust)


@dataclass(frozen=True, slots=True)
class Signing:
    """With which key an order is signed, and for which node it is good."""

    admin_key: Path | None = None
    password_file: Path | None = None
    node_id: str | None = None


def find_admin_operator(place: Place, signing: Signing) -> OperatorClient:
    """The listener, asked as an administrator if there is a key; raises `CommandError`.

    Without a key the orders are not signed: good where the node has no administrators yet.
    """
    return signed_by(place.operator(), signing)


def signed_by(operator: OperatorClient, signing: Signing) -> OperatorClient:
    """The same listener, asked with signatures if there is a key; raises as above."""
    if signing.admin_key is None:
        return operator
    authorize, node_id = _authorize(signing, operator)
    return operator.authorized(authorize, node_id)


def _authorize(signing: Signing, operator: OperatorClient) -> tuple[Authorize, str]:
    """What signs orders, and the id of the node for which."""
    # Deferred, as in all commands: key files and the curve take most of a second to load.
    import time

    from keyserver.client.deployment_plan import read_key
    from keyserver.crypto.curve import SecretScalar
    from keyserver.crypto.randomness import SystemRandom
    from keyserver.model.identifiers import NodeId
    from keyserver.sealing.signed_requests import sign_request

    known = (signing.node_id or "").removeprefix("0x") or operator.node_id
    if known is None:
        raise CommandError(
            "--node-id: whoever signs must know for which node; the one asked could name another",
            hint="`keyserver seal status` on the node's own machine shows its id.",
            exit_code=USAGE,
        )
    try:
        node_id = NodeId(bytes.fromhex(known))
    except ValueError:
        raise CommandError("--node-id: must be 128 hexadecimal digits", exit_code=USAGE) from None
    operator.require_node(node_id.hex(), operator.node_id)
    file = signing.admin_key
    assert file is not None
    account = read_key(file, lambda: ask_password(f"Password of {file}", signing.password_file))
    key = SecretScalar(bytes(account.key))
    random = SystemRandom()

    def authorize(method: str, target: str, body: bytes) -> str:
        return sign_request(key, node_id, method, target, body, now=int(time.time()), random=random)

    return authorize, node_id.hex()
