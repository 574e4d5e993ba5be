import re
from pathlib import Path
from typing import Any

import pytest

from keyserver.devnet.settings import Settings, default_threshold, sharing_of
from keyserver.errors import ConfigError
from keyserver.sealing.handing_out import Sharing


@pytest.mark.parametrize(("nodes", "threshold"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (13, 6)])
def test_a_minority_may_be_away(nodes: int, threshold: int) -> None:
    assert default_threshold(nodes) == threshold
    Settings(Path("x"), nodes=nodes, threshold=threshold)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"nodes": 0}, "nodes"),
        ({"nodes": 65}, "nodes"),
        ({"nodes": 3, "threshold": 3}, "threshold"),
        ({"threshold": -1}, "threshold"),
        ({"confirmations": -1}, "confirmations"),
        ({"block_time_s": 0.0}, "block time"),
        ({"chain": "ganache"}, "chain: 'ganache'"),
        ({"chain": "http://127.0.0.1:1"}, "account is needed that pays"),
    ],
)
def test_what_cannot_be_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(named)):
        Settings(Path("x"), **values)


def test_the_payers_key_is_not_shown() -> None:
    settings = Settings(Path("x"), chain="http://127.0.0.1:1", funder=b"\x77" * 32)
    assert not settings.is_local
    assert "w" * 8 not in repr(settings)


def test_how_a_key_is_shared_is_said_in_a_word() -> None:
    assert sharing_of("2-of-3") == Sharing(2, 3)
    assert sharing_of("1-of-1") == Sharing(1, 1)


@pytest.mark.parametrize("text", ["", "2of3", "2-of-3 ", "-1-of-3", "3-of-2", "1-of-3", "2-of-17"])
def test_sharing_that_cannot_be_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^shares: "):
        sharing_of(text)
