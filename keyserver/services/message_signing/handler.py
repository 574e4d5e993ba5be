"""What this node does about a message to be signed, in two tasks (chain watcher, section 13)."""

from keyserver.model.codec import decode
from keyserver.model.keys import KeyRecord
from keyserver.model.requests import OnChainAddress, SigningScheme, SignMessage
from keyserver.services.base import HandlerTools
from keyserver.services.gate import known_record, soon, still_wanted, until_turn
from keyserver.services.message_signing.bindings import MessageSigning
from keyserver.services.server_key_generation.bindings import LARGEST_THRESHOLD
from keyserver.services.standing import Standing, Want
from keyserver.sessions.core import DeniedError, Verdict
from keyserver.tasks.answers import PublicSignature
from keyserver.tasks.model import Task
from keyserver.tasks.ports import Answered, Disposition


class CommonHandler:
    """Tells which key will sign, or that none will; every node does so for itself."""

    def __init__(self, tools: HandlerTools, service: MessageSigning) -> None:
        self._tools = tools
        self._service = service

    async def handle(self, task: Task, head: int) -> Disposition:
        """Permission, then record, then whether its holders can sign with it."""
        tools, key = self._tools, task.key
        standing = await still_wanted(tools, self._service, task, head)
        if not isinstance(standing, Standing):
            return standing
        match await tools.permissions.check(key.requester, key.key_id):
            case Verdict.UNAVAILABLE:
                return soon(tools, task, head, "the permission cannot be told yet")
            case Verdict.DENIED:
                return _error(tools, self._service, task)
        record = await known_record(tools.key_server, task)
        if record is not None and self._can_sign(record):
            answer = self._service.common_retrieved(
                tools.epoch, key, record.public, record.threshold
            )
            return Answered(answer)
        if record is None and tools.set_in_doubt:
            return soon(tools, task, head, "the key may just be arriving")
        return _error(tools, self._service, task)

    def _can_sign(self, record: KeyRecord) -> bool:
        """ECDSA takes 2t + 1 holders (contracts, section 12)."""
        needed = record.threshold + 1
        if self._service.scheme is SigningScheme.ECDSA:
            needed = 2 * record.threshold + 1
        return needed <= len(record.committee) and record.threshold <= LARGEST_THRESHOLD


class PersonalHandler:
    """Has the message signed and publishes the signature; one node does, the next if it does not.

    Any signature that is right will do, so one that this node holds is published whoever had it
    made. The other signers keep theirs (`OutcomeRecorder`) in case it does not come to that.
    """

    def __init__(self, tools: HandlerTools, service: MessageSigning) -> None:
        self._tools = tools
        self._service = service

    async def handle(self, task: Task, head: int) -> Disposition:
        """Publish what is there, have it made, or wait."""
        tools, key = self._tools, task.key
        standing = await still_wanted(tools, self._service, task, head)
        if not isinstance(standing, Standing):
            return standing
        if task.result:
            made = decode(PublicSignature, task.result)
            return Answered(self._service.signed(tools.epoch, key, made))
        if standing.want is Want.LATER:
            return soon(tools, task, head, "the nodes have not told the key yet")
        match await tools.permissions.check(key.requester, key.key_id):
            case Verdict.UNAVAILABLE:
                return soon(tools, task, head, "the permission cannot be told yet")
            case Verdict.DENIED:
                return _error(tools, self._service, task)
        waiting = until_turn(tools, task, head, "another node has it signed")
        return waiting or await self._sign(task, head)

    async def _sign(self, task: Task, head: int) -> Disposition:
        tools, key = self._tools, task.key
        operation = SignMessage(key.key_id, key.message, self._service.scheme)
        credential = OnChainAddress(key.contract, key.requester)
        try:
            result = await tools.key_server.sign(operation, credential)
        except DeniedError as error:
            if tools.set_in_doubt:
                return soon(tools, task, head, str(error))
            return _error(tools, self._service, task)
        made = PublicSignature.of(result.signature)
        return Answered(self._service.signed(tools.epoch, key, made))


def _error(tools: HandlerTools, service: MessageSigning, task: Task) -> Disposition:
    return Answered(service.signing_error(tools.epoch, task.key))
