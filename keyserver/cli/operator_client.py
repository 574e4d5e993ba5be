"""Asks a running node, over its operator listener, with the standard library: it starts quickly."""

import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keyserver.cli.output import FAILED, UNREACHABLE, USAGE, CommandError

TIMEOUT_S = 15.0
FILE_NAME = "operator.json"
"""What the node writes into its data directory."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the listener."""

    status: int
    body: Any
    """Whatever JSON it sent."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


class OperatorClient:
    """One node's operator listener."""

    def __init__(self, url: str, *, certificate: Path | None = None) -> None:
        """`url`: `http(s)://HOST:PORT` or `unix:PATH`; raises `CommandError` for another.

        `certificate`: the one that the node shows; without it, one that this machine trusts.
        """
        self.url = url
        self._certificate = certificate
        if url.startswith("unix:"):
            self._address = ""
            self._path = url.removeprefix("unix:")
            return
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise CommandError(
                f"--url: {url} is neither http(s)://HOST:PORT nor unix:PATH", exit_code=USAGE
            )
        self._address = parts.netloc
        self._path = ""
        self._is_encrypted = parts.scheme == "https"

    def get(self, path: str) -> Any:
        """The body of a successful answer; raises `CommandError`."""
        return self._successful(self.ask("GET", path))

    def post(self, path: str) -> Any:
        """The body of a successful answer; raises `CommandError`."""
        return self._successful(self.ask("POST", path))

    def ask(self, method: str, path: str) -> Answer:
        """Any answer; raises `CommandError` (unreachable) without one."""
        connection = self._connection()
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return Answer(response.status, json.loads(response.read()))
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise CommandError(
                f"no answer from the node at {self.url}: {reason}",
                hint="Is it running? Look at its log, or start it with `keyserver run`.",
                exit_code=UNREACHABLE,
            ) from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._path:
            return _UnixConnection(self._path)
        if not self._is_encrypted:
            return http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
        context = ssl.create_default_context(cafile=self._certificate)
        # A certificate from the node's own file is the name; listeners have addresses only.
        context.check_hostname = self._certificate is None
        return http.client.HTTPSConnection(self._address, timeout=TIMEOUT_S, context=context)

    def _successful(self, answer: Answer) -> Any:
        if answer.status < 400:
            return answer.body
        error = answer.body.get("error", {}) if isinstance(answer.body, dict) else {}
        text = error.get("message") or f"the node answered with status {answer.status}"
        codes = {400: USAGE, 503: UNREACHABLE}
        raise CommandError(text, exit_code=codes.get(answer.status, FAILED))


def find_operator(url: str | None, path: Path | None, config: Path | None) -> OperatorClient:
    """The listener that the options name; raises `CommandError` if they name none."""
    if url is not None:
        return OperatorClient(url)
    file = (path if path is not None else _data_directory(config)) / FILE_NAME
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        certificate = Path(found["tls_cert"]) if "tls_cert" in found else None
        return OperatorClient(found["url"], certificate=certificate)
    except FileNotFoundError:
        raise CommandError(
            f"{file} is not there: no node runs with this data directory",
            hint="Name the node with --config FILE, --path DIR or --url URL.",
            exit_code=UNREACHABLE,
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{file} cannot be used: {error}", exit_code=USAGE) from None


def _data_directory(config: Path | None) -> Path:
    # Deferred: reading a configuration takes 150 ms, which the other two options save.
    from keyserver.app.config import load

    return load(config).config.secretstore.path
