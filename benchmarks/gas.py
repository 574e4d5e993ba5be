"""Gas of a full request of each kind with all its answers, and of what operators do.

    python -m benchmarks.gas            prints the tables of docs/contracts.md

"First" is the first request a service ever gets, "later" any one after it: it reuses storage.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.contracts import signatures
from tests.contracts.chain import Chain, Contract, Receipt, key_of, public_of

COUNTS = (3, 5, 10)
THRESHOLD = 1
FIRST_SERVER = 101
POINT = bytes(range(64))
SHADOW = bytes(range(1, 146))
FEE = 2 * 10**17
SERVER_KEY = 99
"""An account whose key stands for a server key."""
COMBINED = "SecretStoreService"


@dataclass(frozen=True, slots=True)
class Network:
    chain: Chain
    key_servers: Contract
    count: int

    @property
    def servers(self) -> range:
        return range(FIRST_SERVER, FIRST_SERVER + self.count)


def network(count: int) -> Network:
    chain = Chain()
    key_servers = chain.deploy("OwnedKeyServerSetWithMigration")
    net = Network(chain, key_servers, count)
    for i, server in enumerate(net.servers):
        key_servers.send("addKeyServer", public_of(server), f"127.0.0.1:{8000 + i}")
    key_servers.send("completeInitialization")
    return net


def generation(service: Contract, net: Network, key: bytes) -> Iterator[Receipt]:
    yield service.send("generateServerKey", key, THRESHOLD, sender=2, value=FEE)
    for server in net.servers:
        yield service.send("serverKeyGenerated", key, POINT, sender=server)


def retrieval(service: Contract, net: Network, key: bytes) -> Iterator[Receipt]:
    yield service.send("retrieveServerKey", key, sender=2, value=FEE)
    for server in list(net.servers)[: max(net.count // 2, THRESHOLD) + 1]:
        yield service.send("serverKeyRetrieved", key, POINT, THRESHOLD, sender=server)


def store(service: Contract, net: Network, key: bytes) -> Iterator[Receipt]:
    yield service.send("storeDocumentKey", key, POINT, POINT, sender=2, value=FEE)
    for server in net.servers:
        yield service.send("documentKeyStored", key, sender=server)


def shadow(service: Contract, net: Network, key: bytes) -> Iterator[Receipt]:
    requester = net.chain.address(2)
    yield service.send("retrieveDocumentKeyShadow", key, public_of(2), sender=2, value=FEE)
    for server in list(net.servers)[: net.count // 2 + 1]:
        args = key, requester, POINT, THRESHOLD
        yield service.send("documentKeyCommonRetrieved", *args, sender=server)
    for server in list(net.servers)[: THRESHOLD + 1]:
        personal = key, requester, (1 << THRESHOLD + 1) - 1, POINT, SHADOW
        yield service.send("documentKeyPersonalRetrieved", *personal, sender=server)


def ecdsa(service: Contract, net: Network, key: bytes) -> Iterator[Receipt]:
    return signing("Ecdsa", service, net, key, (signatures.ecdsa(SERVER_KEY, key),))


def schnorr(service: Contract, net: Network, key: bytes) -> Iterator[Receipt]:
    return signing("Schnorr", service, net, key, signatures.schnorr(SERVER_KEY, key))


def signing(
    scheme: str, service: Contract, net: Network, key: bytes, answer: tuple[bytes, ...]
) -> Iterator[Receipt]:
    """The message is the id of the key once more."""
    subject, lower = (key, net.chain.address(2), key), scheme.lower()
    yield service.send(f"signMessage{scheme}", key, key, sender=2, value=FEE)
    for server in list(net.servers)[: net.count // 2 + 1]:
        common = *subject, public_of(SERVER_KEY), THRESHOLD
        yield service.send(f"{lower}SigningCommonRetrieved", *common, sender=server)
    yield service.send(f"{lower}MessageSigned", *subject, *answer, sender=net.servers[-1])


KINDS = {
    "server key generation": (generation, "SecretStoreServerKeyGenerationService"),
    "server key retrieval": (retrieval, "SecretStoreServerKeyRetrievalService"),
    "document key store": (store, "SecretStoreDocumentKeyStoreService"),
    "document key shadow retrieval": (shadow, "SecretStoreDocumentKeyShadowRetrievalService"),
    "ECDSA signature": (ecdsa, "SecretStoreEcdsaSigningService"),
    "Schnorr signature": (schnorr, "SecretStoreSchnorrSigningService"),
}
ON_THEIR_OWN = ("ECDSA signature", "Schnorr signature")
"""Not in the combined contract."""


def measure(net: Network, kind: str, contract: str) -> tuple[list[int], list[int]]:
    """Gas per transaction of the first and of a later request."""
    run, _ = KINDS[kind]
    service = net.chain.deploy(contract, net.key_servers.address)
    first, later = (
        [receipt.gas for receipt in run(service, net, bytes([number]) * 32)] for number in (1, 2)
    )
    return first, later


def requests_table(networks: dict[int, Network]) -> list[str]:
    """Print the sums; return one line per row with the gas of each transaction."""
    print(
        "| request | contract | " + " | ".join(f"n={c} first | n={c} later" for c in COUNTS) + " |"
    )
    print("| --- | --- " + "| ---: " * 2 * len(COUNTS) + "|")
    details = []
    for kind, (_, single) in KINDS.items():
        contracts = {"own": single, "combined": COMBINED}
        if kind in ON_THEIR_OWN:
            del contracts["combined"]
        for label, contract in contracts.items():
            cells = []
            for count, net in networks.items():
                first, later = measure(net, kind, contract)
                cells += [f"{sum(first):,}", f"{sum(later):,}"]
                details.append(f"{kind}, {label}, n={count}: first {first}, later {later}")
            print(f"| {kind} | {label} | {' | '.join(cells)} |")
    return details


def operators_table() -> None:
    """Print what editing, migrating and draining takes."""
    chain = Chain()
    key_servers = chain.deploy("OwnedKeyServerSetWithMigration")
    rows = [("deploy the key server set", key_servers.deployment_gas)]
    for server in range(FIRST_SERVER, FIRST_SERVER + 4):
        key_servers.send("addKeyServer", public_of(server), "127.0.0.1:8083")
    rows.append(("`addKeyServer` before initialization", add(key_servers, FIRST_SERVER + 4)))
    completed = key_servers.send("completeInitialization")
    rows.append(("`completeInitialization`, 5 servers", completed.gas))
    rows.append(("`addKeyServer` after initialization", add(key_servers, FIRST_SERVER + 5)))
    for name in (COMBINED, *(contract for _, contract in KINDS.values())):
        service = chain.deploy(name, key_servers.address)
        rows.append((f"deploy `{name}`", service.deployment_gas))
    service.send("signMessageSchnorr", POINT[:32], POINT[:32], sender=2, value=FEE)
    rows.append(("`drain`", service.send("drain", sender=FIRST_SERVER).gas))
    rows += account(chain)
    for count in (5, 10, 50, 100, 255):
        rows += migration(count)
    print("| transaction | gas |\n| --- | ---: |")
    for label, gas in rows:
        print(f"| {label} | {gas:,} |")


def account(chain: Chain) -> list[tuple[str, int]]:
    """The example account pays somebody, twice."""
    owned = chain.deploy("ServerKeyAccount", key_of(SERVER_KEY).address)
    chain.transact(1, owned.address, value=2)
    gas = []
    for _ in range(2):
        call = chain.address(2), 1, b"", 50_000
        signature = signatures.ecdsa(SERVER_KEY, owned.call("hashOfCall", *call))
        gas.append(owned.send("execute", *call, signature).gas)
    return [
        ("deploy `ServerKeyAccount`", owned.deployment_gas),
        (f"`ServerKeyAccount.execute`, a payment: first ({gas[0]:,}), later", gas[1]),
    ]


def add(key_servers: Contract, server: int) -> int:
    return key_servers.send("addKeyServer", public_of(server), "127.0.0.1:8083").gas


def migration(count: int) -> list[tuple[str, int]]:
    key_servers = network(1).key_servers
    for server in range(FIRST_SERVER + 1, FIRST_SERVER + count):
        add(key_servers, server)
    identifier = b"\x01" * 32
    start = key_servers.send("startMigration", identifier, sender=FIRST_SERVER).gas
    confirmations = [
        key_servers.send("confirmMigration", identifier, sender=FIRST_SERVER + i).gas
        for i in range(count)
    ]
    ends = f"{confirmations[0]:,} / {confirmations[1]:,}"
    return [
        (f"`startMigration` to {count} servers", start),
        (f"`confirmMigration`, {count} servers: first / middle ({ends}), last", confirmations[-1]),
    ]


def main() -> None:
    details = requests_table({count: network(count) for count in COUNTS})
    print()
    operators_table()
    print()
    print("\n".join(details))


if __name__ == "__main__":
    main()
