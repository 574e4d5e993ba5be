"""The page about the operator listener says what the listener has, and nothing else."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from starlette.routing import BaseRoute, Route

from keyserver.api.operator import operator_app
from keyserver.api.operator_answers import STATUSES
from keyserver.api.operator_owners import owner_routes
from keyserver.api.operator_seal import seal_routes

PAGE = Path(__file__).parents[3] / "docs" / "operator-api.md"
ROW = re.compile(r"^\| `(GET|POST|DELETE) (/[^`]+)` \| (open|administrator) \|", re.MULTILINE)
CODES = re.compile(r"^\| (\d{3}) \| (.+) \|$", re.MULTILINE)


def routes() -> set[tuple[str, str]]:
    """All of the program, as method and path."""
    nothing: Any = SimpleNamespace(**dict.fromkeys(_NEEDS))
    app = operator_app(nothing, nothing, [*seal_routes(nothing), *owner_routes(nothing)])
    return set(_pairs(app.routes))


_NEEDS = ("vault", "refused_shares", "rekeys", "owners", "credentials", "administrators")


def _pairs(found: Sequence[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in found:
        assert isinstance(route, Route)
        for method in (route.methods or {"GET"}) - {"HEAD"}:
            yield method, route.path.replace(":path", "")


def test_every_route_stands_on_the_page_once() -> None:
    rows = [(method, path) for method, path, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))]
    assert len(rows) == len(set(rows))
    assert set(rows) == routes()


def test_every_code_stands_at_its_status() -> None:
    text = PAGE.read_text(encoding="utf-8")
    told = {
        code: int(status)
        for status, cell in CODES.findall(text)
        for code in re.findall(r"`([A-Z_]+)`", cell)
    }
    assert told == STATUSES
