"""What the engine tells, turned into work: each node answers the contracts for itself.

A record or document key that is installed here now makes the tasks of its key due; their handlers
answer from what is stored. A shadow or a signature is stored with the task of its request before
anything else happens to it. No origin travels between nodes: the task says who asked.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog

from keyserver.crypto.schnorr import SchnorrSignature
from keyserver.engine.outcomes import (
    EcdsaReady,
    ForContract,
    Outcome,
    ShadowReady,
    SignatureReady,
)
from keyserver.errors import StorageError
from keyserver.model.codec import encode
from keyserver.model.identifiers import ZERO_HASH, NodeId, Signature
from keyserver.tasks.model import TaskKey, TaskKind
from keyserver.tasks.queue import TaskQueue

log = structlog.get_logger()

RETRY_S: Final = 1.0
"""Seconds until an outcome that the store did not take is offered again."""

SIGNATURE_WAIT_BLOCKS: Final = 3
"""How long the node that had a message signed is given to publish before the other signers do."""


@dataclass(frozen=True, slots=True)
class PublicSignature:
    """A signature that a contract has asked for, as it is stored with its task."""

    signature: bytes
    """`r || s || v`, 65 bytes with v 0 or 1, or `c || s`, 64 bytes."""
    nonce: bytes = b""
    """Of a Schnorr signature `R`, 64 bytes; empty for ECDSA."""

    @classmethod
    def of(cls, signature: SchnorrSignature | Signature) -> "PublicSignature":
        """From what the engine tells."""
        if isinstance(signature, SchnorrSignature):
            return cls(signature.encode(), signature.nonce.raw64)
        return cls(bytes(signature))


class OutcomeRecorder:
    """The engine's `OutcomeListener`."""

    def __init__(self, queue: TaskQueue, chain_id: int) -> None:
        self._queue = queue
        self._chain_id = chain_id
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

    def on_outcome(self, outcome: Outcome) -> None:
        """Take note; `run` does the rest."""
        self._outcomes.put_nowait(outcome)

    async def run(self) -> None:
        """Record outcomes, one after the other, until cancelled."""
        while True:
            outcome = await self._outcomes.get()
            await self._record_for_sure(outcome)
            self._outcomes.task_done()

    async def drained(self) -> None:
        """Return when everything told so far is recorded."""
        await self._outcomes.join()

    async def _record_for_sure(self, outcome: Outcome) -> None:
        while True:
            try:
                return await self._record(outcome)
            except StorageError as error:
                log.error("outcome_not_stored", key_id=outcome.key_id.hex(), reason=str(error))
            await asyncio.sleep(RETRY_S)

    async def _record(self, outcome: Outcome) -> None:
        match outcome:
            case ShadowReady():
                await self._queue.record_result(self._task_of(outcome), encode(outcome))
            case SignatureReady() | EcdsaReady():
                result = encode(PublicSignature.of(outcome.signature))
                await self._queue.record_result(
                    self._task_of(outcome), result, wait=SIGNATURE_WAIT_BLOCKS
                )
            case _:
                await self._queue.wake_key(outcome.key_id)

    def _task_of(self, ready: ForContract) -> TaskKey:
        if isinstance(ready, ShadowReady):
            kind, message = TaskKind.RETRIEVE_PERSONAL, ZERO_HASH
            requester = NodeId.of(ready.requester).address
        else:
            schnorr = isinstance(ready, SignatureReady)
            kind = TaskKind.SCHNORR_PERSONAL if schnorr else TaskKind.ECDSA_PERSONAL
            message, requester = ready.message, ready.requester
        return TaskKey(self._chain_id, ready.contract, kind, ready.key_id, requester, message)
