"""Who generated a key under a request for both keys."""

from dataclasses import replace

from keyserver.crypto.curve import SecretScalar
from keyserver.engine.generated import MOST_REMEMBERED, GeneratedBoth
from keyserver.model.identifiers import KeyId
from keyserver.model.requests import GenerateServerKey, Request
from keyserver.sessions.core import Completed
from keyserver.sessions.runner import Role, Runner
from keyserver.sessions.sharing import GENERATION
from tests.support.credentials import legacy
from tests.support.delivery import Delivery
from tests.support.key_life import KEY_ID

CLIENT = SecretScalar.from_int(5)


def completed(role: Role, *, both: bool = True) -> Runner:
    net = Delivery(1)
    operation = GenerateServerKey(KEY_ID, 0, with_document_key=both)
    outcome = net.run(GENERATION, operation, legacy(net, operation, CLIENT), None)
    assert isinstance(outcome, Completed)
    return net.runners[net.members[0].id, role]


def test_the_coordinator_of_both_keys_is_remembered() -> None:
    generated, runner = GeneratedBoth(), completed(Role.PARTICIPANT)
    assert generated.by(KEY_ID) is None
    generated.note(runner)
    assert generated.by(KEY_ID) == runner.ctx.coordinator


def test_nothing_else_is() -> None:
    generated = GeneratedBoth()
    generated.note(completed(Role.COORDINATOR))
    generated.note(completed(Role.PARTICIPANT, both=False))
    assert generated.by(KEY_ID) is None


def test_the_oldest_are_forgotten_first() -> None:
    generated, runner = GeneratedBoth(), completed(Role.PARTICIPANT)
    ctx, ids = runner.ctx, [KeyId(n.to_bytes(32, "big")) for n in range(MOST_REMEMBERED + 1)]
    for key_id in ids:
        request = ctx.request
        moved = Request(request.operation_number, key_id, request.payload, request.auth)
        generated.note(Runner(GENERATION, replace(ctx, request=moved), Role.PARTICIPANT))
    assert generated.by(ids[0]) is None
    assert all(generated.by(key_id) is not None for key_id in ids[1:])
