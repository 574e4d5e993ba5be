"""What this node does about a document key to be stored (chain watcher, 9.3, W-18)."""

from keyserver.model.codec import decode
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import OnChainAddress
from keyserver.services.base import HandlerTools, ServiceContract
from keyserver.services.document_key_store.bindings import StoreRequest, store_error, stored
from keyserver.services.gate import known_record, soon, still_wanted
from keyserver.services.standing import Standing
from keyserver.sessions.core import DeniedError
from keyserver.tasks.model import Task
from keyserver.tasks.ports import Answered, Disposition, NotMember, WaitUntil
from keyserver.tasks.responsibility import may_start_from


class StoreHandler:
    """Answers from what is stored; the responsible node has the nodes agree first."""

    def __init__(self, tools: HandlerTools, service: ServiceContract) -> None:
        self._tools = tools
        self._service = service

    async def handle(self, task: Task, head: int) -> Disposition:
        """Answer, start a session, or wait for the node whose turn it is."""
        standing = await still_wanted(self._tools, self._service, task, head)
        if not isinstance(standing, Standing):
            return standing
        request = decode(StoreRequest, task.payload)
        document = request.document()
        if document is None:
            return self._error(task)
        record = await known_record(self._tools.key_server, task)
        if record is None and self._tools.set_in_doubt:
            return soon(self._tools, task, head, "the node set is in doubt")
        if record is None or record.author != request.author:
            return self._error(task)
        existing = await self._stored(task)
        if existing:
            return self._answer_from(task, document, existing)
        return await self._store_when_due(task, request, document, head)

    async def _store_when_due(
        self, task: Task, request: StoreRequest, document: DocumentKey, head: int
    ) -> Disposition:
        tools, key = self._tools, task.key
        node_set = tools.node_sets.snapshot.current
        start = may_start_from(
            tools.me, node_set, key.key_id, task.first_seen.block, tools.interval
        )
        if start is None:
            return NotMember("not in the current node set")
        if head < start:
            return WaitUntil(start, "another node starts the storing")
        credential = OnChainAddress(key.contract, request.author)
        try:
            certified = await tools.key_server.store_document_key(key.key_id, document, credential)
        except DeniedError:
            existing = await self._stored(task)
            return self._answer_from(task, document, existing)
        return self._answer_from(task, document, certified.document)

    async def _stored(self, task: Task) -> DocumentKey | None:
        state = await self._tools.key_server.key_state(task.key.key_id)
        return state.document.document if state.document else None

    def _answer_from(
        self, task: Task, wanted: DocumentKey, existing: DocumentKey | None
    ) -> Disposition:
        """The very same document key again is a success, not an error (W-18)."""
        if existing != wanted:
            return self._error(task)
        return Answered(stored(self._tools.epoch, task.key.key_id))

    def _error(self, task: Task) -> Disposition:
        return Answered(store_error(self._tools.epoch, task.key.key_id))
