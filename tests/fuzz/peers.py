"""Messages of an authenticated peer: sessions, catalogue, votes."""

import asyncio
import contextlib
from collections import deque
from dataclasses import replace
from random import Random
from typing import Any

from keyserver.engine.links import pack_link, unpack_link
from keyserver.engine.session_table import MAX_SESSIONS_PER_PEER
from keyserver.model.codec import CodecError, encode
from keyserver.model.identifiers import Hash32, KeyId, SessionId
from keyserver.model.requests import (
    OnChainAddress,
    OnChainPublic,
    SigningScheme,
    SignMessage,
)
from keyserver.sessions.core import SessionError
from keyserver.sessions.identity import session_id
from keyserver.sessions.registry import MESSAGE_TABLE, OPENINGS
from keyserver.sessions.wire import HEADER_SIZE, LINK_TYPES, message_type, pack
from keyserver.simulation.cluster import CONTRACT, Cluster
from keyserver.simulation.loop import VirtualLoop
from tests.fuzz.mutation import altered
from tests.fuzz.values import Values
from tests.simulation.story import Story

_NODES, _BATCH = 4, 200
_ON_CHAIN = (SigningScheme.SCHNORR, SigningScheme.ECDSA)
_FRESH = 50_000
"""After so many inputs another cluster: what it keeps for good grows with the keys it makes."""


class Messages:
    """A node of a working cluster, and a member that sends what it likes.

    The valid messages are those of all nodes through the life of a key. The node parses the altered
    ones, begins sessions, votes and asks as the protocols want it; time goes on meanwhile.
    """

    def __init__(self) -> None:
        self._count = 0
        self._begin()

    def _begin(self) -> None:
        self._runner = asyncio.Runner(loop_factory=VirtualLoop)
        self._valid: list[bytes] = []
        self._sessions = deque([SessionId(bytes(32))], 20)
        self._counter = 1_000_000
        self._runner.run(self._start())

    async def _start(self) -> None:
        self._cluster = Cluster(_NODES, seed=1)
        await self._cluster.__aenter__()
        send = self._cluster.network.send

        def listening(sender: object, to: object, message: bytes) -> bool:
            self._valid.append(message)
            return send(sender, to, message)  # type: ignore[arg-type]

        self._cluster.network.send = listening  # type: ignore[method-assign]
        await asyncio.sleep(1)
        self._story = Story(self._cluster, 1)
        await self._story.run()
        for node in self._cluster.nodes[:2]:
            for scheme in _ON_CHAIN:
                await node.api.sign(self._message(b"\x4d" * 32, scheme), self._credential)
        self._cluster.network.send = send  # type: ignore[method-assign]
        self._valid = list(dict.fromkeys(self._valid))
        self._parsed = {message: _parsed(message) for message in self._valid}
        self._values = Values(self._parsed.values())
        self._victim, self._liar = self._cluster.nodes[:2]

    @property
    def _credential(self) -> OnChainAddress:
        return OnChainAddress(CONTRACT, self._story.author)

    def _message(self, message: bytes, scheme: SigningScheme) -> SignMessage:
        return SignMessage(self._story.key_id, Hash32(message), scheme)

    def feed(self, random: Random) -> str:
        message = random.choice(self._valid)
        if random.random() < 0.6:
            message = self._with_other_values(random, message)
        else:
            message = altered(random, message, self._valid)
        if random.random() < 0.7:
            message = self._addressed(random, message)
        if len(message) < 2:
            return "refused"
        listener = self._cluster.network._listeners[self._victim.id]
        taken = listener.on_message(self._liar.id, message)
        self._check_form(message, taken)
        self._count += 1
        if self._count % _BATCH == 0:
            self._runner.run(self._pass(random))
        if self._count % _FRESH == 0:
            self.close()
            self._begin()
        return "taken" if taken else "refused"

    def _with_other_values(self, random: Random, message: bytes) -> bytes:
        return self._retold(random, message, self._parsed[message])

    def _retold(self, random: Random, message: bytes, parsed: Any = None) -> bytes:
        """The message with parts that are of the right type, and wrong."""
        number, parsed = message[:HEADER_SIZE], parsed or _parsed(message)
        for _ in range(random.choice((0, 1, 1, 2))):
            parsed = self._values.altered(random, parsed)
        try:
            return number + encode(parsed)
        except (CodecError, OverflowError):  # a number too large for its field
            return message

    def _addressed(self, random: Random, message: bytes) -> bytes:
        """The same in a session that is there: an opening opens one, the rest belongs to one."""
        try:
            _, parsed = MESSAGE_TABLE.unpack(message)
        except CodecError:
            return message
        opened = OPENINGS.get(type(parsed))
        if opened is None:
            return message[:2] + random.choice(self._sessions) + message[HEADER_SIZE:]
        self._counter += 1
        opening: Any = replace(parsed, counter=self._counter)  # type: ignore[type-var]
        nonce = self._cluster.network.boot_nonce(self._liar.id)
        assert nonce is not None
        request = opening.request
        sid = session_id(opened.kind, self._liar.id, nonce, self._counter, request.hash)
        self._sessions.append(sid)
        return pack(sid, opening)

    def _check_form(self, message: bytes, taken: bool) -> None:
        """What is taken is the one encoding of what it means."""
        try:
            if message_type(message) in LINK_TYPES:
                again = pack_link(unpack_link(message))
            else:
                again = pack(*MESSAGE_TABLE.unpack(message))
        except CodecError:
            assert not taken, "what does not parse was taken"
            return
        assert again == message, "another encoding of the same message was taken"

    async def _pass(self, random: Random) -> None:
        """Let the node work; it must be sound, and hold no more than a peer may make it hold.

        Meanwhile a new key is made and an old one used, by the liar or with it: it alters one in
        four of its messages.
        """

        def alter(_: object, to: object, message: bytes) -> bytes:
            known = random.random() < 0.75 or message_type(message) in LINK_TYPES
            return message if known else self._retold(random, message)

        self._cluster.network.corrupt(self._liar.id, alter)
        leads = random.choice((self._liar, self._victim))
        with contextlib.suppress(SessionError):
            await leads.api.generate_server_key(KeyId(random.randbytes(32)), 1, self._credential)
        with contextlib.suppress(SessionError):
            requester = OnChainPublic(CONTRACT, self._story.requester.public())
            await leads.api.retrieve_shadow(self._story.key_id, requester)
        with contextlib.suppress(SessionError):
            wanted = self._message(random.randbytes(32), random.choice(_ON_CHAIN))
            await leads.api.sign(wanted, self._credential)
        self._cluster.network.corrupt(self._liar.id, lambda _, to, message: message)
        await asyncio.sleep(1)
        assert self._victim.is_sound, "a part of the node has died"
        api = self._victim.api
        assert api._driver.open_sessions <= 2 * _NODES * MAX_SESSIONS_PER_PEER

    def close(self) -> None:
        """The node still does its work for honest ones, and has what it had."""
        self._runner.run(self._end())
        self._runner.close()

    async def _end(self) -> None:
        await asyncio.sleep(600)
        await self._story.retrieve()
        assert not (self._victim.recorder.culprits - {self._liar.id}), "an honest node was blamed"
        await self._cluster.__aexit__()


def _parsed(message: bytes) -> Any:
    if message_type(message) in LINK_TYPES:
        return unpack_link(message)
    return MESSAGE_TABLE.unpack(message)[1]
