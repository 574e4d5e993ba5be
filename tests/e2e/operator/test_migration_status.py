"""What operators see of a change of the set that a contract asks for: refused first, then done."""

import json
from pathlib import Path
from typing import Any

import pytest

from keyserver.cli.main import main
from tests.e2e.operator.keys import path_of
from tests.e2e.set_change.changing import ChangingNetwork, changing_network
from tests.support.node_processes import LOOPBACK, wait_connected
from tests.support.waiting import wait_for
from tests.support.wire import request

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

KEYS = 5
SEEN_S = 90.0

Output = pytest.CaptureFixture[str]


def told(network: ChangingNetwork, place: int) -> dict[str, Any]:
    """What a node says about changes."""
    status, facts = network.nodes[place].operator("/v1/set-change")
    assert status == 200, facts
    return dict(facts)


def shown(network: ChangingNetwork, place: int, capsys: Output, *words: str) -> str:
    """What `keyserver migration status` prints."""
    url = str(network.nodes[place].ready["operator"])
    assert main(["migration", "status", "--url", url, *words]) == 0
    return capsys.readouterr().out


def generate_keys(network: ChangingNetwork) -> list[bytes]:
    made = [number.to_bytes(32, "big") for number in range(1, 1 + KEYS)]
    for key_id in made:
        answer = request(network.urls[0], "POST", f"/shadow/{path_of(key_id)}/1")
        assert answer.status == 200, answer
    return made


def is_refused(network: ChangingNetwork) -> None:
    def refused() -> bool | None:
        return all(told(network, place)["migration"]["refused"] for place in (0, 1, 2)) or None

    wait_for(refused, timeout_s=SEEN_S, doing="all nodes refuse")


def phases_until_current(network: ChangingNetwork, to: list[int]) -> set[str]:
    """Which phases any node shows until the change is complete."""
    seen = set()

    def complete() -> bool | None:
        for place in range(4):
            seen.add(told(network, place)["migration"]["phase"])
        return network.is_current(to) or None

    wait_for(complete, timeout_s=SEEN_S, doing=f"change to {to}")
    return seen


def test_a_change_that_is_refused_and_then_put_right(tmp_path: Path, capsys: Output) -> None:
    with changing_network(tmp_path, chain="embedded", nodes=4, members=3, fund=()) as network:
        wait_connected(network.nodes[:3])
        keys = generate_keys(network)
        assert told(network, 0)["migration"]["phase"] == "idle"

        # The owner removes everybody who has shares.
        network.edit([3])
        is_refused(network)
        out = shown(network, 0, capsys)
        assert "no member of the current set stays: every key would be lost" in out
        _, facts = network.nodes[0].operator("/v1/status")
        assert "migration_refused" in [warning["code"] for warning in facts["warnings"]]
        metrics = request(network.nodes[0].ready["operator"], "GET", "/metrics").text
        assert 'keyserver_migration_phase{phase="refused"} 1.0' in metrics

        # He thinks again: only the first one leaves.
        for place in (1, 2):
            node = network.nodes[place]
            network.as_owner("addKeyServer", node.id, f"{LOOPBACK}:{node.port}")
        phases = phases_until_current(network, [1, 2, 3])
        assert {"delayed", "confirming"} <= phases, phases
        network.wait_current([1, 2, 3])
        after = [told(network, place) for place in range(4)]
        assert {facts["migration"]["phase"] for facts in after} == {"idle"}
        (led,) = (facts["coordinated"] for facts in after if facts["coordinated"] is not None)
        assert (led["phase"], led["keys_moved"], led["keys_total"]) == ("done", KEYS, KEYS)
        assert [facts["completed"]["epoch"] for facts in after] == [1] * 4
        place = next(n for n in range(4) if after[n]["coordinated"] is not None)
        assert " 1, the last one at " in shown(network, place, capsys)
        assert json.loads(shown(network, place, capsys, "--json"))["coordinated"] == led
        for key_id in keys:
            status, facts = network.nodes[3].operator(f"/v1/keys/{key_id.hex()}")
            assert (status, facts["share"]) == (200, "held")
