"""What this node does about a shadow retrieval, in two tasks (chain watcher, 9.4, 9.5, 13)."""

from keyserver.crypto.curve import Point, negate
from keyserver.crypto.errors import InvalidPointError
from keyserver.engine.outcomes import ShadowReady
from keyserver.model.codec import decode
from keyserver.model.requests import OnChainPublic
from keyserver.services.base import REQUIRE_KEY_SERVER, Asked, HandlerTools, ServiceContract
from keyserver.services.document_key_retrieval.bindings import (
    PersonalAnswer,
    common_retrieved,
    participants_mask,
    personal_retrieved,
    retrieval_error,
)
from keyserver.services.gate import known_record, soon, still_wanted, until_turn
from keyserver.services.server_key_generation.bindings import LARGEST_THRESHOLD
from keyserver.services.standing import Standing
from keyserver.sessions.core import DeniedError, Verdict
from keyserver.tasks.model import Task
from keyserver.tasks.ports import (
    Answered,
    Discard,
    Disposition,
    ReadAt,
    WaitUntil,
)


class CommonHandler:
    """Answers from the own store; every node does so, each with its own permission check."""

    def __init__(self, tools: HandlerTools, service: ServiceContract) -> None:
        self._tools = tools
        self._service = service

    async def handle(self, task: Task, head: int) -> Disposition:
        """Permission, then record, then document key: the order of the original."""
        tools, key = self._tools, task.key
        standing = await still_wanted(tools, self._service, task, head)
        if not isinstance(standing, Standing):
            return standing
        match await tools.permissions.check(key.requester, key.key_id):
            case Verdict.UNAVAILABLE:
                return soon(tools, task, head, "the permission cannot be told yet")
            case Verdict.DENIED:
                return self._error(task)
            case Verdict.ALLOWED:
                return await self._answer_from_store(task, head)

    async def _answer_from_store(self, task: Task, head: int) -> Disposition:
        tools, key = self._tools, task.key
        record = await known_record(tools.key_server, task)
        state = await tools.key_server.key_state(key.key_id)
        if record and state.document and record.threshold <= LARGEST_THRESHOLD:
            stored_point = state.document.document.common
            common = negate(stored_point) if record.threshold % 2 else stored_point
            answer = common_retrieved(
                tools.epoch, key.key_id, key.requester, common, record.threshold
            )
            return Answered(answer)
        arriving = tools.set_in_doubt or state.document_candidate is not None
        if arriving or (record and state.active is None):
            return soon(tools, task, head, "the key may just be arriving")
        return self._error(task)

    def _error(self, task: Task) -> Disposition:
        key = task.key
        return Answered(retrieval_error(self._tools.epoch, key.key_id, key.requester))


class PersonalHandler:
    """Publishes this node's part of a decryption; one node starts the decryption.

    What the engine reports on a participant (`ShadowReady`) is stored in the task at once and
    becomes the answer here, with a mask of participants that holds for one epoch.
    """

    def __init__(self, tools: HandlerTools, service: ServiceContract) -> None:
        self._tools = tools
        self._service = service

    async def handle(self, task: Task, head: int) -> Disposition:
        """Answer with the own part, start a decryption, or wait."""
        standing = await still_wanted(self._tools, self._service, task, head)
        if not isinstance(standing, Standing):
            return standing
        if task.result:
            return await self._answer(task, decode(ShadowReady, task.result))
        waiting = until_turn(self._tools, task, head, "another node starts the decryption")
        return waiting or await self._decrypt(task, standing.asked, head)

    async def _answer(self, task: Task, ready: ShadowReady) -> Disposition:
        tools, key = self._tools, task.key
        epoch = tools.epoch  # before the indices: a later change then shows as another epoch
        state = await tools.key_server.key_state(key.key_id)
        if state.active is None or not self._takes_part(ready, state.active.record.threshold):
            return Discard("not a result of exactly t + 1 nodes with this one among them")
        calls = [REQUIRE_KEY_SERVER.encode(node.address) for node in ready.participants]
        reading = await tools.reader.read(key.contract, calls, ReadAt.HEAD)
        indices = [_index(data) for data in reading.results if data is not None]
        if len(indices) < len(calls):
            return Discard("a participant is no key server any more")
        personal = PersonalAnswer(participants_mask(indices), ready.decrypted_secret, ready.shadow)
        return Answered(personal_retrieved(epoch, key.key_id, key.requester, personal))

    def _takes_part(self, ready: ShadowReady, threshold: int) -> bool:
        nodes = set(ready.participants)
        return self._tools.me in nodes and len(nodes) == len(ready.participants) == threshold + 1

    async def _decrypt(self, task: Task, asked: Asked | None, head: int) -> Disposition:
        tools, key = self._tools, task.key
        requester = _point(asked)
        if requester is None:
            return self._error(task)
        try:
            await tools.key_server.retrieve_shadow(
                key.key_id, OnChainPublic(key.contract, requester)
            )
        except DeniedError:
            return self._error(task)
        return WaitUntil(head + tools.interval, "the participants answer")

    def _error(self, task: Task) -> Disposition:
        key = task.key
        return Answered(retrieval_error(self._tools.epoch, key.key_id, key.requester))


def _point(asked: Asked | None) -> Point | None:
    try:
        return Point.from_raw64(asked.requester_public) if asked else None
    except InvalidPointError:
        return None


def _index(data: bytes) -> int:
    index: int = REQUIRE_KEY_SERVER.decode_single(data)
    return index
