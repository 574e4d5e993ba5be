"""Numbers in paths and queries."""


def read_number(text: str, low: int, high: int) -> int | None:
    """A number in decimal digits, from `low` to `high`; `None` for anything else.

    Longer texts than `high` are not read at all: `int` has an error of its own for very long ones.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(high)):
        return None
    number = int(text)
    return number if low <= number <= high else None
