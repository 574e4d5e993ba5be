"""A whole network on this machine: started, watched, disturbed and stopped.

Everything is below one directory: `node1` … `nodeN`, `chain.log`, `devnet.json` for users,
`network.json`, by which a later command finds the processes again, and `shares.json` where
operators have to open the nodes.
"""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from keyserver.app.clock import SystemClock
from keyserver.app.config import load
from keyserver.app.sealed_stores import make_sealed_store
from keyserver.client.deployment_plan import SERVICES, Layout, PlannedNode
from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.randomness import RandomSource, SystemRandom
from keyserver.devnet import chain_start, json_rpc_process, node_process, operators, processes
from keyserver.devnet.chain_start import ChainAccess
from keyserver.devnet.devnet_file import FILE_NAME, Devnet, DevnetAccount, DevnetNode
from keyserver.devnet.json_rpc_process import JsonRpcPlan
from keyserver.devnet.local_chain import DEVELOPMENT_PRIVATE_KEYS, LocalChain, request
from keyserver.devnet.network_state import (
    JSON_RPC_DIRECTORY,
    STATE_NAME,
    State,
    clear,
    write_private,
)
from keyserver.devnet.node_process import NodeChain, NodePlan
from keyserver.devnet.operators import Shares, Standing
from keyserver.devnet.ports import free_ports
from keyserver.devnet.processes import Process
from keyserver.devnet.settings import Settings
from keyserver.errors import ChainError, ConfigError, KeyServerError
from keyserver.model.identifiers import Address, NodeId
from keyserver.sealing.handing_out import Sharing

ACCOUNT_NAMES = ("alice", "bob", "charlie")
OWNER = "owner"
"""The account that has deployed the contracts: everybody knows it, so only on a local chain."""
READY_TIMEOUT_S = 60.0
_READY_POLL_S = 0.1

Tell = Callable[[str], None]


class DevnetError(KeyServerError):
    """A process of the devnet did not do what it should; tells where to look."""


class Network:
    """A devnet of this process or of an earlier one; node numbers count from 1."""

    def __init__(
        self,
        directory: Path,
        state: State,
        devnet: Devnet | None = None,
        shares: Shares | None = None,
    ) -> None:
        self.directory = directory
        self.state = state
        self.shares = shares
        """Of the nodes' operators; `None` where nodes open by themselves."""
        self._devnet = devnet
        self._chain: LocalChain | None = None
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    @classmethod
    def load(cls, directory: Path) -> "Network":
        """Find a devnet that an earlier command started; raises `ConfigError` if there is none."""
        directory = directory.expanduser().absolute()
        state, devnet = State.load(directory), Devnet.load(directory)
        return cls(directory, state, devnet, Shares.load(directory))

    @classmethod
    async def start(
        cls, settings: Settings, *, tell: Tell = lambda line: None, rng: RandomSource | None = None
    ) -> "Network":
        """Start a chain, deploy the contracts, start the nodes and wait until all are ready.

        Nodes that operators are to open are sealed then.

        `tell` gets a line for every step. Raises `ConfigError`, `ChainError` or `DevnetError`, and
        then nothing is left running.
        """
        directory = settings.directory.expanduser().absolute()
        clear(directory)
        state = State(
            chain=None,
            chain_directory=None,
            chain_name=settings.chain,
            nodes=(None,) * (settings.nodes + settings.spare),
            json_rpc=None,
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
        known = (*self.state.nodes, self.state.json_rpc)
        ours = [process for process in known if process is not None]
        processes.stop(ours)
        for process in ours:
            self._reap(process)
        if self._chain is not None:
            self._chain.stop()
        elif self.state.chain is not None:
            processes.stop([self.state.chain])
            if self.state.chain_directory is not None:
                shutil.rmtree(self.state.chain_directory, ignore_errors=True)
        for name in (FILE_NAME, operators.FILE_NAME):
            (self.directory / name).unlink(missing_ok=True)

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
        """Stop node `number` if it runs, start it and wait until it is ready, or sealed.

        Raises `DevnetError` if it does not come up.
        """
        self.halt(number)
        self._set_process(number, self._spawn(number))
        await self._until_up([number])

    def halt(self, number: int) -> None:
        """Stop node `number`, if it runs."""
        self._node(number)
        process = self.state.nodes[number - 1]
        if process is not None:
            processes.stop([process])
            self._reap(process)
            self._set_process(number, None)

    def unseal(self, number: int) -> Standing:
        """Have the operators of node `number` open it, with as many shares as it takes.

        Raises `ConfigError` if it has no operators, or does not run; `ShareRefusedError`, and
        `DevnetError` if it takes all shares and does not open.
        """
        node = self._node(number)
        if self.shares is None:
            raise ConfigError("the nodes of this devnet open by themselves: there are no shares")
        standing = operators.standing_of(node)
        if standing is None:
            raise ConfigError(f"node {number} does not answer")
        for share in self.shares.of(number):
            if not standing.sealed:
                break
            standing = operators.hand_in(node, share)
        if standing.sealed:
            raise DevnetError(f"node {number} stays sealed\n{self._log_of(number)}")
        return standing

    def is_sealed(self, number: int) -> bool:
        """Whether node `number` waits for its operators; not, if it does not answer."""
        standing = operators.standing_of(self._node(number))
        return standing is not None and standing.sealed

    async def start_spare(self, number: int) -> None:
        """Start a node that is in no set yet, and wait until it answers.

        Raises `ConfigError` if it runs, `DevnetError` if it does not come up.
        """
        node = self._node(number)
        if self.is_running(number):
            raise ConfigError(f"node {number} runs already")
        self._set_process(number, self._spawn(number))
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not node_process.answers(node):
            if not self.is_running(number) or time.monotonic() > deadline:
                raise DevnetError(f"node {number} does not answer\n{self._log_of(number)}")
            await asyncio.sleep(_READY_POLL_S)

    def empty(self, number: int) -> None:
        """Delete the database of a node that does not run, as if its disk had been lost."""
        if self.is_running(number):
            raise ConfigError(f"node {number} runs: stop it first")
        shutil.rmtree(Path(self._node(number).config).parent / node_process.DATA)

    def is_running(self, number: int) -> bool:
        """Whether the process of node `number` is there."""
        process = self.state.nodes[number - 1]
        return process is not None and process.is_running

    def running(self) -> list[int]:
        """The numbers of the nodes that are there."""
        return [n for n in range(1, len(self.state.nodes) + 1) if self.is_running(n)]

    async def until_ready(self, numbers: Sequence[int], tell: Tell = lambda line: None) -> None:
        """Wait until these nodes are ready; raises `DevnetError` with what the first lacks."""
        await self._until(numbers, "ready", tell)

    async def _until_up(self, numbers: Sequence[int], tell: Tell = lambda line: None) -> None:
        """Wait until these nodes are what they become by themselves."""
        await self._until(numbers, "ready" if self.shares is None else "sealed", tell)

    async def _until(self, numbers: Sequence[int], state: str, tell: Tell) -> None:
        waiting = dict.fromkeys(numbers, "")
        deadline = time.monotonic() + READY_TIMEOUT_S
        while waiting:
            for number in list(waiting):
                waiting[number] = node_process.readiness(self._node(number))
                if waiting[number].partition(":")[0] == state:
                    del waiting[number]
                    tell(f"node {number} is {state}")
                elif not self.is_running(number):
                    raise DevnetError(f"node {number} ended\n{self._log_of(number)}")
            if waiting and time.monotonic() > deadline:
                number, said = next(iter(waiting.items()))
                raise DevnetError(
                    f"node {number} is not {state} after {READY_TIMEOUT_S:.0f} s: {said}\n"
                    f"{self._log_of(number)}"
                )
            await asyncio.sleep(_READY_POLL_S)

    async def _start(self, settings: Settings, tell: Tell, rng: RandomSource) -> None:
        total = settings.nodes + settings.spare
        chain_port, json_rpc_port, *ports = free_ports(2 + 3 * total)
        plans = [
            NodePlan.draw(
                self.directory / f"node{index + 1}",
                (ports[3 * index], ports[3 * index + 1], ports[3 * index + 2]),
                rng,
            )
            for index in range(total)
        ]
        secrets = {name: SecretScalar.random(rng) for name in ACCOUNT_NAMES}
        accounts = {name: _account(secret) for name, secret in secrets.items()}
        if settings.is_local:
            accounts[OWNER] = _account(SecretScalar(DEVELOPMENT_PRIVATE_KEYS[0]))
        people = [NodeId.of(secret.public()).address for secret in secrets.values()]
        access = await self._prepare_chain(settings, chain_port, plans, people, tell)
        first = plans[: settings.nodes]
        planned = [PlannedNode(bytes(plan.node_id), plan.peer) for plan in first]
        deployed = await chain_start.deploy(settings, access, planned)
        tell(f"{len(deployed.contracts)} contracts deployed with {deployed.gas_used:,} gas")
        if self._chain is not None:
            chain_start.begin_intervals(settings, self._chain)
        node_chain = _node_chain(settings, access, deployed.contracts["SimpleRegistry"])
        for plan in plans:
            is_sealed = settings.sharing is not None
            node_process.write_directory(plan, node_chain, is_sealed=is_sealed)
        if settings.sharing is not None:
            self.shares = await make_stores(plans, settings.sharing, rng)
        self._devnet = Devnet(
            rpc_url=access.rpc_url,
            ws_url=access.ws_url,
            chain_id=access.chain_id,
            contracts=dict(deployed.contracts),
            nodes=tuple(plan.describe(None) for plan in plans),
            accounts=accounts,
            json_rpc=None,
        )
        numbers = range(1, settings.nodes + 1)
        for number in numbers:
            self._set_process(number, self._spawn(number))
        tell(f"{settings.nodes} nodes started")
        if settings.json_rpc:
            module = JsonRpcPlan(self.directory / JSON_RPC_DIRECTORY, json_rpc_port)
            self._start_json_rpc(module, list(secrets.values()))
        await self._until_up(numbers, tell)
        if settings.json_rpc:
            await self._until_json_rpc_answers(tell)

    def _start_json_rpc(self, plan: JsonRpcPlan, accounts: Sequence[SecretScalar]) -> None:
        json_rpc_process.write_directory(plan, accounts)
        process = self._start_process(plan.config_path)
        self.state = replace(self.state, json_rpc=process)
        self._devnet = replace(self.devnet, json_rpc=plan.describe(process.pid))
        self._save()

    async def _until_json_rpc_answers(self, tell: Tell) -> None:
        endpoint, process = self.devnet.json_rpc, self.state.json_rpc
        assert endpoint is not None
        assert process is not None
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not json_rpc_process.answers(endpoint):
            if not process.is_running or time.monotonic() > deadline:
                log = _end_of_log("the JSON-RPC module", Path(endpoint.config))
                raise DevnetError(f"the JSON-RPC module does not answer\n{log}")
            await asyncio.sleep(_READY_POLL_S)
        tell(f"JSON-RPC module at {endpoint.url}, all passwords: {endpoint.password}")

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
        return self._start_process(Path(self._node(number).config))

    def _start_process(self, config: Path) -> Process:
        child, process = node_process.start(config)
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
        return _end_of_log(f"node {number}", Path(self._node(number).config))

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
        write_private(self.directory / STATE_NAME, self.state.to_json())
        if self._devnet is not None:
            write_private(self.directory / FILE_NAME, self._devnet.to_json())
        if self.shares is not None:
            write_private(self.directory / operators.FILE_NAME, self.shares.to_json())


def _end_of_log(whose: str, config: Path) -> str:
    path = node_process.log_path(config)
    return f"the log of {whose}, {path}, ends with:\n{processes.last_lines(path)}"


def head_of(devnet: Devnet) -> int | None:
    """The newest block of the devnet's chain, None if it does not answer."""
    try:
        return int(request(devnet.rpc_url, "eth_blockNumber"), 16)
    except ChainError:
        return None


def _node_chain(settings: Settings, access: ChainAccess, registry: str) -> NodeChain:
    keys = ["secretstore.service_contract"] if settings.layout is Layout.COMBINED else []
    keys += [service.option for service in SERVICES if service.stands_alone(settings.layout)]
    return NodeChain(
        endpoints=tuple(url for url in (access.ws_url, access.rpc_url) if url is not None),
        chain_id=access.chain_id,
        registry=Address(bytes.fromhex(registry[2:])),
        service_keys=tuple(keys),
        confirmations=settings.confirmations,
        poll_s=min(1.0, settings.block_time_s / 2),
        refresh_interval_days=settings.refresh_interval_days,
    )


async def make_stores(plans: Sequence[NodePlan], sharing: Sharing, rng: RandomSource) -> Shares:
    """Make the nodes' databases, each with its node's key; returns what their operators hold."""
    clock, made = SystemClock(), []
    for plan in plans:
        loaded = load(plan.config_path)
        made.append(await make_sealed_store(loaded, plan.secret, sharing, random=rng, clock=clock))
    return Shares(sharing.threshold, tuple(made))


def _account(secret: SecretScalar) -> DevnetAccount:
    address = NodeId.of(secret.public()).address
    return DevnetAccount(f"0x{address.hex()}", f"0x{secret.expose().hex()}")
