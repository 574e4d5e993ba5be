"""How these tests are spread over processes when there are several."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
DEVNETS = {"demo", "published"}
"""Folders whose devnets choose ports for themselves: one after the other, they never collide."""


@pytest.hookimpl(tryfirst=True)  # the distribution reads the marks in this hook, too
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.xdist_group(_group(item.path)))


def _group(file: Path) -> str:
    """What shares fixtures stays together: a folder with networks for all of it, or a file."""
    folder = file.parent.name
    if folder in DEVNETS:
        return "devnets"
    return folder if folder == "clients" else f"{folder}/{file.stem}"
