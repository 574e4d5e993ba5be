"""A small deployed network, and one description per service so that tests can run over all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.contracts.chain import Chain, Contract, Receipt, public_of

OWNER = 1
CLIENT = 2
OTHER_CLIENT = 3
STRANGER = 4
STRANGERS = (OWNER, CLIENT, OTHER_CLIENT, STRANGER)
SERVERS = (101, 102, 103, 104, 105)
NEWCOMER = 106

KEY = b"\x11" * 32
OTHER_KEY = b"\x22" * 32
POINT = bytes(range(64))
OTHER_POINT = bytes(range(64, 128))
THIRD_POINT = bytes(range(128, 192))
SHADOW = bytes(range(1, 146))
MESSAGE = b"\x33" * 32
"""The hash of a message, which is all that is ever signed."""
OTHER_MESSAGE = b"\x44" * 32
FEE = 2 * 10**17

COMBINED = "SecretStoreService"


@dataclass(frozen=True, slots=True)
class Service:
    """The names of one service's functions and events, and how a plain request is made."""

    contract: str
    noun: str
    request: str
    error: str
    requested_event: str
    error_event: str
    fee: int
    limit: int

    @property
    def lower(self) -> str:
        return self.noun[0].lower() + self.noun[1:]

    def request_args(self, key: bytes = KEY) -> tuple[Any, ...]:
        match self.noun:
            case "ServerKeyGeneration":
                return key, 1
            case "ServerKeyRetrieval":
                return (key,)
            case "DocumentKeyStore":
                return key, POINT, OTHER_POINT
            case "DocumentKeyShadowRetrieval":
                return key, public_of(CLIENT)
            case _:
                return key, MESSAGE

    def subject(self, world: "World", key: bytes = KEY) -> tuple[Any, ...]:
        """What names a request of the client in errors, deletions and the like."""
        if self.noun == "DocumentKeyShadowRetrieval":
            return key, world.chain.address(CLIENT)
        if self in SIGNING_SERVICES:
            return key, world.chain.address(CLIENT), MESSAGE
        return (key,)

    def answer(self, world: "World", service: Contract, server: int, key: bytes = KEY) -> Receipt:
        """One honest answer."""
        subject = self.subject(world, key)
        match self.noun:
            case "ServerKeyGeneration":
                return service.send("serverKeyGenerated", *subject, POINT, sender=server)
            case "ServerKeyRetrieval":
                return service.send("serverKeyRetrieved", *subject, POINT, 1, sender=server)
            case "DocumentKeyStore":
                return service.send("documentKeyStored", *subject, sender=server)
            case "DocumentKeyShadowRetrieval":
                return service.send("documentKeyCommonRetrieved", *subject, POINT, 1, sender=server)
            case _:
                common = f"{self.lower}CommonRetrieved"
                return service.send(common, *subject, POINT, 1, sender=server)


GENERATION = Service(
    "SecretStoreServerKeyGenerationService",
    "ServerKeyGeneration",
    "generateServerKey",
    "serverKeyGenerationError",
    "ServerKeyGenerationRequested",
    "ServerKeyGenerationError",
    2 * 10**17,
    4,
)
RETRIEVAL = Service(
    "SecretStoreServerKeyRetrievalService",
    "ServerKeyRetrieval",
    "retrieveServerKey",
    "serverKeyRetrievalError",
    "ServerKeyRetrievalRequested",
    "ServerKeyRetrievalError",
    10**17,
    8,
)
STORE = Service(
    "SecretStoreDocumentKeyStoreService",
    "DocumentKeyStore",
    "storeDocumentKey",
    "documentKeyStoreError",
    "DocumentKeyStoreRequested",
    "DocumentKeyStoreError",
    10**17,
    8,
)
SHADOW_RETRIEVAL = Service(
    "SecretStoreDocumentKeyShadowRetrievalService",
    "DocumentKeyShadowRetrieval",
    "retrieveDocumentKeyShadow",
    "documentKeyShadowRetrievalError",
    "DocumentKeyCommonRetrievalRequested",
    "DocumentKeyShadowRetrievalError",
    2 * 10**17,
    4,
)
ALL_SERVICES = (GENERATION, RETRIEVAL, STORE, SHADOW_RETRIEVAL)
"""Those of the combined contract."""
ECDSA_SIGNING = Service(
    "SecretStoreEcdsaSigningService",
    "EcdsaSigning",
    "signMessageEcdsa",
    "ecdsaSigningError",
    "EcdsaSigningCommonRequested",
    "EcdsaSigningError",
    2 * 10**17,
    4,
)
SCHNORR_SIGNING = Service(
    "SecretStoreSchnorrSigningService",
    "SchnorrSigning",
    "signMessageSchnorr",
    "schnorrSigningError",
    "SchnorrSigningCommonRequested",
    "SchnorrSigningError",
    2 * 10**17,
    4,
)
SIGNING_SERVICES = (ECDSA_SIGNING, SCHNORR_SIGNING)


@dataclass(frozen=True, slots=True)
class World:
    chain: Chain
    key_servers: Contract
    contracts: dict[str, Contract]

    def service(self, service: Service, combined: bool = False) -> Contract:
        return self.contracts[COMBINED if combined else service.contract]

    def migrate(self, members: Sequence[int], migration: bytes = b"\x01" * 32) -> None:
        """Make `members` the current set, as the owner and the members themselves would."""
        new = set(self.key_servers.call("getNewKeyServers"))
        wanted = {self.chain.address(member): member for member in members}
        for address in new - wanted.keys():
            self.key_servers.send("removeKeyServer", address)
        for address, member in wanted.items():
            if address not in new:
                self.key_servers.send("addKeyServer", public_of(member), f"10.0.0.1:{member}")
        self.key_servers.send("startMigration", migration, sender=members[0])
        for member in members:
            self.key_servers.send("confirmMigration", migration, sender=member)


def deploy_set(chain: Chain, servers: Sequence[int], initialized: bool = True) -> Contract:
    key_servers = chain.deploy("OwnedKeyServerSetWithMigration")
    for server in servers:
        key_servers.send("addKeyServer", public_of(server), f"127.0.0.1:{8000 + server}")
    if initialized:
        key_servers.send("completeInitialization")
    return key_servers


def build_world() -> World:
    chain = Chain(rich=(*SERVERS, NEWCOMER))
    key_servers = deploy_set(chain, SERVERS)
    names = [*(service.contract for service in (*ALL_SERVICES, *SIGNING_SERVICES)), COMBINED]
    contracts = {name: chain.deploy(name, key_servers.address) for name in names}
    return World(chain, key_servers, contracts)
