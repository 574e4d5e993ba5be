"""Errors of the JSON-RPC module (section 6 of its description)."""

from typing import Final


class RpcError(Exception):
    """What a caller gets instead of a result."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.data = data


ACCOUNT_CODE: Final = -32023
ENCRYPTION_CODE: Final = -32055


def parse_error() -> RpcError:
    """The body is not JSON."""
    return RpcError(-32700, "Parse error")


def invalid_request() -> RpcError:
    """It is JSON, but no request."""
    return RpcError(-32600, "Invalid request")


def batch_too_large(most: int) -> RpcError:
    """More calls at once than are taken."""
    return RpcError(-32600, "Invalid request", f"a batch has at most {most} calls")


def method_not_found() -> RpcError:
    """Unknown, or of a module that is off."""
    return RpcError(-32601, "Method not found")


def internal_error() -> RpcError:
    """What nobody has thought of; the trace is in the log."""
    return RpcError(-32603, "Internal error")


def invalid_params(detail: str) -> RpcError:
    """The number or form of parameters is wrong."""
    return RpcError(-32602, f"Invalid params: {detail}")


def unusable_parameter(name: str, why: str) -> RpcError:
    """A parameter of the right form whose content cannot be used."""
    return RpcError(-32602, f"Couldn't parse parameters: {name}", f'"{why}"')


def account_error(message: str, data: str) -> RpcError:
    """The account, its password, or what was encrypted for it is wrong."""
    return RpcError(ACCOUNT_CODE, message, data)


def encryption_error(data: str) -> RpcError:
    """A point cannot be computed with."""
    return RpcError(ENCRYPTION_CODE, "Encryption error.", data)
