"""What this node does when a public key is asked for (chain watcher, 9.2)."""

from keyserver.services.base import HandlerTools, ServiceContract
from keyserver.services.gate import known_record, soon, still_wanted
from keyserver.services.server_key_generation.bindings import LARGEST_THRESHOLD
from keyserver.services.server_key_retrieval.bindings import retrieval_error, retrieved
from keyserver.services.standing import Standing
from keyserver.tasks.model import Task
from keyserver.tasks.ports import Answered, Disposition


class RetrievalHandler:
    """Answers from the record; every node does so for itself, nobody is asked for permission."""

    def __init__(self, tools: HandlerTools, service: ServiceContract) -> None:
        self._tools = tools
        self._service = service

    async def handle(self, task: Task, head: int) -> Disposition:
        """Answer at once, or wait while the record may just be arriving."""
        standing = await still_wanted(self._tools, self._service, task, head)
        if not isinstance(standing, Standing):
            return standing
        record = await known_record(self._tools.key_server, task)
        key_id, epoch = task.key.key_id, self._tools.epoch
        if record and record.threshold <= LARGEST_THRESHOLD:
            return Answered(retrieved(epoch, key_id, record.public, record.threshold))
        if record is None and self._tools.set_in_doubt:
            return soon(self._tools, task, head, "the node set is in doubt")
        return Answered(retrieval_error(epoch, key_id))
