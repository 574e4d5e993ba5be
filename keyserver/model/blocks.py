"""A block of the chain, as nodes name it to each other and read state at it."""

from dataclasses import dataclass

from keyserver.model.codec import U64
from keyserver.model.identifiers import Hash32


@dataclass(frozen=True, slots=True)
class BlockId:
    """A block by number and hash."""

    number: U64
    hash: Hash32
