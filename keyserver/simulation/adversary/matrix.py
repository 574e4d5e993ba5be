"""The whole adversary matrix."""

from keyserver.simulation.adversary import (
    agreement,
    both,
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
    *retrieval_holders.ROWS,
    *retrieval_coordinators.ROWS,
)
