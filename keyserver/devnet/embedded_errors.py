"""The error an embedded chain answers a JSON-RPC request with."""

from keyserver.errors import KeyServerError

INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
PARSE_ERROR = -32700
SERVER_ERROR = -32000
EXECUTION_REVERTED = 3
"""The code that carries revert data, as go-ethereum answers it."""


class RpcError(KeyServerError):
    """A request the chain refuses: what the client reads as the `error` of its JSON-RPC answer."""

    def __init__(
        self, message: str, *, rpc_code: int = SERVER_ERROR, data: bytes | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.rpc_code = rpc_code
        self.data = data
        """Revert data of the call, if the EVM reverted."""


def invalid_params(name: str, rule: str) -> RpcError:
    """Build the error for a parameter `name` that breaks `rule`."""
    return RpcError(f"invalid {name}: {rule}", rpc_code=INVALID_PARAMS)
