"""A server that sends bytes as they are told, and what it needs to speak TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.certificates import write_certificate


@dataclass
class RawServer:
    """Answers every connection with the same bytes and closes it."""

    says: bytes
    heard: list[bytes] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.says)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client did not like what it saw
        finally:
            writer.close()


@asynccontextmanager
async def raw_server(says: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    made = RawServer(says)
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=tls) as server:
        port = server.sockets[0].getsockname()[1]
        made.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        yield made


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def own_certificate(directory: Path, address: str = "127.0.0.1") -> tuple[Path, ssl.SSLContext]:
    """A certificate that nobody but who has the file trusts, and a server that shows it."""
    certificate, key = directory / "node.crt", directory / "node.key"
    write_certificate(certificate, key, address)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return certificate, context
