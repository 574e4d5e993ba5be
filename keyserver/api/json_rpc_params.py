"""Parameters of the JSON-RPC module: from JSON to typed values (section 2 of its description).

Every reader raises `RpcError` -32602, naming the parameter and the rule; values are not repeated,
since a password may have been put in the wrong place.
"""

import re
from typing import Any, Final

from keyserver.api.json_rpc_errors import invalid_params
from keyserver.model.identifiers import Address, Hash32

_HEX: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*")
POINT_SIZE: Final = 64


class Params:
    """The positional parameters of one call, taken one after the other."""

    # Any: whatever the caller wrote.
    def __init__(self, values: Any, *names: str) -> None:
        """Raises `RpcError` unless `values` is a list with one value for each name."""
        if not isinstance(values, list):
            raise invalid_params("parameters must be an array")
        if len(values) != len(names):
            raise invalid_params(f"expected {len(names)} parameters, got {len(values)}")
        self._left = list(zip(names, values, strict=True))

    def address(self) -> Address:
        """An account."""
        return Address(self._sized(Address.SIZE))

    def hash(self) -> Hash32:
        """A hash of 32 bytes."""
        return Hash32(self._sized(Hash32.SIZE))

    def point(self) -> bytes:
        """64 bytes, x then y, which may lie off the curve."""
        return self._sized(POINT_SIZE)

    def data(self) -> bytes:
        """Any bytes."""
        name, value = self._left.pop(0)
        return _data(name, value)

    def password(self) -> str:
        """Text that is used as UTF-8."""
        name, value = self._left.pop(0)
        if not isinstance(value, str):
            raise invalid_params(f"{name}: must be a string")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise invalid_params(f"{name}: must be valid Unicode") from None
        return value

    def points(self) -> list[bytes]:
        """An array of points."""
        name, value = self._left.pop(0)
        return [_of_size(name, each, POINT_SIZE) for each in _array(name, value)]

    def datas(self) -> list[bytes]:
        """An array of byte strings."""
        name, value = self._left.pop(0)
        return [_data(name, each) for each in _array(name, value)]

    def _sized(self, size: int) -> bytes:
        name, value = self._left.pop(0)
        return _of_size(name, value, size)


# Any: whatever the caller wrote, here and below.
def _array(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise invalid_params(f"{name}: must be an array")
    return value


def _data(name: str, value: Any) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise invalid_params(f"{name}: must be 0x and an even number of hexadecimal digits")
    return bytes.fromhex(value[2:])


def _of_size(name: str, value: Any, size: int) -> bytes:
    data = _data(name, value)
    if len(data) != size:
        raise invalid_params(f"{name}: must be {size} bytes, got {len(data)}")
    return data
