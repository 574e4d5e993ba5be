"""Nodes as processes of their own: `keyserver run` on a file."""

import json
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keyserver.crypto.curve import SecretScalar
from keyserver.model.identifiers import NodeId
from tests.support.forked_program import ForkedProgram
from tests.support.ports import free_port
from tests.support.waiting import wait_for
from tests.support.wire import request

LOOPBACK = "127.0.0.1"
READY_S = 90.0
"""There may be many starts at once."""
STOP_S = 5.0
"""What a supervisor may expect of a node that is told to end."""


class NodeProcess:
    """A file, and the process that runs on it while there is one.

    The directory of the file is the working directory and the home, so that nothing that a user
    of this machine has is found.
    """

    def __init__(self, config: Path, environment: Mapping[str, str] | None = None) -> None:
        self.config = config
        self.environment = dict(environment or {})
        self.ready: dict[str, Any] = {}
        """What it announced when it was ready."""
        self.log_file = config.with_suffix(".log")
        self.ready_file = config.with_suffix(".ready.json")
        self._process: ForkedProgram | None = None
        self._log_begins = 0

    @property
    def process(self) -> ForkedProgram:
        """The process that was started last, unless it was waited for here."""
        assert self._process is not None, "it does not run"
        return self._process

    @property
    def is_running(self) -> bool:
        return self._process is not None

    # --- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it; `wait_ready` tells when it serves."""
        assert self._process is None, "it runs already"
        self.ready = {}
        self.ready_file.unlink(missing_ok=True)
        home = dict.fromkeys(("HOME", "XDG_DATA_HOME"), str(self.config.parent))
        self._log_begins = self.log_file.stat().st_size if self.log_file.exists() else 0
        self._process = ForkedProgram(
            ["run", "--config", str(self.config), "--ready-file", str(self.ready_file)],
            directory=self.config.parent,
            environment=os.environ | home | self.environment,
            log=self.log_file,
        )

    def wait_ready(self) -> dict[str, Any]:
        def announced() -> dict[str, Any] | None:
            assert self.process.poll() is None, f"the node ended:\n{self.log_tail()}"
            exists = self.ready_file.exists()
            return json.loads(self.ready_file.read_text()) if exists else None

        self.ready = wait_for(announced, timeout_s=READY_S, doing=f"start of {self.config}")
        return self.ready

    def fails_to_start(self) -> tuple[int, str]:
        """Start it and see it end by itself: the exit code, and what it printed but did not log."""
        self.start()
        code = self._ended(READY_S)
        lines = self._logged_text().splitlines()
        return code, "\n".join(line for line in lines if not line.startswith("{"))

    def ask_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait_stopped(self) -> int:
        """Wait for the end of a node that was asked to stop; the exit code."""
        return self._ended(4 * STOP_S)

    def stop(self) -> tuple[int, float]:
        """Ask it to stop; the exit code and the seconds it took."""
        began = time.monotonic()
        self.ask_to_stop()
        return self.wait_stopped(), time.monotonic() - began

    def kill(self) -> None:
        """End it without warning, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._ended(READY_S)

    def _ended(self, timeout_s: float) -> int:
        code = self.process.wait(timeout_s)
        self._process = None
        return code

    # --- what it says ------------------------------------------------------------------------

    @property
    def log(self) -> str:
        """What it has written in all its lives."""
        return self.log_file.read_text()

    def log_tail(self) -> str:
        return "\n".join(self._logged_text().splitlines()[-15:])

    def events(self) -> list[dict[str, Any]]:
        """What it has logged since it was started last."""
        whole_lines = self._logged_text().rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in whole_lines if line.startswith("{")]

    def wait_event(self, name: str, timeout_s: float = READY_S) -> dict[str, Any]:
        """Wait until it has logged this; the event."""

        def logged() -> dict[str, Any] | None:
            has_ended = self._process is None or self._process.poll() is not None
            found = next((event for event in self.events() if event["event"] == name), None)
            assert found is not None or not has_ended, f"the node ended:\n{self.log_tail()}"
            return found

        return wait_for(logged, timeout_s=timeout_s, doing=f"event {name} of {self.config}")

    def operator(self, path: str, method: str = "GET") -> tuple[int, Any]:
        """A request to its operator's listener."""
        url = self.ready.get("operator") or self.wait_event("operator_listening")["url"]
        answer = request(url, method, path)
        return answer.status, json.loads(answer.body)

    def others(self, state: str) -> list[str]:
        """The ids of the other nodes of its set that are in this state, such as `connected`."""
        status, facts = self.operator("/v1/status")
        assert status == 200, facts
        return [node["node_id"] for node in facts["node_set"]["nodes"] if node["state"] == state]

    def _logged_text(self) -> str:
        if not self.log_file.exists():
            return ""
        return self.log_file.read_bytes()[self._log_begins :].decode()


class ConfiguredNode(NodeProcess):
    """A node whose file is written anew, from what is set here, before each start."""

    def __init__(self, directory: Path, secret: SecretScalar, port: int) -> None:
        super().__init__(directory / "config.toml")
        self.directory = directory
        self.secret = secret
        self.port = port
        self.values: dict[str, dict[str, object]] = {}
        """Options by section."""

    @property
    def id(self) -> NodeId:
        return NodeId.of(self.secret.public())

    @property
    def data(self) -> Path:
        return self.directory / "data"

    def set(self, section: str, **values: object) -> None:
        self.values.setdefault(section, {}).update(values)

    def write_config(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        lines: list[str] = []
        for section, values in self.values.items():
            lines.append(f"[{section}]")
            lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        self.config.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        self.write_config()
        super().start()


def static_node(directory: Path, secret: SecretScalar, **options: object) -> ConfiguredNode:
    """A node that needs no chain and serves clients where it announces; alone in its set so far."""
    node = ConfiguredNode(directory, secret, free_port())
    node.set(
        "secretstore",
        self_secret=secret.expose().hex(),
        path=str(node.data),
        port=node.port,
        http_port=0,
        server_set_contract="none",
        acl_contract="none",
        **options,
    )
    return node


def set_members(nodes: Sequence[ConfiguredNode]) -> None:
    """Write the same list of nodes into the file of each member."""
    members = [f"{node.id.hex()}@{LOOPBACK}:{node.port}" for node in nodes]
    for node in nodes:
        node.set("secretstore", nodes=members)


def start_all(nodes: Sequence[NodeProcess]) -> None:
    """Start nodes side by side and wait until each is ready."""
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_ready()


def wait_connected(nodes: Sequence[NodeProcess]) -> None:
    """Wait until each of the nodes that run reaches all others that do."""

    def all_reach_all() -> bool | None:
        return all(len(node.others("connected")) == len(nodes) - 1 for node in nodes) or None

    wait_for(all_reach_all, timeout_s=READY_S, doing="connecting")


def wait_until_used(node: NodeProcess, contracts: Mapping[str, str]) -> None:
    """Wait until a node has found its contracts: option -> address."""

    def are_used() -> bool | None:
        used = node.operator("/v1/status")[1]["chain"]["contracts"]
        return {option: used[option] for option in contracts} == contracts or None

    wait_for(are_used, timeout_s=READY_S, doing="finding the contracts")


def kill_all(nodes: Iterable[NodeProcess]) -> None:
    for node in nodes:
        node.kill()
