"""Nodes as processes whose stores operators open with their shares."""

import asyncio
import json
from typing import Any

from keyserver.crypto.randomness import SystemRandom
from keyserver.sealing.making import initialise
from keyserver.storage.database import opened
from keyserver.storage.sealing import SqlSealStore
from tests.support.node_processes import READY_S, ConfiguredNode
from tests.support.sealing import NOW_MS, AuditList, mnemonics
from tests.support.waiting import wait_for
from tests.support.wire import request


def seal_node(node: ConfiguredNode, *, shares: int = 3, threshold: int = 2) -> list[str]:
    """Put the node's key into a store of its own that shares open; the shares as words.

    Its configuration holds no secret any more.
    """
    node.data.mkdir(parents=True)
    words = asyncio.run(_initialise(node, shares, threshold))
    node.values["secretstore"].pop("self_secret")
    return words


async def _initialise(node: ConfiguredNode, shares: int, threshold: int) -> list[str]:
    url = node.values.get("keyserver", {}).get("database_url")
    async with opened(str(url or f"sqlite:///{node.data}/keyserver.sqlite")) as database:
        new = await initialise(
            SqlSealStore(database),
            AuditList(),
            node_secret=node.secret,
            shares=shares,
            threshold=threshold,
            source=None,
            random=SystemRandom(),
            now_ms=NOW_MS,
        )
    return mnemonics(new)


def wait_state(node: ConfiguredNode, state: str) -> dict[str, Any]:
    """Wait until the node has announced that it is this: `sealed`, `standby`, `ready`."""

    def announced() -> dict[str, Any] | None:
        assert node.process.poll() is None, f"the node ended:\n{node.log_tail()}"
        if not node.ready_file.exists():
            return None
        facts: dict[str, Any] = json.loads(node.ready_file.read_text())
        return facts if facts["state"] == state else None

    node.ready = wait_for(announced, timeout_s=READY_S, doing=f"{state} of {node.config}")
    return node.ready


def ask_operator(node: ConfiguredNode, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """A request with a body to the operator listener of a node that has announced itself."""
    sent = None if body is None else json.dumps(body)
    answer = request(node.ready["operator"], method, path, sent)
    return answer.status, json.loads(answer.body)


def unseal(node: ConfiguredNode, words: list[str], *, threshold: int = 2) -> None:
    """Hand in shares until it is open."""
    for share in words[:threshold]:
        status, answer = ask_operator(node, "POST", "/v1/seal/unseal", {"share": share})
        assert status == 200, answer
    assert answer["sealed"] is False, answer
