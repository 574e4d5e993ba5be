"""A node is replaced by `admin set-change plan`, `sign`, `run` and `status`; O7 on the way.

The administrator's order is a bound one: the nodes go on serving while it is carried out.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from keyserver.cli.main import main
from tests.e2e.operator.keys import is_readable, path_of, publish
from tests.e2e.operator.static_network import StaticNetwork
from tests.support.node_processes import wait_connected
from tests.support.waiting import wait_for
from tests.unit.app.samples import public, secret

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MORE_KEYS = 40
"""So many that a node can be killed while they move."""
ENDS_S = 120.0

Output = pytest.CaptureFixture[str]


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[StaticNetwork]:
    """Nodes with an administrator; a, b and c run with all four configured and hold keys."""
    network = StaticNetwork(
        tmp_path, "abcd", disable_auto_migrate=True, admin_public=public("admin")
    )
    for node in network.nodes.values():
        node.set("keyserver", operator_listen="127.0.0.1:0", log_format="json", rate_limit=0)
    try:
        yield network
    finally:
        network.close()


def told(capsys: Output, *words: str) -> Any:
    """What a command says with `--json`."""
    assert main([*words, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def signed(capsys: Output, directory: Path, sets: list[str], epoch: int) -> str:
    """A bound order in a file; its path."""
    key, password, file = (directory / name for name in ("admin.json", "password", "order.json"))
    key.write_text(json.dumps(Account.encrypt(secret("admin").expose(), "secret", iterations=1)))
    password.write_text("secret\n")
    words = ["--key-file", str(key), "--password-file", str(password)]
    words += ["--form", "bound", "--epoch", str(epoch)]
    order = told(capsys, "admin", "set-change", "sign", *sets, *words)
    file.write_text(json.dumps(order))
    return str(file)


class Run:
    """`admin set-change run` as a process of its own."""

    def __init__(self, bed: StaticNetwork, order: str, *, at: str) -> None:
        words = ["admin", "set-change", "run", order, "--node", bed.url(at)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "keyserver.cli", *words, *operator_of(bed, at)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self) -> tuple[int, str, str]:
        """Its exit code, and what it printed."""
        out, err = self._process.communicate(timeout=ENDS_S)
        return self._process.returncode, out, err


def operator_of(bed: StaticNetwork, name: str) -> list[str]:
    return ["--url", str(bed.nodes[name].ready["operator"])]


def wait_until_keys_move(bed: StaticNetwork, name: str) -> None:
    def moving() -> bool | None:
        events = bed.nodes[name].events()
        return any(e["event"] == "set_change" and e["phase"] == "moving" for e in events) or None

    wait_for(moving, timeout_s=ENDS_S, doing="keys move")


def holders(bed: StaticNetwork, key_id: bytes) -> list[str]:
    """Names of the nodes that have a share."""
    answers = {name: bed.nodes[name].operator(f"/v1/keys/{key_id.hex()}") for name in "abcd"}
    return [name for name, (status, f) in answers.items() if status == 200 and f["share"] == "held"]


def test_a_node_is_replaced_in_one_step(bed: StaticNetwork, tmp_path: Path, capsys: Output) -> None:
    bed.configure("abc")
    bed.start("abc")
    key = publish(bed, "a", threshold=1)
    more = [number.to_bytes(32, "big") for number in range(1, 1 + MORE_KEYS)]
    for each in more:
        assert bed.ask("a", "POST", f"/shadow/{path_of(each)}/1").status == 200
    bed.stop("abc")
    bed.configure("abcd")
    bed.start("abcd")

    sets = [word for name in "abc" for word in ("--from", bed.entry(name))]
    sets += [word for name in "bcd" for word in ("--to", bed.entry(name))]
    plan = told(capsys, "admin", "set-change", "plan", *sets, "--threshold", "1")
    assert plan["joining"] == [f"0x{public('d')}"]
    assert plan["leaving"] == [f"0x{public('a')}"]
    assert plan["warnings"] == []
    before = told(capsys, "admin", "set-change", "status", *operator_of(bed, "b"))
    assert (before["next_epoch"], before["coordinated"]) == (1, None)
    order = signed(capsys, tmp_path, sets, before["next_epoch"])

    # O7: the node that joins is killed in the middle.
    run = Run(bed, order, at="b")
    wait_until_keys_move(bed, "b")
    bed.nodes["d"].kill()
    code, out, err = run.ended()
    assert (code, out) == (1, ""), err
    assert "keyserver: http" in err
    stopped = told(capsys, "admin", "set-change", "status", *operator_of(bed, "b"))
    assert stopped["coordinated"]["phase"] == "failed"
    assert stopped["next_epoch"] == 1
    assert f"0x{public('d')}" in stopped["coordinated"]["missing"]
    _, facts = bed.nodes["b"].operator("/v1/status")
    assert "set_change_failed" in [warning["code"] for warning in facts["warnings"]]
    bed.nodes["d"].start()
    bed.nodes["d"].wait_ready()
    wait_connected(list(bed.nodes.values()))
    assert all(is_readable(bed, name, key) for name in "abcd")

    # The same order once more completes it.
    code, out, err = Run(bed, order, at="b").ended()
    assert code == 0, err
    assert f"{1 + MORE_KEYS} of {1 + MORE_KEYS} moved" in out
    after = told(capsys, "admin", "set-change", "status", *operator_of(bed, "c"))
    assert after["next_epoch"] == 2
    assert after["completed"]["new_set"] == plan["new_set"]
    assert main(["migration", "status", *operator_of(bed, "b")]) == 0
    assert "done" in capsys.readouterr().out
    assert {tuple(holders(bed, each)) for each in (key.id, *more)} == {("b", "c", "d")}

    # It leaves without anything else being stopped.
    bed.stop("a")
    assert all(is_readable(bed, name, key) for name in "bcd")
    code, _, err = Run(bed, order, at="c").ended()
    assert code == 1, "the old set is not complete any more"
    assert "NODE_DISCONNECTED" in err
