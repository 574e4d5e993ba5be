"""`keyserver account`: make key pairs and key files."""

from pathlib import Path
from typing import Annotated

import typer

from keyserver.app.accounts import write_key_file
from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.output import JsonOption, print_facts
from keyserver.cli.passwords import choose_password
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.model.identifiers import NodeId

DEFAULT_ITERATIONS = 10240
"""Rounds of PBKDF2 in a new key file, as `[account] keys_iterations` has it."""

app = typer.Typer(**APP_SETTINGS)


@app.callback()
def _group() -> None:
    """Make accounts."""


@app.command()
def new(
    keys_dir: Annotated[
        Path | None,
        typer.Option(help="Write an encrypted key file there and do not show the private key."),
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the key file's password.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key pair: print both halves in full, or keep the private one in a key file."""
    secret = SecretScalar.random(SystemRandom())
    node_id = NodeId.of(secret.public())
    facts: dict[str, object] = {
        "address": f"0x{node_id.address.hex()}",
        "public_key": f"0x{node_id.hex()}",
    }
    if keys_dir is None:
        facts["private_key"] = f"0x{secret.expose().hex()}"
    else:
        password = choose_password(password_file)
        path = write_key_file(keys_dir, secret, password, iterations=DEFAULT_ITERATIONS)
        facts["key_file"] = str(path)
    print_facts(facts, as_json=as_json)
