"""Byte strings of fixed length."""

import pytest

from keyserver.crypto.curve import GENERATOR
from keyserver.crypto.errors import InvalidPointError
from keyserver.model.identifiers import Address, Hash32, KeyId, NodeId


def test_the_length_is_checked() -> None:
    with pytest.raises(ValueError, match="KeyId takes 32 bytes, got 31"):
        KeyId(bytes(31))
    assert not isinstance(Hash32(bytes(32)), KeyId)


def test_they_print_as_hexadecimal() -> None:
    assert repr(Address(bytes(20))) == str(Address(bytes(20))) == f"Address({'00' * 20})"


def test_a_node_is_its_public_key() -> None:
    node = NodeId.of(GENERATOR)
    assert node.point == GENERATOR
    assert node.address.hex() == "7e5f4552091a69125d5dfcb7b8c2659029395bdf"
    assert node.short == "79be667ef9dcbbac"
    with pytest.raises(InvalidPointError):
        _ = NodeId(bytes(64)).point
