"""What a session is told at its opening: whether this node lets the shares of a key go."""

import pytest

from keyserver.crypto.randomness import SeededRandom
from keyserver.engine.contexts import Contexts, SessionName
from keyserver.engine.ports import Identity, NoSuccessions, Ports, Successions
from keyserver.model.identifiers import ZERO_HASH, Hash32, KeyId, NodeId, Nonce32, SessionId
from keyserver.model.node_set import NodeSet, NodeSetSnapshot
from keyserver.model.requests import AddShare, NodeCredential, Request, Reshare
from keyserver.sessions.core import KeyState, Policy, SessionKind
from keyserver.simulation.clock import VirtualClock
from keyserver.simulation.cluster import FixedSets, Recorder, ScriptedAccess
from keyserver.simulation.loop import run_virtual
from keyserver.storage.memory import MemoryDisk, MemoryRecordStore
from tests.unit.engine.played_peers import Peers
from tests.unit.engine.signed_values import KEY, NODES, OTHER_KEY, OTHER_SET, SET, SIGNERS

CHANGE = Hash32(b"\xcc" * 32)


class OneChange:
    """This change of this key, and no other."""

    def target(
        self, change_id: Hash32, key_id: KeyId, state: KeyState, coordinator: NodeId
    ) -> NodeSet | None:
        return OTHER_SET if (change_id, key_id) == (CHANGE, KEY) else None


def told(request: Request, successions: Successions) -> NodeSet | None:
    async def main() -> NodeSet | None:
        recorder = Recorder()
        ports = Ports(
            Peers(),
            MemoryRecordStore(MemoryDisk()),
            ScriptedAccess(),
            FixedSets(NodeSetSnapshot(SET, SET, None, (), 0, 0)),
            VirtualClock(),
            recorder,
            recorder,
            successions,
        )
        me = NODES[0]
        identity = Identity(me, SIGNERS[me], Nonce32(bytes(32)), SeededRandom(b"r"), Policy)
        contexts = Contexts(identity, ports, frozenset)
        name = SessionName(
            SessionId(bytes(32)), SessionKind.REDISTRIBUTION, me, Nonce32(bytes(32)), 1
        )
        return contexts.make(name, request, KeyState()).target

    return run_virtual(main())


def test_the_target_of_an_accepted_change() -> None:
    accepted = Request.of(Reshare(KEY, CHANGE, ZERO_HASH), NodeCredential())
    assert told(accepted, OneChange()) == OTHER_SET
    assert told(accepted, NoSuccessions()) is None


@pytest.mark.parametrize(
    "request_",
    [
        Request.of(Reshare(KEY, ZERO_HASH, ZERO_HASH), NodeCredential()),
        Request.of(Reshare(OTHER_KEY, CHANGE, ZERO_HASH), NodeCredential()),
        Request.of(AddShare(KEY), NodeCredential()),
        Request(16, KEY, b"short", b"\x04"),
    ],
    ids=["another change", "another key", "another operation", "garbage"],
)
def test_no_target_for_anything_else(request_: Request) -> None:
    assert told(request_, OneChange()) is None
