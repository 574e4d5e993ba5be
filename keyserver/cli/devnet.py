"""`keyserver devnet`, a network on this machine, and `keyserver demo`, the story on one."""

import asyncio
import os
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from keyserver.cli.main import APP_SETTINGS
from keyserver.cli.output import (
    USAGE,
    CommandError,
    JsonOption,
    print_facts,
    print_json,
    print_rows,
)

if TYPE_CHECKING:
    from keyserver.devnet.demo import DemoResult
    from keyserver.devnet.devnet_file import Devnet
    from keyserver.devnet.narrating import Narrator
    from keyserver.devnet.network import Network
    from keyserver.devnet.settings import Settings
    from keyserver.devnet.signing_story import SigningResult

DEFAULT_SHARES = "2-of-3"
KEY_VARIABLE = "KEYSERVER_DEPLOYER_KEY"
"""Holds the private key of the account that pays on a chain that runs already."""

DirectoryOption = Annotated[Path, typer.Option("--dir", help="Directory of the devnet.")]
NodesOption = Annotated[int, typer.Option("--nodes", help="How many key servers.")]
ThresholdOption = Annotated[
    int | None,
    typer.Option(
        help="One more than this many nodes are needed to use a key; by default half of the "
        "others, so 2 for five nodes."
    ),
]
ChainOption = Annotated[
    str,
    typer.Option(
        help=f"embedded, anvil, or the URL of a chain that runs already ({KEY_VARIABLE} then holds "
        "the key of an account that pays)."
    ),
]
ConfirmationsOption = Annotated[
    int, typer.Option(help="Blocks on top of a request's before it is served.")
]
SealedOption = Annotated[
    bool,
    typer.Option("--sealed", help="Have operators open each node, with --shares, after a start."),
]
SharesOption = Annotated[
    str | None,
    typer.Option(
        metavar="K-of-N",
        help="With --sealed: among how many operators a node's key is shared, and how many of them "
        "open it; 2-of-3 by default.",
    ),
]
NumberArgument = Annotated[int, typer.Argument(metavar="N", help="The node's number, from 1.")]

app = typer.Typer(**APP_SETTINGS)


@app.callback()
def _group() -> None:
    """Run a whole network on this machine."""


@app.command()
def up(
    nodes: NodesOption = 5,
    spare: Annotated[
        int, typer.Option(help="More nodes, to be started and added to the set later.")
    ] = 0,
    threshold: ThresholdOption = None,
    chain: ChainOption = "embedded",
    confirmations: ConfirmationsOption = 1,
    block_time: Annotated[float, typer.Option(help="Seconds between blocks.")] = 1.0,
    services: Annotated[
        str, typer.Option(help="combined (one contract) or separate (four).")
    ] = "combined",
    json_rpc: Annotated[
        bool,
        typer.Option(
            "--json-rpc/--no-json-rpc",
            help="Serve the JSON-RPC module, which old client programs need, with all accounts.",
        ),
    ] = True,
    sealed: SealedOption = False,
    shares: SharesOption = None,
    directory: DirectoryOption = Path("devnet"),
    as_json: JsonOption = False,
) -> None:
    """Start a chain, the contracts and the nodes, and leave them running.

    What stands where is in devnet.json in the directory; with --json it is printed as well. With
    --sealed the shares of all operators are in shares.json, for convenience.
    """
    # Deferred, as everywhere here: web3 takes most of a second.
    from keyserver.devnet.devnet_file import FILE_NAME
    from keyserver.devnet.network import Network

    settings = _settings(
        directory=directory,
        nodes=nodes,
        spare=spare,
        threshold=threshold,
        chain=chain,
        confirmations=confirmations,
        block_time_s=block_time,
        services=services,
        json_rpc=json_rpc,
        sealed=sealed,
        shares=shares,
    )
    _stop_at_sigterm()
    tell = _silent if as_json else _tell
    network = asyncio.run(Network.start(settings, tell=tell))
    network.leave_running()
    if as_json:
        print_json(asdict(network.devnet))
        return
    print(f"\nEverything is in {network.directory / FILE_NAME}.")
    if network.devnet.json_rpc is not None:
        _print_old_clients_half(network.devnet)
    if sealed:
        print("The nodes are sealed; the shares of their operators are in shares.json.")
        print(f"First: keyserver devnet unseal --all --dir {directory}")
    print(f"Try:   keyserver client reserve --devnet {directory} --account alice --permit bob")
    print(f"Stop:  keyserver devnet down --dir {directory}")


@app.command()
def down(directory: DirectoryOption = Path("devnet"), as_json: JsonOption = False) -> None:
    """Stop all processes of a devnet; its logs stay until the next one."""
    from keyserver.devnet.network import Network
    from keyserver.devnet.network_state import State

    directory = directory.expanduser().absolute()
    state = State.load(directory)
    running = len(state.running())
    Network(directory, state).stop()
    left = len(state.running())
    print_facts({"stopped": running - left, "left": left}, as_json=as_json)
    if left:
        raise CommandError(f"{left} processes could not be stopped")


@app.command()
def status(directory: DirectoryOption = Path("devnet"), as_json: JsonOption = False) -> None:
    """Show which processes run and which nodes are ready."""
    from keyserver.devnet.network import head_of

    network = _load(directory)
    facts = {
        "directory": str(network.directory),
        "chain": network.state.chain_name,
        "rpc_url": network.devnet.rpc_url,
        "chain_id": network.devnet.chain_id,
        "block": head_of(network.devnet),
        "threshold": network.state.threshold,
        "confirmations": network.state.confirmations,
    }
    rows = [_node_row(network, number + 1) for number in range(len(network.devnet.nodes))]
    accounts = {name: account.address for name, account in network.devnet.accounts.items()}
    json_rpc = _json_rpc_facts(network)
    if as_json:
        print_json({**facts, "accounts": accounts, "json_rpc": json_rpc, "nodes": rows})
        return
    print_facts(facts, as_json=False)
    print_facts({f"json_rpc_{name}": value for name, value in json_rpc.items()}, as_json=False)
    print_facts(accounts, as_json=False)
    print()
    print_rows(rows, as_json=False)


@app.command()
def kill(
    number: NumberArgument, directory: DirectoryOption = Path("devnet"), as_json: JsonOption = False
) -> None:
    """Kill a node without warning (SIGKILL)."""
    network = _load(directory)
    network.kill(number)
    print_facts({"killed": number}, as_json=as_json)


@app.command()
def start(
    number: NumberArgument, directory: DirectoryOption = Path("devnet"), as_json: JsonOption = False
) -> None:
    """Start a spare node; `keyserver admin node-set add` puts it into the set."""
    network = _load(directory)
    asyncio.run(network.start_spare(number))
    network.leave_running()
    node = network.devnet.nodes[number - 1]
    facts = {"started": number, "pid": node.pid, "node_id": node.node_id, "peer": node.peer}
    print_facts(facts, as_json=as_json)
    if not as_json:
        add = f"keyserver admin node-set add {node.node_id} {node.peer}"
        print(f"Add it:  {add} --devnet {directory} --account owner")


@app.command()
def restart(
    number: NumberArgument, directory: DirectoryOption = Path("devnet"), as_json: JsonOption = False
) -> None:
    """Start a node again, stopping it first if it runs, and wait until it is ready, or sealed."""
    network = _load(directory)
    asyncio.run(network.restart(number))
    network.leave_running()
    node = network.devnet.nodes[number - 1]
    print_facts({"restarted": number, "pid": node.pid}, as_json=as_json)


@app.command()
def unseal(
    number: Annotated[
        int | None, typer.Argument(metavar="[N]", help="The node's number, from 1.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All nodes that run.")] = False,
    directory: DirectoryOption = Path("devnet"),
    as_json: JsonOption = False,
) -> None:
    """Open a sealed node with the shares of its operators.

    With the last one, wait until all that run are ready: a node alone is not. On a devnet only:
    elsewhere nobody has all shares, and `keyserver seal unseal` takes one.
    """
    if (number is None) != every:
        raise CommandError("give the number of a node, or --all", exit_code=USAGE)
    network = _load(directory)
    numbers = [number] if number is not None else network.running()
    for each in numbers:
        network.unseal(each)
    running = network.running()
    sealed = [each for each in running if network.is_sealed(each)]
    if not sealed:
        asyncio.run(network.until_ready(running))
    print_facts({"unsealed": numbers, "still_sealed": sealed}, as_json=as_json)


def demo(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="What Alice shares with Bob.")
    ] = None,
    nodes: NodesOption = 5,
    threshold: ThresholdOption = None,
    chain: ChainOption = "embedded",
    confirmations: ConfirmationsOption = 1,
    block_time: Annotated[float, typer.Option(help="Seconds between blocks.")] = 0.5,
    migration: Annotated[
        bool,
        typer.Option(
            "--migration",
            help="Go on: nodes join and leave, shares are renewed, and regained by a node that "
            "lost its disk.",
        ),
    ] = False,
    sealed: SealedOption = False,
    shares: SharesOption = None,
    sign: Annotated[
        bool,
        typer.Option(
            "--sign",
            help="Another story: the key servers sign, and a contract obeys their signatures.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show how Alice shares a file with Bob through a network of key servers.

    Or, with --sign, how they own and use an account together. With --sealed operators open each key
    server first, and at the end its disk is searched for secrets. A network of its own is started
    for it and stopped at the end, whatever happens. The exit code is 0 only if every step held.
    """
    if sign and (migration or file is not None):
        raise CommandError("--sign: its story has no file and no --migration", exit_code=USAGE)
    from keyserver.cli.narrator import ScreenNarrator, SilentNarrator
    from keyserver.devnet.signing_story import threshold_for

    if sign and threshold is None:
        threshold = threshold_for(nodes)
    _stop_at_sigterm()
    with tempfile.TemporaryDirectory(prefix="keyserver-demo-") as temporary:
        options = {
            "nodes": nodes,
            "threshold": threshold,
            "chain": chain,
            "confirmations": confirmations,
            "block_time_s": block_time,
            "services": "combined",
            "sealed": sealed,
            "shares": shares,
        }
        directory = Path(temporary)
        if as_json:
            result = _told(SilentNarrator(), directory, options, file, migration, sign)
        else:
            from rich.console import Console

            narrator = ScreenNarrator(Console())
            try:
                result = _told(narrator, directory, options, file, migration, sign)
            finally:
                narrator.close()
    _report(result, as_json=as_json)


def _told(
    narrator: "Narrator",
    directory: Path,
    options: dict[str, Any],
    file: Path | None,
    migration: bool,
    sign: bool,
) -> "DemoResult | SigningResult":
    """Tell one of the stories below a directory; raises `ConfigError` for bad options."""
    from keyserver.devnet.demo import Demo
    from keyserver.devnet.migration_story import REFRESH_DAYS, SPARE
    from keyserver.devnet.signing_story import SigningDemo

    network = directory / "network"
    if sign:
        return asyncio.run(SigningDemo(_settings(directory=network, **options), narrator).run())
    settings = _settings(
        directory=network,
        spare=SPARE if migration else 0,
        refresh_interval_days=REFRESH_DAYS if migration else 0,
        **options,
    )
    told = file or _readme(directory)
    return asyncio.run(Demo(settings, told, narrator, migration).run())


def _settings(
    *, threshold: int | None, services: str, sealed: bool, shares: str | None, **values: Any
) -> "Settings":
    """Check the options; raises `ConfigError`."""
    from keyserver.client.deployment_plan import Layout, account_of
    from keyserver.devnet.settings import Settings, default_threshold, sharing_of

    if shares is not None and not sealed:
        raise CommandError("--shares: only with --sealed", exit_code=USAGE)
    sharing = sharing_of(shares or DEFAULT_SHARES) if sealed else None

    if services not in list(Layout):
        raise CommandError(f"--services: {services!r} is unknown", exit_code=USAGE)
    funder = None
    if KEY_VARIABLE in os.environ:
        funder = bytes(account_of(os.environ[KEY_VARIABLE], KEY_VARIABLE).key)
    if threshold is None:
        threshold = default_threshold(values["nodes"])
    return Settings(
        **values, threshold=threshold, layout=Layout(services), sharing=sharing, funder=funder
    )


def _load(directory: Path) -> "Network":
    from keyserver.devnet.network import Network

    return Network.load(directory)


def _node_row(network: "Network", number: int) -> dict[str, object]:
    from keyserver.devnet.node_process import readiness

    node = network.devnet.nodes[number - 1]
    running = network.is_running(number)
    return {
        "node": number,
        "address": node.address,
        "peer": node.peer,
        "http": node.http,
        "operator": node.operator,
        "pid": node.pid if running else None,
        "state": readiness(node) if running else "not running",
    }


def _json_rpc_facts(network: "Network") -> dict[str, object]:
    """Where the JSON-RPC module is; empty on a devnet without it."""
    from keyserver.devnet.json_rpc_process import answers

    endpoint = network.devnet.json_rpc
    if endpoint is None:
        return {}
    return {
        "url": endpoint.url,
        "password": endpoint.password,
        "pid": endpoint.pid,
        "state": "ready" if answers(endpoint) else "does not answer",
    }


def _print_old_clients_half(devnet: "Devnet") -> None:
    """What one gives to a client program of the original."""
    from keyserver.devnet.network import ACCOUNT_NAMES

    endpoint = devnet.json_rpc
    assert endpoint is not None
    print("For client programs of the original:")
    print(f"  key server   {devnet.nodes[0].http}")
    print(f"  JSON-RPC     {endpoint.url}")
    for name in ACCOUNT_NAMES:
        account = devnet.accounts[name]
        print(f"  {name:<12} {account.address}, password {endpoint.password}")


def _readme(directory: Path) -> Path:
    """The project's own README: that of the checkout, or a copy of the installed package's."""
    from importlib.metadata import metadata

    in_checkout = Path(__file__).resolve().parents[2] / "README.md"
    if in_checkout.is_file():
        return in_checkout
    copy = directory / "README.md"
    copy.write_text(str(metadata("keyserver").json["description"]), encoding="utf-8")
    return copy


def _report(result: "DemoResult | SigningResult", *, as_json: bool) -> None:
    """Print what came of it; raises `CommandError` if not every step held."""
    steps = [asdict(step) for step in result.steps]
    if as_json:
        print_json({"ok": result.ok, **asdict(result), "steps": steps})
    else:
        print()
        print_rows(steps, as_json=False)
        seconds = sum(step.seconds for step in result.steps)
        gas = sum(step.gas for step in result.steps)
        print(f"{seconds:.1f} s and {gas:,} gas in all, for {result.nodes} nodes.")
    if not result.ok:
        raise CommandError("the story did not hold: see the step that failed")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(line: str) -> None:
    """Say nothing."""


def _stop_at_sigterm() -> None:
    """Let SIGTERM end this command as Ctrl-C does: everything that was started is stopped."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
