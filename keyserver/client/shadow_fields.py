"""The JSON form of a document key's shadow (HTTP interface, 5.2; engine design, section 10)."""

from collections.abc import Mapping
from typing import Any, Final

from keyserver.client.node_answers import bad_answer, read_bytes, read_list, read_point
from keyserver.client.node_http import HttpAnswer
from keyserver.client.results import ShadowAnswer, ShadowCommitment
from keyserver.model.identifiers import NodeId

SHADOW_SIZE: Final = 145
"""Bytes of an ECIES message with a shadow."""


def read_shadow(
    answer: HttpAnswer, fields: Mapping[str, Any], commitments: tuple[ShadowCommitment, ...]
) -> ShadowAnswer:
    """The fields both interfaces have; raises `BadAnswerError`."""
    sealed = read_list(answer, "decrypt_shadows", fields.get("decrypt_shadows"))
    shadows = tuple(
        read_bytes(answer, f"decrypt_shadows[{index}]", text, SHADOW_SIZE)
        for index, text in enumerate(sealed)
    )
    if commitments and len(commitments) != len(shadows):
        raise bad_answer(answer, "shadow_commitments: must be as many as the shadows")
    return ShadowAnswer(
        read_point(answer, "common_point", fields.get("common_point")),
        read_point(answer, "decrypted_secret", fields.get("decrypted_secret")),
        shadows,
        commitments,
    )


def read_commitments(answer: HttpAnswer, fields: Mapping[str, Any]) -> tuple[ShadowCommitment, ...]:
    """What each shadow must be and who made it; raises `BadAnswerError`."""
    points = read_list(answer, "shadow_commitments", fields.get("shadow_commitments"))
    nodes = read_list(answer, "shadow_nodes", fields.get("shadow_nodes"))
    if len(points) != len(nodes):
        raise bad_answer(answer, "shadow_nodes: must be as many as the commitments")
    made = tuple(
        ShadowCommitment(
            NodeId(read_bytes(answer, f"shadow_nodes[{index}]", node, NodeId.SIZE)),
            read_point(answer, f"shadow_commitments[{index}]", point),
        )
        for index, (node, point) in enumerate(zip(nodes, points, strict=True))
    )
    if len({each.node for each in made}) != len(made):
        raise bad_answer(answer, "shadow_nodes: must differ")
    return made
