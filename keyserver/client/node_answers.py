"""Reading the bodies of HTTP answers; everything that does not fit is a `BadAnswerError`."""

import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import from_json

from keyserver.client.errors import BadAnswerError, NodeUnreachableError
from keyserver.client.node_http import HttpAnswer
from keyserver.crypto.curve import Point
from keyserver.crypto.errors import CryptoError

_HEX = re.compile(r"0x((?:[0-9a-fA-F]{2})*)")
_GATEWAY_STATUSES: Final = frozenset({502, 504})
ASK_ANOTHER = "Is this a key server? If so, it is faulty: ask another one."


def read_json(answer: HttpAnswer) -> Any:
    """The JSON value of a body."""
    try:
        # Not by the standard library: deep nesting can overflow the stack of the process there.
        return from_json(answer.body, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise bad_answer(answer, "the answer is not JSON") from error


def read_object(answer: HttpAnswer) -> Mapping[str, Any]:
    """A body that is a JSON object."""
    value = read_json(answer)
    if not isinstance(value, dict):
        raise bad_answer(answer, "the answer is not a JSON object")
    return value


def read_bytes(answer: HttpAnswer, name: str, value: object, size: int) -> bytes:
    """A byte string in hexadecimal with `0x`, of this many bytes."""
    match = _HEX.fullmatch(value) if isinstance(value, str) else None
    if match is None or len(match[1]) != 2 * size:
        raise bad_answer(answer, f"{name}: is not {size} bytes in hexadecimal")
    return bytes.fromhex(match[1])


def read_point(answer: HttpAnswer, name: str, value: object) -> Point:
    """A point of the curve, 64 bytes."""
    raw = read_bytes(answer, name, value, 64)
    try:
        return Point.from_raw64(raw)
    except CryptoError as error:
        raise bad_answer(answer, f"{name}: {error}") from error


def read_sealed_signature(answer: HttpAnswer, value: object) -> bytes:
    """An ECIES message with a signature of 64 or 65 bytes."""
    size = 178 if isinstance(value, str) and len(value) > 2 + 2 * 177 else 177
    return read_bytes(answer, "signature", value, size)


def read_number(answer: HttpAnswer, name: str, value: object) -> int:
    """A whole number, not below zero."""
    if type(value) is not int or value < 0:
        raise bad_answer(answer, f"{name}: is not a number")
    return value


def read_list(answer: HttpAnswer, name: str, value: object) -> list[Any]:
    """A list that is not empty."""
    if not isinstance(value, list) or not value:
        raise bad_answer(answer, f"{name}: is not a list")
    return value


def unknown_failure(answer: HttpAnswer) -> BadAnswerError | NodeUnreachableError:
    """What an answer means that is no success and no error of a key server."""
    if 300 <= answer.status < 400:
        return bad_answer(answer, f"redirects ({answer.status}), which is not followed")
    if answer.status in _GATEWAY_STATUSES:
        return NodeUnreachableError(
            answer.node, f"a proxy got no answer ({answer.status})", may_have_worked=True
        )
    return bad_answer(answer, f"status {answer.status} without an error of a key server")


def bad_answer(answer: HttpAnswer, rule: str) -> BadAnswerError:
    """An answer that breaks a rule."""
    return BadAnswerError(f"{answer.node}: {rule}", advice=ASK_ANOTHER)
