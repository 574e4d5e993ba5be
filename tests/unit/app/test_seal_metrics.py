"""What Prometheus reads of the seal."""

from types import SimpleNamespace
from typing import Any

import pytest

from keyserver.app.process_view import OperatorsProcess
from keyserver.crypto.errors import BoxError
from tests.support.sealing import SealScene


async def test_a_box_that_does_not_open_is_seen() -> None:
    scene = await SealScene.make()
    vault = await scene.opened()
    roles: Any = SimpleNamespace(view=None)
    process = OperatorsProcess(roles, vault, scene.upkeep(vault))
    assert b"keyserver_boxes_unopened 0.0\n" in await process.metrics()
    scene.put(vault, "row", b"secret")
    ((place, box),) = scene.store.boxes.items()
    scene.store.boxes[place] = box[:-1] + bytes([box[-1] ^ 1])
    with pytest.raises(BoxError):
        scene.get(vault, "row")
    assert b"keyserver_boxes_unopened 1.0\n" in await process.metrics()
