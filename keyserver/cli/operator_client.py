"""Asks a running node, over its operator listener, with the standard library: it starts quickly."""

import http.client
import io
import ipaddress
import json
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from keyserver.cli.output import FAILED, SEALED, UNREACHABLE, USAGE, WRONG_SHARE, CommandError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

TIMEOUT_S = 15.0
"""For a connection, and for anything more to come."""
ANSWER_S: Final = 300.0
"""For a whole answer, of up to `MAX_ANSWER`, however slowly it comes."""
MAX_ANSWER: Final = 64 << 20
"""Bytes of an answer."""
FILE_NAME = "operator.json"
"""What the node writes into its data directory."""

_NODE_ID: Final = re.compile("[0-9a-f]{128}")

Authorize = Callable[[str, str, bytes], str]
"""The header `Authorization` for a method, a path with query, and a body."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the listener."""

    status: int
    body: Any
    """Whatever JSON it sent; `None` for an error that is not JSON."""
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Trust:
    """Which certificate a node must show; without any, one that this machine trusts."""

    ca_file: Path | None = None
    """It must be issued by one of these, for the name or address that is asked."""
    certificate: Path | None = None
    """It must be the very one in this file; names do not matter."""


class RefusedError(CommandError):
    """The node answered, and refused."""

    def __init__(self, message: str, *, code: str, hint: str, exit_code: int) -> None:
        """`code`: as the node named it, such as `SHARE_UNKNOWN`; empty if it named none."""
        super().__init__(message, hint=hint, exit_code=exit_code)
        self.code = code

    @property
    def has_known_code(self) -> bool:
        """Whether the code is one of those that nodes use, not any text."""
        return self.code in _HINTS or self.code in _OTHER_CODES


_EXIT_CODES: Final = {
    "SHARE_MALFORMED": WRONG_SHARE,
    "SHARE_WRONG_SET": WRONG_SHARE,
    "SHARE_UNKNOWN": WRONG_SHARE,
    "SEALED": SEALED,
}
_EXIT_STATUSES: Final = {400: USAGE, 503: UNREACHABLE}

_HINTS: Final = {
    "SEALED": "Unseal it first: `keyserver seal unseal`.",
    "STANDBY": "`keyserver seal replicas` shows which one acts.",
    "NOT_INITIALISED": "Stop the node and make its shares: `keyserver seal init`.",
    "UNAUTHENTICATED": "Sign as an administrator: --admin-key FILE.",
    "SIGNATURE_EXPIRED": "The clocks of the two machines differ by more than a minute: set them.",
    "FORBIDDEN": "Only accounts in [keyserver.seal] admins of the node's configuration may.",
    "SHARE_MALFORMED": "Nothing has changed: compare with the paper, word by word, and try again.",
    "SHARE_WRONG_SET": "Nothing has changed: look for the share that was made for this node last.",
    "SHARE_UNKNOWN": "Nothing has changed: this share was never made for this node.",
    "SLOT_UNAVAILABLE": "Let the node read that key, or give it up with --drop-slots.",
    "AUDIT_UNAVAILABLE": "Nothing was done: the audit log must be writable; look at its disk.",
    "STORAGE_UNAVAILABLE": "Look at the database, then try again.",
    "SEAL_RECORD_DAMAGED": "The shares are good, the database is not: restore it from a backup.",
}
"""What to do about it."""

_OTHER_CODES: Final = frozenset(
    {"BAD_REQUEST", "CONFLICT", "RATE_LIMITED", "REKEY_IN_PROGRESS", "STORAGE_CORRUPT"}
)
"""Codes that say for themselves what to do."""


class _TimelyReader(io.RawIOBase):
    """Reads from a socket until a time, whatever drips in until then."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, until: float) -> None:
        self._raw, self._sock, self._until = raw, sock, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._sock.settimeout(min(left, TIMEOUT_S))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _answers_within(seconds: float) -> type[http.client.HTTPResponse]:
    """Answers that must be there whole within so many seconds."""

    class Timely(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
            super().__init__(sock, *arguments, **named)
            reader = _TimelyReader(self.fp.detach(), sock, monotonic() + seconds)
            self.fp = io.BufferedReader(reader)

    return Timely


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


class _PinnedConnection(http.client.HTTPSConnection):
    """HTTPS to whoever shows one of certain certificates."""

    def __init__(self, address: str, context: ssl.SSLContext, accepted: frozenset[bytes]) -> None:
        super().__init__(address, timeout=TIMEOUT_S, context=context)
        self._accepted = accepted

    def connect(self) -> None:
        super().connect()
        shown = self.sock.getpeercert(binary_form=True)
        if shown not in self._accepted:
            self.close()
            raise ssl.SSLError("it shows another certificate than the one expected")


class OperatorClient:
    """One node's operator listener. Redirects are not followed."""

    def __init__(
        self,
        url: str,
        *,
        trust: Trust | None = None,
        authorize: Authorize | None = None,
        node_id: str | None = None,
        answer_s: float = ANSWER_S,
    ) -> None:
        """`url`: `http(s)://HOST:PORT` or `unix:PATH`; raises `CommandError` for another.

        `authorize` makes the credential of each request; `node_id`: 128 hexadecimal digits, where
        they are known from elsewhere than the node; `answer_s`: how long an answer may take.
        """
        self.url = url
        self.node_id = node_id
        self._answer_s = answer_s
        self._trust = trust or Trust()
        self._authorize = authorize
        self._address = self._path = ""
        self._is_encrypted = False
        if url.startswith("unix:"):
            self._path = url.removeprefix("unix:")
            return
        if not _is_http_address(url):
            raise CommandError(
                f"--url: {url} is neither http(s)://HOST:PORT nor unix:PATH", exit_code=USAGE
            )
        parts = urlsplit(url)
        self._address = parts.netloc
        self._is_encrypted = parts.scheme == "https"

    def authorized(self, authorize: Authorize, node_id: str | None = None) -> "OperatorClient":
        """The same listener, with a credential on every request; `node_id`: for which node."""
        return OperatorClient(
            self.url,
            trust=self._trust,
            authorize=authorize,
            node_id=node_id or self.node_id,
            answer_s=self._answer_s,
        )

    def at(self, url: str) -> "OperatorClient":
        """Another listener, asked under the same rules."""
        return OperatorClient(
            url,
            trust=self._trust,
            authorize=self._authorize,
            node_id=self.node_id,
            answer_s=self._answer_s,
        )

    def vouched_for(self, by: "OperatorClient") -> bool:
        """Whether an address that `by` has told is trusted: by a certificate or this machine.

        A certificate that this machine trusts anyway proves a name, not that it is a node's.
        """
        if self._path or not self._is_encrypted:
            return self.is_private and bool(by._path or not by._is_encrypted)
        return self._trust != Trust()

    @property
    def is_private(self) -> bool:
        """Whether nobody on a network can read along."""
        if self._path or self._is_encrypted:
            return True
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def require_private(self) -> None:
        """Raise `CommandError` where others could read along."""
        if not self.is_private:
            raise CommandError(
                f"{self.url}: secrets are not sent over a network without encryption",
                hint="Use https://, or a tunnel to an address of this machine.",
                exit_code=USAGE,
            )

    @property
    def is_anywhere(self) -> bool:
        """Whether the address is that of all interfaces, which leads nowhere."""
        try:
            return ipaddress.ip_address(urlsplit(self.url).hostname or "").is_unspecified
        except ValueError:
            return False

    def get(self, path: str) -> Any:
        """The body of a successful answer; raises `CommandError`."""
        return self._successful(self.ask("GET", path))

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """The body of a successful answer; raises `CommandError`."""
        return self._successful(self.ask("POST", path, body))

    def delete(self, path: str) -> Any:
        """The body of a successful answer; raises `CommandError`."""
        return self._successful(self.ask("DELETE", path))

    def require_node(self, wanted: str, found: str | None) -> None:
        """Raise `CommandError` if an order for one node would go to another."""
        if found is None or wanted == found:
            return
        raise CommandError(
            f"--node-id: orders would be signed for 0x{wanted}, but the node at {self.url} says "
            f"that it is 0x{found}",
            hint="If that is the node you mean, compare the id with what `keyserver seal status` "
            "shows on its own machine, then give that one.",
            exit_code=USAGE,
        )

    def _successful(self, answer: Answer) -> Any:
        """The same as `successful`; a signature for another node is told as what it is."""
        if answer.status in (401, 403) and self._authorize is not None and self.node_id is not None:
            self.require_node(self.node_id, self._told_node())
        return successful(answer)

    def _told_node(self) -> str | None:
        """Which node this says it is: to tell people, not to sign for it."""
        facts = OperatorClient(self.url, trust=self._trust).ask("GET", "/v1/seal/status").body
        told = facts.get("node_id") if isinstance(facts, dict) else None
        return told if isinstance(told, str) and _NODE_ID.fullmatch(told) else None

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """Any answer; raises `CommandError` (unreachable) without one.

        What has a body or a credential is not sent where others can read along.
        """
        data = b"" if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        if self._authorize is not None:
            headers["Authorization"] = self._authorize(method, path, data)
        if headers:
            self.require_private()
        connection = self._connection()
        connection.response_class = _answers_within(self._answer_s)
        try:
            connection.request(method, path, body=data or None, headers=headers)
            with connection.getresponse() as response:
                return _read(self.url, response)
        except ssl.SSLError as error:
            reason = getattr(error, "verify_message", "") or str(error)
            raise CommandError(
                f"the server at {self.url} could not be trusted: {reason}",
                hint="Name its certificate with --certificate, or its issuer with --ca-file.",
                exit_code=UNREACHABLE,
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise CommandError(
                f"no answer from the node at {self.url}: {printable(reason)}",
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
        file = self._trust.certificate or self._trust.ca_file
        try:
            context = ssl.create_default_context(cafile=file)
            accepted = _certificates(file) if file is not None else frozenset()
        except (OSError, ValueError) as error:
            text = f"{file}: is no file of certificates: {error}"
            raise CommandError(text, exit_code=USAGE) from None
        if self._trust.certificate is None:
            return http.client.HTTPSConnection(self._address, timeout=TIMEOUT_S, context=context)
        # The certificate itself is the name; and who issued it does not matter.
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return _PinnedConnection(self._address, context, accepted)


def _is_http_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and is_port


def _certificates(file: Path) -> frozenset[bytes]:
    """The certificates of a file in PEM, as DER."""
    head, tail = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    parts = file.read_text(encoding="ascii", errors="replace").split(head)[1:]
    blocks = (part.partition(tail)[0] for part in parts)
    return frozenset(ssl.PEM_cert_to_DER_cert(f"{head}{block}{tail}\n") for block in blocks)


def _read(url: str, response: http.client.HTTPResponse) -> Answer:
    """The answer; raises `CommandError` for a redirect, `ValueError` for what is no answer."""
    if 300 <= response.status < 400:
        raise CommandError(
            f"{url} answered with a redirect, which is not followed",
            hint="Name the node's own listener.",
            exit_code=UNREACHABLE,
        )
    text = response.read(MAX_ANSWER + 1)
    if len(text) > MAX_ANSWER:
        raise ValueError("the answer is too large")
    wait = response.headers.get("Retry-After", "")
    retry_after_s = int(wait) if wait.isascii() and wait.isdigit() else None
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        if response.status < 400:
            raise ValueError("what it sent is not JSON: is this an operator listener?") from None
        body = None
    return Answer(response.status, body, retry_after_s)


def printable(text: str) -> str:
    """What somebody else has written, without what would steer a terminal or begin a line."""
    return "".join(each if each.isprintable() else "?" for each in text)


def successful(answer: Answer) -> Any:
    """The body of an answer that is none of an error; raises `RefusedError` for others."""
    if answer.status < 400:
        return answer.body
    error = answer.body.get("error") if isinstance(answer.body, dict) else None
    if not isinstance(error, dict):
        error = {}
    code = printable(str(error.get("code", "")))
    text = printable(str(error.get("message") or f"the node answered with status {answer.status}"))
    hint = _HINTS.get(code, "")
    if code == "SEALED" and text != "the node is sealed":
        hint = ""  # other words of it say what to do themselves, which may not be to unseal it
    if answer.retry_after_s is not None and code not in ("SEALED", "STANDBY"):
        hint = f"{hint} Try again in {answer.retry_after_s} s.".strip()
    exit_code = _EXIT_CODES.get(code, _EXIT_STATUSES.get(answer.status, FAILED))
    raise RefusedError(text, code=code, hint=hint, exit_code=exit_code)


def find_operator(
    url: str | None, path: Path | None, config: Path | None, trust: Trust | None = None
) -> OperatorClient:
    """The listener that the options name; raises `CommandError` if they name none."""
    if url is not None:
        return OperatorClient(url, trust=trust)
    file = (path if path is not None else _data_directory(config)) / FILE_NAME
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        shown = Path(found["tls_cert"]) if "tls_cert" in found else None
        node_id = str(found.get("node_id", "")).removeprefix("0x") or None
        return OperatorClient(
            found["url"], trust=trust or Trust(certificate=shown), node_id=node_id
        )
    except FileNotFoundError:
        raise CommandError(
            f"{file} is not there: no node runs with this data directory",
            hint="Start it with `keyserver run`, or name another: --config FILE, --path DIR or "
            "--url URL. A node that was just sealed is back in some seconds.",
            exit_code=UNREACHABLE,
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandError(f"{file} cannot be used: {error}", exit_code=USAGE) from None


def _data_directory(config: Path | None) -> Path:
    # Deferred: reading a configuration takes 150 ms, which the other two options save.
    from keyserver.app.config import load

    return load(config).config.secretstore.path
