"""Alters valid inputs: bytes, texts and JSON values."""

from collections.abc import Sequence
from random import Random
from typing import Any

_NUMBERS = (0, 1, 2, 127, 128, 255, 256, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)
_TEXTS = (
    "",
    "0x",
    "0x0",
    "0x-1",
    "0x" + "f" * 64,
    "0x" + "f" * 80,
    "0xzz",
    "\x00",
    "\u202e",
    "é",
    "none",
    "null",
    "-1",
    "1e400",
    "9" * 400,
    "../../etc/passwd",
    "a" * 5000,
)
_VALUES: tuple[Any, ...] = (None, True, False, 0, -1, 2**64, 2**300, 1.5, [], {}, "", "0x")


def altered(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """A few random changes to bytes; `others` are spliced in."""
    for _ in range(1 + min(int(random.expovariate(0.7)), 6)):
        data = _alter_once(random, data, others)
    return data


def _alter_once(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    at = random.randrange(len(data) + 1)
    match random.randrange(9):
        case 0 if data:
            at = min(at, len(data) - 1)
            return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        case 1:
            value = random.choice((0, 1, 2, 3, 4, 127, 128, 255))
            return data[:at] + bytes([value]) + data[at + 1 :]
        case 2:
            width = random.choice((1, 2, 4, 8))
            number = random.choice(_NUMBERS).to_bytes(8, "big")[-width:]
            return data[:at] + number + data[at + width :]
        case 3:
            return data[:at]
        case 4:
            return data[:at] + data[at + random.randrange(1, 70) :]
        case 5:
            return data[:at] + random.randbytes(random.randrange(1, 70)) + data[at:]
        case 6:
            end = at + random.randrange(1, 200)
            return data[:end] + data[at:end] * random.randrange(1, 4) + data[end:]
        case 7 if others:
            other = random.choice(others)
            cut = random.randrange(len(other) + 1)
            return data[:at] + other[cut : cut + random.randrange(1, 400)] + data[at:]
        case _ if others:
            other = random.choice(others)
            return data[:at] + other[at:]
    return data + b"\x00"


def altered_text(random: Random, text: str, others: Sequence[str]) -> str:
    """A few random changes to a text: within lines, of lines, and bytes that are no text."""
    lines = text.split("\n")
    for _ in range(1 + min(int(random.expovariate(0.7)), 5)):
        at = random.randrange(len(lines)) if lines else 0
        line = lines[at] if lines else ""
        match random.randrange(7):
            case 0:
                lines[at : at + 1] = []
            case 1:
                lines.insert(at, random.choice(random.choice(others).split("\n")))
            case 2:
                lines.insert(at, line)
            case 3:
                name, equals, _ = line.partition("=")
                lines[at : at + 1] = [name + equals + " " + _toml_value(random)]
            case 4:
                lines[at : at + 1] = [line.replace("=", random.choice(("==", "", ":", ".a ="))), ""]
            case _:
                raw = altered(random, line.encode("utf-8", "replace"), [])
                lines[at : at + 1] = [raw.decode("utf-8", "replace")]
    return "\n".join(lines)


def _toml_value(random: Random) -> str:
    text = random.choice(_TEXTS)
    return random.choice(
        (
            f'"{text}"',
            f"'{text}'",
            f'["{text}", 1]',
            f"{{ a = 1, b = '{text}' }}",
            str(random.choice(_NUMBERS)),
            str(-random.choice(_NUMBERS)),
            "9" * random.choice((19, 25, 400)),
            "true",
            "false",
            "nan",
            "1979-05-27T07:32:00Z",
            "[[[[[[[[]]]]]]]]",
            "",
        )
    )


def altered_json(random: Random, value: Any, others: Sequence[Any]) -> Any:
    """One or two changes somewhere in a JSON value."""
    for _ in range(random.choice((1, 1, 2))):
        value = _alter_json(random, value, others)
    return value


def _alter_json(random: Random, value: Any, others: Sequence[Any]) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.9:
        name = random.choice(sorted(value))
        if random.random() < 0.1:
            return {key: each for key, each in value.items() if key != name}
        return {**value, name: _alter_json(random, value[name], others)}
    if isinstance(value, list) and value and random.random() < 0.9:
        at = random.randrange(len(value))
        if random.random() < 0.15:
            return value[:at] + value[at + 1 :] if random.random() < 0.5 else [*value, value[at]]
        return [*value[:at], _alter_json(random, value[at], others), *value[at + 1 :]]
    if isinstance(value, str) and random.random() < 0.5:
        return _alter_hex(random, value)
    return random.choice((*_VALUES, *_TEXTS, *others))


def _alter_hex(random: Random, value: str) -> str:
    try:
        raw = bytes.fromhex(value.removeprefix("0x"))
    except ValueError:
        raw = value.encode()
    return "0x" + altered(random, raw, []).hex()
