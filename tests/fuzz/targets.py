"""All targets by name."""

from collections.abc import Callable

from tests.fuzz.chain import Answers
from tests.fuzz.config import Configuration
from tests.fuzz.peers import Messages
from tests.fuzz.running import Target
from tests.fuzz.transport import Frames, Handshake

TARGETS: dict[str, Callable[[], Target]] = {
    "handshake": Handshake,
    "frames": Frames,
    "messages": Messages,
    "chain": Answers,
    "config": Configuration,
}
