"""Headers by which a client of the original's paths asks for more of a shadow retrieval.

Engine design, section 10: `Secretstore-Verify: 1` for what the shadows can be checked by,
`Secretstore-Exclude: <node id>,…` for nodes that must not take part again.
"""

import re
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers

from keyserver.model.identifiers import NodeId

VERIFY: Final = "secretstore-verify"
EXCLUDE: Final = "secretstore-exclude"

_NODE_ID: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{128})")


class ShadowHeaderError(ValueError):
    """A header that is there, but says nothing that can be read."""


@dataclass(frozen=True, slots=True)
class ShadowWishes:
    """What the headers ask for."""

    verify: bool = False
    """Whether commitments and nodes are to be told."""
    exclude: frozenset[NodeId] = frozenset()


def read_shadow_headers(headers: Headers) -> ShadowWishes:
    """The wishes of a request; raises `ShadowHeaderError`."""
    verify = headers.getlist(VERIFY)
    if verify not in ([], ["1"]):
        raise ShadowHeaderError(f"{VERIFY}: must be 1, once")
    lists = headers.getlist(EXCLUDE)
    return ShadowWishes(
        verify=bool(verify),
        exclude=frozenset(_node_id(item) for each in lists for item in each.split(",")),
    )


def _node_id(text: str) -> NodeId:
    match = _NODE_ID.fullmatch(text.strip(" \t"))
    if match is None:
        raise ShadowHeaderError(f"{EXCLUDE}: must be node ids of 128 hexadecimal digits, by commas")
    return NodeId(bytes.fromhex(match[1]))
