"""The published vectors of BOLT #8, and one handshake with the prologue of this project."""

import json
from pathlib import Path
from typing import Any

import pytest

from keyserver.crypto.curve import Point, SecretScalar
from keyserver.model.identifiers import NodeId
from keyserver.net.errors import HandshakeError
from keyserver.net.framing import FrameReader, FrameWriter
from keyserver.net.handshake import AwaitingActOne, Secured, TransportKeys, begin
from keyserver.net.node_key import LocalNodeKey

DATA = Path(__file__).parents[1] / "data"
HANDSHAKES = json.loads((DATA / "bolt8_handshake.json").read_text())
MESSAGES = json.loads((DATA / "bolt8_messages.json").read_text())
VECTORS = HANDSHAKES["vectors"]
PROLOGUE = HANDSHAKES["prologue"].encode()


def secret(text: str) -> SecretScalar:
    return SecretScalar(bytes.fromhex(text))


class Conversation:
    """What one side said, and how it ended."""

    def __init__(self) -> None:
        self.outputs: list[str] = []
        self.result: Secured | None = None

    def initiate(self, vector: dict[str, Any]) -> None:
        key = LocalNodeKey(secret(vector["ls_priv"]))
        responder = Point.parse(bytes.fromhex(vector["rs_pub"]))
        state, act_one = begin(key, responder, secret(vector["e_priv"]), PROLOGUE)
        self.outputs.append(act_one.hex())
        act_three, self.result = state.receive(bytes.fromhex(vector["inputs"][0]))
        self.outputs.append(act_three.hex())

    def respond(self, vector: dict[str, Any]) -> None:
        key = LocalNodeKey(secret(vector["ls_priv"]))
        first = AwaitingActOne(key, secret(vector["e_priv"]), PROLOGUE)
        state, act_two = first.receive(bytes.fromhex(vector["inputs"][0]))
        self.outputs.append(act_two.hex())
        self.result = state.receive(bytes.fromhex(vector["inputs"][1]), lambda _: True)


def check_keys(vector: dict[str, Any], initiators: TransportKeys) -> None:
    assert initiators.sending.hex() == vector["initiator_send_key"]
    assert initiators.receiving.hex() == vector["initiator_receive_key"]
    assert initiators.chaining.hex() == vector["final_ck"]


def mirrored(keys: TransportKeys) -> TransportKeys:
    return TransportKeys(keys.receiving, keys.sending, keys.chaining)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_handshake(vector: dict[str, Any]) -> None:
    conversation = Conversation()
    initiates = vector["role"] == "initiator"
    play = conversation.initiate if initiates else conversation.respond
    if vector["error"] is None:
        play(vector)
        assert conversation.result is not None
        keys = conversation.result.keys
        check_keys(vector, keys if initiates else mirrored(keys))
    else:
        with pytest.raises(HandshakeError) as caught:
            play(vector)
        name = f"ACT{caught.value.act}_{caught.value.flaw.name}"
        assert name == vector["error"].split(" ")[0]
        assert conversation.result is None
    assert conversation.outputs == vector["outputs"]


def test_the_files_hold_what_these_tests_are_about() -> None:
    assert sum(vector["error"] is None for vector in VECTORS) == 2
    assert sum(vector["error"] is not None for vector in VECTORS) == 13
    assert sorted(map(int, MESSAGES["outputs"])) == [0, 1, 500, 501, 1000, 1001]


def test_handshake_with_the_prologue_of_this_project() -> None:
    vector = MESSAGES["engine_prologue"]
    initiator = LocalNodeKey(secret(vector["initiator_static"]))
    responder = LocalNodeKey(secret(vector["responder_static"]))
    waiting, act_one = begin(initiator, responder.public, secret(vector["initiator_ephemeral"]))
    answering, act_two = AwaitingActOne(responder, secret(vector["responder_ephemeral"])).receive(
        act_one
    )
    act_three, initiated = waiting.receive(act_two)
    responded = answering.receive(act_three, lambda _: True)

    assert [act_one.hex(), act_two.hex(), act_three.hex()] == [
        vector["act1"],
        vector["act2"],
        vector["act3"],
    ]
    check_keys(vector, initiated.keys)
    check_keys(vector, mirrored(responded.keys))
    assert initiated.peer == NodeId.of(responder.public)
    assert responded.peer == NodeId.of(initiator.public)


def test_frames_across_two_changes_of_the_key() -> None:
    keys = TransportKeys(
        *(bytes.fromhex(MESSAGES[name]) for name in ("send_key", "receive_key", "initial_ck"))
    )
    message = bytes.fromhex(MESSAGES["message"])
    writer, reader = FrameWriter(keys), FrameReader(mirrored(keys))
    seen = {}
    for number in range(1002):
        frame = writer.frame(message)
        seen[str(number)] = frame.hex()
        reader.receive(frame)
        assert reader.next_frame() == message
    assert {number: seen[number] for number in MESSAGES["outputs"]} == MESSAGES["outputs"]
