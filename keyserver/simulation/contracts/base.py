"""The functions that every service has: who is a key server, and what each has earned."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from keyserver.simulation.contracts.contract import Message, Method, RevertError
from keyserver.simulation.contracts.queue import ServiceState


class Service(Protocol):
    """A contract over the state that all services have."""

    @property
    def state(self) -> ServiceState:
        """What is not of one service alone."""
        ...


def _require_key_server(contract: Service, message: Message, arguments: Any) -> tuple[int]:
    return (contract.state.seat_of(message, arguments[0]).index,)


def _key_servers_count(contract: Service, message: Message, _: Any) -> tuple[int]:
    return (len(contract.state.set_at(message).current),)


def _key_server_set(contract: Service, _: Message, __: Any) -> tuple[bytes]:
    return (contract.state.node_set,)


def _lifetime(contract: Service, _: Message, __: Any) -> tuple[int]:
    return (contract.state.lifetime,)


def _balance(contract: Service, _: Message, arguments: Any) -> tuple[int]:
    return (contract.state.owed.get(arguments[0], 0),)


def _drain(contract: Service, message: Message, _: Any) -> None:
    due = contract.state.owed.pop(message.sender, 0)
    if not due:
        raise RevertError("NothingToDrain")
    contract.state.emit("Drained", message.sender, due)


BASE_METHODS: Final[Mapping[str, Method]] = {
    "requireKeyServer": _require_key_server,
    "keyServersCount": _key_servers_count,
    "keyServerSetAddress": _key_server_set,
    "requestLifetimeBlocks": _lifetime,
    "keyServerBalance": _balance,
    "drain": _drain,
}
"""By name."""
