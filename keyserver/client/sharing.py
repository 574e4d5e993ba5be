"""The two halves of sharing a file: encrypt it for whoever has permission, and read it as such."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyserver.client.documents import (
    Description,
    decrypt_file,
    description_path,
    encrypt_file,
    new_document_key,
    refuse_existing,
    remove_encrypted,
    write_description,
)
from keyserver.client.errors import (
    DocumentError,
    RefusedByContractError,
    RefusedByKeyServersError,
)
from keyserver.client.interface import Answered, AnyKeyServers
from keyserver.crypto.curve import Point
from keyserver.crypto.elgamal import encrypt_document_key
from keyserver.crypto.randomness import RandomSource
from keyserver.model.identifiers import KeyId


@dataclass(frozen=True, slots=True)
class SharedFile:
    """A file that is encrypted, with its key in the hands of the key servers."""

    encrypted: Path
    description: Path
    answer: Any
    """To the request that stored the document key: an `Answer` or, over HTTP, a `NodeAnswer`."""


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file that is decrypted."""

    was_checked: bool
    """Against its description: that it is what was encrypted."""
    answer: Answered[Point] = field(repr=False)
    """To the request that retrieved the document key."""


async def share_file(
    servers: AnyKeyServers,
    key_id: KeyId,
    source: Path,
    target: Path,
    rng: RandomSource,
    *,
    overwrite: bool = False,
) -> SharedFile:
    """Encrypt a file under a new document key and store that with the own server key `key_id`.

    Nothing stays on disk if the document key is refused; if there is no answer in time the file is
    kept, since the key may still be stored. Raises `DocumentError`,
    `NotAuthorError`, and what a request raises.
    """
    described = description_path(target)
    refuse_existing(described, overwrite=overwrite)
    public = await servers.key_to_encrypt_to(key_id)
    document_key = new_document_key(rng)
    size, mac = encrypt_file(document_key, source, target, rng, overwrite=overwrite)
    description = Description(key_id, await servers.chain_id(), size, mac)
    write_description(description, described)
    try:
        stored = encrypt_document_key(public, document_key, rng)
        answer = await servers.store_document_key(key_id, stored)
    except (RefusedByContractError, RefusedByKeyServersError):
        remove_encrypted(target)  # nobody could ever open it
        raise
    return SharedFile(target, described, answer)


async def open_file(
    servers: AnyKeyServers,
    source: Path,
    target: Path,
    *,
    key_id: KeyId | None = None,
    overwrite: bool = False,
) -> OpenedFile:
    """Have the document key of an encrypted file retrieved and decrypt the file.

    Without a description `key_id` is needed and alterations go unseen: such are files of the
    original's clients. Raises `DocumentError` and what a request raises.
    """
    described = description_path(source)
    description = Description.load_if_there(described)
    if description is not None:
        await _check_chain(servers, description, described)
        if key_id not in (None, description.key_id):
            raise DocumentError(f"{described}: key_id: is another one than the given")
        key_id = description.key_id
    if key_id is None:
        raise DocumentError(f"{described}: is missing; give the key id")
    refuse_existing(target, overwrite=overwrite)
    answer = await servers.retrieve_document_key(key_id)
    decrypt_file(answer.value, source, target, description, overwrite=overwrite)
    return OpenedFile(description is not None, answer)


async def _check_chain(servers: AnyKeyServers, description: Description, path: Path) -> None:
    """Where either does not tell, there is nothing to compare."""
    if description.chain_id is None:
        return
    found = await servers.chain_id()
    if found not in (None, description.chain_id):
        raise DocumentError(
            f"{path}: chain_id: the key is on chain {description.chain_id}, not on {found}"
        )
