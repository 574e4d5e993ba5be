"""How a network changes while it is used: nodes join and leave, shares are renewed and regained.

The second half of the demo. The key of the first half stays the same all the time; where its shares
are, and which, is asked of the nodes themselves. Nodes that are sealed have their own key on the
disk that one of them loses, so that one has a backup.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from keyserver.app import backup
from keyserver.app.clock import SystemClock
from keyserver.app.config import load
from keyserver.client.node_set import NodeSetContract
from keyserver.client.wallet import Wallet
from keyserver.crypto.randomness import SystemRandom
from keyserver.devnet.devnet_file import DevnetNode
from keyserver.devnet.narrating import DemoError, Narrator, Step
from keyserver.devnet.network import Network
from keyserver.devnet.node_process import facts
from keyserver.devnet.settings import Settings
from keyserver.model.identifiers import Address, KeyId, NodeId
from keyserver.model.node_set import NodeAddress

SPARE: Final = 2
"""Nodes that join."""
REFRESH_DAYS: Final = 30 / 86_400
"""Every thirty seconds here; weeks or months elsewhere."""
CHANGE_S: Final = 180.0
"""Within which each thing must have happened."""
LOOK_S: Final = 0.25


class MigrationStory:
    """The steps, for one network and one key."""

    def __init__(
        self,
        settings: Settings,
        network: Network,
        contract: NodeSetContract,
        owner: Wallet,
        narrator: Narrator,
        key_id: KeyId,
    ) -> None:
        self._settings = settings
        self._network = network
        self._contract = contract
        self._owner = owner
        self._narrator = narrator
        self._key_id = key_id
        count = settings.nodes
        self._joining = range(count + 1, count + SPARE + 1)
        self._leaving = 1
        self._emptied = 2
        self._is_sealed = network.shares is not None
        self._backup = network.directory / f"node{self._emptied}.backup"

    def steps(self, decrypt: Callable[[], Awaitable[None]]) -> list[Step]:
        """All of them; `decrypt` has Bob decrypt the file once more."""
        first, last = self._joining[0], self._joining[-1]
        back = (
            f"Node {self._emptied} gets a backup from before the refresh, and its operators open "
            "it. Its shares are out of date: it regains them from the others."
            if self._is_sealed
            else f"Node {self._emptied} comes back empty, and regains its shares from the others."
        )
        return [
            (
                "join",
                f"Nodes {first} and {last} start, and the owner of the contract adds them to the "
                "set.",
                self._join,
            ),
            (
                "leave",
                f"The owner removes node {self._leaving}. Its shares are to be worth nothing.",
                self._leave,
            ),
            ("decrypt_moved", "Bob asks the new set. Alice has done nothing.", decrypt),
            (
                "refresh",
                f"Time passes ({REFRESH_DAYS * 86_400:.0f} s here, months elsewhere): the nodes "
                "renew all shares by themselves. Whoever copied some has to begin anew.",
                self._refresh,
            ),
            ("empty", f"Node {self._emptied} loses its disk.", self._empty),
            ("repair", back, self._repair),
            ("decrypt_repaired", "Bob asks once more.", decrypt),
        ]

    # --- steps ------------------------------------------------------------------------------------

    async def _join(self) -> None:
        public = self._public()
        for number in self._joining:
            await self._network.start_spare(number)
            self._narrator.say(f"node {number} runs")
            if self._is_sealed:
                self._narrator.say(f"node {number}: {self._network.unseal(number)}")
        for number in self._joining:
            node = self._node(number)
            await self._contract.add(self._owner, _node_id(node), _peer(node))
        members = [*range(1, self._settings.nodes + 1), *self._joining]
        await self._moved_to(members)
        self._check_public(public)

    async def _leave(self) -> None:
        public = self._public()
        await self._contract.remove(self._owner, _address(self._node(self._leaving)))
        members = [*range(2, self._settings.nodes + 1), *self._joining]
        await self._moved_to(members)
        self._check_public(public)
        key = self._key_at(self._leaving)
        if key is not None and key["share"] != "none":
            raise DemoError(f"node {self._leaving} still has a share")
        self._narrator.say(f"node {self._leaving} has no share any more")

    async def _refresh(self) -> None:
        if self._is_sealed:
            await self._back_up()
        before = self._key()
        await self._until(lambda: self._key()["version"] > before["version"], "a refresh")
        after = self._key()
        self._check_public(before["public"])
        self._narrator.say(
            f"version {before['version']} of the shares is now version {after['version']}; "
            "the key is the same"
        )

    async def _empty(self) -> None:
        self._network.kill(self._emptied)
        self._network.empty(self._emptied)

    async def _repair(self) -> None:
        if self._is_sealed:
            await self._restore()
        await self._network.restart(self._emptied)
        if self._is_sealed:
            self._narrator.say(f"node {self._emptied}: {self._network.unseal(self._emptied)}")
        await self._until(lambda: self._holds_share(self._emptied), "its share")
        public = self._public()
        key = self._key_at(self._emptied)
        if key is None or key["public"] != public:
            raise DemoError(f"node {self._emptied} tells of another key")
        self._narrator.say(f"node {self._emptied} has a share of the same key again")

    async def _back_up(self) -> None:
        loaded = load(Path(self._node(self._emptied).config))
        made = await backup.create(
            loaded, self._backup, (), clock=SystemClock(), on_table=lambda table: None
        )
        self._narrator.say(f"{self._backup.name}: {made.rows:,} rows, as sealed as the disk")

    async def _restore(self) -> None:
        loaded = load(Path(self._node(self._emptied).config))
        await backup.restore(
            loaded,
            self._backup,
            (),
            replace=False,
            random=SystemRandom(),
            clock=SystemClock(),
            on_table=lambda table: None,
        )

    # --- a change ---------------------------------------------------------------------------------

    async def _moved_to(self, members: Sequence[int]) -> None:
        """Wait until a change is complete, telling how far it is."""
        nodes = [_address(self._node(number)) for number in members]
        deadline, told = time.monotonic() + CHANGE_S, ""
        while not await self._contract.is_settled_on(nodes):
            if time.monotonic() > deadline:
                raise DemoError(f"the set has not changed within {CHANGE_S:.0f} s")
            standing = self._standing(members[0])
            if standing and standing != told:
                self._narrator.say(standing)
                told = standing
            await asyncio.sleep(LOOK_S)
        await self._until(lambda: all(map(self._holds_share, members)), "shares at all members")
        key = self._key()
        holders = ", ".join(str(number) for number in members)
        self._narrator.say(f"version {key['version']} of the shares is at nodes {holders}")

    def _standing(self, number: int) -> str:
        """What a node tells of the change."""
        answer = facts(self._node(number), "/v1/set-change")
        migration = answer["migration"] if answer is not None else None
        if migration is None or migration["phase"] == "idle":
            return ""
        led = answer["coordinated"]
        keys = f", {led['keys_moved']} of {led['keys_total']} keys" if led is not None else ""
        moving = keys if migration["phase"] in ("migrating", "confirming") else ""
        return f"{migration['phase']}: {migration['why']}{moving}"

    async def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + CHANGE_S
        while not holds():
            if time.monotonic() > deadline:
                raise DemoError(f"{what}: not within {CHANGE_S:.0f} s")
            await asyncio.sleep(LOOK_S)

    # --- what nodes say ---------------------------------------------------------------------------

    def _node(self, number: int) -> DevnetNode:
        return self._network.devnet.nodes[number - 1]

    def _key_at(self, number: int) -> Any:  # Any: JSON
        return facts(self._node(number), f"/v1/keys/0x{self._key_id.hex()}")

    def _key(self) -> Any:
        """The key as a node that stays all the time has it."""
        key = self._key_at(self._settings.nodes)
        if key is None:
            raise DemoError(f"node {self._settings.nodes} does not tell of the key")
        return key

    def _holds_share(self, number: int) -> bool:
        key, known = self._key_at(number), self._key()
        if key is None or key["share"] != "held":
            return False
        return bool(key["record_hash"] == known["record_hash"])

    def _public(self) -> str:
        return str(self._key()["public"])

    def _check_public(self, before: str) -> None:
        if self._public() != before:
            raise DemoError("the key is another one")


def _address(node: DevnetNode) -> Address:
    return Address(bytes.fromhex(node.address[2:]))


def _node_id(node: DevnetNode) -> NodeId:
    return NodeId(bytes.fromhex(node.node_id[2:]))


def _peer(node: DevnetNode) -> NodeAddress:
    host, _, port = node.peer.rpartition(":")
    return NodeAddress(host, int(port))
