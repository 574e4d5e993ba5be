"""What a deployment of the contracts is to contain, and its form in a TOML file."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, cast

from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import Web3

from keyserver.errors import ConfigError

FIELD_PRIME = 2**256 - 2**32 - 977
GROUP_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
PUBLIC_KEY_BYTES = 64
PRIVATE_KEY_BYTES = 32
MAX_KEY_SERVERS = 256
MAX_FEE = 2**96 - 1

Passphrase = Callable[[], str]
Choice = TypeVar("Choice", bound=StrEnum)


class Layout(StrEnum):
    """Whether the services of the original stand in one contract or in four.

    The two for signatures stand in contracts of their own in any case.
    """

    COMBINED = "combined"
    SEPARATE = "separate"


class Permission(StrEnum):
    """The permission contracts that can be deployed; `PermissioningRelay` brings its registry."""

    ONCE_TRANSFERABLE = "OnceTransferablePermission"
    REGISTRY = "PermissioningRegistry"
    RELAY = "PermissioningRelay"
    DYNAMIC = "PermissioningDynamic"
    FIRE_AND_FORGET = "PermissioningFireAndForget"
    NO_DOC = "PermissioningNoDoc"
    STATIC = "PermissioningStatic"


@dataclass(frozen=True, slots=True)
class ServiceFact:
    """How a service is called in plans, contracts and the registry."""

    plan_name: str
    contract: str
    """The one that serves it alone."""
    entry: str
    fee_setter: str
    in_combined: bool = True
    """Whether the combined contract serves it, too."""

    @property
    def option(self) -> str:
        """The key of a node's configuration that says where its own contract is."""
        section = "secretstore" if self.in_combined else "keyserver"
        return f"{section}.service_contract_{self.entry.removeprefix('secretstore_service_')}"

    def stands_alone(self, layout: Layout) -> bool:
        """Whether it has a contract and an entry of its own."""
        return layout is Layout.SEPARATE or not self.in_combined


SERVICES = (
    ServiceFact(
        "server_key_generation",
        "SecretStoreServerKeyGenerationService",
        "secretstore_service_srv_gen",
        "setServerKeyGenerationFee",
    ),
    ServiceFact(
        "server_key_retrieval",
        "SecretStoreServerKeyRetrievalService",
        "secretstore_service_srv_retr",
        "setServerKeyRetrievalFee",
    ),
    ServiceFact(
        "document_key_store",
        "SecretStoreDocumentKeyStoreService",
        "secretstore_service_doc_store",
        "setDocumentKeyStoreFee",
    ),
    ServiceFact(
        "document_key_shadow_retrieval",
        "SecretStoreDocumentKeyShadowRetrievalService",
        "secretstore_service_doc_sretr",
        "setDocumentKeyShadowRetrievalFee",
    ),
    ServiceFact(
        "ecdsa_signing",
        "SecretStoreEcdsaSigningService",
        "secretstore_service_ecdsa_sign",
        "setEcdsaSigningFee",
        in_combined=False,
    ),
    ServiceFact(
        "schnorr_signing",
        "SecretStoreSchnorrSigningService",
        "secretstore_service_schnorr_sign",
        "setSchnorrSigningFee",
        in_combined=False,
    ),
)


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """A key server as the set will show it: 64-byte node id and `ip:port`."""

    public_key: bytes
    address: str


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """What to deploy.

    `fees` holds wei by service name (`SERVICES`); a service that is not named keeps the default of
    its contract. `permission_users` and `permission_document` (32 bytes) are the constructor's
    arguments of the two permission contracts that have some. With `registry_address` the names are
    reserved in an existing registry, at its fee.
    """

    nodes: tuple[PlannedNode, ...]
    layout: Layout = Layout.COMBINED
    fees: Mapping[str, int] = field(default_factory=dict)
    permission: Permission = Permission.ONCE_TRANSFERABLE
    permission_users: tuple[str, ...] = ()
    permission_document: bytes = b""
    registry: bool = True
    registry_address: str | None = None

    def __post_init__(self) -> None:
        """Raise `ConfigError`, naming the field, for a plan that cannot be carried out."""
        if not 1 <= len(self.nodes) <= MAX_KEY_SERVERS:
            raise ConfigError(f"nodes: {len(self.nodes)} given, must be 1 to {MAX_KEY_SERVERS}")
        for number, node in enumerate(self.nodes):
            _check_node(f"nodes[{number}]", node)
        if len({node.public_key for node in self.nodes}) != len(self.nodes):
            raise ConfigError("nodes: two nodes have the same public_key")
        for name, fee in self.fees.items():
            _check_fee(name, fee)
        _check_permission(self)


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan with the chain it is for."""

    endpoint: str
    chain_id: int | None
    """Deployment stops if the endpoint says otherwise."""
    key_file: Path | None
    """The deployer's key; `None`: from the environment or a prompt."""
    plan: DeploymentPlan


# --- the plan in a file


def load_plan(path: Path) -> PlanFile:
    """Read a plan from a TOML file; raises `ConfigError` naming the field that is wrong."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    root = _Table("", document)
    chain = root.table("chain")
    key_file = chain.text("key_file", None)
    loaded = PlanFile(
        endpoint=chain.text("endpoint"),
        chain_id=chain.number("chain_id", None),
        key_file=None if key_file is None else path.parent / key_file,
        plan=_read_plan(root),
    )
    chain.finish()
    root.finish()
    return loaded


def _read_plan(root: "_Table") -> DeploymentPlan:
    contracts, permission, registry = (
        root.table(name) for name in ("contracts", "permission", "registry")
    )
    fees = root.table("fees")
    plan = DeploymentPlan(
        nodes=tuple(_read_node(table) for table in root.tables("nodes")),
        layout=_choice(Layout, "contracts.services", contracts.text("services", "combined")),
        fees={name: fees.number(name) for name in list(fees.fields)},
        permission=_choice(
            Permission,
            "permission.contract",
            permission.text("contract", Permission.ONCE_TRANSFERABLE),
        ),
        permission_users=permission.texts("users"),
        permission_document=permission.hexadecimal("document", b""),
        registry=registry.flag("wanted", True),
        registry_address=registry.text("address", None),
    )
    for table in (contracts, permission, registry, fees):
        table.finish()
    return plan


def _read_node(table: "_Table") -> PlannedNode:
    node = PlannedNode(table.hexadecimal("public_key"), table.text("address"))
    table.finish()
    return node


def read_key(path: Path, passphrase: Passphrase) -> LocalAccount:
    """Read a private key: 64 hex digits, or an encrypted JSON key file.

    `passphrase` is asked only for the latter. Raises `ConfigError`, which never holds the key.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a key file") from error
    if not text.startswith("{"):
        return account_of(text, str(path))
    try:
        return account_of(Account.decrypt(text, passphrase()).hex(), str(path))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: wrong passphrase, or not a key file") from error


def account_of(key: str, where: str) -> LocalAccount:
    """The account of a private key in hex; raises `ConfigError` naming `where`, never the key."""
    try:
        secret = bytes.fromhex(key.strip().removeprefix("0x"))
    except ValueError:
        secret = b""
    if len(secret) != PRIVATE_KEY_BYTES or not 0 < int.from_bytes(secret, "big") < GROUP_ORDER:
        raise ConfigError(f"{where}: not a private key of 32 bytes in hex")
    return cast(LocalAccount, Account.from_key(secret))


class _Table:
    """A TOML table that is read field by field; `finish` complains about what is left over."""

    def __init__(self, name: str, fields: Mapping[str, Any]) -> None:
        self.name = name
        self.fields = dict(fields)

    def _take(self, field_name: str, kind: type, default: Any) -> Any:
        value = self.fields.pop(field_name, default)
        if value is ...:
            raise ConfigError(f"{self._full(field_name)}: is missing")
        if value is not default and (not isinstance(value, kind) or type(value) is not kind):
            raise ConfigError(f"{self._full(field_name)}: must be of type {kind.__name__}")
        return value

    def text(self, field_name: str, default: Any = ...) -> Any:
        return self._take(field_name, str, default)

    def number(self, field_name: str, default: Any = ...) -> Any:
        return self._take(field_name, int, default)

    def flag(self, field_name: str, default: bool) -> bool:
        return cast(bool, self._take(field_name, bool, default))

    def texts(self, field_name: str) -> tuple[str, ...]:
        values = self._take(field_name, list, [])
        if not all(isinstance(value, str) for value in values):
            raise ConfigError(f"{self._full(field_name)}: must be a list of strings")
        return tuple(values)

    def hexadecimal(self, field_name: str, default: Any = ...) -> bytes:
        value = self._take(field_name, str, default)
        if isinstance(value, bytes):
            return value
        try:
            return bytes.fromhex(value.removeprefix("0x"))
        except ValueError:
            raise ConfigError(f"{self._full(field_name)}: must be hex digits") from None

    def table(self, field_name: str) -> "_Table":
        return _Table(self._full(field_name), self._take(field_name, dict, {}))

    def tables(self, field_name: str) -> list["_Table"]:
        values = self._take(field_name, list, [])
        if not all(isinstance(value, dict) for value in values):
            raise ConfigError(f"{self._full(field_name)}: must be a list of tables")
        return [_Table(f"{self._full(field_name)}[{i}]", v) for i, v in enumerate(values)]

    def finish(self) -> None:
        for field_name in self.fields:
            raise ConfigError(f"{self._full(field_name)}: unknown field")

    def _full(self, field_name: str) -> str:
        return f"{self.name}.{field_name}" if self.name else field_name


def _choice(kind: type[Choice], field_name: str, value: str) -> Choice:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(str(member) for member in kind)
        raise ConfigError(f"{field_name}: {value!r} is not one of {known}") from None


# --- checks


def _check_node(where: str, node: PlannedNode) -> None:
    if len(node.public_key) != PUBLIC_KEY_BYTES:
        raise ConfigError(f"{where}.public_key: {len(node.public_key)} bytes, must be 64")
    x, y = (int.from_bytes(part, "big") for part in (node.public_key[:32], node.public_key[32:]))
    if max(x, y) >= FIELD_PRIME or (y * y - x**3 - 7) % FIELD_PRIME:
        raise ConfigError(f"{where}.public_key: not a point of the curve")
    host, _, port = node.address.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ConfigError(f"{where}.address: {node.address!r} is not of the form ip:port")


def _check_fee(name: str, fee: int) -> None:
    known = [service.plan_name for service in SERVICES]
    if name not in known:
        raise ConfigError(f"fees.{name}: unknown service, known are {', '.join(known)}")
    if not 0 <= fee <= MAX_FEE:
        raise ConfigError(f"fees.{name}: {fee} wei, must be 0 to 2^96 - 1")


def _check_permission(plan: DeploymentPlan) -> None:
    with_users = plan.permission in (Permission.FIRE_AND_FORGET, Permission.NO_DOC)
    if with_users != bool(plan.permission_users):
        raise ConfigError(
            f"permission.users: {plan.permission} takes {'some' if with_users else 'none'}"
        )
    for user in plan.permission_users:
        if not Web3.is_address(user):
            raise ConfigError(f"permission.users: {user!r} is not an address")
    length = 32 if plan.permission is Permission.FIRE_AND_FORGET else 0
    if len(plan.permission_document) != length:
        raise ConfigError(f"permission.document: must be {length} bytes for {plan.permission}")
    if plan.registry_address is not None and not Web3.is_address(plan.registry_address):
        raise ConfigError(f"registry.address: {plan.registry_address!r} is not an address")
