"""The other implementation of BOLT #8, pyln-proto, as a process that echoes or is echoed.

Runs under an interpreter of its own, because pyln-proto wants another build of the curve library:

    pyln_peer.py respond SECRET COUNT              prints its port, then echoes COUNT messages
    pyln_peer.py initiate SECRET NODE PORT COUNT   sends COUNT messages, expects each one back

Keys are hexadecimal. The last line printed is the peer's key as pyln-proto saw it.
"""

import socket
import sys

from pyln.proto.wire import LightningConnection, LightningServerSocket, PrivateKey, connect

SIZES = (1, 2, 18, 1000, 65_535)


def hurry(connection: LightningConnection) -> None:
    """It sends each frame in two parts; do not let the second wait for an acknowledgement."""
    connection.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def echo(connection: LightningConnection, count: int) -> None:
    for _ in range(count):
        connection.send_message(connection.read_message())


def expect_echo(connection: LightningConnection, count: int) -> None:
    for number in range(count):
        message = bytes([number % 251]) * SIZES[number % len(SIZES)]
        connection.send_message(message)
        if connection.read_message() != message:
            raise SystemExit(f"message {number} came back changed")


def respond(secret: str, count: str) -> LightningConnection:
    server = LightningServerSocket(PrivateKey(bytes.fromhex(secret)))
    server.bind(("127.0.0.1", 0))
    server.listen()
    print(server.getsockname()[1], flush=True)
    connection, _ = server.accept()
    hurry(connection)
    echo(connection, int(count))
    return connection


def initiate(secret: str, node: str, port: str, count: str) -> LightningConnection:
    key = PrivateKey(bytes.fromhex(secret))
    connection = connect(key, bytes.fromhex(node), "127.0.0.1", int(port))
    hurry(connection)
    expect_echo(connection, int(count))
    return connection


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    peer = respond(*arguments) if role == "respond" else initiate(*arguments)
    print(peer.remote_pubkey.serializeCompressed().hex())
