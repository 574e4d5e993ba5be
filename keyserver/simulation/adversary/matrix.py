"""The whole adversary matrix."""

from keyserver.simulation.adversary import (
    addition,
    agreement,
    both,
    catalogue,
    generation_coordinators,
    generation_members,
    retrieval_coordinators,
    retrieval_holders,
    storing,
)
from keyserver.simulation.adversary.rows import Row

ROWS: tuple[Row, ...] = (
    *generation_members.ROWS,
    *generation_coordinators.ROWS,
    *storing.MEMBERS,
    *storing.COORDINATORS,
    *both.ROWS,
    *agreement.ROWS,
    *catalogue.ROWS,
    *addition.ROWS,
    *retrieval_holders.ROWS,
    *retrieval_coordinators.ROWS,
)
