"""Whom a request is counted for."""

import pytest

from keyserver.api.serving import client_address


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2::3", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::3", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("a name", "a name"),
    ],
)
def test_addresses_of_one_owner_are_counted_together(host: str, counted: str) -> None:
    assert client_address({"type": "http", "client": (host, 50_000)}) == counted


def test_who_has_no_address_is_counted_too() -> None:
    assert client_address({"type": "http", "client": None}) == ""
