"""The contracts a client talks to: functions, events, and where they stand.

Only what the originally published contracts have as well, so that both can be used (contracts,
sections 5 to 8 and 10), and the two services for signatures (section 12).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyserver.errors import ConfigError
from keyserver.evm.abi import Event, Function
from keyserver.model.identifiers import Address
from keyserver.model.requests import SigningScheme

COMBINED_SERVICE = "SecretStoreService"
KEY_SERVER_SET = "OwnedKeyServerSetWithMigration"


@dataclass(frozen=True, slots=True)
class Service:
    """One kind of request: how it is paid for, made, followed and answered."""

    title: str
    contract: str
    """The contract that serves this kind alone."""
    fee: Function
    request: Function
    requested: Event
    """Emitted by the request itself; only its first parameter, the key id, is always the same."""
    results: tuple[Event, ...]
    """Emitted by the answers; the key id is the first topic."""
    error: Event
    is_response_required: Function


GENERATION = Service(
    "server key generation",
    "SecretStoreServerKeyGenerationService",
    Function.parse("serverKeyGenerationFee()", "uint256"),
    Function.parse("generateServerKey(bytes32,uint8)"),
    Event.parse("ServerKeyGenerationRequested(bytes32,address,uint8)"),
    (Event.parse("ServerKeyGenerated(bytes32,bytes)", indexed=1),),
    Event.parse("ServerKeyGenerationError(bytes32)", indexed=1),
    Function.parse("isServerKeyGenerationResponseRequired(bytes32,address)", "bool"),
)
RETRIEVAL = Service(
    "server key retrieval",
    "SecretStoreServerKeyRetrievalService",
    Function.parse("serverKeyRetrievalFee()", "uint256"),
    Function.parse("retrieveServerKey(bytes32)"),
    Event.parse("ServerKeyRetrievalRequested(bytes32)"),
    (
        Event.parse("ServerKeyRetrieved(bytes32,bytes,uint256)", indexed=1),
        Event.parse("ServerKeyRetrieved(bytes32,bytes)", indexed=1),
    ),
    Event.parse("ServerKeyRetrievalError(bytes32)", indexed=1),
    Function.parse("isServerKeyRetrievalResponseRequired(bytes32,address)", "bool"),
)
STORE = Service(
    "document key storing",
    "SecretStoreDocumentKeyStoreService",
    Function.parse("documentKeyStoreFee()", "uint256"),
    Function.parse("storeDocumentKey(bytes32,bytes,bytes)"),
    Event.parse("DocumentKeyStoreRequested(bytes32,address,bytes,bytes)"),
    (Event.parse("DocumentKeyStored(bytes32)", indexed=1),),
    Event.parse("DocumentKeyStoreError(bytes32)", indexed=1),
    Function.parse("isDocumentKeyStoreResponseRequired(bytes32,address)", "bool"),
)
SHADOW_RETRIEVAL = Service(
    "document key retrieval",
    "SecretStoreDocumentKeyShadowRetrievalService",
    Function.parse("documentKeyShadowRetrievalFee()", "uint256"),
    Function.parse("retrieveDocumentKeyShadow(bytes32,bytes)"),
    Event.parse("DocumentKeyCommonRetrievalRequested(bytes32,address)"),
    (
        Event.parse("DocumentKeyCommonRetrieved(bytes32,address,bytes,uint8)", indexed=2),
        Event.parse("DocumentKeyPersonalRetrieved(bytes32,address,bytes,bytes)", indexed=2),
    ),
    Event.parse("DocumentKeyShadowRetrievalError(bytes32,address)", indexed=2),
    Function.parse("isDocumentKeyShadowRetrievalResponseRequired(bytes32,address,address)", "bool"),
)


def _signing(title: str, name: str, prefix: str) -> Service:
    """One of the two services for signatures, which differ in their names only."""
    subject = "bytes32,address,bytes32"
    return Service(
        title,
        f"SecretStore{name}SigningService",
        Function.parse(f"{prefix}SigningFee()", "uint256"),
        Function.parse(f"signMessage{name}(bytes32,bytes32)"),
        Event.parse(f"{name}SigningCommonRequested({subject})"),
        (
            Event.parse(f"{name}SigningCommonRetrieved({subject},bytes,uint8)", indexed=3),
            Event.parse(f"{name}MessageSigned({subject},bytes)", indexed=3),
        ),
        Event.parse(f"{name}SigningError({subject})", indexed=3),
        Function.parse(f"is{name}SigningResponseRequired({subject},address)", "bool"),
    )


SIGNING = {
    SigningScheme.SCHNORR: _signing("Schnorr signing", "Schnorr", "schnorr"),
    SigningScheme.ECDSA: _signing("ECDSA signing", "Ecdsa", "ecdsa"),
}
"""Not of the original's contracts; FROST signatures have none."""

CURRENT_KEY_SERVERS = Function.parse("getCurrentKeyServers()", "address[]")


@dataclass(frozen=True, slots=True)
class Contracts:
    """Where the contracts stand, by their names."""

    address_by_name: Mapping[str, Address]
    chain_id: int | None = None
    """The chain they are on, where known."""
    first_block: int = 0
    """Nothing of interest happened before it."""

    @classmethod
    def load(cls, path: Path) -> "Contracts":
        """Read a JSON file with an object `contracts` of names and addresses.

        `chain_id` and `block` are taken too where they are there: the deployment command and the
        devnet write such files. Raises `ConfigError` naming the field.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"{path}: is not JSON: {error}") from error
        if not isinstance(content, dict) or not isinstance(content.get("contracts"), dict):
            raise ConfigError(f"{path}: contracts: must be an object of names and addresses")
        addresses = {name: _address(name, text) for name, text in content["contracts"].items()}
        return cls(addresses, _number(content, "chain_id"), _number(content, "block") or 0)

    def find(self, name: str) -> Address | None:
        """The address of a contract, if it is known."""
        return self.address_by_name.get(name)

    def service(self, service: Service) -> Address:
        """The contract to ask for this kind of request; raises `ConfigError` if there is none."""
        address = self.find(service.contract)
        if service in SIGNING.values():
            if address is None:
                raise ConfigError(f"contracts: {service.contract} is not given")
            return address
        address = address or self.find(COMBINED_SERVICE)
        if address is None:
            raise ConfigError(f"contracts: neither {service.contract} nor {COMBINED_SERVICE} given")
        return address


def _address(name: str, text: object) -> Address:
    try:
        return Address(bytes.fromhex(str(text).removeprefix("0x")))
    except ValueError:
        raise ConfigError(f"contracts.{name}: {text!r} is not an address") from None


def _number(content: Mapping[str, Any], name: str) -> int | None:
    value = content.get(name)
    if value is not None and type(value) is not int:
        raise ConfigError(f"{name}: must be a number")
    return value
