"""A whole network on this machine: started, watched, disturbed and stopped.

Everything is below one directory: `node1` … `nodeN`, `chain.log`, `devnet.json` for users, and
`network.json`, by which a later command finds the processes again.
"""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from keyserver.client.deployment_plan import SERVICES, Layout, PlannedNode
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import RandomSource, SystemRandom
from keyserver.devnet import chain_start, node_process, processes
from keyserver.devnet.chain_start import ChainAccess
from keyserver.devnet.devnet_file import FILE_NAME, Devnet, DevnetAccount, DevnetNode
from keyserver.devnet.local_chain import LocalChain, request
from keyserver.devnet.node_process import NodeChain, NodePlan
from keyserver.devnet.ports import free_ports
from keyserver.devnet.processes import Process
from keyserver.devnet.settings import Settings
from keyserver.errors import ChainError, ConfigError, KeyServerError
from keyserver.model.identifiers import Address, NodeId

STATE_NAME = "network.json"
ACCOUNT_NAMES = ("alice", "bob", "charlie")
READY_TIMEOUT_S = 60.0
_READY_POLL_S = 0.1

Tell = Callable[[str], None]


class DevnetError(KeyServerError):
    """A process of the devnet did not do what it should; tells where to look."""


@dataclass(frozen=True, slots=True)
class State:
    """What `network.json` holds: how to find the processes, and what was asked for."""

    chain: Process | None
    """None for a chain that is not ours."""
    chain_directory: str | None
    """What the chain keeps on disk outside the devnet's directory."""
    chain_name: str
    nodes: tuple[Process | None, ...]
    threshold: int
    confirmations: int
    block_time_s: float

    def to_json(self) -> str:
        """The text of the file."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, directory: Path) -> "State":
        """Read the file; raises `ConfigError` if there is no devnet."""
        path = directory / STATE_NAME
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            chain, *nodes = (
                None if entry is None else Process(**entry)
                for entry in (content.pop("chain"), *content.pop("nodes"))
            )
            return cls(chain=chain, nodes=tuple(nodes), **content)
        except FileNotFoundError:
            raise ConfigError(f"{directory}: there is no devnet here") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: is damaged: {error!r}") from error

    def running(self) -> list[Process]:
        """The processes that are there, nodes first."""
        known = [*self.nodes, self.chain]
        return [process for process in known if process is not None and process.is_running]


class Network:
    """A devnet of this process or of an earlier one; node numbers count from 1."""

    def __init__(self, directory: Path, state: State, devnet: Devnet | None = None) -> None:
        self.directory = directory
        self.state = state
        self._devnet = devnet
        self._chain: LocalChain | None = None
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    @classmethod
    def load(cls, directory: Path) -> "Network":
        """Find a devnet that an earlier command started; raises `ConfigError` if there is none."""
        directory = directory.expanduser().absolute()
        return cls(directory, State.load(directory), Devnet.load(directory))

    @classmethod
    async def start(
        cls, settings: Settings, *, tell: Tell = lambda line: None, rng: RandomSource | None = None
    ) -> "Network":
        """Start a chain, deploy the contracts, start the nodes and wait until all are ready.

        `tell` gets a line for every step. Raises `ConfigError`, `ChainError` or `DevnetError`, and
        then nothing is left running.
        """
        directory = settings.directory.expanduser().absolute()
        _clear(directory)
        state = State(
            chain=None,
            chain_directory=None,
            chain_name=settings.chain,
            nodes=(None,) * settings.nodes,
            threshold=settings.threshold,
            confirmations=settings.confirmations,
            block_time_s=settings.block_time_s,
        )
        network = cls(directory, state)
        network._save()
        try:
            await network._start(settings, tell, rng or SystemRandom())
        except BaseException:
            network.stop()
            raise
        return network

    @property
    def devnet(self) -> Devnet:
        """The content of `devnet.json`."""
        assert self._devnet is not None
        return self._devnet

    def stop(self) -> None:
        """End all processes that are ours, nodes first; logs stay where they are."""
        nodes = [node for node in self.state.nodes if node is not None]
        processes.stop(nodes)
        for node in nodes:
            self._reap(node)
        if self._chain is not None:
            self._chain.stop()
        elif self.state.chain is not None:
            processes.stop([self.state.chain])
            if self.state.chain_directory is not None:
                shutil.rmtree(self.state.chain_directory, ignore_errors=True)
        (self.directory / FILE_NAME).unlink(missing_ok=True)

    def leave_running(self) -> None:
        """Let the processes outlive this one: they are not its children to wait for any more."""
        children = list(self._children.values())
        if self._chain is not None:
            children.append(self._chain.process)
        for child in children:
            if child.stdout is not None:
                child.stdout.close()
            # What the class takes for the end of the child: else it warns of one left alone.
            child.returncode = 0
        self._children.clear()
        self._chain = None

    def kill(self, number: int) -> None:
        """Kill node `number` without warning; raises `ConfigError` if it does not run."""
        self._node(number)
        process = self.state.nodes[number - 1]
        if process is None or not processes.kill(process):
            raise ConfigError(f"node {number} does not run")
        self._reap(process)
        self._set_process(number, None)

    async def restart(self, number: int) -> None:
        """Stop node `number` if it runs, start it and wait until it is ready.

        Raises `DevnetError` if it does not come up.
        """
        self._node(number)
        process = self.state.nodes[number - 1]
        if process is not None:
            processes.stop([process])
            self._reap(process)
        self._set_process(number, self._spawn(number))
        await self.until_ready([number])

    def is_running(self, number: int) -> bool:
        """Whether the process of node `number` is there."""
        process = self.state.nodes[number - 1]
        return process is not None and process.is_running

    async def until_ready(self, numbers: Sequence[int], tell: Tell = lambda line: None) -> None:
        """Wait until these nodes are ready; raises `DevnetError` with what the first lacks."""
        waiting = dict.fromkeys(numbers, "")
        deadline = time.monotonic() + READY_TIMEOUT_S
        while waiting:
            for number in list(waiting):
                waiting[number] = node_process.readiness(self._node(number))
                if waiting[number] == "ready":
                    del waiting[number]
                    tell(f"node {number} is ready")
                elif not self.is_running(number):
                    raise DevnetError(f"node {number} ended\n{self._log_of(number)}")
            if waiting and time.monotonic() > deadline:
                number, said = next(iter(waiting.items()))
                raise DevnetError(
                    f"node {number} is not ready after {READY_TIMEOUT_S:.0f} s: {said}\n"
                    f"{self._log_of(number)}"
                )
            await asyncio.sleep(_READY_POLL_S)

    async def _start(self, settings: Settings, tell: Tell, rng: RandomSource) -> None:
        chain_port, *ports = free_ports(1 + 3 * settings.nodes)
        plans = [
            NodePlan.draw(
                self.directory / f"node{index + 1}",
                (ports[3 * index], ports[3 * index + 1], ports[3 * index + 2]),
                rng,
            )
            for index in range(settings.nodes)
        ]
        secrets = {name: SecretScalar.random(rng) for name in ACCOUNT_NAMES}
        accounts = {name: _account(secret) for name, secret in secrets.items()}
        people = [NodeId.of(secret.public()).address for secret in secrets.values()]
        access = await self._prepare_chain(settings, chain_port, plans, people, tell)
        planned = [PlannedNode(bytes(plan.node_id), plan.peer) for plan in plans]
        deployed = await chain_start.deploy(settings, access, planned)
        tell(f"{len(deployed.contracts)} contracts deployed with {deployed.gas_used:,} gas")
        if self._chain is not None:
            chain_start.begin_intervals(settings, self._chain)
        node_chain = _node_chain(settings, access, deployed.contracts["SimpleRegistry"])
        for plan in plans:
            node_process.write_directory(plan, node_chain)
        self._devnet = Devnet(
            rpc_url=access.rpc_url,
            ws_url=access.ws_url,
            chain_id=access.chain_id,
            contracts=dict(deployed.contracts),
            nodes=tuple(plan.describe(None) for plan in plans),
            accounts=accounts,
        )
        numbers = range(1, settings.nodes + 1)
        for number in numbers:
            self._set_process(number, self._spawn(number))
        tell(f"{settings.nodes} nodes started")
        await self.until_ready(numbers, tell)

    async def _prepare_chain(
        self,
        settings: Settings,
        port: int,
        plans: Sequence[NodePlan],
        people: Sequence[Address],
        tell: Tell,
    ) -> ChainAccess:
        """Have a chain on which nodes and accounts own money."""
        nodes = [plan.node_id.address for plan in plans]
        if settings.is_local:
            log = self.directory / "chain.log"
            chain = chain_start.start_chain(settings, port, [*nodes, *people], log)
            self._chain = chain
            self.state = replace(
                self.state,
                chain=Process(chain.pid, f"--port {port}"),
                chain_directory=None if chain.directory is None else str(chain.directory),
            )
            self._save()
            tell(f"chain {chain.chain_id} ({settings.chain}) at {chain.rpc_url}")
            return ChainAccess(chain.rpc_url, chain.ws_url, chain.chain_id)
        access = await chain_start.reach(settings.chain)
        amounts = dict.fromkeys(nodes, chain_start.NODE_FUNDS_WEI)
        amounts |= dict.fromkeys(people, chain_start.ACCOUNT_FUNDS_WEI)
        await chain_start.fund_all(settings, access.rpc_url, amounts)
        tell(f"chain {access.chain_id}: {len(amounts)} accounts funded")
        return access

    def _spawn(self, number: int) -> Process:
        child, process = node_process.start(Path(self._node(number).config))
        self._children[child.pid] = child
        return process

    def _node(self, number: int) -> DevnetNode:
        nodes = self.devnet.nodes
        if not 1 <= number <= len(nodes):
            raise ConfigError(f"node {number}: the nodes are numbered 1 to {len(nodes)}")
        return nodes[number - 1]

    def ends_of_logs(self) -> str:
        """The last lines of every node's log, for when something went wrong."""
        return "\n".join(self._log_of(number + 1) for number in range(len(self.devnet.nodes)))

    def _log_of(self, number: int) -> str:
        path = node_process.log_path(Path(self._node(number).config))
        return f"the log of node {number}, {path}, ends with:\n{processes.last_lines(path)}"

    def _reap(self, process: Process) -> None:
        """Take an ended child out of the process table; one just ending needs a moment more."""
        child = self._children.pop(process.pid, None)
        if child is not None:
            child.wait(processes.STOP_TIMEOUT_S)

    def _set_process(self, number: int, process: Process | None) -> None:
        index = number - 1
        nodes = list(self.state.nodes)
        nodes[index] = process
        self.state = replace(self.state, nodes=tuple(nodes))
        entries = list(self.devnet.nodes)
        entries[index] = replace(entries[index], pid=None if process is None else process.pid)
        self._devnet = replace(self.devnet, nodes=tuple(entries))
        self._save()

    def _save(self) -> None:
        """Write both files, each at one stroke; their owner alone may read them."""
        _write(self.directory / STATE_NAME, self.state.to_json())
        if self._devnet is not None:
            _write(self.directory / FILE_NAME, self._devnet.to_json())


def head_of(devnet: Devnet) -> int | None:
    """The newest block of the devnet's chain, None if it does not answer."""
    try:
        return int(request(devnet.rpc_url, "eth_blockNumber"), 16)
    except ChainError:
        return None


def _clear(directory: Path) -> None:
    """Make the directory, or remove what a devnet that has stopped left in it.

    Raises `ConfigError` if a devnet runs there, or if there is something that is not ours.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if not any(directory.iterdir()):
        return
    if not (directory / STATE_NAME).exists():
        raise ConfigError(f"{directory} is neither empty nor the directory of a devnet")
    if State.load(directory).running():
        raise ConfigError(
            f"a devnet runs in {directory}: stop it with `keyserver devnet down --dir {directory}`"
        )
    for path in directory.iterdir():
        if path.is_dir() and path.name.startswith("node"):
            shutil.rmtree(path)
        elif path.name in (FILE_NAME, STATE_NAME, "chain.log"):
            path.unlink()


def _node_chain(settings: Settings, access: ChainAccess, registry: str) -> NodeChain:
    keys: tuple[str, ...] = ("service_contract",)
    if settings.layout is Layout.SEPARATE:
        keys = tuple(
            "service_contract_" + service.entry.removeprefix("secretstore_service_")
            for service in SERVICES
        )
    return NodeChain(
        endpoints=tuple(url for url in (access.ws_url, access.rpc_url) if url is not None),
        chain_id=access.chain_id,
        registry=Address(bytes.fromhex(registry[2:])),
        service_keys=keys,
        confirmations=settings.confirmations,
        poll_s=min(1.0, settings.block_time_s / 2),
    )


def _account(secret: SecretScalar) -> DevnetAccount:
    address = NodeId.of(secret.public()).address
    return DevnetAccount(f"0x{address.hex()}", f"0x{secret.expose().hex()}")


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.touch(mode=0o600)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
