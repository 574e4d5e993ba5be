"""The body of the administrator's request: the new node set (HTTP interface, section 3.1)."""

import re
from typing import Final

from keyserver.api.json_text import JsonError, read_json
from keyserver.model.identifiers import NodeId

_NODE_ID: Final = re.compile(r"0x[0-9a-fA-F]{128}")


def parse_new_set(body: bytes) -> frozenset[NodeId] | None:
    """The ids, at least one; `None` if the body is anything but a list of them."""
    try:
        ids = read_json(body)
    except JsonError:
        return None
    if not isinstance(ids, list) or not ids:
        return None
    if not all(isinstance(each, str) and _NODE_ID.fullmatch(each) for each in ids):
        return None
    return frozenset(NodeId(bytes.fromhex(each[2:])) for each in ids)
