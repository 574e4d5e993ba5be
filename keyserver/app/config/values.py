"""What the strings of a configuration file mean: contract sources, addresses, nodes, keys.

Every `parse_…` function takes one string and returns a typed value or raises `ValueError` with a
text for the operator. The texts of the original are kept where it has one (configuration, section
4). No text ever repeats a private key.
"""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from keyserver.crypto.curve import SecretScalar
from keyserver.crypto.errors import InvalidPointError, InvalidScalarError
from keyserver.model.identifiers import Address, NodeId

_HEX = re.compile(r"[0-9a-fA-F]*")
_DATABASE_SERVER = re.compile(
    r"postgresql://([^:/]*(:[^@]*)?@)?(\[[^/?]+\]|[^/:?]+)?(:(?P<port>[^/?]*))?([/?]|$)"
)
"""As the database library takes it apart; a password may contain anything but @."""
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class NoContract:
    """The contract is not used (`"none"`)."""


@dataclass(frozen=True, slots=True)
class FromRegistry:
    """The contract is looked up in the name registry while the node runs (`"registry"`)."""


@dataclass(frozen=True, slots=True)
class AtAddress:
    """The contract stands at a fixed address."""

    address: Address


ContractSource = NoContract | FromRegistry | AtAddress
"""Where a contract is found."""


@dataclass(frozen=True, slots=True)
class HostPort:
    """A TCP address: an IP address or a host name without brackets, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A Unix socket in the file system."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"


OperatorListen = HostPort | UnixSocket
"""Where the operator listener listens."""


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """One entry of `nodes`: who, and where it listens for other nodes."""

    node_id: NodeId
    at: HostPort

    def __str__(self) -> str:
        return f"{self.node_id.hex()}@{self.at}"


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """The node's key stands in the configuration itself."""

    secret: SecretScalar

    def __str__(self) -> str:
        return "(private key)"


@dataclass(frozen=True, slots=True)
class AccountKey:
    """The node's key is in a key file of this address."""

    address: Address


SelfSecret = PrivateKey | AccountKey
"""Where the key of this node is."""

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_hex(text: str, size: int) -> bytes:
    """Return `size` bytes written as hexadecimal, in any case, with or without `0x`."""
    digits = text.removeprefix("0x")
    if not _HEX.fullmatch(digits) or len(digits) != 2 * size:
        raise ValueError(f"must be {2 * size} hexadecimal digits")
    return bytes.fromhex(digits)


def parse_address(text: str) -> Address:
    """Return an account or contract address; checksums are not checked."""
    return Address(parse_hex(text, Address.SIZE))


def parse_contract_source(text: str) -> ContractSource:
    """Return what `"none"`, `"registry"` or an address stands for."""
    if text == "none":
        return NoContract()
    if text == "registry":
        return FromRegistry()
    try:
        return AtAddress(parse_address(text))
    except ValueError:
        raise ValueError(
            f'"{text}" is no contract: must be "none", "registry" or an address of 40 hexadecimal '
            "digits"
        ) from None


def parse_node_id(text: str) -> NodeId:
    """Return a public key of 128 hexadecimal digits that is a point of the curve."""
    node_id = NodeId(parse_hex(text, NodeId.SIZE))
    try:
        NodeId.of(node_id.point)
    except InvalidPointError:
        raise ValueError("not a point of the curve secp256k1") from None
    return node_id


def parse_admin_public(text: str) -> NodeId:
    """Return the administrator's public key."""
    try:
        return parse_node_id(text)
    except ValueError as error:
        raise ValueError(f"Invalid secret store admin public: {error}") from None


def parse_self_secret(text: str) -> SelfSecret:
    """Return the node's key, or the address of the account that holds it."""
    digits = text.removeprefix("0x")
    is_hex = _HEX.fullmatch(digits) is not None
    if is_hex and len(digits) == 40:
        return AccountKey(Address(bytes.fromhex(digits)))
    if is_hex and len(digits) == 64:
        try:
            return PrivateKey(SecretScalar(bytes.fromhex(digits)))
        except InvalidScalarError:
            raise ValueError("invalid secret: must be in 1 … n-1, n being the order") from None
    hint = ""
    if is_hex and 56 <= len(digits) < 64:
        hint = f" (it has {len(digits)} digits: fill up with zeros on the left to 64)"
    raise ValueError(
        "Invalid secret store secret. Must be either existing account address, or hex-encoded "
        f"private key{hint}"
    )


def parse_interface(text: str) -> str:
    """Return the IP address that `"local"`, `"all"` or an address stands for, without brackets."""
    match text:
        case "local":
            return "127.0.0.1"
        case "all":
            return "0.0.0.0"  # noqa: S104 - what the operator asked for by name
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        raise ValueError(f'"{text}" must be "local", "all" or an IP address') from None


def parse_port(text: str, *, lowest: int) -> int:
    """Return a decimal port number in `lowest`…65535."""
    if not (text.isascii() and text.isdigit()) or not lowest <= int(text) <= 65535:
        raise ValueError(f"port must be a number in {lowest}…65535")
    return int(text)


def parse_host_port(text: str, *, lowest: int) -> HostPort:
    """Return `HOST:PORT`, HOST being a name, an IPv4 address or an IPv6 address in brackets."""
    if text.startswith("["):
        bare, bracket, rest = text[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise ValueError("must be HOST:PORT")
        try:
            host = str(ipaddress.IPv6Address(bare))
        except ValueError:
            raise ValueError("the brackets must hold an IPv6 address") from None
        return HostPort(host, parse_port(rest[1:], lowest=lowest))
    host, colon, port = text.partition(":")
    if not colon or ":" in port or not _HOST_NAME.fullmatch(host):
        raise ValueError("must be HOST:PORT")
    return HostPort(host, parse_port(port, lowest=lowest))


def parse_node(text: str) -> NodeEntry:
    """Return one node written as `PUBLIC@HOST:PORT`."""
    public, at, where = text.partition("@")
    if not at or "@" in where or ":" not in where:
        raise ValueError(f"Invalid secret store node: {text} (must be PUBLIC@HOST:PORT)")
    try:
        node_id = parse_node_id(public)
    except ValueError as error:
        raise ValueError(f"Invalid public key in secret store node: {public} ({error})") from None
    port = where.rpartition(":")[2]
    try:
        parse_port(port, lowest=1)
    except ValueError as error:
        raise ValueError(f"Invalid port in secret store node: {port} ({error})") from None
    try:
        return NodeEntry(node_id, parse_host_port(where, lowest=1))
    except ValueError as error:
        raise ValueError(f"Invalid secret store node: {text} ({error})") from None


def parse_operator_listen(text: str) -> OperatorListen:
    """Return `HOST:PORT` or `unix:PATH`; port 0 lets the system choose."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise ValueError("must name a path after unix:")
        return UnixSocket(Path(path))
    return parse_host_port(text, lowest=0)


def parse_ip_network(text: str) -> IpNetwork:
    """Return an IP address, or a network as `ADDRESS/BITS`."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f'"{text}" must be an IP address or a network ADDRESS/BITS') from None


def parse_rpc_endpoint(text: str) -> str:
    """Return the URL of an Ethereum node after checking its form; the text is not repeated."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https", "ws", "wss") and bool(parts.hostname)
        valid = valid and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("an endpoint must be a URL with http, https, ws or wss, a host and a port")
    return text


def parse_database_url(text: str) -> str:
    """Return the database's URL after checking its form; the text is not repeated."""
    parts = urlsplit(text)
    if parts.scheme == "sqlite" and not {"?", "#"}.isdisjoint(text):
        raise ValueError("the file of a database must have neither ? nor # in its path")
    if parts.scheme == "sqlite" and text.startswith("sqlite:///") and len(parts.path) > 1:
        return text
    if parts.scheme == "postgresql" and parts.netloc:
        server = _DATABASE_SERVER.match(text)
        if server is not None and server["port"] is not None:
            parse_port(server["port"], lowest=1)
        return text
    raise ValueError("must be sqlite:///FILE or postgresql://USER@HOST/NAME")


def without_credentials(url: str) -> str:
    """Return `url` for showing: without user, password, query, and a path that may be a token."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return url
    host = parts.netloc.rpartition("@")[2]
    hidden = "/…" if parts.path not in ("", "/") or parts.query else ""
    user = "…@" if "@" in parts.netloc else ""
    if parts.scheme == "postgresql":
        hidden = parts.path
    return f"{parts.scheme}://{user}{host}{hidden}"


@dataclass(frozen=True, slots=True)
class LogTarget:
    """From which level on the messages of one part of the program are written."""

    target: str
    """The part; empty for all that is not named."""
    level: str
    """One of `LOG_LEVELS`."""

    def __str__(self) -> str:
        return f"{self.target}={self.level}" if self.target else self.level


LOG_LEVELS = ("off", "error", "warn", "info", "debug", "trace")
"""The levels of `[misc] logging`, the most important first; `off` lets nothing through."""


def parse_log_target(text: str) -> LogTarget:
    """Return one item of `[misc] logging`: `TARGET=LEVEL`, a level alone, or a target alone."""
    target, equals, level = (part.strip() for part in text.partition("="))
    if not equals:
        is_level = target.lower() in LOG_LEVELS
        return LogTarget("", target.lower()) if is_level else LogTarget(target, "trace")
    if level.lower() not in LOG_LEVELS:
        raise ValueError(f'"{level}" is no log level: must be one of {", ".join(LOG_LEVELS)}')
    return LogTarget(target, level.lower())


def parse_log_targets(text: str) -> tuple[LogTarget, ...]:
    """Return the items of `[misc] logging`, separated by commas."""
    return tuple(parse_log_target(item) for item in text.split(",") if item.strip())


def plain(value: object) -> object:
    """A typed value as the configuration file would write it; a private key is not shown."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case NoContract():
            return "none"
        case FromRegistry():
            return "registry"
        case AtAddress(address) | AccountKey(address):
            return f"0x{address.hex()}"
        case PrivateKey() | NodeEntry():
            return str(value)
        case bytes():
            return f"0x{value.hex()}"
        case tuple() | list():
            return [plain(item) for item in value]
    return str(value)
