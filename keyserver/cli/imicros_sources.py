"""Where an import from imicros-keys gets its data: shares, a dump, a Redis server.

Shares come from the terminal without echo, from standard input or from files, one a line; never
from arguments, which other processes may see.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from keyserver.cli.asking import ask_hidden
from keyserver.cli.output import FAILED, UNREACHABLE, USAGE, WRONG_SHARE, CommandError

if TYPE_CHECKING:
    from keyserver.sealing.imicros.database import Database
    from keyserver.sealing.imicros.shares import ImicrosShare

TIMEOUT_S: Final = 15.0
BATCH: Final = 500
"""Names that are looked at in one round trip."""

MAX_INPUT: Final = 64 * 1024
"""Bytes of shares on standard input."""


def read_shares(files: Sequence[Path]) -> list["ImicrosShare"]:
    """Shares of the files, else those typed at the terminal, else those of standard input.

    Raises `CommandError` (wrong share) naming the place of a text that is none, and `ConfigError`
    for a file that others may read.
    """
    # Deferred, as all of the importer: no other command needs it.
    from keyserver.sealing.key_sources import read_private_file

    if files:
        return [
            share
            for file in files
            for share in _parsed(str(file), read_private_file(file).decode("ascii", "replace"))
        ]
    if sys.stdin.isatty():
        return _typed_shares()
    given = sys.stdin.buffer.read(MAX_INPUT).decode("ascii", "replace")
    return list(_parsed("standard input", given))


def _parsed(source: str, text: str) -> Iterator["ImicrosShare"]:
    from keyserver.sealing.imicros.errors import ImicrosShareError
    from keyserver.sealing.imicros.shares import parse_share

    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield parse_share(line.strip())
        except ImicrosShareError as problem:
            raise CommandError(
                f"{source}, line {number}: {problem}", exit_code=WRONG_SHARE
            ) from None


def _typed_shares() -> list["ImicrosShare"]:
    """Ask until there are enough; a text that is none is asked for again."""
    from keyserver.sealing.imicros.errors import ImicrosShareError
    from keyserver.sealing.imicros.shares import MAX_SHARES, THRESHOLD, parse_share

    shares: list[ImicrosShare] = []
    while len(shares) < MAX_SHARES:
        done = ", or nothing if that was all" if len(shares) >= THRESHOLD else ""
        text = ask_hidden(f"Share {len(shares) + 1}{done}", may_be_empty=True)
        if not text.strip():
            if len(shares) >= THRESHOLD:
                break
            continue
        try:
            share = parse_share(text.strip())
        except ImicrosShareError as problem:
            print(f"That is none: {problem}.", file=sys.stderr)
            continue
        if any(known.number == share.number for known in shares):
            print(f"Share number {share.number} was given already.", file=sys.stderr)
            continue
        shares.append(share)
    return shares


def read_dump(file: Path) -> "Database":
    """The database of a dump; raises `DumpError`, `OSError`."""
    from keyserver.sealing.imicros.database import parse_dump
    from keyserver.sealing.imicros.errors import DumpError

    try:
        return parse_dump(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise DumpError(f"{file}: is no text") from None


def read_redis(url: str, password_file: Path | None) -> "Database":
    """What imicros-keys has in a Redis database, changing nothing there; raises `CommandError`."""
    try:
        import redis  # deferred: an extra that only this needs
    except ImportError:
        raise CommandError(
            "--redis: the package `redis` is not installed",
            hint="Install this program with its extra `imicros`, or make a dump elsewhere.",
            exit_code=USAGE,
        ) from None
    try:
        # Version 2 of the protocol: servers as old as imicros-keys know no other.
        client = redis.Redis.from_url(
            url,
            password=_password(url, password_file),
            protocol=2,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
        )
    except ValueError as problem:
        raise CommandError(f"--redis: {problem}", exit_code=USAGE) from None
    with client:
        try:
            return _Reading(client).database()
        except (redis.ConnectionError, redis.TimeoutError) as problem:
            raise CommandError(f"--redis: no answer: {problem}", exit_code=UNREACHABLE) from None
        except redis.RedisError as problem:
            raise CommandError(f"--redis: refused: {problem}", exit_code=FAILED) from None


def _password(url: str, file: Path | None) -> str | None:
    if urlsplit(url).password is not None:
        raise CommandError(
            "--redis: a password in the URL can be seen by other processes",
            hint="Write it to a file that only you can read and give --redis-password-file FILE.",
            exit_code=USAGE,
        )
    if file is None:
        return None
    from keyserver.sealing.key_sources import read_private_file

    try:
        return read_private_file(file).decode().partition("\n")[0].strip()
    except UnicodeDecodeError:
        text = f"--redis-password-file: {file} is no UTF-8 text"
        raise CommandError(text, exit_code=USAGE) from None


class _Reading:
    """Reads what imicros-keys has written, and nothing else that is in the same database."""

    def __init__(self, client: Any) -> None:  # Any: the package is an extra
        self._client = client
        self._sets: dict[str, list[str]] = {}
        self._hashes: dict[str, dict[str, str]] = {}
        self._others: dict[str, str] = {}

    def database(self) -> "Database":
        """Read the sets, the hashes that they lead to, and those that could be of further pairs."""
        from keyserver.sealing.imicros.database import OWNERS, Database, decode_name, hash_name

        self._read([OWNERS], "set")
        owners = self._sets.get(OWNERS, [])
        self._read([owner for owner in owners if owner != OWNERS], "set")
        pairs = [
            hash_name(owner, service) for owner in owners for service in self._sets.get(owner, ())
        ]
        self._read(list(dict.fromkeys(pairs)), "hash")
        scanned = (_text(name) for name in self._client.scan_iter(count=BATCH))
        further = {name for name in scanned if decode_name(name) and name not in self._hashes}
        self._read(sorted(further), "hash", keep_others=False)
        return Database(self._sets, self._hashes, self._others)

    def _read(self, names: Sequence[str], kind: str, *, keep_others: bool = True) -> None:
        """Read those of the names that are of this type; note the type of others."""
        for start in range(0, len(names), BATCH):
            some = names[start : start + BATCH]
            types = self._each("type", some)
            wanted = [name for name, found in zip(some, types, strict=True) if _text(found) == kind]
            for name, content in zip(wanted, self._contents(kind, wanted), strict=True):
                if kind == "set":
                    self._sets[name] = sorted(_text(member) for member in content)
                else:
                    self._hashes[name] = {_text(key): _text(content[key]) for key in content}
            for name, found in zip(some, types, strict=True):
                if keep_others and _text(found) not in (kind, "none"):
                    self._others[name] = _text(found)

    def _contents(self, kind: str, names: Sequence[str]) -> Sequence[Any]:
        return self._each("smembers" if kind == "set" else "hgetall", names)

    def _each(self, command: str, names: Sequence[str]) -> Sequence[Any]:
        """The answers to one command for each name, in one round trip."""
        if not names:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            getattr(pipeline, command)(name.encode("utf-8", "surrogateescape"))
        answers: list[Any] = pipeline.execute()
        return answers


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
