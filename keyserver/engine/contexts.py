"""What a session is told at its opening about the node that it runs on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from keyserver.engine.generated import GeneratedBoth
from keyserver.engine.ports import Identity, Ports
from keyserver.model.codec import CodecError
from keyserver.model.identifiers import KeyId, NodeId, Nonce32, SessionId
from keyserver.model.node_set import NodeSet
from keyserver.model.requests import Operation, Request, Reshare
from keyserver.sessions.bound_uses import BoundUses
from keyserver.sessions.core import Context, KeyState, SessionKind
from keyserver.sessions.presignature_pool import LIFETIME_S, PresignaturePool
from keyserver.sessions.runner import Runner
from keyserver.sessions.writes import DropShares, PutActive, Write


@dataclass(frozen=True, slots=True)
class SessionName:
    """What the id of a session is made of, and the id."""

    sid: SessionId
    kind: SessionKind
    coordinator: NodeId
    boot_nonce: Nonce32
    counter: int


class Contexts:
    """Makes contexts; remembers what sessions of this process have to know of earlier ones."""

    def __init__(
        self, identity: Identity, ports: Ports, avoided: Callable[[], frozenset[NodeId]]
    ) -> None:
        """`avoided`: nodes against which there is evidence of late."""
        self._identity = identity
        self._ports = ports
        self._avoided = avoided
        self._generated = GeneratedBoth()
        self._bound_uses = BoundUses()
        self.presignatures = PresignaturePool()
        """Shares of presignatures that this process holds."""

    def make(self, name: SessionName, request: Request, state: KeyState) -> Context:
        """The context of a session that begins now."""
        identity, ports = self._identity, self._ports
        return Context(
            me=identity.me,
            sid=name.sid,
            kind=name.kind,
            coordinator=name.coordinator,
            boot_nonce=name.boot_nonce,
            counter=name.counter,
            request=request,
            signer=identity.signer,
            random=identity.random,
            node_set=ports.node_sets.snapshot.current,
            connected=ports.transport.connected | {identity.me},
            key=state,
            policy=identity.policy(),
            now=ports.clock.unix(),
            bound_uses=self._bound_uses,
            presignatures=self.presignatures,
            permission_block=ports.access.permission_block,
            generated_by=self._generated.by(request.key_id),
            target=self._target(request, state, name.coordinator),
            avoided=self._avoided(),
        )

    def _target(self, request: Request, state: KeyState, coordinator: NodeId) -> NodeSet | None:
        """Where the shares go, if this node has accepted the change that the request names."""
        if request.operation_number != Operation.RESHARE:
            return None
        try:
            operation = request.operation()
        except CodecError:
            return None  # the session refuses it, and says why
        assert isinstance(operation, Reshare)
        return self._ports.successions.target(
            operation.change_id, operation.key_id, state, coordinator
        )

    # --- what is of no use any more -----------------------------------------------------------

    def note_state(self, key_id: KeyId, state: KeyState) -> None:
        """Take note of what is stored: shares are erased with the set that this node was in."""
        if state.share is None:
            self.presignatures.drop(key_id)

    def note_writes(self, writes: Iterable[Write]) -> None:
        """Take note of what is on disk now: presignatures of other versions are of no use."""
        for write in writes:
            match write:
                case PutActive(certified):
                    self.presignatures.drop(certified.record.key_id, certified.record.hash)
                case DropShares(key_id):
                    self.presignatures.drop(key_id)
                case _:
                    pass

    def note_process(self, peer: NodeId, boot_nonce: Nonce32 | None) -> None:
        """Take note of which process of a peer is connected; `None`: it is gone already."""
        if boot_nonce is not None:
            self.presignatures.drop_owner(peer, boot_nonce)

    def note_gone(self, peer: NodeId) -> None:
        """Take note of the end of a connection: who has left the set does not come back."""
        if peer not in self._ports.node_sets.snapshot.all_nodes():
            self.presignatures.drop_owner(peer)

    def note(self, completed: Runner) -> None:
        """Take note of a session that brought its result."""
        self._generated.note(completed)
        if completed.session_type.kind is SessionKind.PRESIGNING:
            self._ports.clock.call_later(LIFETIME_S + 1, self._forget_old)

    def _forget_old(self) -> None:
        """Nobody may look at the pool for long, and what is in it is secret."""
        self.presignatures.forget_old(self._ports.clock.unix())
