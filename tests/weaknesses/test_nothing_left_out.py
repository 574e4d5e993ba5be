"""Every weakness of the original has a test that attacks our nodes with it."""

import ast
import re
from fnmatch import filter as matching
from pathlib import Path

WEAKNESSES = range(1, 41)
"""W1 to W40 of the audit of the original."""

IMICROS = range(1, 21)
"""B1 to B20 of what is wrong with imicros-keys (sealing, part B)."""

ROOT = Path(__file__).parents[2]

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _tests() -> list[Function]:
    files = Path(__file__).parent.glob("test_*.py")
    trees = [ast.parse(file.read_text()) for file in files]
    return [
        node
        for tree in trees
        for node in tree.body
        if isinstance(node, Function) and node.name.startswith("test_")
    ]


def _numbers(name: str) -> list[int]:
    """The weaknesses in the name of a test: `test_w03_w04_..` is about two."""
    return [int(found) for found in re.findall(r"(?<=_w)\d\d(?=_)", name)]


def test_every_weakness_is_attacked() -> None:
    attacked = {number for test in _tests() for number in _numbers(test.name)}
    assert attacked == set(WEAKNESSES)


def test_every_attack_says_what_it_does() -> None:
    for test in _tests():
        if test.name.startswith(("test_w", "test_own_")):
            assert len(ast.get_docstring(test) or "") > 40, test.name


# --- docs/weaknesses.md names the tests -------------------------------------------------------


def _rows() -> dict[str, list[str]]:
    """By what stands first in a row of a table, all tests that the row names."""
    rows = re.findall(r"^\| ([^|]+) \|(.*)\|$", (ROOT / "docs/weaknesses.md").read_text(), re.M)
    return {
        first: [name for name in re.findall(r"`([^`]+)`", first + rest) if name.startswith("test")]
        for first, rest in rows
    }


def test_every_row_has_a_test_that_exists() -> None:
    rows = _rows()
    assert len(rows) > 100
    names = [test.name for test in _tests()]
    for row, tests in rows.items():
        assert tests or row in ("", "test"), row
        for test in tests:
            exists = (ROOT / test).exists() if "/" in test else matching(names, test)
            assert exists, (row, test)


def test_every_weakness_and_every_attack_has_a_row() -> None:
    rows = _rows()
    assert {f"W{number}" for number in WEAKNESSES} <= set(rows)
    assert {f"B{number}" for number in IMICROS} <= set(rows)
    told = {name for tests in rows.values() for name in tests}
    for test in _tests():
        if test.name.startswith(("test_w", "test_own_")):
            assert test.name in told, test.name
