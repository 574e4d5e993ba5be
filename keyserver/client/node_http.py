"""One HTTP exchange with one node: bounded, without redirects, cookies or compression."""

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from keyserver.client.errors import BadAnswerError, NodeNotTrustedError, NodeUnreachableError
from keyserver.errors import ConfigError

ANSWER_S = 80.0
"""How long one answer may take; a node gives one within 75 seconds."""
CONNECT_S = 10.0
MAX_ANSWER = 512 * 1024
"""Bytes of an answer; the greatest honest one, a shadow made by 255 nodes, has 140 KiB."""

_URL = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~/-]*)?")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is sent; paths and headers hold credentials, so they are not shown."""

    method: str
    path: str = field(repr=False)
    """Starts with a slash; percent-encoded where it must be, and sent exactly so."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back."""

    node: str
    """URL of the node."""
    status: int
    body: bytes = field(default=b"", repr=False)
    retry_after_s: float | None = None


class Transport(Protocol):
    """Carries requests to nodes."""

    async def exchange(self, node: str, request: HttpRequest) -> HttpAnswer:
        """Send one request to the node at a URL and return its answer, whatever the status.

        Raises `NodeUnreachableError`, `NodeNotTrustedError`, and `BadAnswerError` for what is no
        HTTP or too long.
        """
        ...


def node_url(text: str) -> str:
    """Check the URL of a node and bring it into one form; raises `ConfigError`.

    `http(s)://HOST[:PORT]`, and a path where the node stands behind a proxy.
    """
    if "@" in text:
        raise ConfigError("node: the URL must not contain a user name or password")
    try:
        parts = urlsplit(text)
        # Names with an empty or overlong part cannot be looked up: encoding tells.
        is_place = bool((parts.hostname or "").encode("idna")) and parts.port != 0
    except ValueError:
        is_place = False
    if not is_place or not _URL.fullmatch(text):
        raise ConfigError(f"node: {text!r} is not http(s)://HOST:PORT")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def is_exposed(node: str) -> bool:
    """Whether others on the way to this node could read and alter what is sent."""
    parts = urlsplit(node)
    return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


class HttpTransport:
    """Carries requests over connections that it keeps open."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def exchange(self, node: str, request: HttpRequest) -> HttpAnswer:
        """See `Transport`."""
        try:
            async with self._session.request(
                request.method,
                # As it is: a signed request would not be itself with another spelling.
                URL(node + request.path, encoded=True),
                headers=request.headers,
                data=request.body or None,
                allow_redirects=False,
            ) as response:
                body = await _read_bounded(node, response)
                return HttpAnswer(node, response.status, body, _retry_after(response))
        except aiohttp.ClientSSLError as error:
            raise NodeNotTrustedError(
                node,
                f"no trusted TLS connection: {_reason(error)}",
                advice="Is the address right? For a certificate of your own: --ca-file FILE.",
            ) from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NodeUnreachableError(
                node, f"cannot be connected to: {_reason(error)}", may_have_worked=False
            ) from error
        except aiohttp.ClientResponseError as error:
            raise BadAnswerError(f"{node}: what came back is not HTTP") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NodeUnreachableError(
                node, f"no answer: {_reason(error)}", may_have_worked=True
            ) from error


@asynccontextmanager
async def http_transport(
    ca_file: Path | None = None, *, answer_s: float | None = ANSWER_S
) -> AsyncIterator[HttpTransport]:
    """A transport for `http` and `https` URLs.

    `answer_s` is how long one answer may take; with `None` as long as it takes. `ca_file` holds
    certificates, in PEM, that are trusted instead of the machine's. Raises `ConfigError` if it
    cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigError(f"ca-file: {ca_file}: {error.strerror or error}") from error
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context),
        timeout=aiohttp.ClientTimeout(total=answer_s, sock_connect=CONNECT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity", "User-Agent": "keyserver-client"},
        skip_auto_headers=["Content-Type"],
    )
    async with session:
        yield HttpTransport(session)


async def _read_bounded(node: str, response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_ANSWER:
            raise BadAnswerError(f"{node}: the answer is longer than {MAX_ANSWER} bytes")
    return bytes(body)


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _reason(error: BaseException) -> str:
    """In words, without the URL: its path may hold a credential."""
    inner = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    return getattr(inner, "strerror", None) or type(error).__name__
