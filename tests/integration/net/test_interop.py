"""Handshake and frames against a second, independent implementation (pyln-proto).

`PYLN_PYTHON` names the interpreter of a virtual environment of its own that has it.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import SystemRandom
from keyserver.model.identifiers import NodeId
from keyserver.net.framing import FrameReader, FrameWriter, MessageReader, MessageWriter
from keyserver.net.handshake import (
    ACT_ONE_SIZE,
    ACT_THREE_SIZE,
    ACT_TWO_SIZE,
    AwaitingActOne,
    Secured,
    begin,
)
from keyserver.net.node_key import LocalNodeKey

INTERPRETER = os.environ.get("PYLN_PYTHON", "")
PROLOGUE = b"lightning"
"""The other implementation knows no other."""
OURS, THEIRS = (SecretScalar.from_int(number) for number in (0x1234, 0x5678))
TIMEOUT_S = 60

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not INTERPRETER, reason="PYLN_PYTHON names no Python with pyln-proto"),
]


@contextmanager
def pyln(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    script = Path(__file__).with_name("pyln_peer.py")
    command = [INTERPRETER, str(script), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, "closed by the other implementation"
        data += piece
    return data


def shake_as_initiator(connection: socket.socket) -> Secured:
    random = SecretScalar.random(SystemRandom())
    state, act_one = begin(LocalNodeKey(OURS), THEIRS.public(), random, PROLOGUE)
    connection.sendall(act_one)
    act_three, secured = state.receive(read(connection, ACT_TWO_SIZE))
    connection.sendall(act_three)
    return secured


def shake_as_responder(connection: socket.socket) -> Secured:
    random = SecretScalar.random(SystemRandom())
    first = AwaitingActOne(LocalNodeKey(OURS), random, PROLOGUE)
    state, act_two = first.receive(read(connection, ACT_ONE_SIZE))
    connection.sendall(act_two)
    return state.receive(read(connection, ACT_THREE_SIZE), lambda _: True)


def finish(process: subprocess.Popen[str]) -> None:
    """The other side ended well and knows who we are."""
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert output.split()[-1] == OURS.public().compressed.hex()


def test_as_initiator_with_messages_across_changes_of_the_key() -> None:
    messages = [bytes([number % 256]) * (1 + number * 73) for number in range(1100)]
    frames_in_all = sum(-(-len(message) // 65_534) for message in messages)
    with pyln("respond", THEIRS.expose().hex(), str(frames_in_all)) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
            secured = shake_as_initiator(connection)
            assert secured.peer == NodeId.of(THEIRS.public())
            writer, reader = MessageWriter(secured.keys), MessageReader(secured.keys)
            for message in messages:
                assert echoed(connection, writer, reader, message) == message
        assert frames_in_all > 1000
        finish(process)


def echoed(
    connection: socket.socket, writer: MessageWriter, reader: MessageReader, message: bytes
) -> bytes | None:
    """What comes back for a message, frame by frame."""
    answer = None
    for frame in writer.frames(message):
        assert answer is None
        connection.sendall(frame)
        reader.receive(read(connection, len(frame)))
        answer = reader.next_message()
    return answer


def test_as_responder_with_messages_across_changes_of_the_key() -> None:
    count = 1500
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(TIMEOUT_S)
        port = server.getsockname()[1]
        node = OURS.public().compressed.hex()
        with pyln("initiate", THEIRS.expose().hex(), node, str(port), str(count)) as process:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(TIMEOUT_S)
                secured = shake_as_responder(connection)
                assert secured.peer == NodeId.of(THEIRS.public())
                echo_frames(connection, secured, count)
            finish(process)


def echo_frames(connection: socket.socket, secured: Secured, count: int) -> None:
    writer, reader = FrameWriter(secured.keys), FrameReader(secured.keys)
    for _ in range(count):
        while (data := reader.next_frame()) is None:
            piece = connection.recv(65_536)
            assert piece, "closed by the other implementation"
            reader.receive(piece)
        connection.sendall(writer.frame(data))
