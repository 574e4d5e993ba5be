"""A real network of five nodes: memory when idle, and blocks from request to answer.

    python -m benchmarks.network [--nodes N] [--confirmations 0 1 3] [--rounds 3] [--json]

Starts a devnet for each number of confirmations, with one block a second; every service is asked
`rounds` times by a client that counts blocks. The devnet's nodes follow the embedded chain over
WebSocket. "Blocks" is the block of the last answer minus the block of the request.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keyserver.client.contracts import Contracts
from keyserver.client.ethereum import connect
from keyserver.client.permissions import Permissions
from keyserver.client.requests import KeyServers
from keyserver.client.wallet import Wallet
from keyserver.crypto.curve import SecretScalar, mul_base
from keyserver.crypto.elgamal import encrypt_document_key
from keyserver.crypto.randomness import SystemRandom
from keyserver.devnet.devnet_file import FILE_NAME
from keyserver.devnet.network import Network
from keyserver.devnet.settings import Settings

SERVICES = ("generation", "server key retrieval", "storing", "shadow retrieval")


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the process has no memory")


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="keyserver-benchmark-") as name:
        yield Path(name) / "devnet"


async def measure(nodes: int, confirmations: int, rounds: int) -> dict[str, object]:
    with scratch() as directory:
        settings = Settings(directory, nodes=nodes, threshold=2, confirmations=confirmations)
        network = await Network.start(settings)
        try:
            memory = [resident_mb(node.pid) for node in network.devnet.nodes if node.pid]
            blocks = await ask(network, rounds)
        finally:
            network.stop()
    return {"confirmations": confirmations, "memory_mb": memory, "blocks": blocks}


async def ask(network: Network, rounds: int) -> dict[str, list[int]]:
    contracts, rng = Contracts.load(network.directory / FILE_NAME), SystemRandom()
    blocks: dict[str, list[int]] = {service: [] for service in SERVICES}
    account = network.devnet.accounts["alice"].private_key
    alice = Wallet(SecretScalar(bytes.fromhex(account[2:])))
    async with connect(network.devnet.rpc_url, poll_s=0.1) as ethereum:
        servers = KeyServers(ethereum, contracts, alice)
        for _ in range(rounds):
            key_id = alice.new_key_id(rng)
            await Permissions(ethereum, contracts, alice).reserve(key_id)
            generated = await servers.generate_server_key(key_id, 2)
            retrieved = await servers.retrieve_server_key(key_id)
            document = encrypt_document_key(
                generated.value.public, mul_base(SecretScalar.random(rng)), rng
            )
            stored = await servers.store_document_key(key_id, document)
            shadow = await servers.retrieve_document_key(key_id)
            answers = (generated, retrieved, stored, shadow)
            for service, answer in zip(SERVICES, answers, strict=True):
                blocks[service].append(answer.answered_in - answer.requested_in)
    return blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--confirmations", type=int, nargs="+", default=[0, 1, 3])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = [
        asyncio.run(measure(options.nodes, confirmations, options.rounds))
        for confirmations in options.confirmations
    ]
    if options.json:
        print(json.dumps(results))
        return
    for result in results:
        memory, blocks = result["memory_mb"], result["blocks"]
        assert isinstance(memory, list)
        assert isinstance(blocks, dict)
        print(f"confirmations {result['confirmations']}: {options.nodes} idle nodes hold", end=" ")
        print(f"{sum(memory):.0f} MB resident, {max(memory):.0f} MB at most")
        for service, counts in blocks.items():
            print(f"  {service:22} {statistics.median(counts):4} blocks, each {counts}")


if __name__ == "__main__":
    main()
