"""What this node does about a requested server key (chain watcher, 9.1, W-07, W-16, W-18)."""

from keyserver.model.codec import decode
from keyserver.model.keys import KeyRecord
from keyserver.model.requests import OnChainAddress
from keyserver.services.base import HandlerTools, ServiceContract
from keyserver.services.gate import known_record, still_wanted
from keyserver.services.server_key_generation.bindings import (
    LARGEST_THRESHOLD,
    GenerationRequest,
    generated,
    generation_error,
)
from keyserver.services.standing import Standing
from keyserver.sessions.core import DeniedError, UnavailableError
from keyserver.tasks.model import Task
from keyserver.tasks.ports import Answered, Disposition, NotMember, TryAgain, WaitUntil
from keyserver.tasks.responsibility import hopeless_from, may_start_from

OWN_ATTEMPTS = 2
"""Sessions a node tries itself before it may say that the request cannot succeed."""


class GenerationHandler:
    """Answers from the record if there is one, else starts a generation when it is its turn."""

    def __init__(self, tools: HandlerTools, service: ServiceContract) -> None:
        self._tools = tools
        self._service = service

    async def handle(self, task: Task, head: int) -> Disposition:
        """Answer, start a session, or wait for the node whose turn it is."""
        standing = await still_wanted(self._tools, self._service, task, head)
        if not isinstance(standing, Standing):
            return standing
        request = decode(GenerationRequest, task.payload)
        state = await self._tools.key_server.key_state(task.key.key_id)
        if state.active:
            return self._answer_from(task, request, state.active.record)
        node_set = self._tools.node_sets.snapshot.current
        interval, first_seen = self._tools.interval, task.first_seen.block
        start = may_start_from(self._tools.me, node_set, task.key.key_id, first_seen, interval)
        if start is None:
            return NotMember("not in the current node set")
        if head < start:
            return WaitUntil(start, "another node starts the generation")
        if request.threshold > LARGEST_THRESHOLD or request.threshold >= len(node_set):
            return self._error(task)
        if head > first_seen + interval:
            record = await known_record(self._tools.key_server, task)
            if record:
                return self._answer_from(task, request, record)
        hopeless = head >= hopeless_from(node_set, first_seen, interval)
        return await self._generate(task, request, may_give_up=hopeless)

    async def _generate(
        self, task: Task, request: GenerationRequest, *, may_give_up: bool
    ) -> Disposition:
        credential = OnChainAddress(task.key.contract, request.author)
        try:
            certified = await self._tools.key_server.generate_server_key(
                task.key.key_id, request.threshold, credential
            )
        except DeniedError as error:
            record = await known_record(self._tools.key_server, task)
            if record:
                return self._answer_from(task, request, record)
            return TryAgain(str(error)) if self._tools.set_in_doubt else self._error(task)
        except UnavailableError as error:
            has_tried = may_give_up and task.attempts >= OWN_ATTEMPTS
            if has_tried and not self._tools.set_in_doubt:
                return self._error(task)
            return TryAgain(str(error))
        return self._answer_from(task, request, certified.record)

    def _answer_from(
        self, task: Task, request: GenerationRequest, record: KeyRecord
    ) -> Disposition:
        """A repeated request for the same key is a success, not an error (W-18)."""
        if (record.author, record.threshold) != (request.author, request.threshold):
            return self._error(task)
        return Answered(generated(self._tools.epoch, task.key.key_id, record.public))

    def _error(self, task: Task) -> Disposition:
        return Answered(generation_error(self._tools.epoch, task.key.key_id))
