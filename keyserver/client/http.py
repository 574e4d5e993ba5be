"""The key servers over HTTP: all operations, through one or more nodes.

`HttpKeyServers` asks the nodes it is given, in turn, until one does what is asked. It checks what
can be checked without trusting the node: that shadows are what their makers committed to, that a
signature is the server key's, that a server key belongs to this account, and, where wanted, that
other nodes tell the same key.

    async with connect_nodes(["https://one.example:8082"], wallet) as servers:
        answer = await servers.generate_server_key(key_id, threshold=2)
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from keyserver.client.attempts import Attempts, NodeAnswer, Persistence, Retry
from keyserver.client.conversation import Conversation
from keyserver.client.doors import DoorKind
from keyserver.client.errors import (
    BadAnswerError,
    ClientError,
    KeyNotConfirmedError,
    LyingNodesError,
    NoAnswerError,
    NodeNotReadyError,
    NotAuthorError,
    RefusedByKeyServersError,
    RefusedOverHttpError,
)
from keyserver.client.node_http import http_transport, node_url
from keyserver.client.node_refusals import (
    ACCESS_DENIED,
    ALREADY_GENERATED,
    ALREADY_STORED,
    NO_DOCUMENT_KEY,
)
from keyserver.client.results import ASK_AGAIN, ServerKey, ShadowAnswer
from keyserver.client.signatures import ServerSignature, check_signature
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import Point, negate
from keyserver.crypto.elgamal import EncryptedDocumentKey
from keyserver.crypto.errors import CryptoError
from keyserver.crypto.randomness import SystemRandom
from keyserver.errors import ConfigError
from keyserver.model.bound_requests import SigningDomain
from keyserver.model.identifiers import Hash32, KeyId, NodeId
from keyserver.model.keys import DocumentKey
from keyserver.model.requests import (
    GenerateServerKey,
    RetrieveDocumentKey,
    RetrieveServerKey,
    SigningScheme,
    SignMessage,
    StoreDocumentKey,
)

PATIENCE_S: Final = 120.0
"""Seconds after which a request raises `NoAnswerError`."""
MAX_THRESHOLD: Final = 254
WRONG_SIGNATURE: Final = "Is the server key the right one? If so, this node is faulty."
MOST_EXCLUSIONS: Final = 3
"""How often one node is asked again without those whose shadows were wrong."""


class HttpKeyServers:
    """The key servers as one account sees them through some of their nodes.

    Every request goes to the first node, and on trouble to the next. The methods raise
    `RefusedOverHttpError` (final), `NoAnswerError` when patience is at its end,
    `NodeUnreachableError` when no node can be connected to, `NodeFailedError` and `BadAnswerError`
    when every node is faulty, and `NodeNotTrustedError`.
    """

    def __init__(
        self,
        conversation: Conversation,
        nodes: Sequence[str],
        wallet: Wallet,
        persistence: Persistence,
        *,
        confirm_with: Sequence[str] = (),
    ) -> None:
        """Set up; nothing is sent yet. `nodes` and `confirm_with` are URLs of `node_url`'s form.

        Raises `ConfigError` without a node.
        """
        if not nodes:
            raise ConfigError("node: at least one is needed")
        self.wallet = wallet
        self.nodes = tuple(nodes)
        self._conversation = conversation
        self._persistence = persistence
        self._confirm_with = tuple(confirm_with)

    async def generate_server_key(self, key_id: KeyId, threshold: int) -> NodeAnswer[ServerKey]:
        """Have a key generated of which `threshold + 1` key servers are needed for any use.

        A key that an earlier attempt of this call may have made is looked at instead of being
        reported as taken. Raises `KeyNotConfirmedError` too.
        """
        _check_threshold(threshold)
        attempts = self._attempts("server key generation", self.nodes, changes=True)
        operation = GenerateServerKey(key_id, threshold)

        async def ask(node: str) -> ServerKey:
            try:
                door, answer = await self._conversation.ask(node, operation)
                return self._checked(node, door.server_key(answer), threshold)
            except RefusedOverHttpError as refusal:
                if refusal.error_code != ALREADY_GENERATED or not attempts.may_have_worked:
                    raise
                return await self._made_before_at(node, operation, refusal)

        return await self._confirmed(await attempts.settle(ask), key_id)

    async def retrieve_server_key(self, key_id: KeyId) -> NodeAnswer[ServerKey]:
        """The server key with this id, which its author only may ask for.

        Raises `KeyNotConfirmedError` too.
        """
        attempts = self._attempts("server key retrieval", self.nodes)
        found = await attempts.settle(lambda node: self._server_key_at(node, key_id))
        return await self._confirmed(found, key_id)

    async def store_document_key(
        self, key_id: KeyId, document_key: EncryptedDocumentKey
    ) -> NodeAnswer[bool]:
        """Bind a document key to the own server key, once and for all.

        Raises `NoAnswerError` also when one is stored that may be this one, or another.
        """
        attempts = self._attempts("document key storing", self.nodes, changes=True)
        document = DocumentKey(document_key.common, document_key.encrypted)

        async def ask(node: str) -> bool:
            try:
                operation = StoreDocumentKey(key_id, document)
                door, answer = await self._conversation.ask(node, operation)
                return door.stored(answer)
            except RefusedOverHttpError as refusal:
                if refusal.error_code != ALREADY_STORED or not attempts.may_have_worked:
                    raise
                return await self._is_stored_at(node, key_id, document, refusal)

        return await attempts.settle(ask)

    async def retrieve_document_key(self, key_id: KeyId) -> NodeAnswer[Point]:
        """The document key, in a way that shows it to no node.

        Where the nodes tell what each shadow must be, wrong ones are noticed, and the retrieval is
        repeated without their makers. Raises `LyingNodesError`, which names them, if that does not
        help.
        """
        attempts = self._attempts("document key retrieval", self.nodes)
        return await attempts.settle(lambda node: self._document_key_at(node, key_id))

    async def retrieve_shadow(
        self, key_id: KeyId, exclude: frozenset[NodeId] = frozenset()
    ) -> NodeAnswer[ShadowAnswer]:
        """The shadow of a document key as it comes; `exclude` nodes do not take part."""
        attempts = self._attempts("shadow retrieval", self.nodes)
        return await attempts.settle(lambda node: self._shadow_at(node, key_id, exclude))

    async def generate_both(self, key_id: KeyId, threshold: int) -> NodeAnswer[Point]:
        """Have a server key and a document key made; returns the latter.

        The node that is asked sees the document key, and most networks have this switched off.
        """
        _check_threshold(threshold)
        attempts = self._attempts("generation of both keys", self.nodes, changes=True)

        operation = GenerateServerKey(key_id, threshold, with_document_key=True)

        async def ask(node: str) -> Point:
            try:
                door, answer = await self._conversation.ask(node, operation)
                return self._unsealed(node, door.sealed_document_key(answer))
            except RefusedOverHttpError as refusal:
                if refusal.error_code != ALREADY_GENERATED or not attempts.may_have_worked:
                    raise
                # Whoever took the id meanwhile would know its document key.
                await self._made_before_at(node, operation, refusal)
                return await self._both_made_at(node, key_id)

        return await attempts.settle(ask)

    async def retrieve_plain(self, key_id: KeyId) -> NodeAnswer[Point]:
        """The document key; the node that is asked sees it too."""
        attempts = self._attempts("plain document key retrieval", self.nodes)
        return await attempts.settle(lambda node: self._plain_at(node, key_id))

    async def sign(
        self,
        key_id: KeyId,
        message: Hash32,
        scheme: SigningScheme,
        *,
        public: Point | None = None,
    ) -> NodeAnswer[ServerSignature]:
        """Have 32 bytes signed by a server key, for this account only, which needs permission.

        The signature is checked under `public`; without it the nodes are asked for the server key,
        which its author only may. Raises `BadAnswerError` naming the node if the signature does not
        hold at any of them.
        """
        key = public or await self._key_to_check_with(key_id)
        operation = SignMessage(key_id, message, scheme)
        attempts = self._attempts("signing", self.nodes)
        return await attempts.settle(lambda node: self._signature_at(node, operation, key))

    async def _key_to_check_with(self, key_id: KeyId) -> Point:
        try:
            return (await self.retrieve_server_key(key_id)).value.public
        except RefusedOverHttpError as refusal:
            if refusal.error_code != ACCESS_DENIED:
                raise
            raise NotAuthorError(
                f"the signature cannot be checked: server key 0x{key_id.hex()} is another"
                " account's, and only its author is told it",
                advice="Get the public server key from its author, and give it (--public).",
            ) from refusal

    async def key_to_encrypt_to(self, key_id: KeyId) -> Point:
        """The public server key of an id of this account, to encrypt a document key to.

        Raises `NotAuthorError` if the key is another account's.
        """
        try:
            key = (await self.retrieve_server_key(key_id)).value
        except RefusedOverHttpError as refusal:
            if refusal.error_code != ACCESS_DENIED:
                raise
            raise NotAuthorError(
                f"server key 0x{key_id.hex()} belongs to another account",
                advice="Use an id of your own; one drawn at random cannot be taken by others.",
            ) from refusal
        self._check_author(key)
        return key.public

    async def chain_id(self) -> int | None:
        """The chain of the network (0: none); None through the original's interface."""
        if self._conversation.kind is DoorKind.ORIGINAL:
            return None
        attempts = self._attempts("the network's chain", self.nodes)
        return (await attempts.settle(self._conversation.domain)).value.chain_id

    # --- at one node -----------------------------------------------------------------------------

    async def _server_key_at(self, node: str, key_id: KeyId) -> ServerKey:
        door, answer = await self._conversation.ask(node, RetrieveServerKey(key_id))
        return door.server_key(answer)

    async def _made_before_at(
        self, node: str, operation: GenerateServerKey, refusal: RefusedOverHttpError
    ) -> ServerKey:
        """The key that an earlier attempt made; raises `refusal` if it is another one."""
        try:
            key = await self._server_key_at(node, operation.key_id)
        except RefusedOverHttpError:
            raise refusal from None
        is_own = key.author in (None, self.wallet.address)
        if not is_own or key.threshold not in (None, operation.threshold):
            raise refusal
        return key

    async def _shadow_at(
        self, node: str, key_id: KeyId, exclude: frozenset[NodeId]
    ) -> ShadowAnswer:
        door, answer = await self._conversation.ask(node, RetrieveDocumentKey(key_id), exclude)
        return door.shadow(answer)

    async def _document_key_at(self, node: str, key_id: KeyId) -> Point:
        """Retrieve and open, again without the makers of wrong shadows."""
        excluded: frozenset[NodeId] = frozenset()
        lie: LyingNodesError | None = None
        for _ in range(MOST_EXCLUSIONS + 1):
            try:
                shadow = await self._shadow_at(node, key_id, excluded)
                return shadow.open(self.wallet)
            except LyingNodesError as found:
                lie = LyingNodesError(excluded | found.nodes)
                if found.nodes <= excluded:
                    break  # the node does not heed whom it was told to leave out
                excluded = lie.nodes
                self._persistence.watch(Retry("document key retrieval", found))
            except (RefusedOverHttpError, NodeNotReadyError) as refusal:
                if lie is None:
                    raise
                raise lie from refusal  # too few are left without them
        assert lie is not None
        raise lie

    async def _is_stored_at(
        self, node: str, key_id: KeyId, document: DocumentKey, refusal: RefusedOverHttpError
    ) -> bool:
        """Whether what is stored is what an earlier attempt sent; raises `refusal` if not."""
        try:
            shadow = await self._shadow_at(node, key_id, frozenset())
        except RefusedByKeyServersError as denied:
            raise NoAnswerError(
                "document key storing: one is stored, and it cannot be told whether it is this one",
                advice="The answer got lost; whoever has permission for the key can look.",
            ) from denied
        # Drawn anew for every document key, so that it tells which one this is.
        if shadow.common_point not in (document.common, negate(document.common)):
            raise refusal
        return True

    async def _plain_at(self, node: str, key_id: KeyId) -> Point:
        operation = RetrieveDocumentKey(key_id, shadow=False)
        door, answer = await self._conversation.ask(node, operation)
        return self._unsealed(node, door.sealed_document_key(answer))

    async def _signature_at(self, node: str, operation: SignMessage, key: Point) -> ServerSignature:
        door, answer = await self._conversation.ask(node, operation)
        sealed = door.sealed_signature(answer)
        try:
            encoded = self.wallet.decrypt(sealed)
            return check_signature(operation.scheme, key, operation.message, encoded)
        except CryptoError as error:
            raise BadAnswerError(f"{node}: {error}", advice=WRONG_SIGNATURE) from error

    async def _both_made_at(self, node: str, key_id: KeyId) -> Point:
        try:
            return await self._plain_at(node, key_id)
        except RefusedOverHttpError as refusal:
            if refusal.error_code != NO_DOCUMENT_KEY:
                raise
            raise ClientError(
                f"server key 0x{key_id.hex()} was generated, but no document key",
                advice="Make one and store it with store_document_key.",
            ) from refusal

    # --- checks ----------------------------------------------------------------------------------

    def _checked(self, node: str, key: ServerKey, threshold: int) -> ServerKey:
        """A generated key that is what was asked for."""
        if key.threshold not in (None, threshold):
            raise BadAnswerError(
                f"{node}: the threshold is {key.threshold}, not {threshold}", advice=ASK_AGAIN
            )
        self._check_author(key)
        return ServerKey(key.public, threshold, self.wallet.address)

    def _check_author(self, key: ServerKey) -> None:
        if key.author not in (None, self.wallet.address):
            raise NotAuthorError("the server key belongs to another account")

    def _unsealed(self, node: str, sealed: bytes) -> Point:
        try:
            return Point.from_raw64(self.wallet.decrypt(sealed))
        except CryptoError as error:
            raise BadAnswerError(
                f"{node}: the document key does not open: {error}", advice=ASK_AGAIN
            ) from error

    async def _confirmed(
        self, found: NodeAnswer[ServerKey], key_id: KeyId
    ) -> NodeAnswer[ServerKey]:
        """The same answer after the other nodes told the same key."""
        others = [node for node in self._confirm_with if node.lower() != found.node.lower()]
        if self._confirm_with and not others:
            raise KeyNotConfirmedError(
                f"server key 0x{key_id.hex()} is not confirmed: only {found.node} has told it",
                advice="A node does not confirm itself: name another one to confirm.",
            )
        for node in others:
            attempts = self._attempts("confirmation of the server key", [node])
            try:
                other = await attempts.settle(lambda node: self._server_key_at(node, key_id))
            except ClientError as error:
                raise KeyNotConfirmedError(
                    f"server key 0x{key_id.hex()} is not confirmed: {error}"
                ) from error
            if other.value.public != found.value.public:
                raise KeyNotConfirmedError(
                    f"two server keys 0x{key_id.hex()}: 0x{found.value.public.raw64.hex()} says"
                    f" {found.node}, 0x{other.value.public.raw64.hex()} says {node}",
                    advice="Do not encrypt to either: one was swapped, by its node or on the way.",
                )
            found = found.with_confirmation(node)
        return found

    def _attempts(self, title: str, nodes: Sequence[str], *, changes: bool = False) -> Attempts:
        return Attempts(title, nodes, self._persistence, changes=changes)


@asynccontextmanager
async def connect_nodes(
    nodes: Sequence[str],
    wallet: Wallet,
    *,
    door: DoorKind = DoorKind.V1,
    confirm_with: Sequence[str] = (),
    domain: SigningDomain | None = None,
    ca_file: Path | None = None,
    patience_s: float = PATIENCE_S,
    watch: Callable[[Retry], None] = lambda retry: None,
    unix_time: Callable[[], float] = time.time,
) -> AsyncIterator[HttpKeyServers]:
    """Use the key servers through these nodes (`http(s)://HOST:PORT`).

    `confirm_with`: nodes that must tell the same server key, asked each time one is generated or
    retrieved. `domain`: the network, where it is known; else what the first node says counts, and
    nodes that say otherwise are refused. `ca_file`: certificates to trust instead of the machine's.
    `watch` is called after each attempt that is followed by another. `unix_time`: the clock that
    credentials expire by. Raises `ConfigError`.
    """
    rng = SystemRandom()
    places, others = ([node_url(text) for text in group] for group in (nodes, confirm_with))
    async with http_transport(ca_file) as transport:
        conversation = Conversation(
            transport, wallet, door, domain=domain, rng=rng, unix_time=unix_time
        )
        persistence = Persistence(patience_s, rng, watch)
        yield HttpKeyServers(conversation, places, wallet, persistence, confirm_with=others)


def _check_threshold(threshold: int) -> None:
    if not 0 <= threshold <= MAX_THRESHOLD:
        raise ClientError(f"threshold: {threshold} is not in 0..{MAX_THRESHOLD}")
