"""Every weakness of the original has a test that attacks our nodes with it."""

import ast
import re
from pathlib import Path

WEAKNESSES = range(1, 41)
"""W1 to W40 of the audit of the original."""

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
